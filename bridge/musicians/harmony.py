"""A little music theory for the live side: which key was heard, and notes that fit."""

from collections.abc import Iterable, Sequence

from bridge.musicians.musician import HeardNote
from genaudio_core.music.keys import SCALES
from genaudio_core.score.instruments import DRUMS

# Krumhansl and Kessler's probe-tone profiles (1982), major and minor.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def weights(notes: Iterable[HeardNote], start: float, end: float) -> list[float]:
    """Return how many beats each of the 12 pitch classes sounds in [start, end); drums do not count."""
    found = [0.0] * 12
    for note in notes:
        if note.instrument != DRUMS:
            found[note.note % 12] += max(0.0, min(note.beat + note.duration, end) - max(note.beat, start))
    return found


def find_key(profile: Sequence[float]) -> tuple[int, tuple[int, ...]] | None:
    """Return the likeliest (tonic, scale) of a pitch-class profile by Krumhansl's method; None for silence."""
    if not any(profile):
        return None
    best = (-2.0, 0, 'major')
    mean = sum(profile) / 12
    for name, reference in (('major', _MAJOR), ('minor', _MINOR)):
        centre = sum(reference) / 12
        below = sum((x - centre) ** 2 for x in reference) ** 0.5 * sum((x - mean) ** 2 for x in profile) ** 0.5
        for tonic in range(12):
            above = sum((profile[(tonic + i) % 12] - mean) * (reference[i] - centre) for i in range(12))
            best = max(best, (above / below if below else 0.0, -tonic, name))
    return -best[1], SCALES[best[2]]


def snap(note: int, tonic: int, scale: Sequence[int]) -> int:
    """Return the nearest note of the scale, the lower of two."""
    for distance in range(12):
        for candidate in (note - distance, note + distance):
            if (candidate - tonic) % 12 in scale:
                return candidate
    return note


def step(note: int, steps: int, tonic: int, scale: Sequence[int]) -> int:
    """Return the note `steps` scale steps away."""
    note = snap(note, tonic, scale)
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        note += direction
        while (note - tonic) % 12 not in scale:
            note += direction
    return note


def fold(note: int, low: int, high: int) -> int:
    """Move `note` by octaves into low..high (inclusive); the nearest end where the range is under an octave."""
    while note < low:
        note += 12
    while note > high:
        note -= 12
    return min(max(note, low), high)
