"""Drums on other channels than 10, as GM2, GS and XG make them: drums in files and live, and left as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_band import Stage, preset
from smf_bytes import control, head, note, program, sysex, track

from bridge.midi import messages
from genaudio_core.score.drum_parts import DrumParts
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Note, Track
from genaudio_core.score.reading import midi_bytes, read_midi


def gs(address: tuple[int, int, int], *values: int, device: int = 0x10) -> bytes:
    total = sum(address) + sum(values)
    return bytes((0x41, device, 0x42, 0x12, *address, *values, -total & 127, 0xF7))


def xg(address: tuple[int, int, int], *values: int, device: int = 0x10) -> bytes:
    return bytes((0x43, device, 0x4C, *address, *values, 0xF7))


GS_RESET, XG_ON, GM_ON = gs((0x40, 0, 0x7F), 0), xg((0, 0, 0x7E), 0), bytes.fromhex('7e7f0901f7')
BY_BANK = {name: [control(0, 0, bank, 3), program(1, 0, 3)] for name, bank in (('gm2', 120), ('xg', 127), ('sfx', 126))}
BY_PART = {
    'gs map 1': [(0, sysex(gs((0x40, 0x14, 0x15), 1)))],
    'gs map 2': [(0, sysex(gs((0x40, 0x14, 0x15), 2, device=0x11)))],
    'gs with its neighbours': [(0, sysex(gs((0x40, 0x14, 0x13), 0, 1, 1)))],
    'xg part mode': [(0, sysex(xg((8, 3, 7), 2, device=0x1F)))],
    'gs part that listens elsewhere': [(0, sysex(gs((0x40, 0x10, 0x02), 3))), (1, sysex(gs((0x40, 0x10, 0x15), 1)))],
    'xg part that listens elsewhere': [(0, sysex(xg((8, 9, 4), 3)))],
}
WAYS = BY_BANK | BY_PART


def file_of(*tracks: list) -> bytes:
    return head(1, len(tracks)) + b''.join(track(*events) for events in tracks)


def drums_in(data: bytes) -> list[bool]:
    return [one.is_drum for one in read_midi(data).tracks]


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('reset', [None, GM_ON, XG_ON, GS_RESET], ids=['none', 'gm', 'xg', 'gs'])
def test_drums_of_a_file_on_another_channel_are_drums(way, reset):
    if reset is GS_RESET and way in BY_BANK:
        return  # those are melodies there, see below
    first = [(0, sysex(reset))] if reset else []
    data = file_of([*first, *WAYS[way], *note(10, 20, 38, 3)], note(10, 20, 60, 2))
    score = read_midi(data)
    assert [one.instrument for one in score.tracks] == [DRUMS, 'piano']
    assert midi_bytes(score) == data  # the file is as it was


def test_banks_of_old_models_in_a_gs_file_are_melodies():
    assert drums_in(file_of([(0, sysex(GS_RESET)), *BY_BANK['xg'], *note(10, 20, 38, 3)])) == [False]


def test_what_was_said_in_another_track_counts_from_its_time_on():
    setting = [(480, sysex(gs((0x40, 0x14, 0x15), 1))), (960, sysex(gs((0x40, 0x14, 0x15), 0)))]
    notes = [event for tick in (0, 480, 960) for event in note(tick, 100, 38, 3)]
    score = read_midi(file_of(setting, notes))
    assert [(one.is_drum, len(one.notes)) for one in score.tracks] == [(False, 2), (True, 1)]


def test_a_reset_makes_channel_10_drums_and_all_others_melodies():
    setting = [*BY_PART['gs map 1'], (1, sysex(gs((0x40, 0x10, 0x15), 0))), (2, sysex(GM_ON))]
    assert drums_in(file_of(setting, note(1, 1, 40, 9), note(1, 1, 38, 3), note(5, 9, 40, 9), note(5, 9, 38, 3))) == [
        False, True, True, False,
    ]  # fmt: skip


def test_channel_10_can_be_a_melody_and_stays_drums_with_bank_0():
    for setting in ([(0, sysex(gs((0x40, 0x10, 0x15), 0)))], [control(0, 0, 121, 9), program(1, 0, 9)]):
        assert drums_in(file_of([*setting, *note(10, 20, 60, 9)])) == [False]
    assert drums_in(file_of([control(0, 0, 0, 9), program(1, 0, 9), *note(10, 20, 38, 9)])) == [True]


def test_each_song_of_a_type_2_file_and_each_port_has_drums_of_its_own():
    two = head(2, 2) + track(*BY_PART['gs map 1'], *note(10, 20, 38, 3)) + track(*note(10, 20, 38, 3))
    assert drums_in(two) == [True, False]
    other_port = [(0, bytes((0xFF, 0x21, 1, 1))), *note(10, 20, 38, 3)]
    assert drums_in(file_of([*BY_PART['gs map 1'], *note(10, 20, 38, 3)], other_port)) == [True, False]


def test_new_music_is_put_where_it_sounds_as_it_is_meant():
    """No melody on a channel that the file has made drums, no drums on a channel 10 that is a melody there."""
    swapped = [(0, sysex(gs((0x40, 0x11, 0x15), 1))), (0, sysex(gs((0x40, 0x10, 0x15), 0)))]  # channels 1 and 10
    data = file_of([*swapped, *note(10, 20, 60, 9)])
    score = read_midi(data)
    score.tracks += [Track(40, False, 'violin', [Note(1, 1, 70, 80)]), Track(0, True, 'kit', [Note(1, 1, 36, 80)])]
    again = read_midi(midi_bytes(score))
    assert {(one.channel, one.is_drum, one.notes[0].note) for one in again.tracks if one.notes} >= {(9, False, 60)}
    kit = next(one for one in again.tracks if one.notes[0].note == 36)
    violin = next(one for one in again.tracks if one.notes[0].note == 70)
    assert (kit.is_drum, kit.channel) == (True, 0)
    assert not violin.is_drum and violin.program == 40 and violin.channel not in (0, 9)


def test_new_notes_of_a_drum_track_stay_on_its_channel():
    data = file_of([*BY_BANK['xg'], *note(10, 20, 38, 3)])
    score = read_midi(data)
    score.tracks[0].notes.append(Note(4, 1, 40, 80))
    (again,) = read_midi(midi_bytes(score)).tracks
    assert (again.is_drum, again.channel, len(again.notes)) == (True, 3, 2)


@given(st.lists(st.one_of(st.binary(max_size=16), st.sampled_from([GS_RESET, XG_ON, GM_ON])), max_size=12))
def test_any_system_exclusive_bytes_cost_nothing(payloads):
    parts = DrumParts()
    for payload in payloads:
        parts.feed(b'\xf0' + payload)
    assert all(isinstance(parts.is_drums(channel), bool) for channel in range(16))


LIVE = {
    name: [message for _, message in events] for name, events in BY_BANK.items()
} | {
    name: [bytes((0xF0,)) + message[2:] for _, message in events] for name, events in BY_PART.items()
}  # fmt: skip


@pytest.mark.parametrize('way', LIVE)
@pytest.mark.parametrize('cut', [1, 3, 400])
def test_drums_of_a_keyboard_on_another_channel_are_heard_as_drums(way, cut):
    """However its bytes are cut on their way, and only of that input."""
    stage = Stage(preset('respond', ports__inputs=['keys', 'pads'], ports__outputs=['a']))
    stream = b''.join(LIVE[way])
    for at in range(0, len(stream), cut):
        stage.session.receive(0, stream[at : at + cut], 0.0)
    for source, channel in ((0, 3), (0, 2), (1, 3), (1, 9)):
        stage.session.receive(source, messages.note_on(channel, 38, 90), 0.5)
    heard = {note.id: note.instrument for note in stage.session.listener.held(1.0)}
    assert [heard[number] for number in (1, 2, 3, 4)] == [DRUMS, 'piano', 'piano', DRUMS]


def test_drums_of_a_keyboard_on_another_channel_play_the_drums_of_an_arrangement():
    parts = [{'instrument': 'piano', 'channel': 1}, {'instrument': 'drums'}]
    stage = Stage(preset('arrange', parts))
    for message in LIVE['gs map 1']:
        stage.session.receive(0, message, 0.0)
    stage.session.receive(0, messages.note_on(3, 38, 90), 0.1)
    stage.session.receive(0, messages.note_on(2, 60, 90), 0.1)
    stage.play([], 0.5)
    drums, piano = stage.session.voices[1].channel, stage.session.voices[0].channel
    assert {(channel, note) for _, _, channel, note in stage.notes()} == {(drums, 38), (piano, 60)}
