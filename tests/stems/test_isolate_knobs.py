import json
import re
import tomllib

import numpy as np
import pytest
from audio_blocks import play
from plugin_host import built, can_build
from plugin_host import host as host  # a fixture
from stream_models import music
from test_isolate_preset import TEXT

from bridge.plugins.effects_host import PluginHost
from bridge.settings.effects_table import EffectSpec
from bridge.settings.stems_preset import parse
from bridge.stems.knobs import Knobs, MidiIn
from bridge.stems.state_file import restore, save_state
from genaudio_core.errors import GenaudioError


class Held:
    """What `Knobs` needs: the host, and the mix as it is."""

    def __init__(self, own, mix):
        self.host, self.mix = own, mix


class Silent:
    """A host that only keeps the mix."""

    class core:
        bypass = False

    def set_mix(self, mix):
        self.mix = mix


def turn(knobs, control, *values):
    midi, told = MidiIn(), []
    for value in values:
        midi.put(bytes([0xB0, control, value]))
    knobs.take(midi.drain(), told.append)
    return told


def settle(plugins, x):
    """Let the process hear what was set, and play with it."""
    play(plugins.host, x[:, :2560])
    plugins.save_state()


def test_controllers_move_gain_mute_wet_and_bypass():
    preset = parse(tomllib.loads(TEXT.split('[cc]')[0].replace('wet = 0.5', 'wet = 1')))
    silent = Silent()
    bound = {7: 'gain.drums', 8: 'gain.rest', 1: 'wet', 20: 'mute.drums', 21: 'solo.electric_bass', 22: 'bypass'}
    knobs = Knobs(preset.names, Held(silent, preset.mix), bound=bound, spans={8: (-20, 0)})
    turn(knobs, 7, 0)
    assert silent.mix.gains_db == (float('-inf'), 0)
    turn(knobs, 7, 3, 90, 127)  # only the last counts
    assert silent.mix.gains_db == (6, 0)
    turn(knobs, 8, 0)
    assert silent.mix.rest_db == -20
    turn(knobs, 1, 127)
    turn(knobs, 1, 0)
    assert silent.mix.wet == 0
    turn(knobs, 20, 127)
    turn(knobs, 21, 127)
    assert silent.mix.mute == {0, 1} and silent.mix.solo == {1}
    turn(knobs, 20, 0)
    assert silent.mix.mute == {1}
    turn(knobs, 22, 100)
    assert silent.core.bypass
    turn(knobs, 90, 100)  # bound to nothing
    knobs.learn('gain.electric_bass')
    told = turn(knobs, 90, 127)
    assert told == ['Controller 90 now moves gain.electric_bass.'] and silent.mix.gains_db == (6, 6)
    knobs.learn('gain.drums')
    turn(knobs, 8, 0)  # the span belonged to what it moved before
    assert silent.mix.gains_db[0] == float('-inf')


def test_a_wrong_name_is_one_line_with_the_nearest():
    preset = parse(tomllib.loads(TEXT))
    knobs = Knobs(preset.names, Held(Silent(), preset.mix))
    with pytest.raises(
        GenaudioError, match=re.escape("'gain.dums' is not something that can be set. Did you mean 'gain.drums'")
    ):
        knobs.set('gain.dums', 1)
    with pytest.raises(GenaudioError, match=re.escape("mute.drums must be true or false, not 'perhaps'")):
        knobs.set('mute.drums', 'perhaps')
    with pytest.raises(GenaudioError, match='from -200 to 24 dB, or -inf'):
        knobs.set('gain.drums', '30')


def test_controllers_turn_an_effect_and_its_state_comes_back(host, tmp_path):
    text = """
    [[stems]]
    query = "drums"
    [[stems.effects]]
    effect = "Gain"
    gain_db = 0.0
    [[stems]]
    query = "bass"
    [cc]
    74 = { moves = "effect.drums.1.gain_db", low = 0, high = -20 }
    7 = "gain.bass"
    """
    preset, x = parse(tomllib.loads(text)), np.tile(music(1.0), 2)
    plugins = PluginHost(host, preset.chains)
    try:
        controls = Held(host, preset.mix)
        knobs = Knobs(preset.names, controls, plugins, preset.controllers, preset.spans)
        with pytest.raises(GenaudioError, match=re.escape("Gain has no parameter 'gain'. Did you mean 'gain_db'")):
            Knobs(preset.names, controls, plugins, {1: 'effect.drums.1.gain'})
        loud = np.abs(play(host, x)[:2, -9600:]).max()
        turn(knobs, 74, 127)
        turn(knobs, 7, 0)
        settle(plugins, x)
        quiet = np.abs(play(host, x)[:2, -9600:]).max()
        assert quiet == pytest.approx(0.1 * loud, rel=0.02)
        file = tmp_path / 'state.json'
        assert save_state(file, knobs) is None
    finally:
        plugins.stop()
    told = []
    again = restore(preset, file, told.append)
    assert again.chains[0][0].parameters == {'gain_db': -20} and again.mix == controls.mix and not told
    assert again.mix.gains_db == (0, float('-inf'))
    kept = json.loads(file.read_text())
    kept['effects']['drums'][0]['effect'] = 'Reverb'  # as if the preset had been changed since
    file.write_text(json.dumps(kept))
    assert restore(preset, file, told.append).chains == preset.chains
    assert told == [f'{file}: this preset no longer has effect.drums.1; left out.']
    assert restore(preset, tmp_path / 'none', told.append) is preset
    file.write_text('[]')
    with pytest.raises(GenaudioError, match='is not a saved state of live isolation'):
        restore(preset, file, told.append)


@can_build
def test_a_controller_covers_the_range_that_a_vst3_tells(host, tmp_path):
    path = str(built('crash'))
    plugins = PluginHost(host, {0: (EffectSpec(path=path, parameters={'loudness': 0.5}),)})
    preset = parse({'stems': [{'query': 'drums', 'effects': [{'plugin': path}]}, {'query': 'bass'}]})
    try:
        bound = {74: 'effect.drums.1.loudness'}
        knobs = Knobs(preset.names, Held(host, preset.mix), plugins, bound)
        x = np.tile(music(1.0), 2)
        turn(knobs, 74, 127)
        settle(plugins, x)
        top = plugins.chains[0][0].parameters['loudness']
        turn(knobs, 74, 0)
        settle(plugins, x)
        assert plugins.chains[0][0].parameters['loudness'] == 0 < 1 < top
        save_state(tmp_path / 's', knobs)
    finally:
        plugins.stop()
    link = restore(preset, tmp_path / 's', print).chains[0][0]
    assert len(link.state) > 50 and link.parameters == {'loudness': 0}
