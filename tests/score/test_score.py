import io
from pathlib import Path

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track
from genaudio_core.score.reading import midi_bytes, read_midi, to_midi, write_midi


def to_bytes(midi: mido.MidiFile) -> bytes:
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def midi_of(*tracks, kind=1, division=480) -> bytes:
    midi = mido.MidiFile(type=kind, ticks_per_beat=division)
    midi.tracks = [mido.MidiTrack(track) for track in tracks]
    return to_bytes(midi)


def on(time, note, velocity=64, channel=0):
    return mido.Message('note_on', time=time, note=note, velocity=velocity, channel=channel)


def off(time, note, channel=0):
    return mido.Message('note_off', time=time, note=note, channel=channel)


def sounding(score: Score) -> list:
    return sorted((t.program, t.is_drum, *note) for t in score.tracks for note in t.notes)


# Notes of one key never overlap in a channel here: MIDI cannot say which of two equal notes ends.
notes_of_a_key = st.lists(st.tuples(st.integers(0, 400), st.integers(1, 127)), max_size=6)


@st.composite
def scores(draw) -> Score:
    ticks = draw(st.sampled_from([24, 96, 480, 960]))
    tracks = []
    for program in draw(st.lists(st.integers(0, 127), min_size=1, max_size=20, unique=True)):
        notes = []
        for key in draw(st.lists(st.integers(0, 127), min_size=1, max_size=4, unique=True)):
            tick = 0
            for length, velocity in draw(notes_of_a_key):
                notes.append(Note(tick / ticks, length / ticks, key, velocity))
                tick += length + draw(st.integers(1, 50))
        if notes:
            tracks.append(Track(program, notes=sorted(notes)))
    if draw(st.booleans()):
        tracks.append(Track(0, True, notes=[Note(1.0, 0.5, 36, 100)]))
    changes = sorted(draw(st.sets(st.integers(1, 2000), max_size=3)))
    tempos = [Tempo(0.0, 120.0)] + [Tempo(tick / ticks, 60e6 / (300_000 + i * 1000)) for i, tick in enumerate(changes)]
    meters = [Meter(0.0, 4, 4)] + [Meter(tick / ticks, 3 + i, 8) for i, tick in enumerate(changes)]
    return Score(tracks, tempos, meters, ticks)


@given(scores())
def test_round_trip_keeps_notes_programs_tempo_and_meter(score):
    again = read_midi(to_bytes(to_midi(score)))
    assert sounding(again) == sounding(score)
    assert again.tempos == score.tempos
    assert again.meters == score.meters


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(data):
    for content in (data, b'MThd' + data, b'MThd\0\0\0\x06\0\x01\0\x01\0\x60MTrk\0\0\0\x20' + data):
        try:
            read_midi(content)
        except GenaudioError as error:
            assert '\n' not in str(error)


@given(st.integers(0, 400))
def test_a_truncated_file_is_read_as_far_as_it_goes_and_told(cut):
    score = Score([Track(0, notes=[Note(i, 1, 60 + i) for i in range(40)])])
    data = midi_bytes(score)
    if cut >= len(data):
        return
    try:
        again = read_midi(data[:cut])
    except GenaudioError:
        assert cut < data.index(b'MTrk') + 8
        return
    assert len(again.warnings) == 1 and 'truncated' in again.warnings[0] and '\n' not in again.warnings[0]
    whole = [note for track in again.tracks for note in track.notes][:-1]  # the last may have lost its end
    assert whole == score.tracks[0].notes[: len(whole)]


def test_what_is_no_midi_file_is_told(tmp_path):
    for content, told in ((b'', 'is empty'), (b'RIFF....WAVE', 'not a MIDI file')):
        path = tmp_path / 'x.mid'
        path.write_bytes(content)
        with pytest.raises(GenaudioError, match=told):
            read_midi(path)
    with pytest.raises(GenaudioError, match='No such file'):
        read_midi(tmp_path / 'missing.mid')


def test_a_note_without_an_end_lasts_until_its_track_ends():
    score = read_midi(midi_of([on(0, 60), on(480, 64), off(480, 64)]))
    assert score.tracks[0].notes == [Note(0.0, 2.0, 60), Note(1.0, 1.0, 64)]


def test_overlapping_notes_of_one_key_end_first_in_first_out():
    score = read_midi(midi_of([on(0, 60, 10), on(240, 60, 20), off(240, 60), off(480, 60)]))
    assert score.tracks[0].notes == [Note(0.0, 1.0, 60, 10), Note(0.5, 1.5, 60, 20)]


def test_a_note_of_no_length_is_kept():
    score = read_midi(midi_of([on(0, 60), off(0, 60), on(480, 62), off(480, 62)]))
    assert score.tracks[0].notes[0] == Note(0.0, 0.0, 60)
    assert read_midi(to_bytes(to_midi(score))).tracks[0].notes == score.tracks[0].notes


