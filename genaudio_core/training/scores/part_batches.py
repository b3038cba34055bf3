"""Mixtures for models that tell parts: all notes of a score poured into one, and the part of each as the label.

A part is a track; the tracks of one instrument that plays chords (keyboards, harps, guitars, ensembles) are one part.
Parts have the order of their instruments' codes, and those of one instrument that of their heights, the highest first:
files have their tracks in either order (scores from Humdrum begin with the bass). Drums are set aside.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import DRUM_PROGRAM
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.music.part_features import (
    N_PART,
    causal_features,
    part_codes,
    phases,
    whole_features,
)
from genaudio_core.score.instruments import (
    INSTRUMENTS,
    PROGRAM_TO_LIVE_CODE,
    RANGE,
    instrument_name,
    voices_of,
)
from genaudio_core.training.scores.packed_scores import ScoreData, fingerprints

MAX_PARTS = 10
PUBLISHED_STEPS = 24  # to the quarter note
TEACHES = 10  # notes that each of two parts must have
SHARED_RUNS = 0.02  # share of runs of notes in common from which on two pieces are one work
NONE = -1  # label of padding
ALIKE = 0.3  # how often parts that are alike are heard without the others, or all parts are lent to one instrument
PUBLISHED_KEYS = (-5, 6)  # semitones
_LENDERS = (
    'violin', 'viola', 'cello', 'contrabass', 'flute', 'oboe', 'clarinet', 'bassoon', 'horn', 'trumpet', 'trombone',
    'tuba', 'alto-saxophone', 'tenor-saxophone', 'soprano-saxophone', 'baritone-saxophone', 'recorder', 'english-horn',
    'piccolo', 'voices',
)  # fmt: skip


class Mixture(NamedTuple):
    """Notes in the order (onset, pitch, length), who plays them, and who is there."""

    onset: np.ndarray  # (n,) beats
    pitch: np.ndarray  # (n,) MIDI notes
    length: np.ndarray  # (n,) beats
    part: np.ndarray  # (n,) index into `names`
    names: tuple[str, ...]  # instrument classes; one that plays several parts is named several times

    def rows(self, which: np.ndarray | slice) -> 'Mixture':
        """Some of the notes, by indices (n,), and all of the parts."""
        return Mixture(self.onset[which], self.pitch[which], self.length[which], self.part[which], self.names)


def heights(table: np.ndarray) -> np.ndarray:
    """The place of each track of a note table (n,) by its mean pitch, (256,) int64: 0 for the highest one."""
    count = np.bincount(table['track'], minlength=256)
    mean = np.bincount(table['track'], table['pitch'], minlength=256) / np.maximum(count, 1)
    place = np.empty(256, np.int64)
    place[np.argsort(-mean, kind='stable')] = np.arange(256)
    return place


def mixture(table: np.ndarray, places: np.ndarray | None = None) -> Mixture:
    """The mixture of a note table (n,) of TRACKED_NOTE_TYPE; `places`: `heights` of the piece that it is a part of."""
    places = heights(table) if places is None else places
    table = table[table['program'] != DRUM_PROGRAM]
    code = np.array([*PROGRAM_TO_LIVE_CODE, 0])[table['program']]
    table, code = table[code > 0], code[code > 0]
    chords = np.array([True, *(voices_of(name) > 2 for name in INSTRUMENTS)])
    key = code * 256 + np.where(chords[code], 0, places[table['track']])
    keys, part = np.unique(key, return_inverse=True)
    names = tuple(instrument_name(int(one) // 256) for one in keys)
    onset, length = table['step'] / RESOLUTION, np.maximum(table['duration'], 1) / RESOLUTION
    order = np.lexsort((part, length, table['pitch'], onset))
    return Mixture(onset[order], table['pitch'][order].astype(np.int64), length[order], part[order], names)


def only(mixed: Mixture, parts: Sequence[int]) -> Mixture:
    """The mixture of some of its parts."""
    kept = np.isin(mixed.part, parts)
    new = np.full(len(mixed.names), NONE)
    new[list(parts)] = np.arange(len(parts))
    some = mixed.rows(kept)
    return some._replace(part=new[some.part], names=tuple(mixed.names[i] for i in parts))


def features(mixed: Mixture) -> dict[str, np.ndarray]:
    """A model's inputs: the notes (n,) of a mixture, and its parts (parts,)."""
    end = mixed.onset + mixed.length
    instrument, rank, numbers = part_codes(mixed.names)
    return {
        'pitch': mixed.pitch, 'phase': phases(mixed.onset), 'causal': causal_features(mixed.onset, mixed.pitch, end),
        'whole': whole_features(mixed.onset, mixed.pitch, end), 'part': mixed.part, 'instrument': instrument,
        'rank': rank, 'numbers': numbers, 'time': steps(mixed.onset), 'duration': steps(mixed.length),
    }  # fmt: skip


