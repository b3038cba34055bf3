"""The bridge clock: seconds that only go forward, real or simulated.

Every time on the live side is a time of one such clock. The wall clock (``time.time``) is used nowhere:
a person or NTP may set it back in the middle of a song.
"""

import time
from dataclasses import dataclass
from typing import Protocol

MIN_TEMPO, MAX_TEMPO = 5.0, 600.0  # quarter notes a minute: what is followed, and what may be set


class Clock(Protocol):
    """Tells the bridge time in seconds. `now` never goes back."""

    def now(self) -> float: ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.perf_counter()


class SimulatedClock:
    """A clock that stands still until told to move: tests and ``--fast`` run hours in seconds with it."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance_to(self, time: float) -> None:
        """Move to `time` (seconds); a time already past leaves the clock where it is."""
        self._now = max(self._now, time)


@dataclass(frozen=True, slots=True)
class Line:
    """Beats against time: a straight line through (`time`, `beat`) with slope `tempo`.

    The transport only ever looks a little ahead, so one line is the whole tempo map: at a tempo change a new
    line begins where the old one is.
    """

    time: float  # seconds on the bridge clock
    beat: float  # quarter notes
    tempo: float  # quarter notes a minute

    def beat_at(self, time: float) -> float:
        return self.beat + (time - self.time) * self.tempo / 60

    def time_at(self, beat: float) -> float:
        return self.time + (beat - self.beat) * 60 / self.tempo

    def bent(self, time: float, tempo: float) -> 'Line':
        """Return the line that goes on from here at `time` with another tempo."""
        return Line(time, self.beat_at(time), tempo)
