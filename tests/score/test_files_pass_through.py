"""What a person's MIDI file holds is in the file that `continue` and its kin write: whole, and byte for byte."""

import json
from collections import Counter

import pytest
import small_decoders
from smf_bytes import chunk, control, head, melody, meta, note, program, sysex, track

from bridge.cli import main
from genaudio_core.score import smf
from genaudio_core.score.notes import Note, Score, Tempo, Track
from genaudio_core.score.reading import midi_bytes, read_midi


@pytest.fixture(scope='module')
def model() -> str:
    return str(small_decoders.file('live'))


def pedal(channel: int, bars: int = 4) -> list:
    return [control(bar * 1920 + at, 64, value, channel) for bar in range(bars) for at, value in ((0, 127), (1800, 0))]


CONDUCTOR = track(
    (0, meta(2, '© Ünter'.encode())), (0, meta(0x51, b'\x07\xa1\x20')), (0, meta(0x58, b'\4\2\x18\x08')),
    (0, meta(0x59, b'\xfd\1')), (0, meta(0x54, b'\x60\0\0\0\0')), (0, meta(6, 'Куплет'.encode('koi8-r'))),
    (960, meta(5, 'Grün'.encode())), (961, meta(5, '夜'.encode('shift-jis'))), (962, meta(7, b'cue')),
    (963, meta(0x7F, bytes((0x43, 0x7B, 9)))), (964, meta(0x4B, b'alien')), (1920, meta(0x51, b'\x06\0\0')),
)  # fmt: skip
PIANO = track(
    (0, meta(0x21, b'\0')), (0, meta(3, 'B♭ Клавир\0'.encode())), (0, meta(4, b'Grand')), (0, meta(0x20, b'\0')),
    control(0, 0, 8), control(0, 32, 1), program(0, 4), control(0, 101, 0), control(0, 100, 0), control(0, 6, 12),
    (0, sysex(bytes((0x7E, 0x7F, 9, 1, 0xF7)))), (7, sysex(b'\x43\x10', 0xF0)), (9, sysex(b'\x4c\0\xf7', 0xF7)),
    *melody(), (100, bytes((0xE0, 3, 70))), (100, bytes((0xD0, 77))), (100, bytes((0xA0, 60, 9))),
)  # fmt: skip
BASS = track((0, meta(0x21, b'\0')), (0, meta(3, b'Bass')), program(0, 33, 1), *melody(8, 1, 36, step=960))
# The pedal of the piano and volumes stand in a track of their own, before the tracks of the notes.
RICH = head(1, 4, 480) + CONDUCTOR + track(control(0, 7, 90), control(0, 10, 30), *pedal(0)) + BASS + PIANO
TAIL = chunk(b'XFKM', b'karaoke')


def run(capsys, tmp_path, data: bytes, *argv: str) -> tuple[smf.File, str]:
    (tmp_path / 'in.mid').write_bytes(data)
    command, *rest = argv
    given = [str(tmp_path / 'in.mid')] if command != 'generate' else []
    code = main([command, *given, '-o', str(tmp_path / 'out.mid'), *rest])
    told = capsys.readouterr().err
    assert code == 0, told
    return smf.parse((tmp_path / 'out.mid').read_bytes()), told


def is_note(data: bytes) -> bool:
    return data[0] & 0xE0 == 0x80


def is_within(given: list, made: list) -> bool:
    """Whether `given` is what is left of `made` when something is taken out."""
    rest = iter(made)
    return all(event in rest for event in given)


