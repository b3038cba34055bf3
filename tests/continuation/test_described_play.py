"""Playing by the described layout: what is told is told exactly, parts stay parts, and resting parts are silent."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_decoders import decoder, model

from export.kinds.decoder import parity
from genaudio_core.continuation.context_window import last_bars
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.generation import Writer, continue_score
from genaudio_core.continuation.sampling import Controls, EventSampler
from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import chart_changes, chord_code, chord_of, part_row, tell_chords, told_in
from genaudio_core.music.events import encode, timeline
from genaudio_core.music.keys import parse_chart, parse_chord
from genaudio_core.music.layouts import (
    CHORD,
    DESCRIBED,
    FIRST_HALF,
    METER,
    NEXT_BAR,
    NOTE,
    PART,
    RESTS,
    SECOND_HALF,
    WHOLE_BAR,
)
from genaudio_core.score.instruments import instrument_code
from genaudio_core.score.notes import Meter, Note, Score, Track

COLUMN = DESCRIBED.columns
GUITAR, BASS = instrument_code('nylon-string-guitar'), instrument_code('electric-bass')


def song(bars: int = 2, meter: tuple[int, int] = (4, 4)) -> Score:
    """Two guitars and a bass."""
    high = Track(24, notes=[Note(i / 2, 0.5, 60 + i % 5, 80) for i in range(bars * 8)])
    low = Track(24, notes=[Note(float(i), 1.0, 48, 70) for i in range(bars * 4)])
    bass = Track(33, notes=[Note(2.0 * i, 2.0, 36, 90) for i in range(bars * 2)])
    return Score([high, low, bass], meters=[Meter(0.0, *meter)])


def told_while(writer: Writer) -> list[tuple[int, list[int]]]:
    steps, rows = told_in(writer.continuer.events[0])
    return [(int(s), row.tolist()) for s, row in zip(steps, rows, strict=True)]


def test_the_exported_file_is_the_model():
    assert parity(model('described'), decoder('described'), np.random.default_rng(1)) < 1e-4


def test_chords_that_are_asked_for_stand_in_the_sequence_bar_by_bar():
    meters = [(0, 1)]
    changes = chart_changes(parse_chart('C | Am D7'), meters, 96, 240)
    told = tell_chords(changes, meters, 96, 240)
    writer = Writer(decoder('described'), encode(song(), DESCRIBED, end=False), Controls(), 3, told, changes)
    table, _ = writer.write(96, 240, lambda done: None)
    assert len(table) and table['step'].min() >= 96 and table['step'].max() < 240
    found = [(s, row[COLUMN['place']], row[COLUMN['root']] - 1) for s, row in told_while(writer)]
    assert found == [(96, WHOLE_BAR, 0), (96, NEXT_BAR, 9), (144, FIRST_HALF, 9), (144, SECOND_HALF, 2),
                     (144, NEXT_BAR, 0), (192, WHOLE_BAR, 0)]  # fmt: skip
    # They stand before the notes of their bar, and time never goes back.
    events = writer.continuer.events[0]
    step = timeline(events, DESCRIBED)[0]
    assert (np.diff(step) >= 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(4, 4), (3, 4), (7, 8), (6, 8)]), st.integers(1, 9))
def test_any_meter_and_length_can_be_told(seed, meter, beats):
    made = continue_score(decoder('described'), song(4, meter), beats, seed=seed, chart=parse_chart('C | F G | Am'))
    assert made.notes >= 0 and made.score.n_notes == song(4).n_notes + made.notes


def test_two_guitars_go_on_as_two():
    score = song()
    made = continue_score(decoder('described'), score, 16, seed=1)
    added = [len(new.notes) - len(old.notes) for new, old in zip(made.score.tracks, score.tracks, strict=True)]
    assert len(made.score.tracks) == 3 and sum(n > 0 for n in added[:2]) == 2


def test_a_part_that_is_told_to_rest_is_silent_until_it_is_told_to_play():
    rows = np.stack([part_row(GUITAR, 2, RESTS), part_row(BASS, 1, RESTS), part_row(GUITAR, 2, 5)])
    told = np.array([96, 96, 192]), rows
    controls, back = Controls(instruments=('nylon-string-guitar', 'electric-bass')), 0
    for seed in range(6):
        writer = Writer(decoder('described'), encode(song(1), DESCRIBED, end=False), controls, seed, told)
        writer.write(96, 240, lambda done: None)
        events, step = writer.continuer.events[0], writer.continuer.steps[0] + writer.origin
        notes = [(int(s), int(r[5]), int(r[COLUMN['part']])) for s, r in zip(step, events, strict=True)
                 if r[0] == NOTE and s >= 96]  # fmt: skip
        assert not [n for n in notes if n[1] == BASS]
        assert not [n for n in notes if n[1:] == (GUITAR, 2) and n[0] < 192]
        back += len([n for n in notes if n[1:] == (GUITAR, 2)])
    assert back  # and then it plays


def test_where_all_rest_there_is_silence_and_no_hang():
    rows = np.stack([part_row(GUITAR, 1, RESTS), part_row(GUITAR, 2, RESTS), part_row(BASS, 1, RESTS),
                     part_row(BASS, 1, 4)])  # fmt: skip
    told = np.array([96, 96, 96, 192]), rows
    controls = Controls(instruments=('nylon-string-guitar', 'electric-bass'))
    writer = Writer(decoder('described'), encode(song(), DESCRIBED, end=False), controls, 5, told)
    table, _ = writer.write(96, 240, lambda done: None)
    assert table['step'].min() >= 192


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_at_one_time_parts_rise_and_so_do_the_pitches_of_a_part(seed):
    continuer = Continuer(decoder('described'))
    continuer.feed(encode(song(), DESCRIBED, end=False))
    sampler = EventSampler(continuer, Controls(max_chord=2), [np.random.default_rng(seed)])
    begin = continuer.length
    for _ in range(40):
        sampler.advance(sampler.next_events(earliest=96))
    rows, step = continuer.events[0][begin:], continuer.steps[0][begin:]
    keys = [(int(s), int(r[5]), int(r[COLUMN['part']]), int(r[3])) for s, r in zip(step, rows, strict=True)]
    assert keys == sorted(set(keys)) and all(1 <= key[2] <= 2 for key in keys)
    assert all(key[2] == 1 for key in keys if key[1] != GUITAR)
    assert max(Counter(key[:3] for key in keys).values()) <= 2


def test_without_parts_in_the_past_notes_have_none():
    events = encode(song(), DESCRIBED, end=False)
    events[:, COLUMN['part']] = 0
    continuer = Continuer(decoder('described'))
    continuer.feed(events)
    sampler = EventSampler(continuer, Controls(), [np.random.default_rng(0)])
    for _ in range(10):
        chosen = sampler.next_events(earliest=96)
        assert chosen[0, COLUMN['part']] == 0
        sampler.advance(chosen)


def test_what_was_told_of_parts_outlives_a_rebase():
    events = encode(song(12), DESCRIBED, end=False, told=(
        np.array([0, 0, 48, 96]),
        np.stack([part_row(GUITAR, 1, 5), part_row(BASS, 1, 4), part_row(GUITAR, 1, RESTS), part_row(BASS, 1, 6)]),
    ))  # fmt: skip
    window = last_bars(events, DESCRIBED, 100)
    assert len(window.events) <= 100
    head = window.events[: window.first - window.dropped]
    assert head[-3, 0] == METER and (head[-2:, 0] == PART).all() and (head[-2:, 1:3] == 1).all()
    assert {(int(r[5]), int(r[COLUMN['density']])) for r in head[-2:]} == {(GUITAR, RESTS), (BASS, 6)}
    assert timeline(window.events, DESCRIBED)[0].min() == 0


def test_a_chart_has_a_chord_or_two_for_each_bar():
    assert [[str(c) for c in bar] for bar in parse_chart('C Am F G/B')] == [['C'], ['Am'], ['F'], ['G/B']]
    assert [[str(c) for c in bar] for bar in parse_chart('| C | Am D7 | G |')] == [['C'], ['Am', 'D7'], ['G']]
    for bad in ('', '  ', '|', 'C || G', 'C | A B C', 'C X7'):
        with pytest.raises(GenaudioError):
            parse_chart(bad)


def test_an_older_model_plays_notes_of_the_chart_only():
    made = continue_score(decoder('live'), song(), 8, seed=2, chart=parse_chart('C F'))
    for bar, chord in ((8, 'C'), (12, 'F')):
        notes = [n for t in made.score.tracks for n in t.notes if bar <= n.beat < bar + 4]
        assert notes and {n.note % 12 for n in notes} <= parse_chord(chord).pitch_classes


def test_an_older_model_plays_what_it_always_did():
    """Told of nothing, the notes of a seed are the same."""
    a = continue_score(decoder('live'), song(), 8, seed=2)
    b = continue_score(decoder('live'), song(), 8, seed=2, chart=())
    assert [t.notes for t in a.score.tracks] == [t.notes for t in b.score.tracks]


def test_the_chord_of_a_chart_row_is_the_chord():
    changes = chart_changes(parse_chart('Am7/G'), [(0, 1)], 0, 48)
    assert chord_of(int(changes[0, 1])) == parse_chord('Am7/G') and changes[0, 1] == chord_code(parse_chord('Am7/G'))
    assert tell_chords(changes, [(0, 1)], 0, 48)[1][0, 0] == CHORD


def test_every_way_of_writing_takes_a_described_model():
    from genaudio_core.continuation.accompaniment import accompany, infill
    from genaudio_core.continuation.generation import generate

    model_ = decoder('described')
    made = accompany(model_, song(4), ['flute', 'drums'], seed=1)
    assert made.score.tracks[:3] == song(4).tracks[:3] or made.notes >= 0
    for before, new in zip(song(4).tracks, made.score.tracks, strict=False):
        assert new.notes == before.notes
    assert infill(model_, song(6), 8.0, 16.0, seed=1).notes >= 0
    assert generate(model_, 8, instruments=['piano', 'electric-bass'], seed=1).notes > 0
