"""Does a band play together? Figures on the parts of a score, each in a function with a known answer in the tests.

Times are in quarter notes, shares are 0 to 1, and nan says that there was nothing to measure. A part is a list of
`Note`; drums are left out where pitch is asked (by the caller, who knows which part they are).
"""

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from genaudio_core.music.chord_recognition import Segment
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import RANGE, voices_of
from genaudio_core.score.notes import Note, Score

NEAR = 0.1  # quarter notes by which played music misses its place on the grid
TOUCH = 0.2  # quarter notes that two notes sound together at least to be heard against each other
LEGATO = 0.15  # quarter notes by which a note of a line may last into the next
SNARES = (37, 38, 39, 40)  # side stick, snares, clap
SEMITONES = (1, 11)  # between pitch classes: minor seconds, major sevenths, minor ninths
GRID = 4  # places in a quarter note at which rhythms are compared
REGISTER = 4  # semitones that a part may go beyond where it was and still be in its register


class Bar(NamedTuple):
    """A bar: from one line to before the next."""

    start: float
    end: float


def bars_of(score: Score, start: float, end: float) -> list[Bar]:
    """The whole bars of a score between two beats."""
    bars = []
    line = score.bar_start(start + 1e-6)
    while line < end - 1e-6:
        following = score.next_bar(line + 1e-3)
        if line >= start - 1e-6 and following <= end + 1e-6:
            bars.append(Bar(line, following))
        line = following
    return bars


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return sum(found) / len(found) if found else math.nan


def _in(bar: Bar, notes: Iterable[Note]) -> list[Note]:
    """The notes that belong to a bar: one a little before its line does."""
    return [note for note in notes if bar.start - NEAR <= note.beat < bar.end - NEAR]


# --- who plays -------------------------------------------------------------------------------------------------------


def presence(notes: Sequence[Note], bars: Sequence[Bar]) -> float:
    """Share of the bars in which a part sounds: a note begins there, or is held for `TOUCH` at least."""

    def sounds(note: Note, bar: Bar) -> bool:
        if bar.start - NEAR <= note.beat < bar.end - NEAR:
            return True
        return min(note.beat + note.duration, bar.end) - max(note.beat, bar.start) >= TOUCH

    return _share(any(sounds(note, bar) for note in notes) for bar in bars)


# --- harmony ---------------------------------------------------------------------------------------------------------


def in_key(notes: Iterable[Note], pitch_classes: Iterable[int]) -> float:
    """Share of the notes whose pitch class is one of `pitch_classes`."""
    allowed = set(pitch_classes)
    return _share(note.note % 12 in allowed for note in notes)


def clash(melody: Iterable[Note], others: Iterable[Note]) -> float:
    """Share of the melody's notes that sound for `TOUCH` or longer against a semitone in another part.

    Minor seconds, major sevenths and minor ninths, in any octave, count. A note that is shorter than `TOUCH` is
    taken as if it lasted that long.
    """
    beside = sorted(others)
    longest = max((note.duration for note in beside), default=0.0)
    starts = [note.beat for note in beside]

    def meets(note: Note) -> bool:
        end = note.beat + max(note.duration, TOUCH)
        first = int(np.searchsorted(starts, note.beat - longest - TOUCH))
        for other in itertools.islice(beside, first, None):
            if other.beat >= end:
                return False
            together = min(end, other.beat + max(other.duration, TOUCH)) - max(note.beat, other.beat)
            if together >= TOUCH - 1e-6 and (note.note - other.note) % 12 in SEMITONES:
                return True
        return False

    return _share(meets(note) for note in melody)


def chord_fit(notes: Iterable[Note], chords: Sequence[Segment], strong: Sequence[float]) -> float:
    """Share of the notes struck on a strong beat that are tones of the chord that holds there.

    Parameters
    ----------
    strong : the strong beats, ascending, such as ``chord_recognition.slots_of`` gives: lines and middles of bars
    """
    tones = [(segment.beat, segment.beat + segment.duration, segment.chord.pitch_classes) for segment in chords]
    places = np.asarray(strong, float)
    hits = []
    for note in notes:
        near = places[np.abs(places - note.beat) <= NEAR]
        if not len(near):
            continue
        beat = float(near[0])
        held = next((classes for start, end, classes in tones if start - 1e-6 <= beat < end - 1e-6), None)
        if held is not None:
            hits.append(note.note % 12 in held)
    return _share(hits)


def bass_on_root(bass: Sequence[Note], chords: Sequence[Segment]) -> float:
    """Share of the chords that come in over their root (or the bass they name) in the bass part.

    What counts is the lowest bass note that sounds as the chord comes in; without one, the first that begins in the
    first half of the chord. A bass that is silent there has missed it.
    """
    hits = []
    for segment in chords:
        moment = segment.beat + NEAR
        lying = [n for n in bass if n.beat <= moment and n.beat + max(n.duration, TOUCH) > moment]
        later = [n for n in bass if moment < n.beat <= segment.beat + segment.duration / 2]
        heard = min(lying, key=lambda n: n.note) if lying else min(later, default=None)
        hits.append(heard is not None and heard.note % 12 in (segment.chord.root, segment.chord.bass))
    return _share(hits)


