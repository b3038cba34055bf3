"""Descriptions of music in the described layout: chords by the half bar, and the role of each part.

A chord is that of its bar. What is told of a part holds until the part is told again; a field of 0 is then unknown.

Told things are a pair of arrays, as `events.encode_table` takes them: the steps of the bar lines (m,), and events
(m, fields) of types CHORD and PART without a time. `describe` makes them of music, `told_in` finds them in events, and
`chord_row` and `part_row` make single ones.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from genaudio_core.music.chord_recognition import half_bar, simple
from genaudio_core.music.events import bar_steps, part_codes, timeline
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import (
    CHORD,
    DENSITIES,
    DESCRIBED,
    DYNAMICS_STEP,
    FIRST_HALF,
    METERS,
    NEXT_BAR,
    PART,
    QUALITIES,
    REGISTER_STEP,
    RESOLUTION,
    RESTS,
    SECOND_HALF,
    WHOLE_BAR,
)
from genaudio_core.score.instruments import DRUMS_CODE, PROGRAM_TO_LIVE_CODE

Told = tuple[np.ndarray, np.ndarray]
_COLUMN = DESCRIBED.columns
_FIELDS = len(DESCRIBED.fields)
_CODES = np.array([*PROGRAM_TO_LIVE_CODE, DRUMS_CODE])

# --- chords ----------------------------------------------------------------------------------------------------------


def chord_code(chord: Chord | None) -> int:
    """A chord as one number from 1; 0 is no chord. Ninths count as their sevenths."""
    if chord is None:
        return 0
    return (QUALITIES.index(simple(chord.quality)) * 12 + chord.root) * 12 + chord.bass + 1


def chord_of(code: int) -> Chord | None:
    """The chord of a code of `chord_code`."""
    if not code:
        return None
    rest, bass = divmod(code - 1, 12)
    quality, root = divmod(rest, 12)
    return Chord(root, QUALITIES[quality], bass)


def transposed(codes: np.ndarray, semitones: int) -> np.ndarray:
    """Chord codes (n,) moved by `semitones`; 0 stays 0."""
    rest, bass = np.divmod(codes - 1, 12)
    quality, root = np.divmod(rest, 12)
    moved = (quality * 12 + (root + semitones) % 12) * 12 + (bass + semitones) % 12 + 1
    return np.where(codes > 0, moved, 0)


def chord_row(place: int, code: int) -> np.ndarray:
    """A CHORD event (fields,) without a time."""
    row = np.zeros(_FIELDS, np.int16)
    rest, bass = divmod(code - 1, 12)
    quality, root = divmod(rest, 12)
    row[0] = CHORD
    row[_COLUMN['place']] = place
    row[_COLUMN['root']], row[_COLUMN['quality']], row[_COLUMN['bass']] = root + 1, quality + 1, bass + 1
    return row


# --- parts -----------------------------------------------------------------------------------------------------------


def density_code(onsets_a_quarter: np.ndarray) -> np.ndarray:
    """Density (n,) of parts that sound, 2 and up, by their onsets to the quarter note, (n,)."""
    return np.searchsorted(DENSITIES, onsets_a_quarter, side='left') + RESTS + 1


def part_row(instrument: int, part: int, density: int = 0, register: int = 0, dynamics: int = 0) -> np.ndarray:
    """A PART event (fields,) without a time, of codes; 0 is unknown, density `RESTS` says that it is silent."""
    row = np.zeros(_FIELDS, np.int16)
    row[0] = PART
    row[_COLUMN['instrument']], row[_COLUMN['part']] = instrument, part
    row[_COLUMN['density']], row[_COLUMN['register']], row[_COLUMN['dynamics']] = density, register, dynamics
    return row


# --- of music --------------------------------------------------------------------------------------------------------


def bars(meters: Sequence[tuple[int, int]], origin: int, end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps where bars begin from `origin` (a bar line) to `end`, their lengths, and their meter codes, each (n,)."""
    changes: dict[int, int] = {origin: 1}
    for at, code in meters:
        changes[max(at, origin)] = code
    starts, codes = [], []
    edges = [*sorted(at for at in changes if at < end), end]
    for begin, stop in itertools.pairwise(edges):
        lines = np.arange(begin, stop, bar_steps(changes[begin]))
        starts.append(lines)
        codes.append(np.full(len(lines), changes[begin]))
    if not starts:
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    start, code = np.concatenate(starts), np.concatenate(codes)
    full = start + np.array([bar_steps(int(c)) for c in range(len(METERS) + 1)])[code]
    return start, np.minimum(np.append(start[1:], full[-1]), full) - start, code