@pytest.mark.parametrize(
    'command',
    [
        ['continue', '--beats', '8'],
        ['continue', '--beats', '8', '--instruments', 'flute,drums,electric bass'],
        ['accompany', '--instruments', 'flute,drums', '--density', '1'],
    ],
)
@pytest.mark.parametrize('kind', [0, 1])
def test_everything_that_came_in_goes_out_in_its_place(capsys, tmp_path, model, command, kind):
    data = RICH + TAIL if kind else head(0, 1, 96) + PIANO + TAIL
    given = smf.parse(data)
    made, _ = run(capsys, tmp_path, data, *command, '--model', model, '--seed', '3')
    assert (made.format, made.division, made.chunks) == (given.format, given.division, given.chunks)
    for before, after in zip(given.tracks, made.tracks, strict=False):
        assert is_within(before.events, after.events)
        assert after.end >= before.end
    count = sum(len(track.events) for track in made.tracks)
    assert count > sum(len(track.events) for track in given.tracks)
    assert len(made.tracks) == len(given.tracks) or kind


def test_infill_takes_out_the_notes_of_its_bars_and_nothing_else(capsys, tmp_path, model):
    given = smf.parse(RICH)
    made, _ = run(capsys, tmp_path, RICH, 'infill', '--bars', '2-3', '--candidates', '1', '--model', model)
    for before, after in zip(given.tracks, made.tracks, strict=False):
        kept = [event for event in before.events if not is_note(event.data) or not 1920 <= event.tick < 5760]
        assert is_within(kept, after.events)


def test_arrange_gives_the_pedal_to_who_gets_the_notes_and_keeps_the_rest(capsys, tmp_path):
    given = smf.parse(RICH)
    made, _ = run(capsys, tmp_path, RICH, 'arrange', '--instruments', 'organ')
    for before, after in zip(given.tracks, made.tracks, strict=False):
        assert not any(is_note(event.data) for event in after.events)
        kept = [event for event in before.events if event.data[0] >= 0xF0 or event.data[0] & 0xF0 == 0xC0]
        assert is_within(kept, after.events)
    organ = made.tracks[-1].events
    channels = {event.data[0] & 15 for event in organ if is_note(event.data)}
    pedals = [event for event in organ if event.data[0] & 0xF0 == 0xB0 and event.data[1] == 64]
    assert len(channels) == 1 and {event.data[0] & 15 for event in pedals} == channels
    assert [(event.tick, event.data[2]) for event in pedals] == [(tick, data[2]) for tick, data in pedal(0)]

    def shapes(file):
        return Counter(
            (tick, data[0] & 0xF0, data[1:]) for t in file.tracks for tick, data in t.events
            if data[0] < 0xF0 and not is_note(data)
        )  # fmt: skip

    assert shapes(given) <= shapes(made)


def test_the_notes_of_the_original_keep_ticks_velocities_and_releases(capsys, tmp_path, model):
    odd = [*note(3, 477, 60, release=11), *note(481, 1437, 64, velocity=1, release=127), *note(1919, 2, 67)]
    held = (1000, bytes((0x90, 40, 99)))  # never let go: it ends with the file, and not with the continuation
    data = head(0, 1, 480) + track(*odd, held, end=2000)
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '8', '--model', model)
    assert is_within(smf.parse(data).tracks[0].events, made.tracks[0].events)
    before = [n for t in read_midi(data).tracks for n in t.notes]
    after = [n for t in read_midi(smf.build(made)).tracks for n in t.notes if n.beat < 4]
    assert sorted(after) == sorted(before)


def test_coarse_ticks_become_finer_where_notes_are_added(capsys, tmp_path, model):
    data = head(1, 1, 2) + track(*[event for i in range(16) for event in note(2 * i, 1, 60 + i % 5)])
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '4', '--model', model)
    assert made.division % 2 == 0 and made.division >= 24
    score = read_midi(smf.build(made))
    assert [n for t in score.tracks for n in t.notes if n.beat < 16] == read_midi(data).tracks[0].notes


def test_an_smpte_file_keeps_its_time_base(capsys, tmp_path, model):
    rows = [event for i in range(16) for event in note(500 * i, 480, 60 + i % 5)]
    data = head(1, 1, 0x10000 - (25 << 8) + 40) + track(*rows)  # 1000 ticks a second, 500 to the beat at 120 BPM
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '4', '--model', model)
    assert made.division == smf.parse(data).division
    assert is_within(smf.parse(data).tracks[0].events, made.tracks[0].events)
    new = [n.beat for t in read_midi(smf.build(made)).tracks for n in t.notes if n.beat > 15.5]
    assert new and min(new) >= 15.9 and max(new) < 20.1


