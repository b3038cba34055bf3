"""New notes beside given ones in one file: no key struck twice, nothing held for ever; what is left out is told."""

from collections import Counter

import pytest
import small_decoders
from hypothesis import given
from hypothesis import strategies as st
from smf_bytes import control, head, melody, meta, note, program, sysex, track

from bridge.cli import main
from genaudio_core.score import smf
from genaudio_core.score.joining import LATE, struck_once
from genaudio_core.score.notes import Note, Track
from genaudio_core.score.reading import midi_bytes, read_midi


@pytest.fixture(scope='module')
def model() -> str:
    return str(small_decoders.file('live'))


def run(capsys, tmp_path, data: bytes, *argv: str) -> tuple[smf.File, str]:
    (tmp_path / 'in.mid').write_bytes(data)
    command, *rest = argv
    given = [str(tmp_path / 'in.mid')] if command != 'generate' else []
    code = main([command, *given, '-o', str(tmp_path / 'out.mid'), *rest])
    told = capsys.readouterr().err
    assert code == 0, told
    return smf.parse((tmp_path / 'out.mid').read_bytes()), told


def struck_while_down(file: smf.File, from_tick: int = 0) -> list[tuple[int, int, int]]:
    """(tick, channel, key) of every note-on for a key that is down, whichever track says it."""
    everything = [(e.tick, i, j, e.data) for i, t in enumerate(file.tracks) for j, e in enumerate(t.events)]
    down: Counter = Counter()
    found = []
    for tick, _, _, data in sorted(everything):
        key = data[0] & 15, data[1]
        if data[0] & 0xF0 == 0x90 and data[2]:
            if down[key] and tick >= from_tick:
                found.append((tick, *key))
            down[key] += 1
        elif data[0] & 0xE0 == 0x80:
            down[key] = max(down[key] - 1, 0)
    return found


TIMES = st.integers(0, 48).map(lambda step: step / 12)
NOTES = st.lists(st.builds(Note, TIMES, TIMES, st.integers(60, 63), st.integers(1, 127)), max_size=30)


@given(NOTES, NOTES)
def test_no_new_note_strikes_a_key_that_is_down(new, there):
    there = struck_once(there)
    made = struck_once(new, there)
    assert struck_once(made, there) == made
    for notes in (made, there):
        for one in notes:
            for other in notes:
                if one is not other and one.note == other.note:
                    assert one.beat != other.beat
                    assert other.beat < one.beat or other.beat >= one.beat + one.duration - 1e-9
    for one in made:
        for other in there:
            if one.note == other.note:
                assert not other.beat + 1e-9 < one.beat < other.beat + other.duration - 1e-9
                assert not one.beat + 1e-9 < other.beat < one.beat + one.duration - 1e-9
    onsets = {(n.note, n.beat) for n in new}
    assert all(any(0 <= n.beat - beat <= LATE for key, beat in onsets if key == n.note) for n in made)
    if not there:
        assert {(n.note, n.beat) for n in made} == onsets


@pytest.mark.parametrize(
    'command',
    [
        ['continue', '--beats', '16', '--density', '1'],
        ['accompany', '--instruments', 'flute,bass,drums', '--density', '1'],
        ['infill', '--bars', '2-3', '--candidates', '1', '--density', '1'],
        ['generate', '--beats', '16', '--instruments', 'piano,flute', '--density', '1'],
    ],
)
@pytest.mark.parametrize('seed', ['0', '3'])
def test_what_is_made_strikes_no_key_twice(capsys, tmp_path, model, command, seed):
    two_hands = [track(program(0, 0), *melody(16, base=base)) for base in (60, 48)]  # on one channel
    made, _ = run(capsys, tmp_path, head(1, 2) + b''.join(two_hands), *command, '--model', model, '--seed', seed)
    assert struck_while_down(made) == []


def test_an_infill_is_silent_where_a_given_note_of_its_key_still_sounds(capsys, tmp_path, model):
    held = [event for key in range(40, 90) for event in note(0, 1920 * 4, key)]
    made, _ = run(capsys, tmp_path, head(0, 1) + track(*melody(4), *held), 'infill', '--bars', '2-3',
                  '--candidates', '1', '--model', model, '--density', '1')  # fmt: skip
    assert struck_while_down(made, 1920) == []


def played_on(made: smf.File, status: int, number: int | None = None) -> list[tuple[int, int]]:
    return [(e.tick, e.data[2]) for t in made.tracks for e in t.events
            if e.data[0] & 0xF0 == status and number in (None, e.data[1])]  # fmt: skip


def test_a_pedal_that_is_never_lifted_again_is_lifted_where_the_new_part_begins(capsys, tmp_path, model):
    pedals = [control(0, 64, 127), control(1900, 64, 0), control(1930, 64, 100), control(400, 66, 127)]
    made, told = run(capsys, tmp_path, head(0, 1) + track(*pedals, *melody()), 'continue', '--beats', '4',
                     '--model', model)  # fmt: skip
    assert played_on(made, 0xB0, 64) == [(0, 127), (1900, 0), (1930, 100), (7680, 0)]
    assert played_on(made, 0xB0, 66) == [(400, 127), (7680, 0)]
    events = made.tracks[0].events
    lifted = max(i for i, event in enumerate(events) if event.data[:2] == b'\xb0\x40')
    assert lifted < min(i for i, e in enumerate(events) if e.tick >= 7680 and e.data[0] == 0x90)
    assert not told