_HALVES = np.array([0] + [round((half_bar(*meter) or 0) * RESOLUTION) for meter in METERS])
"""Step of the bar in which its second half begins, by meter code; 0 for bars without halves."""


def describe(
    table: np.ndarray, meters: Sequence[tuple[int, int]] = ((0, 1),), chords: np.ndarray | None = None, origin: int = 0,
    *, ahead: bool = True,
) -> Told:  # fmt: skip
    """All that can be told of music, bar by bar.

    Parameters
    ----------
    table : array (n,) of TRACKED_NOTE_TYPE
    meters : (step, meter code) pairs in order
    chords : array (k, 2), optional
        Steps at which chords begin, and their codes.
    origin : step of the bar line to begin with
    ahead : whether each bar also tells the chord at the head of the next
    """
    table = table[(table['step'] >= origin) & (_CODES[table['program']] > 0)]
    if not len(table):
        return np.empty(0, np.int64), np.empty((0, _FIELDS), np.int16)
    start, length, code = bars(meters, origin, int(table['step'].max()) + 1)
    steps, rows, ranks = [], [], []
    if chords is not None and len(chords):
        for at, place, rank, chosen in _chord_events(start, length, code, chords, ahead):
            block = np.zeros((len(at), _FIELDS), np.int16)
            rest, bass = np.divmod(chosen - 1, 12)
            quality, root = np.divmod(rest, 12)
            block[:, 0], block[:, _COLUMN['place']] = CHORD, place
            block[:, _COLUMN['root']], block[:, _COLUMN['quality']] = root + 1, quality + 1
            block[:, _COLUMN['bass']] = bass + 1
            steps.append(at)
            rows.append(block)
            ranks.append(np.full(len(at), rank))
    at, block = _part_events(table, start, length)
    steps.append(at)
    rows.append(block)
    ranks.append(np.full(len(block), 4))
    step = np.concatenate(steps)
    order = np.lexsort((np.concatenate(ranks), step))
    return step[order], np.concatenate(rows)[order]


