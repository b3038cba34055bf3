"""One vocabulary for the knobs of live isolation, in presets, --set, typed lines, controllers and the state."""

import math
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.settings.mix import Mix
from bridge.settings.stem_knobs import OF_MONITOR, OF_REST, OF_STEM, mix_knobs
from bridge.settings.stems_preset import PRESET, StemsPreset, parse
from bridge.stems.line_commands import LineCommands
from bridge.stems.state_file import restore, save_state
from bridge.stems.words import Words
from genaudio_core.errors import GenaudioError

QUERIES = ('drums', 'electric bass')
NAMES = ['drums', 'electric_bass', 'rest', 'monitor']
KNOBS = mix_knobs(NAMES)
TURNS = st.one_of(
    st.tuples(
        st.sampled_from([name for name in KNOBS if name.startswith('gain')]),
        st.one_of(st.floats(-200, 24), st.just(-math.inf)),
    ),
    st.tuples(
        st.sampled_from([name for name, knob in KNOBS.items() if knob.kind is bool and name != 'bypass']), st.booleans()
    ),
    st.tuples(st.just('wet'), st.floats(0, 1)),
)


def commands():
    host = types.SimpleNamespace(core=types.SimpleNamespace(bypass=False), set_mix=lambda mix: None, low_latency=False)
    return LineCommands(host, Words({}, 2), list(QUERIES), Mix.of(2))  # type: ignore[arg-type]


def as_preset(turned):
    """What was turned, as somebody writes it into a preset."""
    table = {'stems': [{'query': query} for query in QUERIES], 'rest': {}, 'isolate': {}}
    for name, value in turned.items():
        knob, _, of = name.partition('.')
        place = table['isolate'] if not of else table['rest'] if of == 'rest' else table['stems'][NAMES.index(of)]
        place[knob] = value
    return parse(table)


@given(st.lists(TURNS, max_size=8))
def test_a_knob_turned_by_preset_option_or_line_gives_the_same_mix(turns):
    turned = dict(turns)
    lines, by_option = commands(), StemsPreset().with_queries(QUERIES)
    for name, value in turned.items():
        text = {True: 'on', False: 'off'}[value] if isinstance(value, bool) else repr(value)
        by_option = by_option.with_setting(name, text)
        lines.obey(f'{name} {text}')
    by_preset = as_preset(turned)
    assert lines.mix == by_option.mix == by_preset.mix
    assert lines.host.low_latency == by_option.low_latency == by_preset.low_latency
    assert {
        name: (by_option.mix.knobs(NAMES) | {'low_latency': by_option.low_latency})[name] for name in turned
    } == turned


@given(st.lists(TURNS, max_size=8))
def test_the_state_brings_every_knob_back(tmp_path_factory, turns):
    file = tmp_path_factory.mktemp('state') / 'state.json'
    lines = commands()
    for name, value in turns:
        lines.knobs.set(name, value)
    save_state(file, lines.knobs)
    told = []
    again = restore(StemsPreset().with_queries(QUERIES), file, told.append)
    assert again.mix == lines.mix and again.low_latency == lines.host.low_latency and told == []


@pytest.mark.parametrize('name', [*KNOBS, 'effect.drums.1.room_size'])
def test_every_position_of_a_controller_is_a_value_that_the_knob_takes(name):
    lines = commands()
    lines.knobs.plugins = types.SimpleNamespace(
        chains={0: (types.SimpleNamespace(path='', effect='Reverb'),)}, known=None
    )
    values = [lines.knobs.value_of(name, 7, position) for position in range(128)]
    assert values == sorted(values)  # more is more
    for value in values:
        assert name not in KNOBS or KNOBS[name].check(name, value) == value
    if name.startswith('gain'):
        assert values[0] == -math.inf and values[127] == 6.0


@pytest.mark.parametrize('name', KNOBS)
def test_a_wrong_value_is_refused_in_the_same_words_everywhere(name):
    knob, _, of = name.partition('.')
    told = set()
    for turn in (
        lambda: StemsPreset().with_queries(QUERIES).with_setting(name, 'loud'),
        lambda: commands().obey(f'{name} loud'),
        lambda: commands().knobs.set(name, 'loud'),
        lambda: as_preset({name: 'loud'}),
    ):
        with pytest.raises(GenaudioError) as caught:
            turn()
        place = (
            f'isolate.{knob}' if not of else f'rest.{knob}' if of == 'rest' else f'stems.{NAMES.index(of) + 1}.{knob}'
        )
        told.add(str(caught.value).replace(f'{place} must', f'{name} must'))
    assert f"{name} must be {KNOBS[name].right}, not 'loud'." in told
    assert name == 'bypass' or len(told) == 1  # bypass is only set while it plays


def test_presets_and_options_have_no_knob_of_their_own():
    stems, rest, whole = (PRESET.settings[key] for key in ('stems', 'rest', 'isolate'))
    assert {key: one for key, one in stems.row.settings.items() if key in OF_STEM} == OF_STEM  # type: ignore
    assert rest.settings['gain'] is OF_REST['gain'] and whole.settings['wet'] is OF_MONITOR['wet']  # type: ignore


def test_short_lines_turn_the_same_knobs():
    lines = commands()
    for short, long in (
        ('gain 2 -6', 'gain.electric_bass -6'), ('gain electric bass -6', 'set gain.electric_bass -6'),
        ('rest -12', 'gain.rest -12'), ('mute drums', 'mute.drums on'), ('solo 2', 'solo.electric_bass on'),
    ):  # fmt: skip
        first, second = commands(), commands()
        first.obey(short)
        second.obey(long)
        assert first.mix == second.mix != Mix.of(2)
    assert lines.obey('bypass') == lines.obey('bypass on') == 'bypass on' and lines.host.core.bypass
    assert lines.obey('bypass') == 'bypass off' and not lines.host.core.bypass


def test_a_stem_called_rest_is_not_the_rest():
    lines = LineCommands(commands().host, Words({}, 2), ['rest', 'drums'], Mix.of(2))
    lines.obey('gain 1 -3')
    lines.obey('rest -9')
    assert lines.mix.gains_db == (-3.0, 0.0) and lines.mix.rest_db == -9.0
