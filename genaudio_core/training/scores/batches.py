"""Training sequences out of score data: which piece, where to begin, how to pad."""

import numpy as np
import torch

from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import describe, transposed
from genaudio_core.music.events import bar_steps, encode_table, first_beat, part_codes, published_notes, timeline
from genaudio_core.music.layouts import MMT, RESOLUTION, Encoding
from genaudio_core.training.scores.augment import transpose, transposition, vary
from genaudio_core.training.scores.forgetting import forget
from genaudio_core.training.scores.packed_scores import MIN_NOTES, ScoreData

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
        MMT's own rules, in its layout: every piece of 50 notes or more once an epoch; of one longer than 256 beats a
        random crop of 256, which is drawn again, up to ten times, while it has ten notes or fewer; plain transposition.

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
            raise GenaudioError(f'{data.path} has no pieces to {split} on. Prepare more, or exclude less.')
        if as_published:
            self.pieces = published_pieces(data, self.pieces)
        notes = np.array([data.n_notes(int(i)) for i in self.pieces], float)
        source = data.source[self.pieces]
        totals = np.bincount(source, notes, minlength=len(data.sources))
        weights = notes * np.maximum(totals, 1)[source] ** (balance - 1)
        self.cumulative = np.cumsum(weights) / weights.sum()
        self.cumulative[-1] = 1.0  # rounding must not leave a draw without a piece

    def sequence(self, rng: np.random.Generator) -> np.ndarray:
        """Events (n, fields), n ``length + 1`` at most (as published: ``length``, and all pieces are as likely)."""
        if self.as_published:
            return self._published(int(rng.choice(self.pieces)), rng)
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
        return events[: self.length + 1]

    def _published(self, index: int, rng: np.random.Generator) -> np.ndarray:
        table = transpose(published_notes(self.data.notes(index, as_published=True)), transposition(rng))
        spare = int(table['step'][-1]) // RESOLUTION + 1 - MMT.max_beat  # beats
        begin = 0
        for _ in range(10 if spare > 0 else 0):
            begin = int(rng.integers(spare)) * RESOLUTION
            inside = (table['step'] >= begin) & (table['step'] < begin + PUBLISHED_CROP)
            if inside.sum() > 10:
                break
        return published_sequence(table, self.encoding, self.length, begin)

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
        total = self.data.n_notes(index)
        # Many sequences begin with the piece, if it is longer than one: beginnings and ends must be learnt.
        spare = max(total - self.length // 2, 0)
        first = 0 if spare == 0 or rng.random() < 0.3 else int(rng.integers(0, spare))
        table = self.data.notes(
            index, first, first + 3 * self.length, tracks=self.encoding.has_descriptions,
            as_published=self.encoding.is_published,
        )  # fmt: skip
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
        """A padded batch (size, time, fields): see `collate`. As published it goes through the epochs of its rank."""
        rng = np.random.default_rng([seed, step, rank])
        if self.as_published:
            places = [divmod(step * size + i, len(self.pieces)) for i in range(size)]
            orders = {
                epoch: np.random.default_rng([seed, rank, epoch, 1]).permutation(self.pieces) for epoch, _ in places
            }
            return collate([self._published(int(orders[epoch][i]), rng) for epoch, i in places], self.encoding)
        return collate([self.sequence(rng) for _ in range(size)], self.encoding)


def published_pieces(data: ScoreData, pieces: np.ndarray) -> np.ndarray:
    """Those of `pieces` (indices, (n,)) that the published conversion keeps: of 50 notes in its layout or more.

    Raises
    ------
    GenaudioError
        If none is left.
    """
    kept = [i for i in pieces if len(published_notes(data.notes(int(i)))) >= MIN_NOTES]
    if not kept:
        raise GenaudioError(f'{data.path} contains no piece of {MIN_NOTES} notes that the published layout has.')
    return np.array(kept)


def published_sequence(table: np.ndarray, encoding: Encoding, length: int, begin: int = 0) -> np.ndarray:
    """The 256 beats of a note table (n,) from step `begin` on as events, at most `length` rows.

    One that is longer keeps its first rows and its own last one, so that an end is learnt where none is, as published.
    """
    inside = (table['step'] >= begin) & (table['step'] < begin + PUBLISHED_CROP)
    events = encode_table(table[inside], encoding, origin=begin)
    return events if len(events) <= length else np.concatenate([events[: length - 1], events[-1:]])


def published_windows(
    data: ScoreData, encoding: Encoding, length: int, split: str, exclude: tuple[str, ...] = ()
) -> list[np.ndarray]:
    """Events (n, fields) of all pieces of a split in order, their first 256 beats: what is validated on as published.

    Raises
    ------
    GenaudioError
        If there is none.
    """
    pieces = [i for i in data.indices(split) if data.sources[data.source[i]] not in exclude]
    tables = (published_notes(data.notes(int(i), as_published=True)) for i in published_pieces(data, np.array(pieces)))
    return [published_sequence(table, encoding, length) for table in tables]


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
    """The beginning of up to `per_source` held-out pieces of each source, events (n, fields): the
    same for every model.

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
        table = data.notes(int(index), tracks=told, as_published=encoding.is_published)
        meters = data.meters(int(index))
        origin = first_beat(table) if encoding.is_published else bar_line(int(table['step'][0]), meters)
        whole, table = len(table) <= 3 * length, table[: 3 * length]
        parts, description = None, None
        if told:
            parts, description = part_codes(table), describe(table, meters, data.chords(int(index)), origin)
        events = encode_table(table, encoding, meters=meters, origin=origin, end=whole, parts=parts, told=description)
        if len(events) > 10:
            found.append(events[: length + 1])
    return {source: found for source, found in windows.items() if found}