def steps(beats: np.ndarray) -> np.ndarray:
    """Beats (n,) in the steps of the published networks, (n,) int64."""
    return np.rint(np.asarray(beats) * PUBLISHED_STEPS).astype(np.int64)


def collate(mixtures: Sequence[Mixture]) -> dict[str, torch.Tensor]:
    """Pad mixtures to one batch: see `PartTagger.forward` and `PublishedArranger.forward` (pitches: MIDI notes).

    ``part`` (batch, time) is the label, NONE on padding.
    """
    found = [features(mixed) for mixed in mixtures]
    n, time = len(found), max(len(one['pitch']) for one in found)
    parts = max(len(one['instrument']) for one in found)
    batch: dict[str, np.ndarray] = {'there': np.zeros((n, parts), bool), 'length': np.zeros(n, np.int64)}
    batch['numbers'] = np.zeros((n, parts, N_PART), np.float32)
    for name in ('pitch', 'phase', 'causal', 'whole', 'part', 'time', 'duration', 'instrument', 'rank'):
        like = found[0][name]
        rows = parts if name in ('instrument', 'rank') else time
        batch[name] = np.full((n, rows, *like.shape[1:]), NONE if name == 'part' else 0, like.dtype)
    for i, one in enumerate(found):
        batch['there'][i, : len(one['instrument'])] = True
        batch['length'][i] = len(one['pitch'])
        for name, values in one.items():
            batch[name][i, : len(values)] = values
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def apart_from(data: ScoreData, held_out: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each piece of the data, (pieces,) bool, is of none of the works `held_out`, whose pitches these are.

    The runs of notes of a piece are compared with theirs, blind to key and rhythm.
    """
    if not held_out:
        return np.ones(len(data), bool)
    known = np.unique(np.concatenate([fingerprints(pitch) for pitch in held_out]))
    result = np.ones(len(data), bool)
    for i in range(len(data)):
        own = fingerprints(mixture(data.notes(i, tracks=True)).pitch)
        result[i] = not len(own) or np.isin(own, known, assume_unique=True).mean() < SHARED_RUNS
    return result


class MixtureSampler:
    """Draws augmented excerpts of mixtures.

    Parameters
    ----------
    length : int
        Notes of an excerpt.
    balance : float
        1: sources by their notes, 0: all alike.
    favoured : dict
        Source -> how many times as often as that it is drawn.
    kept : (pieces,) bool
        Which pieces may be drawn.
    names : tuple of str, optional
        Only pieces of exactly these parts, varied in nothing but their key, as published: for models of one ensemble.

    Raises
    ------
    GenaudioError
        If nothing is left to draw.
    """

    def __init__(
        self, data: ScoreData, length: int, *, kept: np.ndarray, split: str = 'train', balance: float = 0.5,
        favoured: dict[str, float] | None = None, names: tuple[str, ...] | None = None, augment: bool = True,
    ):  # fmt: skip
        self.data, self.length, self.names, self.augment = data, length, names, augment
        self.heights: dict[int, np.ndarray] = {}  # of each piece
        self.pieces = [int(i) for i in data.indices(split) if kept[i] and self._teaches(int(i))]
        if not self.pieces:
            raise GenaudioError(f'{data.path} has no piece with such parts to {split} on. Prepare more scores.')
        notes = np.array([data.n_notes(i) for i in self.pieces], float)
        source = data.source[self.pieces].astype(int)
        totals = np.bincount(source, notes, minlength=len(data.sources))
        often = np.array([(favoured or {}).get(name, 1.0) for name in data.sources])
        weights = notes * np.maximum(totals, 1)[source] ** (balance - 1) * often[source]
        self.cumulative = np.cumsum(weights) / weights.sum()
        self.cumulative[-1] = 1.0

    def _teaches(self, index: int) -> bool:
        table = self.data.notes(index, tracks=True)
        self.heights[index] = heights(table)
        mixed = mixture(table, self.heights[index])
        if self.names is not None and mixed.names != self.names:
            return False
        return int((np.bincount(mixed.part, minlength=1) > TEACHES).sum()) >= 2

    def draw(self, rng: np.random.Generator) -> Mixture:
        """An excerpt of at most `length` notes with two parts or more in it."""
        for _ in range(20):
            index = self.pieces[int(np.searchsorted(self.cumulative, rng.random()))]
            mixed = self._excerpt(index, rng)
            if len(np.unique(mixed.part)) > 1:
                break
        return mixed

    def _excerpt(self, index: int, rng: np.random.Generator) -> Mixture:
        total = self.data.n_notes(index)
        first = int(rng.integers(0, max(total - self.length, 0) + 1))
        if self.names:
            mixed = mixture(self.data.notes(index, tracks=True)).rows(slice(first, first + self.length))
            low, high = PUBLISHED_KEYS if self.augment and len(mixed.pitch) else (0, 0)
            return mixed._replace(pitch=np.clip(mixed.pitch + int(rng.integers(low, high + 1)), 0, 127))
        room = 3 * self.length  # as parts may be left out
        mixed = mixture(self.data.notes(index, first, first + room, tracks=True), self.heights[index])
        if not len(mixed.names):
            return mixed
        like = np.flatnonzero([mixed.names.count(name) > 2 for name in mixed.names])
        if self.augment and len(like) < len(mixed.names) and rng.random() < ALIKE:  # the choir of a mass alone
            mixed = only(mixed, like.tolist()) if len(like) else mixed
        many = len(mixed.names)
        if many > MAX_PARTS or (self.augment and many > 2 and rng.random() < 0.25):
            size = min(int(rng.integers(2, many + 1)), MAX_PARTS)
            mixed = only(mixed, sorted(rng.choice(many, size, replace=False).tolist()))
        mixed = mixed.rows(slice(self.length))
        return varied(mixed, rng) if self.augment else mixed

    def batch(self, size: int, seed: int, step: int, rank: int = 0) -> dict[str, torch.Tensor]:
        """A padded batch (size, time): see `collate`."""
        rng = np.random.default_rng([seed, step, rank])
        return collate([self.draw(rng) for _ in range(size)])


def varied(mixed: Mixture, rng: np.random.Generator) -> Mixture:
    """Other keys, lengths and instruments; chords in any order; who of equals comes first by chance."""
    order = np.lexsort((rng.random(len(mixed.pitch)), mixed.length, mixed.pitch, mixed.onset))
    if rng.random() < 0.2:  # as a hand strikes them
        order = np.lexsort((rng.random(len(mixed.pitch)), mixed.onset))
    mixed = mixed.rows(order)
    if rng.random() < 0.3:
        mixed = mixed._replace(names=lent(mixed, rng))
        mixed = sorted_parts(mixed)
    low, high = (int(edge) for edge in (mixed.pitch.min(), mixed.pitch.max()))
    shift = int(np.clip(rng.integers(-3, 4), -low, 127 - high)) if rng.random() < 0.5 else 0
    length = mixed.length * rng.uniform(0.5, 1.1) if rng.random() < 0.25 else mixed.length
    return mixed._replace(pitch=mixed.pitch + shift, length=length)


def lent(mixed: Mixture, rng: np.random.Generator) -> tuple[str, ...]:
    """Other instruments that could play the parts of a mixture, in the order of their heights; or its own.

    Now and then all are of one kind: a quartet for four voices, four clarinets.
    """
    spans, means = [], []
    for part in range(len(mixed.names)):
        own = mixed.pitch[mixed.part == part]
        if not len(own):
            return mixed.names
        spans.append((int(np.percentile(own, 3)), int(np.percentile(own, 97))))
        means.append(float(own.mean()))
    names = list(mixed.names)
    if len(names) > 2 and max(voices_of(name) for name in names) <= 2 and rng.random() < ALIKE:
        lowest, highest = min(low for low, _ in spans), max(high for _, high in spans)
        all_fit = [name for name in _LENDERS if RANGE[name][0] <= lowest and highest <= RANGE[name][1]]
        if all_fit:
            return (str(rng.choice(all_fit)),) * len(names)
    for i, (low, high) in enumerate(spans):
        if voices_of(names[i]) > 2:
            continue
        fits = [name for name in _LENDERS if RANGE[name][0] <= low and high <= RANGE[name][1]]
        if fits:
            names[i] = str(rng.choice(fits))
    middles = [sum(RANGE[name]) / 2 for name in names]
    for i in range(len(names)):
        for j in range(len(names)):
            if means[i] > means[j] and middles[i] < middles[j] - 3:
                return mixed.names
    return tuple(names)


def sorted_parts(mixed: Mixture) -> Mixture:
    """The same with parts in the order of instruments, the higher ones of an instrument first."""
    means = [
        float(mixed.pitch[mixed.part == i].mean()) if (mixed.part == i).any() else 0.0 for i in range(len(mixed.names))
    ]
    order = sorted(range(len(mixed.names)), key=lambda i: (INSTRUMENTS.index(mixed.names[i]), -means[i]))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return mixed._replace(part=place[mixed.part], names=tuple(mixed.names[i] for i in order))