def test_the_songs_of_a_type_2_file_stay_songs(capsys, tmp_path, model):
    songs = [track(*melody(8)), track(program(0, 40), *melody(8, base=67))]
    data = head(2, 2) + songs[0] + songs[1]
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '4', '--model', model)
    given = smf.parse(data)
    assert made.format == 2 and len(made.tracks) == 2
    assert made.tracks[0] == given.tracks[0]  # the music goes on where it ends: in the last song
    assert is_within(given.tracks[1].events, made.tracks[1].events)
    ends = read_midi(smf.build(made)).end
    assert 16 < ends <= 20


def test_a_program_that_is_over_plays_on_in_a_channel_of_its_own(capsys, tmp_path, model):
    data = head(0, 1) + track(*melody(8), program(3840, 40), *melody(8, start=3840))
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '8', '--model', model,
                  '--instruments', 'piano', '--density', '0.75')  # fmt: skip
    score = read_midi(smf.build(made))
    new = {(t.program, t.channel) for t in score.tracks for n in t.notes if n.beat >= 16}
    assert new and {p for p, _ in new} == {0} and 0 not in {channel for _, channel in new}


def test_a_hymn_of_four_voices_stays_four_voices(capsys, tmp_path, model):
    voices = {'Soprano': 72, 'Alto': 65, 'Tenor': 57, 'Voice': 45}
    parts = [
        track((0, meta(3, name.encode())), program(0, 19, i),
              *[event for beat in range(32) for event in note(beat * 480, 470, base + (0, 2, 4, 2)[beat % 4], i)])
        for i, (name, base) in enumerate(voices.items())
    ]  # fmt: skip
    data = head(1, 4) + b''.join(parts)
    run(capsys, tmp_path, data, 'continue', '--beats', '32', '--model', model, '--density', '1', '--seed', '5')
    score = read_midi(tmp_path / 'out.mid')
    assert [track.name for track in score.tracks] == list(voices)
    new = [[n.note for n in track.notes if n.beat >= 32] for track in score.tracks]
    assert all(new), 'each voice sings on'
    means = [sum(pitches) / len(pitches) for pitches in new]
    assert means == sorted(means, reverse=True)


def test_drum_tracks_get_the_drums_they_play(capsys, tmp_path, model):
    kick = [event for i in range(16) for event in note(i * 480, 100, 36, 9)]
    hat = [event for i in range(32) for event in note(i * 240, 100, 42, 9)]
    data = head(1, 2) + track((0, meta(3, b'Kick')), *kick) + track((0, meta(3, b'Hat')), *hat)
    run(capsys, tmp_path, data, 'continue', '--beats', '8', '--model', model)
    kicks, hats = read_midi(tmp_path / 'out.mid').tracks
    assert 42 not in {n.note for n in kicks.notes} and 36 not in {n.note for n in hats.notes}


def test_a_part_that_plays_nothing_is_told(capsys, tmp_path, model, monkeypatch):
    monkeypatch.setattr('genaudio_core.continuation.sampling.LEAN', 20.0)  # sparser than anybody may ask for
    still = track(*[event for bar in range(8) for key in (48, 64, 67) for event in note(bar * 1920, 1900, key)])
    _, told = run(capsys, tmp_path, head(0, 1) + still, 'accompany', '--instruments', 'piano,bass', '--density', '0',
                  '--free', '--model', model)  # fmt: skip
    assert 'bass has nothing to play.' in told and 'piano plays in the file already' in told
    _, told = run(capsys, tmp_path, head(0, 1) + still, 'arrange', '--instruments', 'piano,drums')
    assert 'drums has nothing to play.' in told
    _, told = run(capsys, tmp_path, head(0, 1) + still, 'continue', '--instruments', 'piano,flute', '--beats', '0.05',
                  '--free', '--density', '0', '--model', model)  # fmt: skip
    assert 'have nothing to play.' in told
    _, told = run(capsys, tmp_path, b'', 'generate', '--instruments', 'piano,flute', '--beats', '0.05',
                  '--free', '--model', model, '--density', '0')  # fmt: skip
    assert 'nothing to play.' in told


