"""The published encoding, rule by rule (../shared/reference/mmt.md), and the live one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import decode, decode_table, duration_code, encode, header, meter_code, timeline
from genaudio_core.music.layouts import DURATIONS, LIVE, MMT, NOTE, find_encoding
from genaudio_core.score.instruments import DRUM_ALIASES, INSTRUMENTS, PROGRAM_TO_CODE
from genaudio_core.score.notes import Meter, Note, Score, Track


def mmt(*notes: Note, program: int = 0) -> np.ndarray:
    return encode(Score([Track(program, notes=list(notes))]), MMT)


def rows(events: np.ndarray) -> list[tuple]:
    return [tuple(row) for row in events.tolist() if row[0] == NOTE]


def test_rule_class_counts():
    assert MMT.fields == ('type', 'beat', 'position', 'pitch', 'duration', 'instrument')
    assert MMT.sizes == (5, 257, 13, 129, 33, 65)


def test_rule_non_note_events_are_zero_but_for_the_instrument():
    events = mmt(Note(0, 1, 60))
    assert events.tolist() == [[0] * 6, [1, 0, 0, 0, 0, 1], [2] + [0] * 5, [3, 1, 1, 61, 12, 1], [4] + [0] * 5]


def test_rule_twelve_positions():
    assert [row[2] for row in rows(mmt(*(Note(i / 12, 1, 60) for i in range(12))))] == list(range(1, 13))


def test_rule_durations_are_the_nearest_of_32_and_ties_go_down():
    assert duration_code(np.array([0, 1, 13, 14, 17, 22, 23, 384, 5000])).tolist() == [1, 1, 12, 13, 14, 17, 18, 32, 32]
    assert DURATIONS[duration_code(np.array([17])) - 1] == 16  # 16 and 18 are as near


def test_rule_instrument_map():
    assert len(INSTRUMENTS) == 64
    expected = {0: 'piano', 3: 'piano', 5: 'electric-piano', 18: 'organ', 20: 'organ', 19: 'church-organ',
                31: 'electric-guitar', 35: 'electric-bass', 37: 'slap-bass', 39: 'synth-bass', 44: 'strings',
                49: 'strings', 51: 'synth-strings', 54: 'voices', 59: 'trumpet', 61: 'brasses', 63: 'synth-brasses',
                87: 'lead', 95: 'pad', 110: 'violin', 117: 'melodic-tom', 119: 'synth-drums'}  # fmt: skip
    assert {program: INSTRUMENTS[PROGRAM_TO_CODE[program] - 1] for program in expected} == expected
    unmapped = [*range(76, 79), *range(96, 104), *range(112, 117), *range(120, 128)]
    assert [program for program in range(128) if not PROGRAM_TO_CODE[program]] == unmapped


def test_rule_strings_are_decoded_as_program_49():
    assert decode(mmt(Note(0, 1, 60), program=44), MMT).tracks[0].program == 49


def test_rule_drums_and_unmapped_programs_are_dropped():
    score = Score([Track(0, True, notes=[Note(0, 1, 36)]), Track(97, notes=[Note(0, 1, 60)]),
                   Track(40, notes=[Note(1, 1, 62)])])  # fmt: skip
    assert [row[3] for row in rows(encode(score, MMT))] == [63]


def test_rule_sorted_by_beat_position_pitch_duration_program():
    score = Score([Track(40, notes=[Note(0, 2, 60), Note(0, 1, 60), Note(0, 1, 50)]), Track(0, notes=[Note(0, 1, 60)])])
    assert [(row[3] - 1, row[4], row[5]) for row in rows(encode(score, MMT))] == [
        (50, 12, 25), (60, 12, 1), (60, 12, 25), (60, 18, 25)]  # fmt: skip


def test_rule_equal_notes_count_once():
    assert len(rows(mmt(Note(0, 1, 60, 10), Note(0, 1, 60, 99)))) == 1


def test_rule_the_start_moves_to_beat_zero():
    assert rows(mmt(Note(9.5, 1, 60)))[0][1:3] == (1, 7)


def test_rule_beats_end_at_255():
    assert [row[1] for row in rows(mmt(Note(0, 1, 60), Note(255.5, 1, 60), Note(256, 1, 60)))] == [1, 256]


def test_rule_instruments_are_sorted_and_merged():
    score = Score([Track(p, notes=[Note(i, 1, 60)]) for i, p in enumerate((73, 0, 1, 40))])
    codes = [row[5] for row in encode(score, MMT).tolist() if row[0] == 1]
    assert codes == sorted(set(codes)) and len(codes) == 3


def test_rule_decoding_sets_100_beats_a_minute():
    assert decode(mmt(Note(0, 1, 60)), MMT).tempos[0].tempo == 100.0


# --- live ---


@st.composite
def live_scores(draw) -> Score:
    tracks = []
    for program, drum in ((0, False), (40, False), (0, True)):
        grid = st.tuples(
            st.integers(0, 2000), st.sampled_from(DURATIONS.tolist()), st.integers(30, 80), st.integers(1, 127)
        )
        chosen = {(step, key): (length, velocity) for step, length, key, velocity in draw(st.lists(grid, max_size=12))}
        notes = [
            Note(step / 12, (3 if drum else length) / 12, key, velocity // 4 * 4 + 2)
            for (step, key), (length, velocity) in sorted(chosen.items())
            if not (drum and key in DRUM_ALIASES)
        ]
        if notes:
            tracks.append(Track(program, drum, notes=notes))
    meters = [Meter(0.0, *draw(st.sampled_from([(4, 4), (3, 4), (6, 8), (7, 8)])))]
    if draw(st.booleans()):
        meters.append(Meter(meters[0].bar_length * draw(st.integers(1, 9)), 5, 8))
    return Score(tracks, meters=meters)


def plain(score: Score, origin: float = 0.0) -> list:
    return sorted(
        (round(note.beat - origin, 6), round(note.duration, 6), note.note, note.velocity, track.is_drum, track.program)
        for track in score.tracks
        for note in track.notes
    )


@given(live_scores())
def test_live_round_trip_loses_nothing_on_the_grid(score):
    events = encode(score, LIVE)
    if not score.n_notes:
        assert not (events[:, 0] == NOTE).any()
        return
    first = min(note.beat for track in score.tracks for note in track.notes)
    origin = score.bar_start(first)
    assert plain(decode(events, LIVE)) == plain(score, round(origin * 12) / 12)
    assert (events >= 0).all() and (events < np.array(LIVE.sizes)).all()


@given(live_scores())
def test_timeline_agrees_with_the_score(score):
    events = encode(score, LIVE, start=0.0)
    step, phase = timeline(events, LIVE)
    assert (np.diff(step) >= 0).all()
    for row, at, place in zip(events, step, phase, strict=True):
        if row[0] == NOTE:
            beat = at / 12
            # 7/8 changes the bar line inside a beat; the score and the events must agree on it.
            assert place == min(round((beat - score.bar_start(beat + 1e-9)) * 12) // 6, 47)


def test_long_rests_are_bridged_by_meter_events():
    score = Score([Track(0, notes=[Note(0, 1, 60, 66), Note(1000, 1, 62, 66)])], meters=[Meter(0.0, 3, 4)])
    events = encode(score, LIVE)
    assert events[:, 1].max() < LIVE.sizes[1]
    assert plain(decode(events, LIVE)) == plain(score)


def test_undefined_fields_never_sound():
    assert len(decode_table(np.array([[NOTE, 1, 1, 0, 5, 1, 3, 0]], np.int16), LIVE)) == 0


def test_header_needs_a_class_for_every_instrument():
    assert header(['piano', 'drums'], LIVE)[:, 5].tolist() == [0, 1, 65, 0, 0]
    with pytest.raises(GenaudioError, match='no drums'):
        header(['drums'], MMT)


def test_an_unlisted_meter_gets_the_nearest_bar_length():
    assert meter_code(25, 16) == meter_code(12, 8)


def test_another_layout_is_refused():
    assert find_encoding(LIVE.to_dict()) is LIVE
    for change in ({'version': 99}, {'name': 'future'}, {'fingerprint': '0'}):
        with pytest.raises(GenaudioError, match='does not read'):
            find_encoding(LIVE.to_dict() | change)
