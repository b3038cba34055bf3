"""Training sequences out of score data: which piece, where to begin, how to pad."""

import numpy as np
import torch

from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import describe, transposed
from genaudio_core.music.events import bar_steps, encode_table, part_codes, timeline
from genaudio_core.music.layouts import MMT, RESOLUTION, Encoding
from genaudio_core.training.scores.augment import augment, transpose, transposition, vary
from genaudio_core.training.scores.forgetting import forget
from genaudio_core.training.scores.packed_scores import ScoreData

PUBLISHED_CROP = MMT.max_beat * RESOLUTION  # steps


def bar_line(step: int, meters: list[tuple[int, int]]) -> int:
    """Step of the bar line at or before `step`."""
    begin, code = 0, 1
    for at, meter in meters:
        if at > step:
            break
        begin, code = at, meter
    return begin + (step - begin) // bar_steps(code) * bar_steps(code)


class WindowSampler:
    """Draws training sequences; what it draws depends only on (seed, step, rank).

    Parameters
    ----------
    balance : float
        A source is drawn in proportion to ``notes ** balance``: 1 is by size, 0 all alike. The clean data holds
        17 million classical notes and under one of band music, so the bundled model uses 0.5.
    as_published : bool
        MMT's own rules: whole pieces by number, first 256 beats or a random crop, plain transposition.

    Raises
    ------
    GenaudioError
        If there is no piece to draw.
    """

    def __init__(
        self,
        data: ScoreData,
        encoding: Encoding,
        length: int,
        *,
        split: str = 'train',
        balance: float = 0.5,
        exclude: tuple[str, ...] = (),
        as_published: bool = False,
    ):
        self.data, self.encoding, self.length, self.as_published = data, encoding, length, as_published
        left_out = [data.sources.index(name) for name in exclude if name in data.sources]
        pieces = data.indices(split)
        self.pieces = pieces[~np.isin(data.source[pieces], left_out)]
        if not len(self.pieces):
            raise GenaudioError(f'{data.path} holds no pieces to {split} on. Prepare more, or exclude less.')
        notes = np.array([data.n_notes(int(i)) for i in self.pieces], float)
        if as_published:
            weights = np.ones(len(notes))
        else:
            source = data.source[self.pieces]
            totals = np.bincount(source, notes, minlength=len(data.sources))
            weights = notes * np.maximum(totals, 1)[source] ** (balance - 1)
        self.cumulative = np.cumsum(weights) / weights.sum()
        self.cumulative[-1] = 1.0  # rounding must not leave a draw without a piece

    def sequence(self, rng: np.random.Generator) -> np.ndarray:
        """One event array of at most ``length + 1`` rows."""
        for _ in range(10):
            index = int(self.pieces[np.searchsorted(self.cumulative, rng.random())])
            events = self._crop(index, rng)
            if (events[:, 0] == 3).sum() > 10:  # as published: a crop with over ten notes, or the tenth try
                break
        return events

    def _crop(self, index: int, rng: np.random.Generator) -> np.ndarray:
        table, meters, begin, ends, chords = self._cut(index, rng)
        parts, told = None, None
        if self.encoding.has_descriptions:
            told, knows_parts = forget(describe(table, meters, chords, begin), rng)
            parts = part_codes(table) if knows_parts else None
        events = encode_table(table, self.encoding, meters=meters, origin=begin, end=ends, parts=parts, told=told)
        if self.as_published and len(events) > self.length:
            # Published: the first 1,023 rows and the song's own last one, so that an end is learnt where none is.
            return np.concatenate([events[: self.length - 1], events[-1:]])
        return events[: self.length + 1]

    def excerpt(self, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
        """An excerpt as notes, for models with an encoding of their own.

        Returns
        -------
        table : array (n,) of NOTE_TYPE, sorted; step 0 is the bar line (or beat) that the excerpt begins with
        ends : bool
            Whether the piece ends with it.
        """
        for _ in range(10):
            index = int(self.pieces[np.searchsorted(self.cumulative, rng.random())])
            table, _, begin, ends, _ = self._cut(index, rng)
            table = table[table['step'] >= begin]
            if len(table) > 10:
                break
        table['step'] -= begin
        return table, ends

    def _cut(
        self, index: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, list[tuple[int, int]], int, bool, np.ndarray]:
        """Augmented notes, meters, first step, whether the piece ends there, and the chords (steps, codes)."""
        meters = self.data.meters(index)
        if self.as_published:
            table = augment(self.data.notes(index), rng, full=False)
            begin = int(table['step'][0]) // RESOLUTION * RESOLUTION
            last = int(table['step'][-1])
            if last - begin > PUBLISHED_CROP:
                begin = int(rng.integers(begin, last - PUBLISHED_CROP // 2)) // RESOLUTION * RESOLUTION
            return table, meters, begin, True, self.data.chords(index)
        total = self.data.n_notes(index)
        # Many sequences begin with the piece, if it is longer than one: beginnings and ends must be learnt.
        spare = max(total - self.length // 2, 0)
        first = 0 if spare == 0 or rng.random() < 0.3 else int(rng.integers(0, spare))
        table = self.data.notes(index, first, first + 3 * self.length, tracks=self.encoding.has_descriptions)
        begin = bar_line(int(table['step'][0]), meters)
        if first:  # the crop must begin with a whole bar
            later = table['step'] >= begin + bar_steps(1)
            if later.any():
                begin = bar_line(int(table['step'][later][0]), meters)
        ends = first + len(table) >= total
        semitones = transposition(rng)
        chords = self.data.chords(index).copy()
        chords[:, 1] = transposed(chords[:, 1], semitones)
        return vary(transpose(table, semitones), rng), meters, begin, ends, chords

    def batch(self, size: int, seed: int, step: int, rank: int = 0) -> dict[str, torch.Tensor]:
        """A padded batch: see `collate`."""
        rng = np.random.default_rng([seed, step, rank])
        return collate([self.sequence(rng) for _ in range(size)], self.encoding)


def collate(sequences: list[np.ndarray], encoding: Encoding) -> dict[str, torch.Tensor]:
    """Pad event arrays to one batch.

    Returns
    -------
    dict
        ``events`` (batch, time, fields), ``step`` and ``phase`` (batch, time): the inputs;
        ``target`` (batch, time, fields) with type -1 on padding, ``target_phase`` (batch, time).
    """
    longest = max(len(sequence) for sequence in sequences) - 1
    n, fields = len(sequences), len(encoding.fields)
    events = np.zeros((n, longest + 1, fields), np.int64)
    step, phase = np.zeros((2, n, longest + 1), np.int64)
    real = np.zeros((n, longest + 1), bool)
    for i, sequence in enumerate(sequences):
        events[i, : len(sequence)] = sequence
        step[i, : len(sequence)], phase[i, : len(sequence)] = timeline(sequence, encoding)
        real[i, : len(sequence)] = True
    target = events[:, 1:].copy()
    target[~real[:, 1:], 0] = -1
    arrays = {
        'events': events[:, :-1], 'step': step[:, :-1], 'phase': phase[:, :-1],
        'target': target, 'target_phase': phase[:, 1:],
    }  # fmt: skip
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def fixed_windows(
    data: ScoreData, encoding: Encoding, length: int, split: str, *, per_source: int, exclude: tuple[str, ...] = (),
    told: bool = False,
) -> dict[str, list[np.ndarray]]:  # fmt: skip
    """The beginning of up to `per_source` held-out pieces of each source: the same for every model.

    Pieces are taken in the order of a fixed shuffle, so that a small number is a fair sample. With `told`, for the
    described layout, all that can be told of them is: chords, parts, and which part each note belongs to.
    """
    windows: dict[str, list[np.ndarray]] = {}
    order = np.random.default_rng(0).permutation(data.indices(split))
    for index in order:
        source = data.sources[data.source[index]]
        found = windows.setdefault(source, [])
        if len(found) >= per_source or source in exclude:
            continue
        table, meters = data.notes(int(index), tracks=told), data.meters(int(index))
        origin = bar_line(int(table['step'][0]), meters)
        if not encoding.has_meter:
            origin = origin // RESOLUTION * RESOLUTION
        whole, table = len(table) <= 3 * length, table[: 3 * length]
        parts, description = None, None
        if told:
            parts, description = part_codes(table), describe(table, meters, data.chords(int(index)), origin)
        events = encode_table(table, encoding, meters=meters, origin=origin, end=whole, parts=parts, told=description)
        if len(events) > 10:
            found.append(events[: length + 1])
    return {source: found for source, found in windows.items() if found}
