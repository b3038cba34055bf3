"""From written notes to played ones: swing, accents, phrase arcs, and the timing of a player."""

import math
import random

from genaudio_core.score.notes import Note
from genaudio_core.training.band_writer.meters import Bar, swung

MAX_SHIFT = 0.035  # quarter notes: less than half a step of the model's grid, so that timing never changes what is read


def warp(beat: float, swing: float) -> float:
    """A beat of the straight grid as a band with this swing plays it."""
    return beat if abs(swing - 0.5) < 1e-3 else swung(beat, swing)


def perform(
    notes: list[Note],
    bar: Bar,
    start: float,
    bars: int,
    gain: float,
    swing: float,
    late: float,
    tightness: float,
    rng: random.Random,
    *,
    accents: float = 14.0,
) -> list[Note]:
    """Return the notes of a section as they are played.

    Parameters
    ----------
    notes : in quarter notes on the straight grid
    start, bars : where the section begins and how many bars it has
    gain : level of the section, about 1
    swing : where the second half of a quarter begins; only where bars count in quarters
    late : quarter notes by which this player lies behind the beat (or before it)
    tightness : standard deviation of the player's timing, in quarter notes
    """
    swing = swing if bar.denominator == 4 else 0.5
    played = []
    for note in notes:
        place = note.beat - start
        arc = math.sin(math.pi * ((place / bar.length) % 4) / 4)
        weight = bar.weight(place)
        velocity = gain * (note.velocity + accents * (weight - 0.4) + 6 * arc + rng.gauss(0, 3.5))
        beat, end = start + warp(place, swing), start + warp(place + note.duration, swing)
        shift = max(-MAX_SHIFT, min(MAX_SHIFT, late + rng.gauss(0, tightness)))
        beat = max(0.0, beat + shift)
        played.append(Note(beat, max(0.05, end + shift - beat), note.note, round(max(8, min(127, velocity)))))
    return played


def one_at_a_time(notes: list[Note]) -> list[Note]:
    """A part of one voice: a note ends where the next begins; of notes at once the highest stays."""
    result: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.beat, note.note)):
        if result and note.beat - result[-1].beat < 0.06:
            result[-1] = max(result[-1], note, key=lambda n: n.note)
            continue
        if result and result[-1].beat + result[-1].duration > note.beat:
            result[-1] = result[-1]._replace(duration=note.beat - result[-1].beat)
        result.append(note)
    return result


def untangled(notes: list[Note]) -> list[Note]:
    """No key is struck while it sounds: the earlier note ends, and of two at once one stays."""
    following: dict[int, float] = {}
    result = []
    for note in sorted(notes, reverse=True):
        next_onset = following.get(note.note, math.inf)
        if next_onset - note.beat < 0.03:
            continue
        following[note.note] = note.beat
        result.append(note._replace(duration=min(note.duration, next_onset - note.beat)))
    return sorted(result)
