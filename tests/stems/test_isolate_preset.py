import argparse
import re
import tomllib

import pytest

from bridge.commands import isolate as command
from bridge.settings import band_preset as band
from bridge.settings.stems_preset import available, load, parse
from genaudio_core.errors import GenaudioError

TEXT = """
[isolate]
wet = 0.5
[rest]
gain = -6
[[stems]]
query = "drums"
gain = -3
[[stems.effects]]
effect = "Compressor"
threshold_db = -18
[[stems]]
query = "electric bass"
mute = true
[[monitor.effects]]
effect = "Gain"
[cc]
7 = "gain.electric_bass"
74 = { moves = "effect.drums.1.threshold_db", low = -40, high = 0 }
"""


def options(*words):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.preset_of(parser.parse_args(words))


def test_a_preset_says_stems_levels_effects_and_controllers():
    preset = parse(tomllib.loads(TEXT))
    assert preset.names == ['drums', 'electric_bass', 'rest', 'monitor']
    assert preset.mix.gains_db == (-3, 0) and preset.mix.rest_db == -6 and preset.mix.wet == 0.5
    assert preset.mix.mute == {1} and not preset.mix.solo and not preset.low_latency
    assert preset.chains[0][0].effect == 'Compressor' and preset.chains[0][0].parameters == {'threshold_db': -18}
    assert preset.chains[3][0].effect == 'Gain' and set(preset.chains) == {0, 3}
    assert preset.controllers == {7: 'gain.electric_bass', 74: 'effect.drums.1.threshold_db'}
    assert preset.spans == {74: (-40, 0)}


@pytest.mark.parametrize(
    ('wrong', 'right', 'message'),
    [
        ('[rest]', '[rset]', "unknown section 'rset'. Did you mean 'rest'"),
        ('query = "drums"', 'qeury = "drums"', "unknown key 'stems.1.qeury'. Did you mean 'query'"),
        ('wet = 0.5', 'wet = 2', 'isolate.wet must be a number from 0 to 1, not 2'),
        ('wet = 0.5', 'wet = "half"', "isolate.wet must be a number from 0 to 1, not 'half'"),
        (
            'gain.electric_bass',
            'gain.electric_bas',
            "'gain.electric_bas' is not something that can be set. Did you mean 'gain.electric_bass'",
        ),
        ('drums.1.thr', 'drums.2.thr', 'drums has 1 effect, counted from 1'),
        ('mute = true', 'mute = 1', 'stems.2.mute must be true or false, not 1'),
        ('effect = "Gain"', 'gain_db = 1', 'either built in'),
        ('74 =', 'x =', "'x' is not a controller number (0 to 119)"),
        ('low = -40, ', '', 'cc.74 needs both low and high'),
    ],
)
def test_a_mistake_is_one_line_that_says_what_is_right(wrong, right, message):
    assert wrong in TEXT
    with pytest.raises(GenaudioError, match=re.escape(message)):
        parse(tomllib.loads(TEXT.replace(wrong, right)))


def test_bundled_presets_load_and_do_not_mix_with_those_of_the_band():
    from bridge.stems.isolate import model_path
    from genaudio_core.separation.streaming import MaskNetwork

    words = MaskNetwork.load(model_path(None)).card.details['words']
    assert len(available()) >= 2 and not set(band.available()) & {f'isolate-{name}' for name in available()}
    for name in available():
        preset = load(name)
        assert preset == load(f'isolate-{name}') and preset.title and preset.controllers
        assert set(preset.queries) <= set(words)  # no query encoder is needed on stage
    with pytest.raises(GenaudioError, match=re.escape("No preset 'remx' for live isolation. Did you mean 'remix'")):
        load('remx')


def test_options_win_over_the_preset(tmp_path):
    file = tmp_path / 'mine.toml'
    file.write_text(TEXT)
    preset = options(
        str(file), '--query', 'flute', '--rest', '-12', '--set', 'gain.drums=-9', '--set', 'mute.electric_bass=off',
        '--set', 'effect.drums.1.ratio=3', '--set', 'low_latency=on', '--effect', 'flute=Invert',
    )  # fmt: skip
    assert preset.queries == ('drums', 'electric bass', 'flute') and preset.mix.gains_db == (-9, 0, 0)
    assert preset.mix.rest_db == -12 and preset.mix.wet == 0.5 and not preset.mix.mute and preset.low_latency
    assert preset.chains[0][0].parameters == {'threshold_db': -18, 'ratio': 3}
    assert preset.chains[2][0].effect == 'Invert' and preset.chains[4][0].effect == 'Gain'  # the monitor's moved on
    with pytest.raises(
        GenaudioError, match=re.escape("'gain.drms' is not something that can be set. Did you mean 'gain.drums'")
    ):
        options(str(file), '--set', 'gain.drms=1')


def test_without_a_preset_the_options_stand_alone():
    preset = options('--query', 'drums', '--gain', '-3', '--wet', '0.2')
    assert preset.mix.gains_db == (-3,) and preset.mix.wet == 0.2 and preset.mix.rest_db == float('-inf')
