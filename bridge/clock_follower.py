"""MIDI clock in, beats out: 24 ticks a quarter note, start, stop, continue and song position.

The position is counted, never measured: tick n is beat n/24 exactly. Only the time of a beat is estimated, by a
least-squares line through the last two beats of ticks. Lone late ticks are left out of the fit; three in a row on
one side are a tempo change (or the sender's hiccup), and the line begins anew from them.

Senders differ, and the follower survives it (Ardour 7.3, measured; see its ticker):

* a clock that begins after a pause is a start, though the start message was lost;
* after a stop, the position may go on at the next beat, with song position and continue;
* song position may come as beats times 24 instead of times 4. It is judged by the ticks counted, by the name of
  the sender where the system tells it, and by arithmetic: a position that 24 does not divide is a standard one.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from bridge.clock import Line
from bridge.messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, Sync

TICKS = 24  # a quarter note
WINDOW = 48  # ticks in the fit
PAUSE = 0.5  # seconds without a tick after which the clock was away
MIN_TEMPO, MAX_TEMPO = 20.0, 400.0


@dataclass(frozen=True, slots=True)
class Change:
    """The transport did something other than roll on."""

    kind: Literal['start', 'stop', 'tempo']  # a jump is a start at another beat
    time: float  # seconds on the bridge clock
    beat: float  # transport beats


class ClockFollower:
    """Follows one sender of MIDI clock. Feed it with `sync` and `check`; both return what changed."""

    name = 'MIDI clock'

    def __init__(self, tempo: float = 120.0, *, times_24: bool | None = None) -> None:
        self.rolling = False
        self.line = Line(0.0, 0.0, tempo)
        self.times_24 = times_24  # song position comes as beats times 24; None: not known yet
        self.ticks = 0  # clock messages received, ever
        self.stalls = 0
        self._next = 0  # number of the next tick, in 24ths of a beat
        self._armed = False  # start or continue came; the next tick rolls
        self._positioned = False  # song position came since the last start
        self._idle = False  # ticks go on while stopped
        self._last = -math.inf  # time of the last tick
        self._points: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self._suspects: list[tuple[int, float]] = []
        self._spread = 0.001  # seconds, mean absolute residual of the fit

    # --- what the sender says

    def sync(self, event: Sync) -> list[Change]:
        """Take one transport message."""
        if event.kind == CLOCK:
            return self._tick(event.time)
        if event.kind == START:
            self._next, self._armed = 0, True
            self._restart()
            return []
        if event.kind == CONTINUE:
            self._armed = True
            self._restart()
            return []
        if event.kind == SONG_POSITION:
            return self._position(event)
        if event.kind == STOP:
            return self._stop(event.time)
        return []

    def check(self, time: float) -> list[Change]:
        """Notice at `time` that the ticks have ceased without a stop."""
        patience = max(0.3, 8 * 60 / self.line.tempo / TICKS)
        if self.rolling and time - self._last > patience:
            self.stalls += 1
            self.rolling = False
            self._points.clear()
            return [Change('stop', time, self._next / TICKS)]
        return []

    def _stop(self, time: float) -> list[Change]:
        self._armed = self._positioned = False
        self._idle = False
        if not self.rolling:
            return []
        self.rolling = False
        return [Change('stop', time, self._next / TICKS)]

    def _position(self, event: Sync) -> list[Change]:
        standard, times_24 = event.value * 6, event.value  # both in ticks
        counted = self._next
        if event.value % 24:
            self.times_24 = False
        elif event.value and self.times_24 is None:
            near = 1.5 * TICKS
            if abs(times_24 - counted) <= near < abs(standard - counted):
                self.times_24 = True
            elif abs(standard - counted) <= near < abs(times_24 - counted):
                self.times_24 = False
        self._next = times_24 if self.times_24 else standard
        self._positioned = True
        self._restart()
        if self.rolling:  # a position sent while rolling: the next tick is there
            self.rolling, self._armed = False, True
        return []

    # --- ticks

    def _tick(self, time: float) -> list[Change]:
        gap = time - self._last
        self._last = time
        self.ticks += 1
        if not (self.rolling or self._armed):
            if self._idle or gap < PAUSE:  # a clock that runs on while stopped: only its tempo counts
                self._idle = True
                self._fit(self._next, time)
                self._next += 1
                return []
            if not self._positioned and self.stalls == 0:
                self._next = 0
        changes: list[Change] = []
        if not self.rolling:
            self.rolling, self._armed, self._positioned = True, False, False
            if self._idle:
                self._idle = False
            self._restart()
            self.line = Line(time, self._next / TICKS, self.line.tempo)
            changes.append(Change('start', time, self._next / TICKS))
        old = self.line.tempo
        self._fit(self._next, time)
        self._next += 1
        if abs(self.line.tempo - old) > 0.02 * old:
            changes.append(Change('tempo', time, self.line.beat_at(time)))
        return changes

    def _restart(self) -> None:
        self._points.clear()
        self._suspects.clear()

    def _fit(self, number: int, time: float) -> None:
        if len(self._points) >= 4:
            residual = time - self.line.time_at(number / TICKS)
            limit = max(4 * self._spread, 0.001)
            if abs(residual) > limit:
                self._suspects.append((number, time))
                if not self._one_sided():
                    self._suspects = [(number, time)]
                if len(self._suspects) < 3:
                    return
                self._points.clear()
                self._points.extend(self._suspects)
            else:
                self._spread += 0.05 * (max(abs(residual), 0.0001) - self._spread)
                self._points.append((number, time))
            self._suspects.clear()
        else:
            self._points.append((number, time))
        self._solve()

    def _one_sided(self) -> bool:
        sides = {time > self.line.time_at(number / TICKS) for number, time in self._suspects}
        return len(sides) == 1

    def _solve(self) -> None:
        n = len(self._points)
        number, time = self._points[-1]
        if n == 1:
            self.line = Line(time, number / TICKS, self.line.tempo)
            return
        mean_x = sum(x for x, _ in self._points) / n
        mean_y = sum(y for _, y in self._points) / n
        above = sum((x - mean_x) * (y - mean_y) for x, y in self._points)
        below = sum((x - mean_x) ** 2 for x, _ in self._points)
        period = above / below if below else 0.0  # seconds a tick
        if not 60 / TICKS / MAX_TEMPO <= period <= 60 / TICKS / MIN_TEMPO:
            # Two ticks in one burst, or a gap: keep the tempo, move the line through the newest tick.
            self.line = Line(time, number / TICKS, self.line.tempo)
            return
        self.line = Line(mean_y + (number - mean_x) * period, number / TICKS, 60 / TICKS / period)