def _chord_events(start: np.ndarray, length: np.ndarray, code: np.ndarray, chords: np.ndarray, ahead: bool):
    """(steps, place, order among the events of a bar, chord codes) of the chords of bars."""

    def at(step: np.ndarray) -> np.ndarray:
        index = np.searchsorted(chords[:, 0], step, side='right') - 1
        return np.where(index >= 0, chords[np.maximum(index, 0), 1], 0)

    halves = _HALVES[code]
    halved = (halves > 0) & (halves < length)
    first = at(start + (np.where(halved, halves, length) - 1) // 2)
    second = np.where(halved, at(start + halves + (length - halves - 1) // 2), first)
    same = first == second
    for place, rank, use, chosen in (
        (WHOLE_BAR, 0, same, first), (FIRST_HALF, 1, ~same, first), (SECOND_HALF, 2, ~same, second),
    ):  # fmt: skip
        use = use & (chosen > 0)
        yield start[use], place, rank, chosen[use]
    if ahead and len(start) > 1:
        chosen = first[1:]
        use = chosen > 0
        yield start[:-1][use], NEXT_BAR, 3, chosen[use]


def _part_events(table: np.ndarray, start: np.ndarray, length: np.ndarray) -> Told:
    """PART events where they tell something new: steps, and events (m, fields)."""
    code = _CODES[table['program']].astype(np.int64)
    pairs, who = np.unique(code * 8 + part_codes(table), return_inverse=True)
    n, size = len(pairs), len(start) * len(pairs)
    bar = np.searchsorted(start, table['step'], side='right') - 1
    cell = bar * n + who
    notes = np.bincount(cell, minlength=size)
    pitch = np.bincount(cell, table['pitch'], minlength=size) / np.maximum(notes, 1)
    velocity = np.bincount(cell, table['velocity'], minlength=size) / np.maximum(notes, 1)
    onset = np.unique((cell << 24) + table['step'] - start[0])
    onsets = np.bincount(onset >> 24, minlength=size)
    sounds = notes > 0
    last = np.searchsorted(start, table['step'] + table['duration'] - 1, side='right') - 1
    for row in np.flatnonzero((last > bar) & (code != DRUMS_CODE)):  # few notes outlast their bar
        sounds[cell[row] : last[row] * n + who[row] + 1 : n] = True
    instrument, part = pairs // 8, pairs % 8
    density = np.where(sounds, density_code(onsets * RESOLUTION / np.repeat(length, n)), RESTS)
    pitched = (notes > 0) & np.tile(instrument != DRUMS_CODE, len(start))
    register = np.where(pitched, pitch // REGISTER_STEP + 1, 0)
    dynamics = np.where(notes > 0, velocity // DYNAMICS_STEP + 1, 0)
    figures = np.stack((density, register, dynamics), axis=1).astype(np.int64).reshape(len(start), n, 3)
    new = _news(figures)
    bars_of, parts_of = np.nonzero(new)
    block = np.zeros((len(bars_of), _FIELDS), np.int16)
    block[:, 0] = PART
    block[:, _COLUMN['instrument']], block[:, _COLUMN['part']] = instrument[parts_of], part[parts_of]
    block[:, [_COLUMN[name] for name in ('density', 'register', 'dynamics')]] = figures[new]
    return start[bars_of], block


def _news(figures: np.ndarray) -> np.ndarray:
    """Where figures (bars, parts, 3) say other than what was told last, (bars, parts) bool.

    What is told of a part holds until it is told again: when the part falls silent or comes in, or when one of its
    figures has gone two levels away. To tell it whenever anything changes takes three times as many events.
    """
    new = np.zeros(figures.shape[:2], bool)
    for part in range(figures.shape[1]):
        told: list[int] = []
        for bar, now in enumerate(figures[:, part].tolist()):
            rests = now[0] == RESTS
            if not told or rests != (told[0] == RESTS):
                tell = True
            else:
                # A figure of 0 is unknown: nothing was begun in this bar.
                tell = not rests and any(a and abs(a - b) > 1 for a, b in zip(now, told, strict=True))
            if tell:
                new[bar, part], told = True, now
    return new


def told_in(events: np.ndarray) -> Told:
    """Return the descriptions among events (n, fields) of the described layout, without their times."""
    use = (events[:, 0] == CHORD) | (events[:, 0] == PART)
    steps, rows = timeline(events, DESCRIBED)[0][use], events[use].copy()
    rows[:, 1:3] = 0
    return steps, rows


# --- of what is asked ------------------------------------------------------------------------------------------------


def chart_changes(
    chart: Sequence[Sequence[Chord]], meters: Sequence[tuple[int, int]], begin: int, end: int
) -> np.ndarray:
    """Steps at which the chords of a chart begin, and their codes, (n, 2); it comes round from the bar of `begin` on.

    Two chords share a bar by its halves, or evenly where the meter has none.
    """
    start, length, code = bars(meters, min((at for at, _ in meters), default=0), end)
    first = max(int(np.searchsorted(start, begin, side='right')) - 1, 0)
    rows = []
    for number, index in enumerate(range(first, len(start))):
        chords = chart[number % len(chart)]
        rows.append((int(start[index]), chord_code(chords[0])))
        if len(chords) > 1:
            half = int(_HALVES[code[index]]) or int(length[index]) // 2
            rows.append((int(start[index]) + half, chord_code(chords[1])))
    return np.array(rows, np.int64).reshape(-1, 2)


def tell_chords(changes: np.ndarray, meters: Sequence[tuple[int, int]], begin: int, end: int) -> Told:
    """Return the chord descriptions of the bars from step `begin` to `end`; `changes` (n, 2) as of `chart_changes`."""
    start, length, code = bars(meters, min((at for at, _ in meters), default=0), end)
    use = start + length > begin
    steps, rows, ranks = [], [], []
    for at, place, rank, chosen in _chord_events(start[use], length[use], code[use], changes, True):
        steps += at.tolist()
        rows += [chord_row(place, int(one)) for one in chosen]
        ranks += [rank] * len(at)
    order = np.lexsort((ranks, steps)) if steps else np.empty(0, np.int64)
    return np.array(steps, np.int64)[order], np.array(rows, np.int16).reshape(-1, _FIELDS)[order]
