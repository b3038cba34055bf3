"""Parts for notes: what a model thinks of each note, and what a player can do, weighed by dynamic programming.

A hypothesis is what every part has played and still sounds. Note after note, in the order of their onsets and from low
to high, each hypothesis goes on with every part; those that have come to the same lines are one from then on, and the
best `width` stay. Live there is one hypothesis: what has been played cannot be taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.score.instruments import RANGE, voices_of

WIDTH = 48  # hypotheses
SLOTS = 8  # notes of a part that are remembered
NOBODY = -1
TOUCH = 0.05  # beats by which a note may last into the next one of its voice
LEFT_OUT = 60.0  # nats that a note which nobody plays costs


@dataclass(frozen=True)
class Costs:
    """Weights against the model, in nats; fitted on held-out quartets (docs/training/arranger.md)."""

    leap: float = 0.5  # for an octave from a part's last note, up to two, if it was just now
    crossing: float = 0.7  # for each part that sounds on the wrong side of the note
    crowd: float = 2.0  # for each voice too many that began before, and makes way
    chord: float = 1.5  # for a second note of one onset on a part of few voices
    rest: float = 0.0  # what a beat of rest is worth to a part, up to eight

    def without(self) -> 'Costs':
        """The model alone."""
        return Costs(0.0, 0.0, 0.0, 0.0, 0.0)


class Lines:
    """Hypotheses of what the parts have played.

    Parameters
    ----------
    names : sequence of str
        Instrument classes, one for each part; the first ones of an instrument are the higher ones.
    exact : bool
        Whether nobody is given a note that he does not have, nor at one time more than he has hands.
    """

    def __init__(self, names: Sequence[str], costs: Costs, *, exact: bool):
        self.costs, self.exact, self.n = costs, exact, len(names)
        self.low, self.high = (np.array([RANGE[name][i] for name in names]) for i in range(2))
        self.voices = np.array([min(voices_of(name), SLOTS) for name in names])
        middle = self.low + self.high
        place = np.arange(self.n)
        above = (middle[:, None] > middle[None]) | ((middle[:, None] == middle[None]) & (place[:, None] < place[None]))
        melodic = self.voices <= 2
        # above[a, b]: a note of a should be above what b plays. Chords of keyboards are on both sides of anything.
        self.above = above & melodic[:, None] & melodic[None]
        self.last = np.full((1, self.n), -1.0)  # of each hypothesis and part: pitch of the last note, -1: none
        self.last_onset = np.full((1, self.n), -1e6)  # beats
        self.pitch = np.full((1, self.n, SLOTS), -1.0)  # the notes of each part, in a ring
        self.onset = np.full((1, self.n, SLOTS), -1e6)
        self.end = np.full((1, self.n, SLOTS), -1e6)
        self.began: float | None = None

    def costs_of(self, pitch: int, onset: float) -> np.ndarray:
        """The cost of a note on each part of each hypothesis, (hypotheses, parts) nats."""
        if self.began is None:
            self.began = onset
        sounds = self.end > onset + TOUCH
        together = self.onset == onset
        crowd = sounds.sum(-1) + 1 - self.voices
        new = (together & (self.end > onset)).sum(-1)
        gap = onset - self.last_onset
        leap = np.where(self.last < 0, 0.0, np.abs(self.last - pitch).clip(max=24)) / 12 * np.exp(-gap.clip(0, 50) / 8)
        over = (sounds & (self.pitch > pitch)).any(-1).astype(float)
        under = (sounds & (self.pitch >= 0) & (self.pitch < pitch)).any(-1).astype(float)
        crossing = over @ self.above.T + under @ self.above
        few = self.voices <= 2
        total = (
            self.costs.leap * leap + self.costs.crossing * crossing + self.costs.crowd * crowd.clip(0)
            + self.costs.chord * ((new > 0) & few)
        )  # fmt: skip
        if self.costs.rest:
            waited = onset - np.maximum(self.last_onset, self.began)
            total -= self.costs.rest * waited.clip(0, 8)
        if self.exact:
            here = (self.onset > onset - TOUCH).sum(-1)
            same = (sounds & (self.pitch == pitch) & (self.onset > onset - TOUCH)).any(-1)
            impossible = (here >= self.voices) | same | (pitch < self.low) | (pitch > self.high)
            total = np.where(impossible, np.inf, total)
        return total

    def take(self, parents: np.ndarray, parts: np.ndarray, pitch: int, onset: float, end: float) -> None:
        """Go on with hypotheses `parents` (n,), in which `parts` (n,) play a note; NOBODY: nobody does."""
        for name in ('last', 'last_onset', 'pitch', 'onset', 'end'):
            setattr(self, name, getattr(self, name)[parents])
        rows = np.flatnonzero(parts >= 0)
        plays = parts[rows]
        # The slot whose note ends first is free, or makes way.
        slot = self.end[rows, plays].argmin(-1)
        self.last[rows, plays], self.last_onset[rows, plays] = pitch, onset
        self.pitch[rows, plays, slot], self.onset[rows, plays, slot], self.end[rows, plays, slot] = pitch, onset, end

    def make_way(self, part: int, onset: float) -> None:
        """End the notes that a part (of one hypothesis) has held longest, until it has a hand free for a new one.

        Notes that begin at this very onset stay.
        """
        sounding = np.flatnonzero(self.end[0, part] > onset + TOUCH)
        many = len(sounding) + 1 - int(self.voices[part])
        for slot in sounding[np.argsort(self.onset[0, part, sounding], kind='stable')][: max(many, 0)]:
            if self.onset[0, part, slot] < onset:
                self.end[0, part, slot] = onset

    def release(self, part: int, pitch: int, onset: float) -> None:
        """The note of this pitch ends, in every hypothesis."""
        where = (self.pitch[:, part] == pitch) & (self.end[:, part] == np.inf)
        self.end[:, part][where] = onset

    def merged(self, cost: np.ndarray, onset: float) -> np.ndarray:
        """Indices of the best hypotheses of those that have come to the same lines; `cost` (n,), best first."""
        ends = np.where(self.end > onset, self.end, 0.0)
        pitch = np.where(self.end > onset, self.pitch, 0.0)
        key = np.concatenate([self.last, self.last_onset, ends.reshape(len(cost), -1), pitch.reshape(len(cost), -1)], 1)
        key = np.ascontiguousarray(key).view(np.dtype((np.void, key.shape[1] * key.dtype.itemsize)))[:, 0]
        return np.sort(np.unique(key, return_index=True)[1])


def assign(
    scores: np.ndarray, onset: np.ndarray, pitch: np.ndarray, end: np.ndarray, names: Sequence[str], *,
    costs: Costs | None = None, exact: bool = False, live: bool = False, width: int = WIDTH,
) -> np.ndarray:  # fmt: skip
    """The part of each note of a mixture, (n,); NOBODY where none can have it (with `exact`).

    Of notes that are the same, the first goes to the first of their parts: either way is the same music.

    Parameters
    ----------
    scores : (n, parts)
        Of a model; only their differences on one note count.
    onset, pitch, end : (n,)
        Beats, MIDI notes, beats; sorted (`mixture_order`).
    names : sequence of str
        Instrument classes, one for each part.
    exact : bool
        See `Lines`.
    live : bool
        Whether what was given out stays so once the next onset comes: no note knows what follows its chord.
    """
    lines = Lines(names, costs or Costs(), exact=exact)
    nats = -log_shares(scores)
    total = np.zeros(1)
    parents: list[np.ndarray] = []
    chosen: list[np.ndarray] = []
    for i in range(len(scores)):
        if live and i and onset[i] > onset[i - 1] and len(total) > 1:
            lines.take(np.zeros(1, np.int64), np.array([NOBODY]), 0, 0.0, 0.0)
            total, parents[-1], chosen[-1] = total[:1], parents[-1][:1], chosen[-1][:1]
        cost = total[:, None] + nats[i] + lines.costs_of(int(pitch[i]), float(onset[i]))
        if exact:
            cost = np.concatenate([cost, total[:, None] + LEFT_OUT], axis=1)
        flat = cost.ravel()
        best = np.argpartition(flat, min(width, len(flat)) - 1)[:width] if len(flat) > width else np.arange(len(flat))
        best = best[np.argsort(flat[best], kind='stable')]
        best = best[np.isfinite(flat[best])]
        parent, part = np.divmod(best, cost.shape[1])
        part = np.where(part == lines.n, NOBODY, part)
        lines.take(parent, part, int(pitch[i]), float(onset[i]), float(end[i]))
        kept = lines.merged(flat[best], float(onset[i]))
        if len(kept) < len(best):
            lines.take(kept, np.full(len(kept), NOBODY), 0, 0.0, 0.0)
        total = flat[best][kept] - flat[best][0]
        parents.append(parent[kept])
        chosen.append(part[kept])
    result = np.empty(len(scores), np.int64)
    at = 0
    for i in reversed(range(len(scores))):
        result[i], at = chosen[i][at], parents[i][at]
    same = np.stack([onset, pitch] if live else [onset, pitch, end])
    group = (np.diff(same, axis=1, prepend=np.nan) != 0).any(axis=0).cumsum()
    return result[np.lexsort((result, group))]


def log_shares(scores: np.ndarray) -> np.ndarray:
    """Scores (n, parts) as logarithms of shares that add up to 1 on each note."""
    scores = np.asarray(scores, np.float64)
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)
