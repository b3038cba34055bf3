"""Levels of stems and rest, as plain data."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError

MAX_GAIN_DB = 24.0


@dataclass(frozen=True)
class Mix:
    """Levels of the monitor. The stems' own outputs are never touched by them."""

    gains_db: tuple[float, ...]  # one per stem
    rest_db: float = float('-inf')  # of everything that is in no stem
    mute: frozenset[int] = field(default_factory=frozenset)  # numbers of stems
    solo: frozenset[int] = field(default_factory=frozenset)
    wet: float = 1.0  # 0 is the delayed input, 1 the mix

    @classmethod
    def of(cls, n_stems: int) -> 'Mix':
        """All stems at 0 dB, nothing of the rest."""
        return cls((0.0,) * n_stems)

    def changed(self, **changes: Any) -> 'Mix':
        """Return a copy with other values.

        Raises
        ------
        GenaudioError
            If a value is out of its range.
        """
        mix = replace(self, **changes)
        n = len(self.gains_db)
        if len(mix.gains_db) != n:
            raise GenaudioError(f'There are {n} stems; give {n} gains, not {len(mix.gains_db)}.')
        for gain in (*mix.gains_db, mix.rest_db):
            if not gain <= MAX_GAIN_DB:  # also catches NaN
                raise GenaudioError(f'A gain must be at most {MAX_GAIN_DB:g} dB, not {gain:g}.')
        if not 0 <= mix.wet <= 1:
            raise GenaudioError(f'wet must be 0 to 1, not {mix.wet:g}.')
        if any(not 0 <= i < n for i in (*mix.mute, *mix.solo)):
            raise GenaudioError(f'There are {n} stems, numbered from 0.')
        return mix

    def weights(self) -> np.ndarray:
        """Return the factors of each stem, of the rest and of the dry signal: (n + 2,) float32."""
        stems = [_factor(gain) for gain in self.gains_db]
        rest = _factor(self.rest_db)
        for i in range(len(stems)):
            if i in self.mute or (self.solo and i not in self.solo):
                stems[i] = 0.0
        if self.solo:
            rest = 0.0
        return np.array([*(self.wet * s for s in stems), self.wet * rest, 1 - self.wet], np.float32)


def _factor(gain_db: float) -> float:
    return 0.0 if gain_db == float('-inf') else 10 ** (gain_db / 20)
