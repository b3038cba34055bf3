"""Presets: all that ship are good, a typo is answered with the right word."""

import os
import re

import pytest

from bridge.settings.band_preset import available, find_preset, find_target, load_preset, parse_preset
from bridge.settings.parameters import PARAMETERS
from genaudio_core.errors import GenaudioError


def test_at_least_eight_ship_and_all_load():
    assert len(available()) >= 8
    modes = set()
    for path in available().values():
        preset = load_preset(path)
        assert preset['about.title'] and preset['about.text']
        modes.add(preset['player.mode'])
    assert modes == {'respond', 'take_over', 'accompany', 'free', 'arrange'}


@pytest.mark.parametrize(
    ('text', 'told'),
    [
        ('[music]\ntemprature = 1', "Did you mean 'temperature'"),
        ('[musik]\n', "Did you mean 'music'"),
        ('[player]\nmode = "acompany"', "Did you mean 'accompany'"),
        ('[music]\ntemperature = 9', 'must be a number from 0.1 to 2, not 9'),
        ('[music]\ntemperature = "hot"', 'must be a number from 0.1 to 2'),
        ('[music]\ntemperature = nan', 'must be a number from 0.1 to 2'),
        ('[music]\ntakes = 2.5', 'whole number'),
        ('[music]\ntakes = true', 'whole number'),
        ('[music]\nkey = "Q minor"', 'D minor'),
        ('[music]\nlow = 80\nhigh = 60', 'music.low (80) is above music.high (60)'),
        ('[[parts]]\ninstrument = "pianno"', "Did you mean 'piano'"),
        ('[[parts]]\ninstrument = "piano"\nchanel = 3', "Did you mean 'channel'"),
        ('[[parts]]\ninstrument = "piano"\nchannel = 17', 'a whole number from 1 to 16'),
        ('[[parts]]\nchannel = 1', 'parts.1.instrument is missing'),
        ('parts = 3', '[[parts]]'),
        ('[cc]\n1 = "temprature"', "Did you mean 'temperature'"),
        ('[cc]\n200 = "panic"', '(0 to 127)'),
        ('[cc]\n1 = "player.instrument"', 'cannot change'),
        ('[ports]\ninputs = 3', 'list of names'),
        ('[transport]\nbeat_unit = 3', 'one of 1, 2, 4, 8, 16, not 3'),
        ('this is no toml', 'not a TOML file'),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, text, told):
    path = tmp_path / 'mine.toml'
    path.write_text(text)
    with pytest.raises(GenaudioError) as caught:
        load_preset(path)
    assert told in str(caught.value) and str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / 'mine.toml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(GenaudioError, match='not a TOML'):
        load_preset(path)


def test_an_unknown_preset_offers_the_nearest():
    with pytest.raises(GenaudioError, match="Did you mean 'duet'"):
        find_preset('duett')


def test_changes_take_short_and_full_names_and_texts():
    preset = parse_preset({}, changes={'temperature': '0.5', 'music.takes': '3', 'yields': 'off', 'inputs': 'a, b'})
    assert preset['music.temperature'] == 0.5 and preset['music.takes'] == 3
    assert preset['player.yields'] is False and preset['ports.inputs'] == ('a', 'b')


def test_channels_are_given_out_and_drums_go_to_ten():
    parts = [
        {'instrument': 'piano'},
        {'instrument': 'drums'},
        {'instrument': 'bass', 'channel': 1},
        {'instrument': 'pad'},
    ]
    voices = parse_preset({'parts': parts}).voices
    assert [voice.channel for voice in voices] == [1, 9, 0, 2]


def test_every_live_number_can_be_moved_by_a_controller():
    for name, parameter in PARAMETERS.items():
        if parameter.live and not isinstance(parameter.default, (str, tuple)):
            for value in (0, 64, 127):
                assert parameter.check(name, parameter.from_controller(value)) is not None
            assert find_target(name) == name


@pytest.mark.parametrize(
    'content',
    [
        b'x = ' + b'[' * 100_000, b'x = ' + b'{a=' * 20_000, b'[music]\nseed = ' + b'9' * 5000, b'', b'\0' * 100,
        b'\xff' * 100, b'x = 1\n' * 300_000,
    ],
    ids=['brackets', 'braces', 'digits', 'empty', 'zeros', 'not UTF-8', 'too large'],
)  # fmt: skip
def test_whatever_is_in_the_file_it_is_a_preset_or_one_line(tmp_path, content):
    path = tmp_path / 'mine.toml'
    path.write_bytes(content)
    try:
        load_preset(path)
    except GenaudioError as error:
        assert content and len(str(error).splitlines()) == 1 and str(path) in str(error)
    else:
        assert not content


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs pipes with a name')
def test_a_pipe_or_a_device_in_place_of_the_file_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.toml')
    for path in (tmp_path / 'pipe.toml', '/dev/zero'):
        with pytest.raises(GenaudioError, match='not a preset'):
            load_preset(path)


@pytest.mark.parametrize(
    ('part', 'said'),
    [({'instrument': 'drums', 'drum_keys': '36, snare'}, "'36, snare' is not a list of MIDI notes"),
     ({'instrument': 'drums', 'drum_keys': '128'}, 'MIDI notes (0 to 127)'),
     ({'instrument': 'bass', 'drum_keys': '36'}, 'parts.1.drum_keys is for drums; bass has none')],
)  # fmt: skip
def test_wrong_drum_keys_cost_one_line(part, said):
    with pytest.raises(GenaudioError, match=re.escape(said)):
        parse_preset({'parts': [part]})


def test_drum_keys_are_all_that_the_drums_have():
    voices = parse_preset({'parts': [{'instrument': 'drums', 'drum_keys': '36, 38,37'}]}).voices
    assert voices[0].drum_keys == (36, 38, 37)
