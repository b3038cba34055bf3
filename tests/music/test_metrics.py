"""The metrics of music: hand-made cases, and agreement with muspy where it is installed."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudio_core.music.events import DRUM_PROGRAM, NOTE_TYPE
from genaudio_core.music.metrics import (
    METRICS,
    begun_before,
    groove_consistency,
    interval,
    pitch_class_entropy,
    repeated_share,
    scale_consistency,
    summary,
    trim,
)


def table(rows):
    """Note table of (step, duration, pitch, program) rows."""
    return np.array([(step, duration, pitch, 64, program) for step, duration, pitch, program in rows], NOTE_TYPE)


def melody(pitches, step=12, program=0):
    return table([(i * step, step - 1, pitch, program) for i, pitch in enumerate(pitches)])


def test_entropy_of_one_two_and_twelve_pitch_classes():
    assert pitch_class_entropy(melody([60, 72, 48])) == 0
    assert pitch_class_entropy(melody([60, 67, 72, 55])) == pytest.approx(1)
    assert pitch_class_entropy(melody(range(60, 72))) == pytest.approx(math.log2(12))


def test_scale_consistency_finds_the_best_scale():
    assert scale_consistency(melody([60, 62, 64, 65, 67, 69, 71])) == 1  # C major
    assert scale_consistency(melody([57, 59, 60, 62, 64, 65, 67])) == 1  # A minor
    # The raised seventh of A harmonic minor is in none of the 24 scales with the rest.
    assert scale_consistency(melody([57, 59, 60, 62, 64, 65, 68, 57])) == pytest.approx(7 / 8)


def test_drums_have_rhythm_but_no_pitch():
    drums = melody([36, 38, 36, 38, 36], step=12, program=DRUM_PROGRAM)
    assert math.isnan(pitch_class_entropy(drums)) and math.isnan(scale_consistency(drums))
    assert groove_consistency(drums) == pytest.approx(1 - 3 / 48)  # the second measure has one of four onsets
    both = np.concatenate([melody([60, 60]), drums])
    assert pitch_class_entropy(both) == 0


def test_groove_counts_silence_as_agreement_and_one_measure_too_many():
    bar = [(0, 6, 60, 0), (24, 6, 60, 0)]
    two_bars = table([*bar, *((step + 48, duration, pitch, program) for step, duration, pitch, program in bar)])
    assert groove_consistency(two_bars) == 1
    # The last note held to the bar line: muspy adds an empty third measure (its issue 73).
    held = two_bars.copy()
    held['duration'][-1] = 24
    assert groove_consistency(held) == pytest.approx(1 - 2 / 96)
    assert math.isnan(groove_consistency(table(bar)))
    assert math.isnan(groove_consistency(table([])))


def test_trim_cuts_the_ends_of_notes_at_64_beats_as_muspy_does():
    notes = table([(0, 12, 60, 0), (64 * 12 - 1, 480, 62, 0), (64 * 12, 12, 64, 0)])
    assert trim(notes)['pitch'].tolist() == [60, 62]
    assert trim(notes)['duration'].tolist() == [12, 1]
    assert notes['duration'].tolist() == [12, 480, 12]  # on a copy
    assert begun_before(notes, 64)['duration'].tolist() == [12, 480]


def test_a_note_held_past_64_beats_adds_no_empty_measures_to_the_groove():
    beats = melody([60] * 64)
    held = beats.copy()
    held['duration'][-1] = 480
    ends = [summary([played])['groove_consistency'].mean for played in (beats, held)]
    # Cut at the bar line it leaves the one empty measure of muspy's quirk; uncut there would be ten.
    assert ends[0] == 1 and ends[1] == pytest.approx(1 - 4 / (48 * 16))


def test_interval_by_hand():
    mean, half_width, n = interval([1.0, 2.0, 3.0, math.nan])
    assert (mean, n) == (2.0, 3)
    assert half_width == pytest.approx(1.96 * 1.0 / math.sqrt(3))
    assert math.isnan(interval([1.0]).half_width) and math.isnan(interval([]).mean)


def test_repeated_share_knows_a_loop_from_new_music():
    loop = melody([60, 62, 64, 65] * 4)
    assert repeated_share(loop, 8 * 12) == 1
    assert repeated_share(melody(range(60, 76)), 8 * 12) == 0
    half = melody([60, 62, 64, 65, 60, 62, 70, 71])
    assert repeated_share(half, 4 * 12) == 0.5
    assert math.isnan(repeated_share(loop, 16 * 12))
    # The same notes on another instrument are an answer, no copy.
    assert repeated_share(np.concatenate([melody([60, 62]), table([(24, 11, 60, 40), (36, 11, 62, 40)])]), 24) == 0


def to_muspy(notes):
    muspy = pytest.importorskip('muspy')
    tracks = []
    for program in np.unique(notes['program']):
        rows = notes[notes['program'] == program]
        track = muspy.Track(program=int(program) % 128, is_drum=bool(program == DRUM_PROGRAM))
        track.notes = [muspy.Note(int(r['step']), int(r['pitch']), int(r['duration']), 64) for r in rows]
        tracks.append(track)
    return muspy.Music(resolution=12, tracks=tracks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 800), st.integers(0, 400), st.integers(0, 127), st.sampled_from([0, 40, DRUM_PROGRAM])
        ),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_agrees_with_muspy(rows):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        muspy = pytest.importorskip('muspy')
    notes = table(rows)
    music = to_muspy(notes)
    assert pitch_class_entropy(notes) == pytest.approx(muspy.pitch_class_entropy(music), nan_ok=True)
    assert scale_consistency(notes) == pytest.approx(muspy.scale_consistency(music), nan_ok=True)
    assert groove_consistency(notes) == pytest.approx(muspy.groove_consistency(music, 48), nan_ok=True)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 80 * 12), st.integers(1, 400), st.integers(0, 127), st.sampled_from([0, 40])),
        min_size=1, max_size=40,
    )
)  # fmt: skip
def test_the_groove_of_64_beats_is_that_of_the_published_evaluation(rows):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        muspy = pytest.importorskip('muspy')
    notes = table(rows)
    music = to_muspy(notes).trim(64 * 12)
    expected = muspy.groove_consistency(music, 48) if any(track.notes for track in music.tracks) else math.nan
    assert groove_consistency(trim(notes)) == pytest.approx(expected, nan_ok=True, abs=0)


def test_summary_has_every_metric():
    result = summary([melody([60, 62, 64, 65] * 4), melody([60, 61, 62, 63] * 4)])
    assert set(result) == set(METRICS)
    assert result['scale_consistency'].n == 2
    assert result['scale_consistency'].mean == pytest.approx((1 + 0.75) / 2)  # C, D flat and E flat are in A flat major