def test_a_pedal_lifted_in_the_file_and_one_in_another_channel_stay_as_they_are(capsys, tmp_path, model):
    data = head(0, 1) + track(control(1, 64, 127), control(9000, 64, 0), control(1, 64, 127, 5), *melody())
    made, _ = run(capsys, tmp_path, data, 'continue', '--beats', '4', '--model', model)
    assert played_on(made, 0xB0, 64) == [(1, 127), (1, 127), (9000, 0)]


def test_a_pedal_set_for_the_whole_piece_is_told(capsys, tmp_path, model):
    data = head(0, 1) + track((0, meta(3, b'Pad')), control(0, 64, 127), *melody())
    made, told = run(capsys, tmp_path, data, 'continue', '--beats', '4', '--model', model)
    assert played_on(made, 0xB0, 64) == [(0, 127)]
    assert told == 'The pedal of Pad is down from its first note on, and stays down in the new part.\n'


def test_a_bend_that_never_goes_back_does_and_a_tuning_stays(capsys, tmp_path, model):
    moves = [(7000, b'\xe0\0\x50'), (7100, b'\xe0\0\x60')]
    made, _ = run(capsys, tmp_path, head(0, 1) + track(*moves, *melody()), 'continue', '--beats', '4', '--model', model)
    assert played_on(made, 0xE0) == [(7000, 0x50), (7100, 0x60), (7680, 0x40)]
    tuned = head(0, 1) + track((0, b'\xe0\0\x44'), *melody())
    made, _ = run(capsys, tmp_path, tuned, 'continue', '--beats', '4', '--model', model)
    assert played_on(made, 0xE0) == [(0, 0x44)]


def test_a_channel_that_was_faded_out_is_told(capsys, tmp_path, model):
    fade = [control(5000 + i * 20, 7, 127 - i) for i in range(128)]
    _, told = run(capsys, tmp_path, head(0, 1) + track((0, meta(3, b'Choir')), *fade, *melody()), 'continue',
                  '--beats', '4', '--model', model)  # fmt: skip
    assert told == 'Choir is faded out (volume 0) where the new part begins, and will not be heard.\n'


@pytest.mark.parametrize('payload', [b'\x43\x90\x80\xf7', b'\x43\xf8\x10\xf7', b'', b'\xf7', b'\xff\xff'])
@pytest.mark.parametrize('command', [['continue', '--beats', '2'], ['arrange', '--instruments', 'organ']])
def test_a_system_exclusive_message_of_any_bytes_goes_through(capsys, tmp_path, model, payload, command):
    own = [] if command[0] == 'arrange' else ['--model', model]  # that one has a model of its own
    made, _ = run(capsys, tmp_path, head(0, 1) + track((3, sysex(payload)), *melody()), *command, *own)
    assert smf.Event(3, b'\xf0' + payload) in made.tracks[0].events


def test_events_that_mean_nothing_are_left_out_and_told(capsys, tmp_path, model):
    odd = [(0, meta(0x51, b'\0\0\0')), (0, meta(0x59, b'\x0c\5')), (9, meta(0x21, b'\0\1'))]
    data = head(0, 1) + track(*odd, (0, b'\x90\x3c\xff'), (480, b'\x80\x3c\0'), *melody(8, start=480))
    _, told = run(capsys, tmp_path, data, 'continue', '--beats', '2', '--model', model)
    said = '3 meta events that mean nothing are left out; 1 event with bytes over 127 is read with 127.\n'
    assert told.endswith(f'in.mid: {said}')
    assert told.count('\n') == 1 and not read_midi(data).warnings, 'the file is odd, not damaged'


def test_a_picture_shows_what_was_given_and_what_is_new(monkeypatch, capsys, tmp_path, model):
    from genaudio_core.music import piano_roll

    drawn: list = []
    monkeypatch.setattr(piano_roll, 'draw', lambda path, parts, **_: drawn.append(
        ([note for part in parts for note in part.given], [note for part in parts for note in part.new])
    ))  # fmt: skip
    data = head(0, 1) + track(*melody())
    for command in (['continue', '--beats', '8'], ['accompany', '--instruments', 'flute,bass', '--density', '1'],
                    ['infill', '--bars', '2', '--candidates', '1']):  # fmt: skip
        run(capsys, tmp_path, data, *command, '--model', model)
        drawn.clear()
        made = read_midi(tmp_path / 'in.mid')
        run(capsys, tmp_path, data, *command, '--model', model, '--picture', str(tmp_path / 'roll.png'))
        ((there, new),) = drawn
        notes = made.tracks[0].notes
        kept = [n for n in notes if command[0] != 'infill' or not 4 <= n.beat < 8]
        assert sorted(there) == kept and new


def test_a_new_note_in_one_song_of_a_type_2_file_moves_no_other_song():
    songs = [track(*melody(4)), track(end=10), track(*melody(4, base=67))]
    score = read_midi(head(2, 3) + b''.join(songs))
    first, second = (t.notes for t in score.tracks)
    score.tracks.append(Track(8, notes=[Note(4.25, 6.0, 84)]))
    again = read_midi(midi_bytes(score))
    assert [t.notes for t in again.tracks] == [first, [Note(4.25, 0.75, 84)], second]


def test_a_link_that_is_written_to_stays_a_link(capsys, tmp_path, model):
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'out.mid').symlink_to(tmp_path / 'elsewhere' / 'song.mid')
    run(capsys, tmp_path, head(0, 1) + track(*melody()), 'continue', '--beats', '2', '--model', model)
    assert (tmp_path / 'out.mid').is_symlink() and read_midi(tmp_path / 'elsewhere' / 'song.mid').n_notes >= 16
