"""The phrase that an answer takes up: its chords come round, its rhythm returns, and its line is kept near.

The phrase is what was played in the bars right before the answer, back to the first one that is silent. It is read as a
score whose one track plays on (`genaudio_core.continuation.roles.going_on`), as `genaudio continue` reads a file; so
whoever answers says something else in the same manner of speaking. Times are session beats.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bridge.musicians.harmony import fold
from bridge.musicians.musician import ChordAt, MusicControls, Request
from genaudio_core.continuation.cues import Who
from genaudio_core.continuation.roles import Role, Struck, going_on
from genaudio_core.music import grooves
from genaudio_core.music.harmonising import Key, harmonise
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import RANGE
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

LONGEST = 8  # bars that a phrase has at most
LEGATO = 0.2  # quarter notes
NEAR = 7  # semitones around a note of the phrase in which the answer has one


class Phrase(NamedTuple):
    """A phrase as an answer takes it up: a role that plays it, and its chords."""

    role: Role  # of the one who answers; `Role.given` by the number of the bar in the session
    chords: tuple[ChordAt, ...]  # from the first bar line of the answer on


def read_phrase(
    notes: Sequence[Note], request: Request, instrument: str, who: Who, key: Key | None = None,
    controls: MusicControls | None = None,
) -> Phrase | None:  # fmt: skip
    """The phrase before a request, for the one who answers; None if there was silence.

    Parameters
    ----------
    notes : pitched ones of the player that begin before the request, in order of onset
    instrument : class of the one who answers; notes that it has not got are moved by octaves
    key : that was heard, where it is known already
    controls : of the one who answers, whose range and density count; by default those of the band
    """
    bar = request.bar
    number = int(request.start // bar)
    ends = [(note.beat // bar, (note.beat + note.duration - 1e-6) // bar) for note in notes]
    sounding = {each for begin, end in ends for each in range(int(begin), int(end) + 1)}
    last = max((each for each in sounding if number - LONGEST <= each < number), default=None)
    first = number if last is None else last
    while first - 1 in sounding and first > number - LONGEST:
        first -= 1
    # What was played in the bar in which the answer begins is only taken up if there is nothing else.
    origin, begin = first * bar, max(number - first, 1) * bar
    low, high = RANGE[instrument]
    density = request.controls.density
    if controls is not None:
        low, high, density = max(low, controls.low), min(high, controls.high), controls.density
    mine = [
        note._replace(beat=note.beat - origin, note=fold(note.note, low, high)) for note in notes if note.beat >= origin
    ]
    if not mine:
        return None
    score = Score([Track.of(instrument, mine)], [Tempo(0.0, request.tempo)], [Meter(0.0, *request.meter)])
    heard = harmonise(score, begin, seed=request.seed, key=key)
    roles, harmony, _ = going_on(score, heard, begin, begin + request.end - number * bar, [instrument], parts=False)
    if not roles:
        return None
    role = replace(roles[0], who=who, near=NEAR, notes=_together(mine))
    rng = np.random.default_rng([request.seed, number])
    role.given = _by_number([_as_dense(one, request, density, rng) for one in role.given], number)
    chords = tuple(ChordAt(one.beat + number * bar - begin, one.chord, 'phrase') for one in harmony.chords)
    return Phrase(role, chords)


def _as_dense(bar: Struck, request: Request, density: float, rng: np.random.Generator) -> Struck:
    """A bar of the phrase as dense as is asked for: without some of its weak notes, or with more between them."""
    more = 2 * density - 1
    strong = grooves.strong_places(request.meter)
    kept = {at: hits for at, hits in bar.items() if at in strong or rng.random() < 1 + more}
    for at, following in itertools.pairwise([*sorted(bar), round(request.bar * RESOLUTION)]):
        if (following - at) % 6 == 0 and rng.random() < more:  # halves of what is even
            kept[(at + following) // 2] = [max(bar[at], key=lambda hit: hit.pitch)]
    return kept


def _by_number(bars: list[Struck], number: int) -> list[Struck]:
    """Bars, the first for the one of this number, each where its number leads; a silent one is as the one before."""
    filled: list[Struck] = []
    for struck in bars:
        filled.append(struck or (filled[-1] if filled else next((one for one in bars if one), struck)))
    return [filled[(place - number) % len(filled)] for place in range(len(filled))]


def _together(notes: Sequence[Note]) -> int:
    """How many of the notes (in order of onset) sound at once, at most; legato is not counted as two."""
    begins = [note.beat for note in notes]
    ends = sorted(max(note.beat, note.beat + note.duration - LEGATO) for note in notes)
    return max(bisect.bisect_right(begins, beat) - bisect.bisect_right(ends, beat) for beat in begins)