# --- rhythm ----------------------------------------------------------------------------------------------------------


def backbeat(drums: Sequence[Note], bars: Sequence[Bar], beats: Sequence[float]) -> float:
    """Share of the places ``bar.start + beat`` at which a snare, side stick or clap is struck.

    Parameters
    ----------
    beats : quarter notes from the line; 1 and 3 are the second and the fourth of a 4/4
    """
    snares = np.array(sorted(note.beat for note in drums if note.note in SNARES))
    places = [bar.start + beat for bar in bars for beat in beats]
    return _share(bool(len(snares)) and float(np.abs(snares - place).min()) <= NEAR for place in places)


def _rhythm(notes: Sequence[Note], bar: Bar) -> frozenset[int]:
    return frozenset(max(round((note.beat - bar.start) * GRID), 0) for note in _in(bar, notes))


def rhythm_likeness(
    new: Sequence[Note], new_bars: Sequence[Bar], given: Sequence[Note], given_bars: Sequence[Bar]
) -> float:
    """How much the rhythm of a part is still its own: mean over the new bars in which it plays.

    Of a new bar and the given bar most like it: twice the onsets they share over all their onsets (on a grid of
    sixteenths, chords as one). nan if the part rests in all given or all new bars.
    """
    known = [rhythm for bar in given_bars if (rhythm := _rhythm(given, bar))]
    played = [rhythm for bar in new_bars if (rhythm := _rhythm(new, bar))]
    if not known or not played:
        return math.nan
    return float(np.mean([max(2 * len(one & other) / (len(one) + len(other)) for other in known) for one in played]))


def register_likeness(new: Sequence[Note], given: Sequence[Note]) -> float:
    """Share of the new notes that lie where the part was: within `REGISTER` semitones of its middle 90%."""
    if not given:
        return math.nan
    low, high = np.percentile([note.note for note in given], [5, 95])
    return _share(low - REGISTER <= note.note <= high + REGISTER for note in new)


# --- likeness of pieces ----------------------------------------------------------------------------------------------


def equal_notes(one: Iterable[Note], other: Iterable[Note]) -> float:
    """Twice the notes (onset and pitch) that two versions share, over all their notes."""
    first, second = (Counter((round(n.beat * RESOLUTION), n.note) for n in notes) for notes in (one, other))
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else math.nan


FEWEST = 3  # notes of a bar that can be said to be copied; of two pitches at least: one note repeated is nobody's


def contents(notes: Sequence[Note], bars: Sequence[Bar], *, transposed: bool = False) -> list[Hashable]:
    """Each bar of a part, to be compared: onsets and pitches; None for a bar that is nobody's (`FEWEST`).

    Parameters
    ----------
    transposed : pitches are counted from the bar's first note, so that a bar is the same in every key
    """
    result: list[Hashable] = []
    ordered = sorted(notes)
    for bar in bars:
        first = bisect.bisect_left(ordered, bar.start - NEAR, key=_onset)
        inside = itertools.takewhile(
            lambda note, end=bar.end - NEAR: note.beat < end, itertools.islice(ordered, first, None)
        )
        own = sorted((round((note.beat - bar.start) * RESOLUTION), note.note) for note in inside)
        base = own[0][1] if own and transposed else 0
        is_own = len(own) >= FEWEST and len({pitch for _, pitch in own}) > 1
        result.append(tuple((step, pitch - base) for step, pitch in own) if is_own else None)
    return result


def _onset(note: Note) -> float:
    return note.beat


class CopyIndex:
    """Bars of other music, to find the longest run of bars in a row that is copied from there."""

    def __init__(self) -> None:
        self._places: dict[Hashable, list[tuple[int, int]]] = defaultdict(list)  # content -> (part, number of the bar)
        self._parts = 0

    def add(self, bars: Sequence[Hashable]) -> None:
        """Take a part in: its bars as `contents` gives them."""
        for number, content in enumerate(bars):
            if content is not None:
                self._places[hash(content)].append((self._parts, number))
        self._parts += 1

    def longest_run(self, bars: Sequence[Hashable]) -> int:
        """Most bars in a row of `bars` that stand in a row in one part of the index."""
        best, runs = 0, {}
        for content in bars:
            places = self._places.get(hash(content), ()) if content is not None else ()
            runs = {(part, number): runs.get((part, number - 1), 0) + 1 for part, number in places}
            best = max(best, max(runs.values(), default=0))
        return best


# --- what an instrument can play -------------------------------------------------------------------------------------


def out_of_range(notes: Iterable[Note], instrument: str) -> float:
    """Share of the notes that the instrument (a class of `instruments`) does not have."""
    low, high = RANGE[instrument]
    return _share(not low <= note.note <= high for note in notes)


def too_many_voices(notes: Iterable[Note], instrument: str) -> float:
    """Share of the notes that begin while the instrument has its hands full (see `instruments.voices_of`).

    A note that ends within `LEGATO` after another began is no second voice.
    """
    most, sounding, hits = voices_of(instrument), [], []
    for note in sorted(notes):
        sounding = [end for end in sounding if end > note.beat + LEGATO]
        hits.append(len(sounding) >= most)
        sounding.append(note.beat + max(note.duration, 2 * LEGATO))
    return _share(hits)
