"""Changes to a note table that leave it music: transposition, other instruments of the family, fewer tracks."""

import numpy as np

from genaudio_core.music.events import DRUM_PROGRAM
from genaudio_core.score.instruments import CODE_TO_PROGRAM, DRUMS, FAMILY, INSTRUMENTS, PROGRAM_TO_LIVE_CODE

_FAMILY_PROGRAMS = {
    family: [
        CODE_TO_PROGRAM[INSTRUMENTS.index(name) + 1]
        for name, other in FAMILY.items()
        if other == family and name != DRUMS
    ]
    for family in set(FAMILY.values())
}


def transpose(table: np.ndarray, semitones: int) -> np.ndarray:
    """Move all notes of a table (n,) but drums; pitches that leave 0..127 are clipped, as in the published code."""
    table = table.copy()
    moved = np.clip(table['pitch'].astype(int) + semitones, 0, 127)
    table['pitch'] = np.where(table['program'] == DRUM_PROGRAM, table['pitch'], moved)
    return table


def substitute(table: np.ndarray, rng: np.random.Generator, probability: float) -> np.ndarray:
    """Give each program of a note table (n,), with `probability`, to another instrument of its family."""
    table = table.copy()
    before = table['program'].copy()
    for program in np.unique(before):
        code = PROGRAM_TO_LIVE_CODE[program] if program != DRUM_PROGRAM else 0
        if code and rng.random() < probability:
            table['program'][before == program] = rng.choice(_FAMILY_PROGRAMS[FAMILY[INSTRUMENTS[code - 1]]])
    return table


def drop_tracks(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave out a random part of the instruments of a note table (n,), never all."""
    programs = np.unique(table['program'])
    if len(programs) < 2:
        return table
    kept = rng.choice(programs, size=rng.integers(1, len(programs)), replace=False)
    return table[np.isin(table['program'], kept)]


def rescale_velocity(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Play a note table (n,) softer or louder, with more or less contrast."""
    table = table.copy()
    velocity = table['velocity'].astype(float)
    centre = velocity.mean()
    velocity = (velocity - centre) * rng.uniform(0.7, 1.2) + centre + rng.uniform(-24, 24)
    table['velocity'] = np.clip(np.rint(velocity), 1, 127)
    return table


def transposition(rng: np.random.Generator) -> int:
    """U{-5..6} semitones, as published."""
    return int(rng.integers(-5, 7))


def vary(table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give a note table (n,) other instruments of the family, fewer tracks, other velocities."""
    table = substitute(table, rng, 0.1)
    if rng.random() < 0.1:
        table = drop_tracks(table, rng)
    return rescale_velocity(table, rng)


def augment(table: np.ndarray, rng: np.random.Generator, *, full: bool = True) -> np.ndarray:
    """Transpose a note table (n,) by U{-5..6} (as published); with `full` also `vary` it."""
    table = transpose(table, transposition(rng))
    return vary(table, rng) if full else table