def test_damage_is_told_and_the_rest_is_continued(capsys, tmp_path, model):
    data = head(1, 2) + track(*melody()) + track(*melody(base=72))
    made, told = run(capsys, tmp_path, data[:-50], 'continue', '--beats', '4', '--model', model)
    assert told.count('\n') == 1 and 'truncated: track 2 breaks off' in told
    assert len(made.tracks) == 2


def test_the_file_goes_to_stdout_and_every_word_to_stderr(capsysbinary, tmp_path, model):
    (tmp_path / 'in.mid').write_bytes(RICH)
    code = main(['continue', str(tmp_path / 'in.mid'), '-o', '-', '--beats', '2', '--model', model, '--json'])
    out, err = capsysbinary.readouterr()
    assert code == 0
    assert smf.parse(out).faults == [] and is_within(smf.parse(RICH).tracks[3].events, smf.parse(out).tracks[3].events)
    assert json.loads(err)['out'] == '-'


# --- the same in the library: a score that was read is an edit of its file


def test_what_is_changed_in_a_score_is_changed_in_its_file():
    score = read_midi(RICH)
    bass, piano = score.tracks
    bass.notes[0] = bass.notes[0]._replace(velocity=1)
    del piano.others[0]
    piano.name = 'Flügel'
    score.tempos[0] = Tempo(0.0, 90.0)
    score.others = score.others[1:]
    again = read_midi(midi_bytes(score))
    assert [t.notes for t in again.tracks] == [t.notes for t in score.tracks]
    assert len(again.tracks[1].others) == len(piano.others) and again.tracks[1].name == 'Flügel'
    assert [round(tempo.tempo, 3) for tempo in again.tempos] == [90.0, round(score.tempos[1].tempo, 3)]
    assert len(again.others) == len(score.others)


def test_a_track_taken_out_or_moved_to_another_score_takes_its_notes_along():
    score, other = read_midi(RICH), read_midi(head(0, 1) + track(*melody()))
    piano = score.tracks.pop()
    other.tracks.append(piano)
    assert [t.name for t in read_midi(midi_bytes(score)).tracks] == ['Bass']
    again = read_midi(midi_bytes(other))
    assert [len(t.notes) for t in again.tracks] == [16, 16] and again.tracks[1].program == 4


def test_a_bank_is_chosen_before_its_program_in_new_files_too():
    import mido

    bank = [(0.0, mido.Message('control_change', control=control, value=1)) for control in (0, 32)]
    score = Score([Track(4, notes=[Note(0, 1, 60)], others=bank)])
    kinds = [event.data[:2] for event in smf.parse(midi_bytes(score)).tracks[1].events]
    assert kinds == [b'\xb0\0', b'\xb0\x20', b'\xc0\4', b'\x90\x3c', b'\x80\x3c']


def test_seconds_are_found_without_walking_the_tempo_map():
    score = Score(tempos=[Tempo(i / 8, 100.0 + i % 7) for i in range(1000)])
    seconds = [0.0]
    for before, after in zip(score.tempos, score.tempos[1:], strict=False):
        seconds.append(seconds[-1] + (after.beat - before.beat) * 60 / before.tempo)
    assert [score.seconds_at(tempo.beat) for tempo in score.tempos] == seconds
    assert score._elapsed() is score._elapsed()  # summed once ...
    score.tempos[0] = Tempo(0.0, 50.0)  # ... and again after every change
    assert score.seconds_at(0.125) == 0.15
    score.tempos = [Tempo(0.0, 60.0)]
    assert score.seconds_at(10) == 10 and score.beat_at(10) == 10
