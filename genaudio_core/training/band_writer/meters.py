"""Bars as a band counts them: pulses, strong pulses, backbeats, sixteenths, and swing."""

import random
from dataclasses import dataclass

from genaudio_core.score.notes import Meter


@dataclass(frozen=True)
class Bar:
    """A kind of bar. All numbers are quarter notes from its beginning.

    ``groups`` are the lengths of its pulses: 1 in simple meters, 1.5 in compound ones, both in 7/8.
    """

    numerator: int
    denominator: int
    groups: tuple[float, ...]
    strong: tuple[float, ...]  # pulses that are felt as heads: chords change here
    back: tuple[float, ...]  # where a backbeat falls

    @property
    def length(self) -> float:
        return sum(self.groups)

    @property
    def pulses(self) -> tuple[float, ...]:
        return tuple(sum(self.groups[:i]) for i in range(len(self.groups)))

    @property
    def half(self) -> float:
        """Where a second chord of the bar begins."""
        return self.strong[len(self.strong) // 2] if len(self.strong) > 1 else self.pulses[-1]

    @property
    def steps(self) -> int:
        """Number of sixteenths."""
        return round(self.length * 4)

    @property
    def eighths(self) -> tuple[float, ...]:
        return tuple(i / 2 for i in range(round(self.length * 2)))

    def meter(self, beat: float) -> Meter:
        return Meter(beat, self.numerator, self.denominator)

    def weight(self, position: float) -> float:
        """How strong a place in the bar is: 1 at its head down to 0 between sixteenths."""
        position %= self.length
        if position < 1e-6:
            return 1.0
        if any(abs(position - at) < 1e-6 for at in self.strong):
            return 0.8
        if any(abs(position - at) < 1e-6 for at in self.pulses):
            return 0.6
        return 0.35 if abs(position * 2 - round(position * 2)) < 1e-6 else 0.15


FOUR = Bar(4, 4, (1, 1, 1, 1), (0, 2), (1, 3))
THREE = Bar(3, 4, (1, 1, 1), (0,), (1, 2))
SIX_EIGHT = Bar(6, 8, (1.5, 1.5), (0, 1.5), (1.5,))
TWELVE_EIGHT = Bar(12, 8, (1.5, 1.5, 1.5, 1.5), (0, 3), (1.5, 4.5))
FIVE = (Bar(5, 4, (1, 1, 1, 1, 1), (0, 3), (2, 4)), Bar(5, 4, (1, 1, 1, 1, 1), (0, 2), (1, 3)))
SEVEN = (Bar(7, 8, (1, 1, 1.5), (0, 2), (1,)), Bar(7, 8, (1.5, 1, 1), (0, 1.5), (1.5,)))


def choose_bar(name: str, rng: random.Random) -> Bar:
    """The bar of a meter such as ``'4/4'``; irregular meters are grouped in one of two ways."""
    return {
        '4/4': FOUR,
        '3/4': THREE,
        '6/8': SIX_EIGHT,
        '12/8': TWELVE_EIGHT,
        '5/4': rng.choice(FIVE),
        '7/8': rng.choice(SEVEN),
    }[name]


def swung(position: float, swing: float) -> float:
    """A place of the straight grid as it is played: the second half of each quarter begins at `swing` (0.5: straight).

    Sixteenths keep their share of the half that they lie in.
    """
    whole, part = divmod(position, 1.0)
    if part < 0.5:
        return whole + part * 2 * swing
    return whole + swing + (part - 0.5) * 2 * (1 - swing)
