"""What a note of a mixture tells of the part that plays it: numbers from the notes alone, for models that tell parts.

Notes stand in the order (onset, pitch, length), as a model of parts reads them. Times are beats (quarter notes). The
causal features of a note use what is known when its key goes down: not how long it will be, but which of the notes
before it still sound. The features of the whole also use lengths and what comes next.
"""

from collections.abc import Sequence

import numpy as np

from genaudio_core.score.instruments import INSTRUMENTS, RANGE, instrument_code, voices_of

WINDOW = 48  # notes that are looked back at
AHEAD = 16  # notes of one onset, and after the end of a note, that are looked at
N_PHASES = 12  # places in a beat
FAR = 24.0  # semitones at most
N_CAUSAL, N_WHOLE, N_PART = 12, 10, 5
MAX_RANK = 4  # places among parts of one instrument; the fifth and later ones count as the fourth
_TOUCH = 1 / 24  # beats between the end of one note and the beginning of the next that count as none


def mixture_order(onset: np.ndarray, pitch: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Order (n,) of notes by onset, pitch and length, all (n,); equal ones stay as they stand."""
    return np.lexsort((length, pitch, onset))


def phases(onset: np.ndarray) -> np.ndarray:
    """Place of onsets (n,) in their beat, (n,) int64 of 0..N_PHASES-1."""
    return np.rint(np.asarray(onset) * N_PHASES).astype(np.int64) % N_PHASES


def causal_features(onset: np.ndarray, pitch: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Features (n, N_CAUSAL) float32 of sorted notes; `end` (n,) beats, of which only ends before an onset count."""
    padded = [np.concatenate([np.full(WINDOW, fill), np.asarray(values, np.float64)]) for values, fill in
              ((onset, -1e6), (pitch, 0.0), (end, -1e6))]  # fmt: skip
    views = [np.lib.stride_tricks.sliding_window_view(values, WINDOW)[:-1] for values in padded]
    return _causal(np.asarray(onset, np.float64), np.asarray(pitch, np.float64), *views)


class CausalWindow:
    """The same, note by note as keys go down and up; one thread at a time."""

    def __init__(self) -> None:
        self._onset, self._pitch, self._end = np.full((3, 1, WINDOW), -1e6)

    def row(self, onset: float, pitch: int) -> np.ndarray:
        """Features (1, N_CAUSAL) of a note that begins now."""
        return _causal(np.array([onset]), np.array([float(pitch)]), self._onset, self._pitch, self._end)

    def begin(self, onset: float, pitch: int) -> None:
        """A note begins, and sounds until `end`."""
        for values, value in ((self._onset, onset), (self._pitch, float(pitch)), (self._end, np.inf)):
            values[:, :-1] = values[:, 1:]
            values[0, -1] = value

    def end(self, onset: float, pitch: int) -> None:
        """The notes of this pitch end, at beat `onset`."""
        self._end[(self._pitch == pitch) & (self._end == np.inf)] = onset


def _nearest(distance: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The smallest of `distance` (n, k) in each row `where` it counts, in octaves, (n,)."""
    return np.where(where, distance, FAR).min(axis=1).clip(max=FAR) / 12


def _causal(
    onset: np.ndarray, pitch: np.ndarray, onsets: np.ndarray, pitches: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    """Features (n, N_CAUSAL) of notes (n,) after the WINDOW notes (n, WINDOW) before each."""
    t, p = onset[:, None], pitch[:, None]
    away = pitches - p
    together = onsets == t
    sounding = (ends > t + 1e-3) | together
    below, above = sounding & (away < 0), sounding & (away > 0)
    touching = ~sounding & (ends > t - 3 * _TOUCH)
    gap = np.where(touching, np.abs(away), FAR)
    place = gap.argmin(axis=1)[:, None]
    nearest = np.where(gap.min(axis=1) < FAR, np.take_along_axis(away, place, 1)[:, 0], 0.0)
    wait = (onset - onsets[:, -1]).clip(0, 8)
    columns = (
        pitch / 64 - 1,
        np.log1p(4 * wait),
        together[:, -1],
        (away[:, -1] if len(onset) else onset).clip(-FAR, FAR) / 12,
        below.sum(axis=1) / 4,
        above.sum(axis=1) / 4,
        _nearest(-away, below),
        _nearest(away, above),
        (sounding & (away == 0)).any(axis=1),
        together.sum(axis=1) / 4,
        nearest / 12,
        touching.any(axis=1),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def whole_features(onset: np.ndarray, pitch: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Features (n, N_WHOLE) float32 of sorted notes that ask for their lengths, and for what begins with them or after.

    All three are (n,): beats, MIDI notes and beats.
    """
    onset, pitch, end = (np.asarray(values, np.float64) for values in (onset, pitch, end))
    n = len(onset)
    pads = [np.concatenate([np.full(WINDOW, early), values, np.full(AHEAD, late)]) for values, early, late in
            ((onset, -1e6, 1e6), (pitch, 0.0, 0.0), (end, -1e6, 1e6))]  # fmt: skip
    onsets, pitches, ends = (
        np.lib.stride_tricks.sliding_window_view(values, WINDOW + 1 + AHEAD)[:n] for values in pads
    )
    t, p = onset[:, None], pitch[:, None]
    away = pitches - p
    together = onsets == t
    sounding = together | ((onsets < t) & (ends > t + 1e-3))
    below, above = sounding & (away < 0), sounding & (away > 0)
    later = onsets > t
    wait = np.where(later, onsets - t, 8.0).min(axis=1).clip(0, 8)
    # The notes that begin where this one ends.
    follow = (np.abs(onsets[:, WINDOW + 1 :] - end[:, None]) < _TOUCH) & (onsets[:, WINDOW + 1 :] > t)
    step = away[:, WINDOW + 1 :]
    gap = np.where(follow, np.abs(step), FAR)
    nearest = np.where(gap.min(axis=1) < FAR, np.take_along_axis(step, gap.argmin(axis=1)[:, None], 1)[:, 0], 0.0)
    columns = (
        np.log1p(4 * (end - onset).clip(0, 16)),
        np.log1p(4 * wait),
        (together & (away > 0)).sum(axis=1) / 4,
        (together & (away < 0)).sum(axis=1) / 4,
        below.sum(axis=1) / 4,
        above.sum(axis=1) / 4,
        _nearest(-away, below),
        _nearest(away, above),
        nearest / 12,
        follow.any(axis=1),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def ranks(names: Sequence[str]) -> list[int]:
    """Which of the parts of its instrument each is, from 0, in the order given."""
    return [list(names[:i]).count(name) for i, name in enumerate(names)]


def part_codes(names: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a model is told of the parts that there are, first ones of an instrument first.

    Returns
    -------
    instrument : (parts,) int64
        Codes 1..64 of the classes.
    rank : (parts,) int64
        0..MAX_RANK-1 among the parts of its instrument, and MAX_RANK times how many of these there are less one (at
        most MAX_RANK).
    numbers : (parts, N_PART) float32
        Lowest and highest note, voices, and how many parts have lower and higher ranges.
    """
    codes = np.array([instrument_code(name) for name in names], np.int64)
    rank = np.minimum(ranks(names), MAX_RANK - 1)
    many = np.array([min(list(names).count(name), MAX_RANK) for name in names])
    middle = np.array([sum(RANGE[name]) / 2 for name in names])
    numbers = np.array(
        [
            (RANGE[name][0] / 64 - 1, RANGE[name][1] / 64 - 1, min(voices_of(name), 4) / 4,
             (middle < here).sum() / 4, (middle > here).sum() / 4)
            for name, here in zip(names, middle, strict=True)
        ],
        np.float32,
    ).reshape(-1, N_PART)  # fmt: skip
    return codes, (rank + MAX_RANK * (many - 1)).astype(np.int64), numbers


N_CODES = len(INSTRUMENTS) + 2  # 0 is no instrument, the last one drums
