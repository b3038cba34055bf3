"""The straight line through the ticks of a clock: when they come, without their jitter.

A least-squares line through the last two beats of ticks. What a tick can be besides a little off:

* late alone (the sender's hiccup): left out;
* one of several that come at once (USB frames, JACK periods, a hiccup made up for): all but the last of them were
  held up, so the last one counts;
* the third in a row on one side: the sender's tempo has changed, or its phase, or ticks were lost. At the old tempo
  and a whole number of ticks late after a gap they were lost: they count as if they had come.
"""

from collections import deque
from collections.abc import Iterable

from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from bridge.transport.beat_line import Line

TICKS = 24  # a quarter note
WINDOW = 48  # ticks in the fit
BUNCH = 0.0015  # seconds: ticks nearer to each other than this came at once
HICCUP = 0.05  # seconds by which a tick must be late before others can have been lost
JITTER = 0.025  # seconds: no sender holds its ticks up for longer, as a habit
GLIDE = 6  # ticks in a row on one side of the line after which the tempo is taken to glide
STEADY = 0.004  # seconds of spread up to which a glide can be told from ticks that are held up
LIMIT = 0.001  # seconds off the line from which on a tick can be an outlier
SHORTEST, LONGEST = 0.95 * 60 / TICKS / MAX_TEMPO, 60 / TICKS / MIN_TEMPO / 0.9  # seconds between two ticks

Tick = tuple[int, float]  # (number, seconds)
_State = tuple[Line, tuple[Tick, ...], tuple[Tick, ...], float, float, int, Tick]  # all that a tick changes


