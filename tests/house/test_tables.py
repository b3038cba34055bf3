"""One checker for all tables of settings: right values come back in their type, wrong ones are one full line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.settings import band_preset, stems_preset
from bridge.settings.instrument_table import INSTRUMENT
from bridge.settings.pads_table import PADS
from export import manifest
from genaudio_core.errors import GenaudioError
from genaudio_core.script.table import VOICE
from genaudio_core.tables import NEEDED, Numbered, Rows, Setting, Table

TABLES = {
    '': band_preset.PRESET, 'isolate preset': stems_preset.PRESET, 'pads': PADS, 'instrument': INSTRUMENT,
    'model': manifest.ROW, 'voices.Host': VOICE,
}  # fmt: skip
PAD = Table(
    {
        'file': Setting(kind=str, example='"kick.wav"'),
        'gain_db': Setting(0.0, 'level', -60, 12, unit='dB'),
        'choke': Setting(0, 'group', 0, 127),
        'hold': Setting(False),
        'kind': Setting('one', choices=('one', 'two')),
        'ports': Setting((), low=1, high=2, kind=tuple),
        'seconds': Setting(1.0, above=0, high=60, unit='s'),
        'level': Setting(0.0, low=-200, high=24, silence=True, unit='dB'),
    },
    short='file',
)
DRUMS = Table({'pads': Numbered(PAD, 'a MIDI note', 0, 127), 'rows': Rows(PAD, 1, 3)})


def settings(checker, name=''):
    """Every `Setting` of a table, and what it is called in it."""
    if isinstance(checker, Setting):
        yield name, checker
    elif isinstance(checker, Table):
        for key, inner in checker.settings.items():
            yield from settings(inner, f'{name}.{key}')
    else:
        yield from settings(checker.row if isinstance(checker, Rows) else checker.entry, f'{name}.1')


ALL = [(f'{title}{name}', setting) for title, table in TABLES.items() for name, setting in settings(table)]


def told(table, name, value):
    with pytest.raises(GenaudioError) as caught:
        table.check(name, value)
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ('pad', 'line'),
    [
        ({'file': 'a', 'gian_db': 1}, "unknown key 'pads.36.gian_db'. Did you mean 'gain_db'?"),
        ({'gain_db': 1}, 'pads.36.file is missing; write file = "kick.wav".'),
        ({'file': 3}, 'pads.36.file must be text, not 3.'),
        ({'file': 'a', 'gain_db': 20}, 'pads.36.gain_db must be a number from -60 to 12 dB, not 20.'),
        ({'file': 'a', 'gain_db': math.nan}, 'pads.36.gain_db must be a number from -60 to 12 dB, not nan.'),
        ({'file': 'a', 'gain_db': -math.inf}, 'pads.36.gain_db must be a number from -60 to 12 dB, not -inf.'),
        ({'file': 'a', 'gain_db': True}, 'pads.36.gain_db must be a number from -60 to 12 dB, not True.'),
        ({'file': 'a', 'gain_db': 'loud'}, "pads.36.gain_db must be a number from -60 to 12 dB, not 'loud'."),
        ({'file': 'a', 'choke': 1.5}, 'pads.36.choke must be a whole number from 0 to 127, not 1.5.'),
        ({'file': 'a', 'hold': 1}, 'pads.36.hold must be true or false, not 1.'),
        ({'file': 'a', 'kind': 'tow'}, "pads.36.kind must be one of one, two, not 'tow'. Did you mean 'two'?"),
        ({'file': 'a', 'ports': []}, 'pads.36.ports must be a list of 1 to 2 names, not 0.'),
        ({'file': 'a', 'ports': ['x', 'x']}, "pads.36.ports names 'x' twice."),
        ({'file': 'a', 'ports': 'x'}, "pads.36.ports must be a list of 1 to 2 names, not 'x'."),
        ({'file': 'a', 'seconds': 0}, 'pads.36.seconds must be a number over 0, at most 60 s, not 0.'),
        ({'file': 'a', 'level': math.inf}, 'pads.36.level must be a number from -200 to 24 dB, or -inf, not inf.'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_place_range_unit_and_what_was_written(pad, line):
    assert told(DRUMS, '', {'pads': {'36': pad}, 'rows': [{'file': 'a'}]}) == line


@pytest.mark.parametrize(
    ('table', 'line'),
    [
        ({'pds': {}}, "unknown section 'pds'. Did you mean 'pads'?"),
        ({'pads': [3]}, 'pads must be a table, not [3]: write [pads] above its settings.'),
        ({'pads': {'x': 'a'}}, "pads: 'x' is not a MIDI note (0 to 127)."),
        ({'pads': {'128': 'a'}}, 'pads: 128 is not a MIDI note (0 to 127).'),
        ({'pads': {'36': 'a', '036': 'b'}}, 'pads: 36 is there twice.'),
        ({}, 'rows: write [[rows]] above the settings of each one, 1 to 3 times.'),
        ({'rows': [{'file': 'a'}] * 4}, 'rows: write [[rows]] above the settings of each one, 1 to 3 times.'),
        ({'rows': [{'file': 'a'}, {'file': ['b']}]}, "rows.2.file must be text, not ['b']."),
    ],
)
def test_what_is_not_a_table_is_told_how_to_write_one(table, line):
    assert told(DRUMS, '', table) == line


def test_what_is_right_comes_back_in_its_type_with_defaults():
    found = DRUMS.check('', {'pads': {'36': 'kick.wav'}, 'rows': [{'file': 'x', 'gain_db': '-3', 'level': '-inf'}]})
    assert found['pads'][36]['file'] == 'kick.wav' and found['pads'][36]['seconds'] == 1.0
    (row,) = found['rows']
    assert (row['gain_db'], row['level'], row['choke'], row['hold']) == (-3.0, -math.inf, 0, False)
    assert type(PAD.check('p', {'file': 'a', 'choke': 2.0})['choke']) is int
    seed = Setting(0, low=0, high=2**63 - 1)
    assert seed.check('seed', '9007199254740993') == 2**53 + 1  # no digit is lost


@pytest.mark.parametrize(('name', 'setting'), ALL, ids=[name for name, _ in ALL])
def test_the_default_of_every_setting_is_a_right_value(name, setting):
    assert setting.kind in (bool, int, float, str, tuple, dict, object)
    if setting.default is not NEEDED and setting.default is not None:
        assert setting.check(name, setting.default) == setting.default


KEYS = st.one_of(st.text(max_size=8), st.sampled_from(['36', '036', 'a\nb', 'music', 'stems', 'cc', 'gain', 'file']))
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text('a1.\n\'"', max_size=12),
        st.text(max_size=12),
        st.binary(max_size=3),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=5,
)


@given(st.sampled_from(ALL), VALUES)
def test_whatever_is_written_is_in_range_or_one_line_that_names_the_key(which, value):
    name, setting = which
    try:
        found = setting.check(name, value)
    except GenaudioError as error:
        assert '\n' not in str(error) and name in str(error)
        return
    if setting.kind in (int, float):
        assert type(found) in (int, float) and not math.isnan(found)
        assert (found == -math.inf and setting.silence) or math.isfinite(found)
        assert setting.low is None or found >= setting.low or found == -math.inf
        assert setting.high is None or found <= setting.high
    assert not setting.choices or setting.kind is tuple or found in setting.choices


@given(st.sampled_from(sorted(TABLES)), VALUES)
def test_whatever_a_file_says_is_a_table_or_one_line(which, value):
    try:
        TABLES[which].check(which, value)
    except GenaudioError as error:
        assert '\n' not in str(error)