def test_a_note_on_of_velocity_zero_ends_a_note():
    assert read_midi(midi_of([on(0, 60), on(480, 60, 0)])).tracks[0].notes == [Note(0.0, 1.0, 60)]


def test_programs_belong_to_channels_and_may_change():
    program = mido.Message('program_change', channel=2, program=40)
    later = mido.Message('program_change', channel=2, program=73)
    score = read_midi(
        midi_of([program, on(0, 60, channel=2), off(480, 60, 2), later, on(0, 62, channel=2), off(9, 62, 2)])
    )
    assert [(track.program, track.channel) for track in score.tracks] == [(40, 2), (73, 2)]


def test_channel_ten_is_drums():
    score = read_midi(midi_of([on(0, 36, channel=9), off(10, 36, 9)], kind=0))
    assert score.tracks[0].is_drum
    assert score.instruments == ['drums']


def test_type_2_songs_follow_one_another():
    score = read_midi(midi_of([on(0, 60), off(500, 60)], [on(0, 62), off(480, 62)], kind=2))
    assert [track.notes[0].beat for track in score.tracks] == [0.0, 2.0]


def test_smpte_time_base_is_read_as_beats():
    # 25 frames of 40 ticks: 1000 ticks a second; at 60 BPM a beat is a second.
    data = midi_of([mido.MetaMessage('set_tempo', tempo=1_000_000), on(500, 60), off(1000, 60)])
    data = data[:12] + bytes([256 - 25, 40]) + data[14:]
    assert read_midi(data).tracks[0].notes == [Note(0.5, 1.0, 60)]


def test_pedal_holds_notes_until_it_lifts_or_the_key_is_struck_again():
    def pedal(time, value):
        return mido.Message('control_change', control=64, value=value, time=time)

    score = read_midi(midi_of([pedal(0, 127), on(0, 60), off(240, 60), on(240, 64), off(240, 64), on(240, 60),
                               off(240, 60), pedal(480, 0)]))  # fmt: skip
    assert score.tracks[0].pedals == [(0.0, 3.5)]
    held = {note.beat: note.duration for note in score.tracks[0].sustained()}
    assert held == {0.0: 2.0, 1.0: 2.5, 2.0: 1.5}  # struck again at 2, lifted at 3.5
    again = read_midi(to_bytes(to_midi(score)))
    assert again.tracks[0].pedals == score.tracks[0].pedals


def test_seconds_and_beats_are_inverse_across_tempo_changes():
    score = Score(tempos=[Tempo(0.0, 120.0), Tempo(4.0, 60.0), Tempo(6.0, 240.0)])
    assert score.seconds_at(8.0) == 2.0 + 2.0 + 0.5
    for beat in (0.0, 1.5, 4.0, 5.0, 6.0, 100.0):
        assert score.beat_at(score.seconds_at(beat)) == pytest.approx(beat)


def test_bar_lines_follow_the_meter_map_and_a_pick_up():
    score = Score(meters=[Meter(0.0, 1, 4), Meter(1.0, 3, 4), Meter(7.0, 6, 8)])
    assert [score.next_bar(beat) for beat in (0.0, 0.5, 1.0, 2.0, 6.0, 7.5)] == [0.0, 1.0, 1.0, 4.0, 7.0, 10.0]
    assert score.bar_start(6.9) == 4.0


def test_more_than_fifteen_tracks_use_more_ports():
    score = Score([Track(program, notes=[Note(0, 1, 60)]) for program in range(40)])
    midi = to_midi(score)
    channels = [message.channel for track in midi.tracks for message in track if message.type == 'note_on']
    assert 9 not in channels
    assert sounding(read_midi(to_bytes(midi))) == sounding(score)


def test_a_nonsense_key_signature_does_not_cost_the_notes():
    data = midi_of([mido.MetaMessage('key_signature', key='C'), on(0, 60), off(480, 60)])
    data = data.replace(b'\xff\x59\x02\x00\x00', b'\xff\x59\x02\x09\x00')
    assert read_midi(data).n_notes == 1


def test_writing_leaves_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / 'out.mid'
    path.write_bytes(b'old')

    def broken(self, *_args, **_kwargs):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch, pytest.raises(GenaudioError, match='No space left'):
        patch.setattr(Path, 'write_bytes', broken)
        write_midi(Score(), path)
    assert path.read_bytes() == b'old'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('path', ['/proc/nothing/x.mid', '/no-such-folder/x.mid'])
def test_an_unwritable_place_is_told(path):
    with pytest.raises(GenaudioError, match='Cannot write'):
        write_midi(Score(), path)
