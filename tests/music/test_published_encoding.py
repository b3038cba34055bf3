"""The published layout is encoded by the published rules: against arrays that muspy made, and an independent writer.

``published_encoding.npz`` holds ``notes`` (score, ticks to the quarter, track, program, drums, onset and end in ticks,
pitch, velocity) and ``events`` (score, six fields): muspy 0.5.0 adjusted the resolution of the notes, and what is done
to them then is the last half of `by_the_rules`.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_data import make_data

from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import encode, note_table
from genaudio_core.music.layouts import DURATIONS, LIVE, MMT, NOTE
from genaudio_core.score.instruments import PROGRAM_TO_CODE
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.reading import midi_bytes, read_midi
from genaudio_core.training.scores.packed_scores import PackedPiece, ScoreData, pack, read_piece
from genaudio_core.training.scores.score_files import ScoreFile

STORED = Path(__file__).parent / 'published_encoding.npz'
Row = tuple[int, int, bool, int, int, int]  # track, program, drums, onset and end in ticks, pitch


def by_the_rules(rows: list[Row], ppq: int) -> list[tuple[int, ...]]:
    """The published rules one by one, slowly, in Python's own numbers."""
    factor = 12 / ppq
    notes = []
    for _, program, drums, onset, end, pitch in rows:
        time = round(onset * factor)  # a half goes to the even step
        duration = round(end * factor) - time  # rounded end less rounded onset
        duration = duration or 1  # no length: one step, before equal notes are merged
        if drums or not PROGRAM_TO_CODE[program]:
            continue
        notes.append((time // 12, time % 12, pitch, duration, program))
    notes = sorted(set(notes))  # equal notes count once
    first = notes[0][0] if notes else 0  # beat 0: that of the first note kept
    notes = [(beat - first, *rest) for beat, *rest in notes if beat - first < 256]
    codes = sorted({PROGRAM_TO_CODE[note[-1]] for note in notes})
    events = [(0,) * 6, *((1, 0, 0, 0, 0, code) for code in codes), (2, 0, 0, 0, 0, 0)]
    for beat, position, pitch, duration, program in notes:
        nearest = min(range(32), key=lambda i: (abs(int(DURATIONS[i]) - min(duration, 384)), i)) + 1
        events.append((3, beat + 1, position + 1, pitch + 1, nearest, PROGRAM_TO_CODE[program]))
    return [*events, (4, 0, 0, 0, 0, 0)]


def score_of(rows: list[Row], ppq: int) -> Score:
    """The score that reading a MIDI file of these notes gives."""
    tracks: dict[int, Track] = {}
    for track, program, drums, onset, end, pitch in rows:
        found = tracks.setdefault(track, Track(program, drums))
        found.notes.append(Note(onset / ppq, (end - onset) / ppq, pitch))
    return Score(list(tracks.values()), ticks_per_beat=ppq)


def stored() -> list[tuple[list[Row], int, list[tuple[int, ...]]]]:
    with np.load(STORED) as file:
        notes, events = file['notes'], file['events']
    found = []
    for number in range(int(notes[:, 0].max()) + 1):
        own = notes[notes[:, 0] == number].tolist()
        rows = [(track, program, bool(drums), on, end, pitch) for _, _, track, program, drums, on, end, pitch, _ in own]
        found.append((rows, own[0][1], [tuple(row) for row in events[events[:, 0] == number, 1:].tolist()]))
    return found


def test_the_published_layout_is_muspys_to_the_last_row_on_66_stored_scores():
    pieces = stored()
    assert len(pieces) == 66
    for rows, ppq, expected in pieces:
        assert by_the_rules(rows, ppq) == expected  # the rules here are those that made the arrays
        assert [tuple(row) for row in encode(score_of(rows, ppq), MMT).tolist()] == expected


ROWS = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 6000),
        st.one_of(st.integers(0, 40), st.integers(0, 3000)), st.integers(40, 52),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@given(ROWS, st.sampled_from((12, 24, 96, 100, 120, 192, 220, 384, 480, 960, 1024)), st.booleans(),
       st.sampled_from((0, 40, 97, 120)))  # fmt: skip
def test_any_score_is_encoded_by_the_published_rules(notes, ppq, drums, program):
    programs = {0: (0, drums), 1: (program, False), 2: (73, False)}
    rows: list[Row] = [(track, *programs[track], on, on + length, pitch) for track, on, length, pitch in notes]
    assert [tuple(row) for row in encode(score_of(rows, ppq), MMT).tolist()] == by_the_rules(rows, ppq)


def rows_of(*notes: Note, program: int = 0, ppq: int = 480) -> list[list[int]]:
    events = encode(Score([Track(program, notes=list(notes))], ticks_per_beat=ppq), MMT)
    return [row for row in events.tolist() if row[0] == NOTE]


def test_rule_a_duration_runs_from_rounded_onset_to_rounded_end():
    # 25 ticks of 480 are 0.625 steps, the end is 1.25 steps later: from step 1 to step 2.
    assert rows_of(Note(25 / 480, 50 / 480, 60))[0][4] == 1
    # The same length begun on the beat is rounded alike, but a quarter late by 20 ticks is no quarter.
    assert rows_of(Note(0, 470 / 480, 60))[0][4] == 12 and rows_of(Note(30 / 480, 465 / 480, 60))[0][4] == 11
    late = Note(30 / 480, 465 / 480, 60)
    assert note_table(Score([Track(0, notes=[late])]))['duration'].tolist() == [12]  # ours keeps the quarter


def test_rule_beat_zero_is_that_of_the_first_note_kept():
    score = Score([Track(0, True, notes=[Note(0, 1, 36)]), Track(97, notes=[Note(3, 1, 60)]),
                   Track(40, notes=[Note(5.5, 1, 62)])])  # fmt: skip
    assert [row[1:3] for row in encode(score, MMT).tolist() if row[0] == NOTE] == [[1, 7]]
    live = [row for row in encode(score, LIVE).tolist() if row[0] == NOTE]
    assert len(live) == 3 and live[0][1:3] == [1, 1]  # the live layout has drums, and begins with them


def test_rule_a_note_without_length_is_one_step_long_before_equal_notes_are_merged():
    assert len(rows_of(Note(0, 0, 60), Note(0, 1 / 12, 60))) == 1


def test_rule_halves_go_to_the_even_step_as_the_products_of_ticks_do():
    assert [rows_of(Note(tick / 480, 1, 60), Note(0, 1, 40))[-1][2] for tick in (20, 60, 100)] == [1, 3, 3]


def times(table: np.ndarray) -> list[tuple[int, ...]]:
    return list(zip(*(table[name].tolist() for name in ('step', 'duration', 'pitch')), strict=True))


def test_the_published_rounding_travels_through_prepared_data(tmp_path):
    rows, ppq, _ = max(stored(), key=lambda piece: len(piece[2]))
    path = tmp_path / 'a.mid'
    path.write_bytes(midi_bytes(score_of(rows, ppq)))
    piece = read_piece(ScoreFile('a', 'a.mid', path.read_bytes()), 1)
    assert isinstance(piece, PackedPiece)
    pack([piece], np.zeros(1, np.uint8), tmp_path / 'data.safetensors', [])
    data, score = ScoreData(tmp_path / 'data.safetensors'), read_midi(path)
    for as_published in (False, True):
        got, direct = data.notes(0, as_published=as_published), note_table(score, as_published=as_published)
        assert sorted(times(got)) == sorted(times(direct))
        assert (np.diff(got['step']) >= 0).all()


def test_data_prepared_before_the_published_rounding_was_kept_says_what_to_do(tmp_path):
    data = ScoreData(make_data(tmp_path / 'data.safetensors'))
    data._published = None
    with pytest.raises(GenaudioError, match='Make it again: genaudio-train prepare'):
        data.notes(0, as_published=True)
