"""`genaudio presets NAME` writes a preset of one's own: every setting explained, and it plays as the one shown."""

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cli import main
from bridge.settings.band_preset import available, find_preset, load_preset, parse_preset
from bridge.settings.parameters import PARAMETERS
from bridge.settings.preset_text import preset_text


@pytest.mark.parametrize('name', available())
def test_what_is_shown_is_the_preset(name, tmp_path, capsys):
    assert main(['presets', name]) == 0
    shown = capsys.readouterr().out
    own = tmp_path / f'{name}.toml'
    own.write_text(shown, encoding='utf-8')
    assert replace(load_preset(own), path=None) == replace(load_preset(find_preset(name)), path=None)
    assert all(len(line) <= 80 for line in shown.splitlines() if line.startswith('#'))
    assert all(f'\n{full.split(".")[1]} = ' in shown for full in PARAMETERS)


@settings(max_examples=25, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            'about.text': st.text(st.characters(codec='utf-8'), max_size=20),
            'transport.tempo': st.floats(20, 300),
            'music.seed': st.integers(0, 2**31 - 1),
            'player.thru': st.booleans(),
            'ports.connect': st.lists(st.text('abü"\\ \n', min_size=1, max_size=5), unique=True, max_size=3),
        }
    )
)
def test_a_preset_made_in_a_program_is_written_whole(values):
    parts = [{'instrument': 'drums', 'drum_keys': '36, 38'}, {'instrument': 'violin', 'channel': 3, 'program': 40}]
    preset = parse_preset({'parts': parts, 'cc': {'7': 'density'}}).with_values(values)
    assert parse_preset(tomllib.loads(preset_text(preset))) == preset
