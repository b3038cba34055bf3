"""`genaudio presets NAME` writes a preset of one's own: every setting explained, and it plays as the one shown."""

import tomllib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.cli import main
from bridge.settings.band_preset import available, find_preset, load_preset, parse_preset
from bridge.settings.parameters import PARAMETERS
from bridge.settings.preset_text import preset_text, save_preset
from genaudio_core.errors import GenaudioError


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


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    return tmp_path / 'genaudio' / 'presets'


def test_what_is_saved_plays_the_same_from_the_other_folder(own, tmp_path):
    (tmp_path / 'here').mkdir()
    file = tmp_path / 'here' / 'mine.toml'
    file.write_text('[music]\ndensity = 0.2\n[[parts]]\ninstrument = "cello"\n[pads]\n36 = "kick.wav"\n'
                    '38 = {file = "snare.wav", choke = 2}\n[instrument]\nplugin = "Synth.vst3"\nstate = "a.state"\n'
                    '[cc]\n7 = "density"\n')  # fmt: skip
    learned = replace(load_preset(file, {'tempo': 90}), controllers={7: 'music.density', 21: 'panic'})
    path = save_preset(learned, 'One more 2')
    assert path == own / 'One more 2.toml' and find_preset('One more 2') == path
    saved = load_preset(path)
    title = {'about.title': 'One more 2'}
    assert replace(saved, path=None, name='') == replace(learned.with_values(title), path=None, name='')
    assert main(['presets', 'One more 2', '--json']) == 0


@pytest.mark.parametrize('name', [
    '', '.', '..', '../x', '/tmp/x', 'a/b', 'a\\b', '.hidden', 'x.toml', ' x', 'x ', 'x' * 61, 'a\nb', 'a\0b', '-rf',
    'isolate-x', 'duet', 'DUET', 'Mine',
])  # fmt: skip
def test_a_name_that_is_none_or_taken_is_one_line_and_writes_nothing(own, name):
    preset = parse_preset({})
    save_preset(preset, 'mine')
    with pytest.raises(GenaudioError) as caught:
        save_preset(preset, name)
    assert '\n' not in str(caught.value) and [path.name for path in own.iterdir()] == ['mine.toml']


def test_a_preset_of_ones_own_that_is_broken_is_told_in_the_list(own, capsys):
    save_preset(parse_preset({}), 'mine')
    (own / 'broken.toml').write_text('[player]\nmoed = "free"\n')
    (own / 'duet.toml').write_text('')  # the bundled one keeps its name
    assert main(['presets']) == 0
    told = capsys.readouterr().out
    assert 'moed' in told and 'mine' in told and load_preset(find_preset('duet'))['about.title'] in told
