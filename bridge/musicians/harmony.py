"""A little music theory for the live side: which key was heard, and notes that fit."""

from collections.abc import Sequence

import numpy as np

from genaudio_core.music.harmonising import Key, find_keys
from genaudio_core.score.notes import Note

KEY_BARS = 8  # bars of what was heard that tell the key


def heard_key(notes: Sequence[Note], start: float, bar: float) -> Key | None:
    """The key at beat `start`, by what was heard in the bars before; None for silence.

    Parameters
    ----------
    notes : pitched ones that begin before `start`, in order of onset
    bar : length of a bar in quarter notes
    """
    first = max(start - KEY_BARS * bar, 0.0)
    first -= first % bar
    found = find_keys([note for note in notes if note.beat >= first], np.arange(first, start, bar).tolist(), start)
    return found[-1][1] if found else None


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
