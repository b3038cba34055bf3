"""An audio script becomes a mix: the foreground is made first, its lengths give the timeline, then the background.

`compose` returns everything in memory; ``ardour_session.py`` writes it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.script.makers import Makers, seed_of
from genaudio_core.script.mixing import SAMPLE_RATE, Mixdown, MixSettings, mix
from genaudio_core.script.table import AUTO_SECONDS, MAX_TOTAL, SPEECH, Faults, Row, Script
from genaudio_core.script.timetable import Part, timeline

Progress = Callable[[int, int, str], None]  # rows done, rows in all, what is being made


@dataclass
class Composition:
    """A finished script."""

    script: Script
    mixdown: Mixdown
    told: dict[int, str] = field(default_factory=dict)  # row number -> how it was made


def no_progress(done: int, total: int, what: str) -> None:
    """Tell nobody: the default where progress can be told."""


def _wanted_length(row: Row) -> int | None:
    """Samples that a foreground row asks for; None: as long as it takes."""
    if row.seconds is not None:
        return max(1, round(row.seconds * SAMPLE_RATE))
    if row.kind == SPEECH or row.file is not None:
        return None
    return round(AUTO_SECONDS[row.kind] * SAMPLE_RATE)


def check(script: Script, makers: Makers, faults: Faults) -> None:
    """Add to `faults` what the makers could not make, by the functions that make it; `compose` makes the rest."""
    makers.check(script, faults)
    total = 0.0
    for row in script.foreground:
        if faults.of(row.number):
            continue
        wanted = _wanted_length(row)
        total += (makers.of(row).length(row) if wanted is None else wanted) / SAMPLE_RATE
        if total > MAX_TOTAL:
            faults.add(row.number, f'the mix would be longer than {MAX_TOTAL / 60:.0f} minutes from here on.')
            return


def compose(
    script: Script,
    makers: Makers,
    settings: MixSettings | None = None,
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Composition:
    """Make every row of a checked script and mix them.

    Raises
    ------
    GenaudioError
        With the row, if one cannot be made after all, or if the whole would be longer than an hour.
    """
    sounding = [*script.foreground, *script.backgrounds]
    seen: dict[int, int] = {}
    seeds = {row.number: seed_of(row, seed, seen) for row in sorted(sounding, key=lambda row: row.number)}
    sounds: dict[int, np.ndarray] = {}
    told: dict[int, str] = {}

    def make(row: Row, n_samples: int | None) -> np.ndarray:
        progress(len(sounds), len(sounding), f'row {row.number}: {row.name}')
        try:
            made = makers.of(row).make(row, n_samples, seeds[row.number])
        except Exception as error:  # of a library too: whoever reads it wants to know which row
            kind = '' if isinstance(error, GenaudioError) else f'{type(error).__name__}: '
            raise GenaudioError(f'row {row.number}: {kind}{one_line(error)}') from error
        if not np.isfinite(made.audio).all():
            raise GenaudioError(f"row {row.number}: '{row.name}' came out with NaN or infinite samples.")
        told[row.number] = made.told
        return np.atleast_2d(made.audio)

    lengths: dict[int, int] = {}
    for row in script.foreground:
        wanted = _wanted_length(row)
        sounds[row.number] = make(row, wanted)
        lengths[row.number] = sounds[row.number].shape[1] if wanted is None else wanted
        if not lengths[row.number]:
            raise GenaudioError(f"row {row.number}: '{row.name}' came out empty.")
        if sum(lengths.values()) > MAX_TOTAL * SAMPLE_RATE:
            raise GenaudioError(f'row {row.number}: the mix would be longer than {MAX_TOTAL / 60:.0f} minutes.')
    parts: list[Part] = timeline(script, lengths)
    for part in parts:
        if part.row.number not in sounds:
            sounds[part.row.number] = make(part.row, part.n_samples)
    progress(len(sounding), len(sounding), 'mixing')
    mixdown = mix(parts, [sounds[part.row.number] for part in parts], settings)
    for stem in mixdown.stems:
        row = stem.part.row
        if stem.limited:
            told[row.number] += f'; too quiet to be brought to {row.volume:g} LUFS'
        over = (sounds[row.number].shape[1] - stem.part.n_samples) / SAMPLE_RATE
        if row.file is not None and over > 0:
            where = 'its Duration' if row.seconds is not None else 'the End'
            told[row.number] += f', cut at {where} ({over:.1f} s are left out)'
    return Composition(script, mixdown, told)
