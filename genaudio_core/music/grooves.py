"""Where a bar is felt: pulses, strong places, backbeats, the grid that a tune lies on; and what a band may do there.

All places are steps (12 to the quarter note) from the bar line.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from genaudio_core.music.chord_recognition import half_bar
from genaudio_core.music.layouts import RESOLUTION

DOTTED = 18  # steps of a dotted quarter
KICKS, SNARES = frozenset({35, 36}), frozenset({37, 38, 39, 40})
HATS, RIDES, CRASHES = frozenset({42, 44, 46}), frozenset({51, 53, 59}), frozenset({49, 52, 55, 57})
TOMS = frozenset({41, 43, 45, 47, 48, 50})
KIT = (KICKS, SNARES, HATS, RIDES, CRASHES, TOMS)
"""Drum keys that stand for one another."""

Meter = tuple[int, int]


def pulses(meter: Meter) -> tuple[int, ...]:
    """Where a bar is counted: quarters, dotted quarters in compound meters, 2 + 2 + 3 eighths in 7/8, 3 + 2 in 5/8."""
    numerator, denominator = meter
    length = numerator * 4 * RESOLUTION // denominator
    if denominator >= 8 and numerator % 3 == 0:
        return tuple(range(0, length, 3 * 4 * RESOLUTION // denominator))
    if (numerator, denominator) == (5, 8):
        return 0, DOTTED
    # Of 7/8, the last eighth belongs to the pulse before it.
    return tuple(range(0, max(length - length % RESOLUTION, 1), RESOLUTION))


def usual_meter(bar: float) -> Meter:
    """The commonest meter whose bars are so many quarter notes long."""
    quarters, eighths = round(bar), round(bar * 2)
    return (max(quarters, 1), 4) if abs(bar - quarters) < 1e-6 else (max(eighths, 1), 8)


def strong_places(meter: Meter) -> tuple[int, ...]:
    """The heads of a bar: its line and its second half, if it has one."""
    half = half_bar(*meter)
    return (0, round(half * RESOLUTION)) if half else (0,)


def backbeats(meter: Meter) -> tuple[int, ...]:
    """Where a snare falls: every second pulse; in odd meters the last of each group."""
    places = pulses(meter)
    known = {(5, 4): (24, 48), (7, 8): (12, 36), (3, 4): (24,), (9, 8): (36,)}
    return known.get(meter) or (places[1::2] if len(places) > 1 else ())


@dataclass(frozen=True)
class Feel:
    """How a tune divides its pulses: into halves, thirds (swing) or quarters."""

    swung: bool = False
    fine: bool = False  # sixteenths are usual

    @classmethod
    def of(cls, onsets: Sequence[float]) -> 'Feel':
        """The feel of onsets in quarter notes from a bar line."""
        places = [round((onset % 1.0) * RESOLUTION) % RESOLUTION for onset in onsets]
        thirds, halves, sixteenths = (sum(place in of for place in places) for of in ((4, 8), (3, 6, 9), (3, 9)))
        return cls(thirds > halves, sixteenths > 0.15 * max(len(places), 1))

    def grid(self, meter: Meter) -> tuple[int, ...]:
        """Places in the bar where notes of a band may begin."""
        numerator, denominator = meter
        length = numerator * 4 * RESOLUTION // denominator
        if self.swung and pulses(meter)[1:2] != (DOTTED,):
            return tuple(at for at in range(length) if at % RESOLUTION in (0, 8))
        return tuple(range(0, length, 3 if self.fine else 6))


def bass_figures(meter: Meter, feel: Feel) -> list[tuple[int, ...]]:
    """Rhythms of a bass line, for one bar."""
    counted, heads = pulses(meter), strong_places(meter)
    last = counted[-1:]
    found = [heads, (*heads, *last), counted]
    if meter == (4, 4) and not feel.swung:
        found += [(0, 18, 24), (0, 18, 24, 42), (0, 24, 30, 36), (0, 18, 30), tuple(range(0, 48, 6))]
    if counted[1:2] == (DOTTED,):
        found += [tuple(sorted({*counted, *(at + 12 for at in counted)}))]
    return _inside(found, meter)


def _inside(figures: Sequence[Sequence[int]], meter: Meter) -> list[tuple[int, ...]]:
    length = meter[0] * 4 * RESOLUTION // meter[1]
    return [tuple(sorted({at for at in figure if at < length})) for figure in figures]


def comping_figures(meter: Meter, feel: Feel) -> list[tuple[int, ...]]:
    """Rhythms of chords, for one bar."""
    counted, heads = pulses(meter), strong_places(meter)
    found = [heads, counted, counted[1:] if len(counted) > 2 else counted, (*heads, *counted[-1:])]
    if meter == (4, 4):
        found += [(0, 20, 36), (0, 20), (8, 24, 44)] if feel.swung else [(0, 18, 36), (0, 18), (6, 18, 30, 42), (0, 30)]
    if counted[1:2] == (DOTTED,):
        found += [tuple(range(0, max(counted) + DOTTED, 6))]
    return _inside(found, meter)
