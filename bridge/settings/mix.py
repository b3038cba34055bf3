"""Levels of stems and rest, as plain data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bridge.settings.stem_knobs import OF_MONITOR, OF_STEM, mix_knobs
from genaudio_core.errors import GenaudioError


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
            OF_STEM['gain'].check('gain', gain)
        OF_MONITOR['wet'].check('wet', mix.wet)
        if any(not 0 <= i < n for i in (*mix.mute, *mix.solo)):
            raise GenaudioError(f'There are {n} stems; their numbers are 0 to {n - 1}.')
        return mix

    def with_knob(self, names: Sequence[str], target: str, value: Any) -> 'Mix':
        """Return a copy with one knob turned.

        Parameters
        ----------
        names
            Of the output pairs, from `port_names`.
        target
            One of `mix_knobs(names)` that is of the mix: not 'bypass', nor 'low_latency'.

        Raises
        ------
        GenaudioError
            If the value is of another kind, or out of its range.
        """
        value = mix_knobs(names)[target].check(target, value)
        knob, _, name = target.partition('.')
        if knob == 'wet':
            return replace(self, wet=value)
        if name == names[-2]:
            return replace(self, rest_db=value)
        which = names.index(name)
        if knob == 'gain':
            return replace(self, gains_db=tuple(value if i == which else g for i, g in enumerate(self.gains_db)))
        before: frozenset[int] = getattr(self, knob)
        return replace(self, **{knob: before | {which} if value else before - {which}})

    def knobs(self, names: Sequence[str]) -> dict[str, float | bool]:
        """Return how each knob stands: one of `mix_knobs(names)` -> number or switch. All of the mix."""
        *stems, rest, _ = names
        found: dict[str, float | bool] = {f'gain.{n}': gain for n, gain in zip(stems, self.gains_db, strict=True)}
        found |= {f'{knob}.{n}': i in getattr(self, knob) for knob in ('mute', 'solo') for i, n in enumerate(stems)}
        return found | {f'gain.{rest}': self.rest_db, 'wet': self.wet}

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
