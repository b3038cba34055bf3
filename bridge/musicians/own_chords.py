"""Harmony of a band that plays by itself: phrases of four chords of two bars, that begin at home and go back there."""

import random

from bridge.musicians.musician import ChordAt
from genaudio_core.music.keys import CHORDS, SCALES, Chord, classes_of

BARS = 2  # of a chord
PHRASE = 4  # chords
_QUALITIES = ('', 'm', 'sus4', '5', 'dim', 'aug')  # of triads, the best first
_WEIGHTS = {0: 1, 1: 3, 2: 1, 3: 5, 4: 5, 5: 4, 6: 3}  # how often a degree is gone to


def chords(
    start: float, end: float, bar: float, key: tuple[int, tuple[int, ...]] | None, seed: int
) -> tuple[ChordAt, ...]:
    """The chords in [start, end), in quarter notes; the same place always has the same.

    Parameters
    ----------
    bar : length of a bar in quarter notes
    key : tonic (pitch class) and scale; C major where none is known
    """
    tonic, scale = key or (0, SCALES['major'])
    triads = _triads(tonic, scale)
    length = BARS * bar
    found = []
    for number in range(int(start // length), int(-(-(end - 1e-6) // length))):
        at = max(number * length, start)
        found.append(ChordAt(at, _phrase(triads, number // PHRASE, seed)[number % PHRASE], 'own'))
    return tuple(found)


def _triads(tonic: int, scale: tuple[int, ...]) -> dict[int, Chord]:
    """The chords on the degrees of a scale that have one, by degree from 0."""
    classes, found = classes_of(tonic, scale), {}
    for degree, interval in enumerate(scale):
        root = (tonic + interval) % 12
        quality = next((each for each in _QUALITIES if classes_of(root, CHORDS[each]) <= classes), None)
        if quality is not None and (quality not in ('dim', 'aug') or not found):
            found[degree] = Chord(root, quality, root)
    return found or {0: Chord(tonic, '5', tonic)}


def _phrase(triads: dict[int, Chord], number: int, seed: int) -> list[Chord]:
    rng = random.Random(f'{seed}/{number}')
    home = min(triads)
    degrees = [home]
    while len(degrees) < PHRASE:
        others = [
            degree for degree in triads if degree != degrees[-1] and (degree != home or len(degrees) < PHRASE - 1)
        ]
        degrees.append(rng.choices(others, [_WEIGHTS.get(each, 1) for each in others])[0] if others else home)
    return [triads[degree] for degree in degrees]
