"""What was learned is bound again in the next session."""

import json
from pathlib import Path

import pytest
from live_band import preset

from bridge.settings.learned_controllers import Learned


def test_learned_controllers_come_back_preset_by_preset(tmp_path):
    said, path, own = [], tmp_path / 'deep' / 'controllers.json', preset()
    first = Learned(said.append, path)
    assert first.apply(own).controllers == own.controllers
    first.remember(own, {20: 'music.density', 21: 'next_take'})
    again = Learned(said.append, path)
    assert again.apply(own).controllers == {**own.controllers, 20: 'music.density', 21: 'next_take'}
    assert again.bound('another') == {}
    again.remember(own, {21: 'hush'})  # bound anew, and 20 no more
    assert Learned(said.append, path).bound(own.name) == {21: 'hush'}
    again.forget(own.name)
    assert Learned(said.append, path).bound(own.name) == {}
    assert said == []


def test_nothing_is_written_while_nothing_changes(tmp_path):
    path, own = tmp_path / 'controllers.json', preset()
    learned = Learned(print, path)
    learned.remember(own, dict(own.controllers))
    assert not path.exists()
    learned.remember(own, {20: 'music.density'})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    learned.remember(own, {20: 'music.density'})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


@pytest.mark.parametrize('text', ['{', '[1]', '{"a": 3}', '\x00', '[' * 100_000])
def test_a_broken_file_is_told_once_and_left_alone(tmp_path, text):
    said, path = [], tmp_path / 'controllers.json'
    path.write_text(text)
    learned = Learned(said.append, path)
    learned.remember(preset(), {20: 'music.density'})
    assert len(said) == 1 and 'repair or delete' in said[0]
    assert path.read_text() == text


def test_bindings_of_another_version_are_left_out(tmp_path):
    path = tmp_path / 'controllers.json'
    path.write_text(json.dumps({'duet': {'20': 'music.density', '21': 'music.flux', 'x': 'hush', '123': 'hush'}}))
    assert Learned(print, path).bound('duet') == {20: 'music.density'}


@pytest.mark.skipif(not Path('/proc/self').exists(), reason='needs a folder in which even root may make nothing')
def test_a_folder_that_cannot_be_written_is_told():
    said = []
    Learned(said.append, Path('/proc/genaudio/controllers.json')).remember(preset(), {20: 'hush'})
    assert 'not saved' in said[0]


def test_a_file_in_the_way_is_told(tmp_path):
    said = []
    learned = Learned(said.append, tmp_path / 'x' / 'controllers.json')
    (tmp_path / 'x').write_text('')
    learned.remember(preset(), {20: 'hush'})
    assert len(said) == 1 and 'not saved' in said[0]


@pytest.mark.parametrize(
    'bound',
    [{'²': 'hush'}, {'9' * 5000: 'hush'}, {'20': ['hush']}, {'20': {}}, {'20': None}, {'-1': 'hush'}, {'120': 'hush'}],
)
def test_what_is_no_controller_or_no_target_is_left_out(tmp_path, bound):
    path = tmp_path / 'controllers.json'
    path.write_text(json.dumps({'duet': {**bound, '21': 'music.density'}}))
    assert Learned(print, path).bound('duet') == {21: 'music.density'}
