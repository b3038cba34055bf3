"""The objective metrics of symbolic music, with the conventions of the MMT paper.

The definitions are those of muspy (Dong et al., ISMIR 2020), its quirks included, so that figures compare with
published ones. They take note tables (``events.NOTE_TYPE``; times in steps, 12 to the quarter note).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from genaudio_core.music.events import DRUM_PROGRAM
from genaudio_core.music.keys import SCALES
from genaudio_core.music.layouts import RESOLUTION

PUBLISHED_BEATS = 64  # the paper measures the first 64 beats
PUBLISHED_MEASURE = 4 * RESOLUTION  # steps; always 4/4, whatever the meter
_SCALES = (SCALES['major'], SCALES['minor'])
_IN_SCALE = np.array([[(pitch - root) % 12 in scale for pitch in range(12)] for scale in _SCALES for root in range(12)])


class Interval(NamedTuple):
    """A mean with the half-width of its 95% confidence interval."""

    mean: float
    half_width: float  # nan for fewer than two values
    n: int

    def __str__(self) -> str:
        return f'{self.mean:.3f} ± {self.half_width:.3f}'


def trim(table: np.ndarray, beats: float = PUBLISHED_BEATS) -> np.ndarray:
    """Notes of a table (n,) that begin before `beats`, none longer than to there: muspy's trim, as published.

    It matters to the groove alone, whose last measure is that of the last end.
    """
    trimmed = begun_before(table, beats)
    trimmed['duration'] = np.minimum(trimmed['duration'], math.ceil(beats * RESOLUTION) - trimmed['step'])
    return trimmed


def begun_before(table: np.ndarray, beats: float) -> np.ndarray:
    """Copies of the notes of a table (n,) that begin before `beats`, as long as they are."""
    return table[table['step'] < beats * RESOLUTION]


def _pitch_class_counts(table: np.ndarray) -> np.ndarray:
    return np.bincount(table['pitch'][table['program'] != DRUM_PROGRAM] % 12, minlength=12)


def pitch_class_entropy(table: np.ndarray) -> float:
    """Entropy of the pitch classes of a table (n,) in bits, 0 to 3.585; drums do not count, nan without others."""
    counts = _pitch_class_counts(table)
    if not counts.sum():
        return math.nan
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0  # + 0.0: no minus zero


def scale_consistency(table: np.ndarray) -> float:
    """Largest share of a table's notes (n,), 0 to 1, that lie in one of the 12 major or 12 natural minor scales.

    Drums do not count; nan without pitched notes.
    """
    counts = _pitch_class_counts(table)
    if not counts.sum():
        return math.nan
    return float((_IN_SCALE @ counts).max() / counts.sum())


def groove_consistency(table: np.ndarray, measure: int = PUBLISHED_MEASURE) -> float:
    """One minus the mean Hamming distance between onsets of neighbouring measures of a table (n,), 0 to 1.

    Muspy's quirks: a rest that both measures share counts as agreement (so values are high), and there are
    ``end // measure + 1`` measures, an empty one too many where the last note ends on a bar line (muspy issue 73).
    Drums count. nan with fewer than two measures.

    Parameters
    ----------
    measure : int
        Steps in a measure.
    """
    if not len(table):
        return math.nan
    # Python integers: the sum of two int32 steps must not wrap.
    end = int((table['step'].astype(np.int64) + table['duration']).max())
    n_measures = end // measure + 1
    if n_measures < 2:
        return math.nan
    grooves = np.zeros(n_measures * measure, bool)
    grooves[table['step']] = True
    grooves = grooves.reshape(n_measures, measure)
    distance = np.count_nonzero(grooves[:-1] != grooves[1:])
    return 1 - distance / (measure * (n_measures - 1))


METRICS = {
    'pitch_class_entropy': pitch_class_entropy,
    'scale_consistency': scale_consistency,
    'groove_consistency': groove_consistency,
}


def interval(values: Iterable[float]) -> Interval:
    """Mean and half-width of the 95% interval (1.96 standard errors, as the paper prints); nan values are left out."""
    found = np.array([value for value in values if not math.isnan(value)], float)
    if not len(found):
        return Interval(math.nan, math.nan, 0)
    half_width = 1.96 * float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return Interval(float(found.mean()), half_width, len(found))


def summary(tables: Iterable[np.ndarray], beats: float = PUBLISHED_BEATS) -> dict[str, Interval]:
    """Every metric over the tables (n,) of a set of pieces, each trimmed to `beats` (`trim`), whoever wrote it."""
    trimmed = [trim(table, beats) for table in tables]
    return {name: interval(metric(table) for table in trimmed) for name, metric in METRICS.items()}


def repeated_share(table: np.ndarray, begin: int, *, longest: int = 32 * RESOLUTION) -> float:
    """Share of the notes from step `begin` on that copy, note for note, what came a fixed time before.

    For every lag of whole beats up to `longest` steps: the share of notes (onset, pitch, program) that also stand
    `lag` earlier; the largest is returned. 1 means the music has become a loop. nan if nothing begins there.
    """
    key = (table['step'].astype(np.int64) << 16) + (table['pitch'].astype(np.int64) << 8) + table['program']
    new = np.unique(key[table['step'] >= begin])
    if not len(new):
        return math.nan
    known = np.unique(key)
    lags = range(RESOLUTION, longest + 1, RESOLUTION)
    return max(float(np.isin(new - (lag << 16), known).mean()) for lag in lags)