class TickLine:
    """Times of numbered ticks in, a `Line` out. Tick n is beat n/24."""

    def __init__(self, tempo: float) -> None:
        self.line = Line(0.0, 0.0, tempo)
        self._points: deque[Tick] = deque(maxlen=WINDOW)
        self._suspects: list[Tick] = []
        self._spread = LIMIT  # seconds, mean absolute residual of the fit
        self._rejected = 0.0  # share of the ticks that were off of late: where many are, that is how the sender is
        self._side = 0  # ticks in a row that came late (or, below 0, early)
        self._missed = False  # ticks failed to come before the first of the suspects
        self._lossy = False  # messages are known to be lost before the next tick
        self._newest = (0, 0.0)  # (number, time) of the newest tick
        self._before: _State = (self.line, (), (), LIMIT, 0.0, 0, self._newest)

    @property
    def period(self) -> float:
        """Seconds between two ticks."""
        return 60 / TICKS / self.line.tempo

    @property
    def known(self) -> bool:
        """Whether ticks have told the tempo."""
        return len(self._points) > 1

    def restart(self, number: int, time: float) -> None:
        """Begin again at tick `number`, at `time`; only the tempo is kept."""
        self._points.clear()
        self._suspects.clear()
        self._newest = (number - 1, time - self.period)
        self.line = Line(time, number / TICKS, self.line.tempo)

    def go_on_as(self, number: int, time: float) -> None:
        """Let the tick that is next be called `number` and come at `time`; tempo and the ticks before it are kept."""
        if not self._points:
            self.restart(number, time)
            return
        expected = round(self.line.beat_at(time) * TICKS)
        off = time - self.line.time_at(expected / TICKS)
        if abs(off) <= max(4 * self._spread, LIMIT):
            off = 0.0  # the sender's ticks go on in step; else it began them again
        self._points = deque(((n - expected + number, t + off) for n, t in self._points), maxlen=WINDOW)
        self._suspects.clear()
        self._newest = (number - 1, time - self.period)
        self.line = Line(self.line.time + off, self.line.beat + (number - expected) / TICKS, self.line.tempo)

    def hold(self, time: float) -> None:
        """Keep a line of unknown tempo from running past a second tick that has not come by `time`."""
        if len(self._points) == 1:
            number, first = self._points[0]
            if time - first > self.period:
                slowest = max(60 / TICKS / (time - first), MIN_TEMPO)
                self.line = Line(first, number / TICKS, slowest)

    def lost(self) -> None:
        """Messages were lost before the next tick."""
        self._lossy = True

    def feed(self, number: int, time: float) -> int:
        """Take tick `number`, come at `time`; return how many ticks before it were lost."""
        before, self._lossy = self._known_lost(number, time) if self._lossy else 0, False
        return before + self._feed(number + before, time)

    def _known_lost(self, number: int, time: float) -> int:
        """How many ticks were lost before this one, where messages were.

        A sender that was itself held up comes late by any time: only whole ticks at its own pace are lost ones.
        """
        if len(self._points) < 2:
            return 0
        late = time - self.line.time_at(number / TICKS)
        whole = round(late / self.period)
        return whole if whole > 0 and abs(late - whole * self.period) <= min(4 * self._spread, LIMIT) else 0

    def _feed(self, number: int, time: float) -> int:
        gap = time - self._newest[1]
        if gap < -BUNCH:  # time has been set back
            self.restart(number, time)
        if self._points and abs(gap) < BUNCH:
            self.line, points, suspects, self._spread, self._rejected, self._side, newest = self._before
            self._points, self._suspects = deque(points, maxlen=WINDOW), list(suspects)
        else:
            newest = self._newest
            self._before = (
                self.line, tuple(self._points), tuple(self._suspects), self._spread, self._rejected, self._side, newest,
            )  # fmt: skip
        self._newest = (number, time)
        if len(self._points) < 4:
            self._points.append((number, time))
            self._solve()
            return 0
        residual = time - self.line.time_at(number / TICKS)
        if abs(residual) <= max(4 * self._spread, LIMIT):
            self._spread += 0.05 * (max(abs(residual), 0.0001) - self._spread)
            self._rejected *= 0.9
            self._points.append((number, time))
            self._suspects.clear()
            self._shorten(residual)
            self._solve()
            return 0
        if self._suspects and (residual > 0) != (self._residuals()[-1] > 0):
            self._suspects.clear()
        if not self._suspects:
            late = time - newest[1] - (number - newest[0]) * self.period
            self._missed = late > max(0.5 * self.period, 8 * self._spread, HICCUP)
        self._rejected += 0.1 * (1 - self._rejected)
        self._spread *= 1 + self._rejected
        self._suspects.append((number, time))
        return self._changed() if len(self._suspects) == 3 else 0

    def _shorten(self, residual: float) -> None:
        """Forget older ticks while the tempo glides: one tick after another comes off the line on the same side.

        Where ticks are held up by many milliseconds they do that, too, and need all of the window to average.
        """
        side = 1 if residual > 0 else -1
        self._side = self._side + side if self._side * side > 0 else side
        if abs(self._side) >= GLIDE and self._spread < STEADY and len(self._points) > 2 * GLIDE:
            for _ in range(len(self._points) // 4):
                self._points.popleft()
            self._side = 0

    def _residuals(self) -> list[float]:
        return [time - self.line.time_at(number / TICKS) for number, time in self._suspects]

    def _changed(self) -> int:
        """Find out what three ticks off on one side mean; return how many were lost."""
        late = sorted(self._residuals())[1]
        own = _slope(self._suspects)
        lost = 0
        if self._missed and late > 0 and own < 0.75 * self.period:  # and are made up for, one after the other
            del self._suspects[0]
            return 0
        if abs(own - self.period) <= max(0.005 * self.period, self._spread):  # the tempo is the old one
            whole = round(late / self.period)
            near = abs(late - whole * self.period) <= max(4 * self._spread, 0.1 * self.period)
            if self._missed and whole > 0 and near:
                lost = whole
            shift = late - lost * self.period
            if abs(shift) <= min(self.period, JITTER):  # ticks that wait for each other: early and late ones average
                self._spread = max(self._spread, abs(shift) / 2)
            else:
                self._points = deque(((number, time + shift) for number, time in self._points), maxlen=WINDOW)
        else:
            self._points.clear()
        self._points.extend((number + lost, time) for number, time in self._suspects)
        self._suspects.clear()
        self._solve()
        return lost

    def _solve(self) -> None:
        number, time = self._points[-1]
        period = _slope(self._points) if len(self._points) > 1 else 0.0
        if not SHORTEST <= period <= LONGEST:
            # The first tick, or some in one burst: keep the tempo, move the line through the newest tick.
            self.line = Line(time, number / TICKS, self.line.tempo)
            return
        mean_x = sum(x for x, _ in self._points) / len(self._points)
        mean_y = sum(y for _, y in self._points) / len(self._points)
        self.line = Line(mean_y + (number - mean_x) * period, number / TICKS, 60 / TICKS / period)


def _slope(points: Iterable[Tick]) -> float:
    """Seconds a tick, by least squares."""
    points = list(points)
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0
