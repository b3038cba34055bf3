"""The bridge clock: seconds that only go forward, real or simulated.

Every time on the live side is a time of one such clock. The wall clock (``time.time``) is used nowhere:
a person or NTP may set it back in the middle of a song.
"""

import time
from typing import Protocol

MIN_TEMPO, MAX_TEMPO = 5.0, 600.0  # quarter notes a minute: what is followed, and what may be set


class Clock(Protocol):
    """Tells the bridge time in seconds. `now` never goes back."""

    def now(self) -> float:
        """Seconds; only differences mean something."""
        ...


class RealClock(Clock):
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.perf_counter()


class SimulatedClock(Clock):
    """A clock that stands still until told to move: tests and ``--fast`` run hours in seconds with it."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def advance_to(self, time: float) -> None:
        """Move to `time` (seconds); a time already past leaves the clock where it is."""
        self._now = max(self._now, time)
