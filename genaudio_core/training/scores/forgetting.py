"""Leaving out a part of what is told of music, so that a model learns to do with any of it, and with none."""

import numpy as np

from genaudio_core.music.descriptions import Told
from genaudio_core.music.layouts import CHORD, DESCRIBED, NEXT_BAR, PART, RESTS

UNTOLD = 0.2  # of the sequences are told nothing at all
_COLUMN = DESCRIBED.columns
_CHORD_FIELDS = [_COLUMN[name] for name in ('root', 'quality', 'bass')]
_PART_FIELDS = [_COLUMN[name] for name in ('density', 'register', 'dynamics')]


def _share(rng: np.random.Generator, all_: float, none: float) -> float:
    """1 with probability `all_`, 0 with probability `none`, else anything between."""
    draw = rng.random()
    return 1.0 if draw < all_ else 0.0 if draw < all_ + none else float(rng.random())


def forget(told: Told, rng: np.random.Generator) -> tuple[Told | None, bool]:
    """The rest of `told`, and whether the notes know their parts.

    A fifth of the sequences is told nothing. Else chords are left out bar by bar, parts wholly or from some of their
    events on, and fields of both, with shares drawn for each sequence, so that every subset may be unknown.
    """
    if rng.random() < UNTOLD:
        return None, False
    knows_parts = bool(rng.random() < 0.8)
    step, rows = told[0], told[1].copy()
    keep = np.ones(len(rows), bool)
    chord, part = rows[:, 0] == CHORD, rows[:, 0] == PART
    # Chords: some of the bars, some of the fields, and for half of the sequences no view ahead.
    lines, bar = np.unique(step, return_inverse=True)
    kept_bars = rng.random(len(lines)) < _share(rng, 0.45, 0.2)
    keep &= ~chord | kept_bars[bar]
    if rng.random() < 0.5:
        keep &= rows[:, _COLUMN['place']] != NEXT_BAR
    for column, share in zip(_CHORD_FIELDS, (0.05, 0.15, 0.3), strict=True):
        if rng.random() < share:
            rows[chord, column] = 0
        elif rng.random() < 0.2:
            rows[chord & (rng.random(len(rows)) < 0.3), column] = 0
    # Parts: some of them, some of the fields.
    who = rows[:, _COLUMN['instrument']].astype(np.int64) * 8 + rows[:, _COLUMN['part']]
    share = _share(rng, 0.45, 0.25)
    for one in np.unique(who[part]):
        if rng.random() >= share:
            keep &= ~(part & (who == one))
    for column in _PART_FIELDS:
        if rng.random() < 0.25:
            rows[part, column] = np.where(rows[part, column] == RESTS, RESTS, 0) if column == _PART_FIELDS[0] else 0
    if rng.random() < 0.4:  # from some events on a part is unknown until it is told again
        rows[np.ix_(part & (rng.random(len(rows)) < 0.5 * rng.random()), _PART_FIELDS)] = 0
    # What tells nothing, of something that was unknown anyhow, needs no event.
    keep &= ~chord | (rows[:, _CHORD_FIELDS] > 0).any(axis=1)
    known: dict[int, bool] = {}
    for row in np.flatnonzero(keep & part):
        tells = bool(rows[row, _PART_FIELDS].any())
        keep[row] = tells or known.get(int(who[row]), False)
        known[int(who[row])] = tells
    return (step[keep], rows[keep]), knows_parts
