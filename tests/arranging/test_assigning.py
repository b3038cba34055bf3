"""Notes are given to parts as well as can be: compared with trying every way, and playable whatever a model says."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genaudio_core.arranging.assigning import NOBODY, Costs, Lines, assign, log_shares
from genaudio_core.arranging.baselines import closest, commonest, fit_zones, zones
from genaudio_core.score.instruments import RANGE, voices_of

NAMES = ('flute', 'clarinet', 'bassoon')


def cost_of(parts, scores, onset, pitch, end, names, costs):
    lines, total = Lines(names, costs, exact=False), 0.0
    for i, part in enumerate(parts):
        total += lines.costs_of(int(pitch[i]), float(onset[i]))[0, part] - log_shares(scores)[i, part]
        lines.take(np.zeros(1, int), np.array([part]), int(pitch[i]), float(onset[i]), float(end[i]))
    return total


@pytest.mark.parametrize('seed', range(3))
def test_no_other_way_is_cheaper(seed):
    rng = np.random.default_rng(seed)
    n = 6
    onset = np.repeat(np.arange(3.0), [2, 1, 3])
    pitch = np.concatenate([np.sort(rng.integers(55, 80, k)) for k in (2, 1, 3)])
    end, scores = onset + rng.choice([0.5, 1.0, 2.0], n), rng.standard_normal((n, 3)) * 2
    found = assign(scores, onset, pitch, end, NAMES, width=3000)
    best = min(cost_of(way, scores, onset, pitch, end, NAMES, Costs()) for way in itertools.product(range(3), repeat=n))
    assert cost_of(found, scores, onset, pitch, end, NAMES, Costs()) == pytest.approx(best)


def test_without_costs_it_is_the_model_alone():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((40, 3))
    onset = np.arange(40.0)
    found = assign(scores, onset, rng.integers(50, 80, 40), onset + 1, NAMES, costs=Costs().without())
    assert found.tolist() == scores.argmax(1).tolist()


def test_of_notes_that_are_the_same_the_first_goes_to_the_first_part():
    onset, pitch, end = np.zeros(3), np.array([60, 60, 60]), np.array([1.0, 1.0, 2.0])
    scores = np.array([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0], [0.0, 0.0, 9.0]])  # the other way round
    assert assign(scores, onset, pitch, end, NAMES).tolist() == [0, 1, 2]
    scores = np.array([[0.0, 0.0, 9.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    assert assign(scores, onset, pitch, end, NAMES).tolist() == [0, 2, 1]  # the last one is longer
    assert assign(scores, onset, pitch, end, NAMES, live=True).tolist() == [0, 1, 2]  # which nobody knows yet


def test_live_nothing_is_decided_by_what_comes():
    rng = np.random.default_rng(1)
    onset = np.repeat(np.arange(20.0), 2)
    pitch, scores = rng.integers(50, 90, 40), rng.standard_normal((40, 3))
    found = assign(scores, onset, pitch, onset + 1.5, NAMES, live=True)
    for n in range(2, 40, 2):
        assert (
            assign(scores[:n], onset[:n], pitch[:n], onset[:n] + 1.5, NAMES, live=True).tolist() == found[:n].tolist()
        )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(20, 108), st.integers(1, 9)), min_size=1, max_size=40),
    st.lists(st.sampled_from(['flute', 'violin', 'cello', 'tuba', 'piano']), min_size=1, max_size=5),
    st.integers(0, 9),
)
def test_whatever_the_model_says_it_can_be_played(rows, names, seed):
    rows = sorted((a / 4, b, c / 4) for a, b, c in rows)
    onset, pitch, length = (np.array(column) for column in zip(*rows, strict=True))
    scores = np.random.default_rng(seed).standard_normal((len(rows), len(names))) * 9
    found = assign(scores, onset, pitch, onset + length, names, exact=True)
    for i, name in enumerate(names):
        mine = found == i
        low, high = RANGE[name]
        assert ((pitch[mine] >= low) & (pitch[mine] <= high)).all()
        assert max(np.unique(onset[mine], return_counts=True)[1], default=0) <= voices_of(name)
    for row in np.flatnonzero(found == NOBODY):  # somebody who has the note has no hand left for it
        together = (onset == onset[row]) & (found != NOBODY)
        for i, name in enumerate(names):
            low, high = RANGE[name]
            busy = (found[together] == i).sum() >= min(voices_of(name), 8)
            assert not low <= pitch[row] <= high or busy or pitch[row] in pitch[together & (found == i)]


def test_crossing_and_leaps_cost():
    lines = Lines(['violin', 'violin', 'cello'], Costs(leap=1.0, crossing=1.0, crowd=0, chord=0), exact=False)
    lines.take(np.zeros(1, int), np.array([0]), 72, 0.0, 4.0)
    lines.take(np.zeros(1, int), np.array([2]), 48, 0.0, 4.0)
    cost = lines.costs_of(76, 0.0)[0]
    assert cost[1] == pytest.approx(1.0)  # the second violin above the first
    assert cost[2] == pytest.approx(1.0 + 2.0)  # the cello above the first, two octaves from where it was
    assert lines.costs_of(60, 0.0)[0][1] == 0.0


def test_baselines_on_a_canon():
    onset = np.repeat(np.arange(8.0), 2)
    pitch = np.array([48, 72, 50, 74] * 4)
    part = np.array([1, 0] * 8)
    cuts = fit_zones(pitch, part, 2)
    assert zones(pitch, cuts).tolist() == part.tolist() and 51 <= cuts[0] <= 72
    assert commonest(np.array([2, 2, 1]), 3).tolist() == [2, 2, 2]
    for mono in (False, True):
        assert closest(onset, pitch, onset + 1, part, 2, mono=mono).tolist() == part.tolist()
    # Two notes of one onset nearest to one part: together they go to two.
    onset, pitch, part = np.array([0.0, 0, 1, 1]), np.array([60, 70, 60, 62]), np.array([0, 1, 0, 1])
    assert closest(onset, pitch, onset + 1, part, 2).tolist() == [0, 1, 0, 0]
    assert closest(onset, pitch, onset + 1, part, 2, mono=True).tolist() == [0, 1, 0, 1]
