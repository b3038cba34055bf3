"""The described layout: nothing is lost, what is not told is unknown, and without descriptions it is the live one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_data import make_piece

from genaudio_core.music.descriptions import (
    bars,
    chord_code,
    chord_of,
    chord_row,
    describe,
    part_row,
    told_in,
    transposed,
)
from genaudio_core.music.events import (
    TRACKED_NOTE_TYPE,
    decode,
    decode_table,
    encode,
    encode_table,
    part_codes,
    timeline,
)
from genaudio_core.music.keys import CHORDS, Chord, parse_chord
from genaudio_core.music.layouts import (
    CHORD,
    DESCRIBED,
    FIRST_HALF,
    LIVE,
    METER,
    MMT,
    NEXT_BAR,
    NOTE,
    PART,
    QUALITIES,
    RESTS,
    SECOND_HALF,
    WHOLE_BAR,
    find_encoding,
)
from genaudio_core.score.instruments import DRUMS_CODE, instrument_code
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.training.scores.forgetting import forget

COLUMN = DESCRIBED.columns
METERS = [((0, 1),), ((0, 2),), ((0, 5),), ((0, 14),), ((0, 1), (96, 2)), ((0, 14), (42, 1), (138, 9))]


def table(*rows: tuple) -> np.ndarray:
    """Note table of (step, duration, pitch, velocity, program, track) rows."""
    made = np.array(list(rows), TRACKED_NOTE_TYPE)
    return made[np.lexsort((made['pitch'], made['step']))]


@st.composite
def music(draw) -> tuple[np.ndarray, tuple, np.ndarray]:
    """Notes of up to seven tracks (some of one instrument), meters, and chords."""
    programs = draw(st.lists(st.sampled_from([0, 0, 24, 33, 40, 40, 128]), min_size=1, max_size=7))
    note = st.tuples(st.integers(0, 500), st.integers(1, 150), st.integers(20, 100), st.integers(1, 127),
                     st.integers(0, len(programs) - 1))  # fmt: skip
    rows = draw(st.lists(note, min_size=1, max_size=60))
    steps = sorted(draw(st.sets(st.integers(0, 500), max_size=8)))
    chords = np.array([(s, draw(st.integers(1, 14 * 144))) for s in steps], np.int32).reshape(-1, 2)
    return table(*((s, d, p, v, programs[t], t) for s, d, p, v, t in rows)), draw(st.sampled_from(METERS)), chords


def plain_rows(events: np.ndarray) -> np.ndarray:
    return events[~np.isin(events[:, 0], (CHORD, PART))]


@given(music())
def test_without_descriptions_it_is_the_live_layout(case):
    notes, meters, _ = case
    live = encode_table(notes, LIVE, meters=meters)
    described = encode_table(notes, DESCRIBED, meters=meters)
    assert (described[:, : len(LIVE.fields)] == live).all() and not described[:, len(LIVE.fields) :].any()


@given(music())
def test_notes_parts_and_all_that_is_told_come_back(case):
    notes, meters, chords = case
    told = describe(notes, meters, chords)
    events = encode_table(notes, DESCRIBED, meters=meters, parts=part_codes(notes), told=told)
    assert (events >= 0).all() and (events < DESCRIBED.sizes).all()
    steps, rows = told_in(events)
    assert (steps == told[0]).all() and (rows == told[1]).all()
    # The notes, too: the same as without descriptions but for the order within a step, and in the part of their track.
    back = decode_table(events, DESCRIBED)
    bare = decode_table(encode_table(notes, DESCRIBED, meters=meters, parts=part_codes(notes)), DESCRIBED)
    assert (back == bare).all()
    expected = set()
    for row, part in zip(notes, part_codes(notes), strict=True):
        if row['program'] != 128:
            expected.add((int(row['step']), int(row['pitch']), int(row['program']), int(part)))
    found = {(int(r['step']), int(r['pitch']), int(r['program']), int(r['track']) + 1) for r in back
             if r['program'] != 128}  # fmt: skip
    assert found == expected


@given(music())
def test_descriptions_stand_on_bar_lines_before_the_notes_of_the_bar(case):
    notes, meters, chords = case
    events = encode_table(notes, DESCRIBED, meters=meters, told=describe(notes, meters, chords))
    step = timeline(events, DESCRIBED)[0]
    lines = set(bars(meters, 0, int(notes['step'].max()) + 1)[0].tolist())
    rank = {METER: 0, CHORD: 1, PART: 2, NOTE: 3}
    order = [(int(s), rank[int(row[0])]) for s, row in zip(step, events, strict=True) if int(row[0]) in rank]
    assert order == sorted(order)
    assert all(int(s) in lines for s, row in zip(step, events, strict=True) if row[0] in (CHORD, PART))


def test_two_tracks_of_one_instrument_are_two_parts():
    score = Score([Track(24, notes=[Note(0, 1, 60)]), Track(24, notes=[Note(0, 1, 60), Note(1, 1, 64)]),
                   Track(33, notes=[Note(0, 2, 36)])])  # fmt: skip
    events = encode(score, DESCRIBED)
    guitars = events[(events[:, 0] == NOTE) & (events[:, 5] == instrument_code('nylon-string-guitar'))]
    assert guitars[:, COLUMN['part']].tolist() == [1, 2, 2]  # and the unison is no repetition
    assert len(encode(score, LIVE)) == len(events) - 1
    back = decode(events, DESCRIBED)
    assert [(t.program, len(t.notes)) for t in back.tracks] == [(24, 1), (24, 2), (33, 1)]


def test_a_fifth_track_joins_the_fourth_part_and_drums_are_one():
    notes = table(*((0, 6, 60 + t, 80, 0, t) for t in range(6)), (0, 3, 36, 90, 128, 6), (0, 3, 42, 90, 128, 7))
    assert part_codes(notes).tolist() == [1, 1, 1, 2, 3, 4, 4, 4]  # sorted by pitch: the drums come first


@pytest.mark.parametrize('symbol', ['C', 'F#m7', 'Bb7', 'Ebmaj7/G', 'Adim7', 'G5', 'Dsus4/A'])
def test_chords_have_codes(symbol):
    chord = parse_chord(symbol)
    assert chord_of(chord_code(chord)) == chord
    up = chord_of(int(transposed(np.array([chord_code(chord)]), 5)[0]))
    assert up == Chord((chord.root + 5) % 12, chord.quality, (chord.bass + 5) % 12)


def test_every_quality_counts_as_one_that_is_told_apart():
    for quality in CHORDS:
        counted = chord_of(chord_code(Chord(2, quality, 2)))
        assert counted is not None and counted.quality in QUALITIES
    assert chord_code(None) == 0 and chord_of(0) is None and transposed(np.array([0]), 3).tolist() == [0]


def places(told, step: int) -> list[tuple[int, int]]:
    rows = told[1][(told[0] == step) & (told[1][:, 0] == CHORD)]
    return [(int(r[COLUMN['place']]), int(r[COLUMN['root']]) - 1) for r in rows]


def test_a_bar_of_one_chord_is_told_once_and_of_two_by_its_halves():
    notes = table(*((s, 12, 60, 80, 0, 0) for s in range(0, 144, 12)))
    chords = np.array([(0, chord_code(parse_chord('C'))), (72, chord_code(parse_chord('F'))),
                       (96, chord_code(parse_chord('G')))])  # fmt: skip
    told = describe(notes, ((0, 1),), chords)
    assert places(told, 0) == [(WHOLE_BAR, 0), (NEXT_BAR, 0)]
    assert places(told, 48) == [(FIRST_HALF, 0), (SECOND_HALF, 5), (NEXT_BAR, 7)]
    assert places(told, 96) == [(WHOLE_BAR, 7)]
    assert (describe(notes, ((0, 1),), chords, ahead=False)[1][:, COLUMN['place']] != NEXT_BAR).all()


def test_a_part_is_told_again_when_it_rests_comes_in_or_has_changed_much():
    quarters = [(48 * bar + 12 * i, 12, 60, 80, 0, 0) for bar in (0, 1, 2, 4) for i in range(4)]
    eighths = [(240 + 3 * i, 3, 60, 80, 0, 0) for i in range(16)]
    bass = [(48 * bar, 48, 36, 80, 33, 1) for bar in range(6)]
    step, rows = describe(table(*quarters, *eighths, *bass))
    piano = rows[:, 5] == instrument_code('piano')
    assert step[piano].tolist() == [0, 144, 192, 240]
    density = rows[piano, COLUMN['density']]
    assert density[1] == RESTS and density[3] > density[0] > RESTS
    assert step[~piano].tolist() == [0]  # nothing new of the bass


def test_a_note_that_only_holds_on_is_no_rest():
    notes = table((0, 96, 60, 80, 48, 0), *((12 * i, 12, 36, 80, 33, 1) for i in range(8)))
    _, rows = describe(notes)
    assert (rows[:, COLUMN['density']] != RESTS).all()


@settings(max_examples=200)
@given(music(), st.integers(0, 2**31))
def test_what_is_left_of_a_description_says_nothing_false(case, seed):
    notes, meters, chords = case
    told = describe(notes, meters, chords)
    left, _ = forget(told, np.random.default_rng(seed))
    if left is None:
        return
    whole = [(int(s), *row) for s, row in zip(told[0], told[1].tolist(), strict=True)]

    def facts(of, at: int) -> dict[tuple, tuple]:
        """What holds at a step: chords of that bar, and of each part what was told of it last."""
        found: dict[tuple, tuple] = {}
        for s, row in zip(of[0].tolist(), of[1].tolist(), strict=True):
            if row[0] == CHORD and s == at:
                found[CHORD, row[COLUMN['place']]] = tuple(row[COLUMN[n]] for n in ('root', 'quality', 'bass'))
            elif row[0] == PART and s <= at:
                found[PART, row[5], row[COLUMN['part']]] = tuple(row[-3:])
        return found

    assert len(left[0]) <= len(whole)
    for at in set(told[0].tolist()):
        true = facts(told, at)
        for what, values in facts(left, at).items():
            assert all(value in (0, known) for value, known in zip(values, true[what], strict=True))


def test_a_fifth_is_told_nothing_and_every_kind_of_knowledge_occurs():
    piece = make_piece('x', drums=True)
    notes = np.zeros(len(piece.notes), TRACKED_NOTE_TYPE)
    for name in piece.notes.dtype.names or ():
        notes[name] = piece.notes[name]
    notes['track'] = np.unique(notes['program'], return_inverse=True)[1]
    chords = np.array([(s, 1 + s) for s in range(0, 500, 24)])
    told = describe(notes, ((0, 1),), chords)
    results = [forget(told, np.random.default_rng(seed)) for seed in range(400)]
    nothing = sum(left is None for left, _ in results)
    assert 50 < nothing < 120
    some = [left for left, _ in results if left is not None]
    has = [((rows[:, 0] == CHORD).any(), (rows[:, 0] == PART).any()) for _, rows in some]
    assert {(bool(a), bool(b)) for a, b in has} == {(True, True), (True, False), (False, True), (False, False)}
    for name in ('root', 'quality', 'bass', 'density', 'register', 'dynamics'):
        kind = CHORD if name in ('root', 'quality', 'bass') else PART
        known = [(rows[rows[:, 0] == kind][:, COLUMN[name]] > 0) for _, rows in some]
        assert any(k.all() and len(k) for k in known) and any(not k.any() and len(k) for k in known)
    assert {knows for _, knows in results} == {True, False}


def test_rows_of_ones_own():
    row = chord_row(WHOLE_BAR, chord_code(parse_chord('Am7/G')))
    assert [int(row[COLUMN[n]]) for n in ('type', 'place', 'root', 'bass')] == [CHORD, WHOLE_BAR, 10, 8]
    part = part_row(DRUMS_CODE, 1, RESTS)
    assert int(part[0]) == PART and int(part[COLUMN['density']]) == RESTS and not part[COLUMN['dynamics']]


def test_the_card_of_a_layout_finds_it_and_the_older_layouts_are_what_they_were():
    assert find_encoding(DESCRIBED.to_dict()) is DESCRIBED
    assert (MMT.fingerprint, LIVE.fingerprint) == ('adf6726d51399ce1', 'fb647dd76f1c7cfc')
    assert DESCRIBED.fields[: len(LIVE.fields)] == LIVE.fields and sorted(DESCRIBED.order) == sorted(DESCRIBED.fields)
