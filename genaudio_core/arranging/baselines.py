"""The baselines of the paper: rules that tell parts (Dong et al., ISMIR 2021, section 5)."""

from itertools import combinations, permutations

import numpy as np

TAKEN = 99_999  # what a part costs that still sounds


def commonest(train: np.ndarray, n: int) -> np.ndarray:
    """Give all of `n` notes to the part that has most of the labels `train` (any number,): (n,)."""
    return np.full(n, np.bincount(train).argmax())


def fit_zones(pitch: np.ndarray, part: np.ndarray, parts: int) -> np.ndarray:
    """Descending cuts (parts - 1,) that put most of the notes right; a note at a cut belongs to the zone above it.

    Parameters
    ----------
    pitch, part : (n,)
        Of the training notes.
    """
    counts = np.zeros((parts, 129))
    np.add.at(counts, (part, pitch), 1)
    below = np.concatenate([np.zeros((parts, 1)), counts.cumsum(axis=1)], axis=1)  # [part, cut]: notes under the cut
    best, cuts = -1.0, ()
    low, high = int(pitch.min()), int(pitch.max()) + 2
    for ascending in combinations(range(low, high), parts - 1):
        edges = (0, *ascending, 129)
        right = sum(below[parts - 1 - i, edges[i + 1]] - below[parts - 1 - i, edges[i]] for i in range(parts))
        if right > best:
            best, cuts = right, ascending[::-1]
    return np.array(cuts, np.int64)


def zones(pitch: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Parts (n,) of pitches (n,) by descending cuts: the first part is the highest zone."""
    return (pitch[:, None] < cuts[None]).sum(axis=1)


def closest(
    onset: np.ndarray, pitch: np.ndarray, end: np.ndarray, part: np.ndarray, parts: int, *, mono: bool = False
) -> np.ndarray:  # fmt: skip
    """Each note goes to the part whose last pitch is closest; the first note of each part is told.

    Parameters
    ----------
    onset, pitch, end : (n,)
        Sorted notes.
    part : (n,)
        Their true parts, of which only each one's first note is used.
    mono : bool
        Whether the notes of one onset are given out together, none twice to one part.
    """
    first = {int(one): int(np.flatnonzero(part == one)[0]) for one in np.unique(part)}
    last = np.full(parts, np.nan)
    until = np.full(parts, -np.inf)
    result = np.zeros(len(pitch), np.int64)
    for begin, stop in zip(*_groups(onset), strict=True):
        rows = list(range(begin, stop))
        told = [row for row in rows if first.get(int(part[row])) == row]
        for row in told:
            result[row] = part[row]
        left = [row for row in rows if row not in told]
        cost = np.where(np.isnan(last), np.inf, (pitch[left, None] - last[None]) ** 2) if left else np.empty((0, parts))
        if not mono or len(left) > np.isfinite(last).sum():
            result[left] = cost.argmin(axis=1)
        elif left:
            cost = cost + np.where(until > onset[begin] + 1e-6, TAKEN, 0)
            open_parts = np.flatnonzero(np.isfinite(last))[::-1]  # of equals low notes go to later parts
            ways = np.array(list(permutations(open_parts, len(left))))
            totals = cost[np.arange(len(left))[None], ways].sum(axis=1)
            result[left] = ways[totals.argmin()]
        for row in rows:
            last[result[row]], until[result[row]] = pitch[row], end[row]
    return result


def _groups(onset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    starts = np.flatnonzero(np.diff(onset, prepend=-np.inf) > 0)
    return starts, np.append(starts[1:], len(onset))
