"""MIDI clock in, beats out: 24 ticks a quarter note, start, stop, continue and song position.

The position is counted while the song rolls, never measured: tick n is beat n/24 exactly. Only the time of a beat is
estimated, by the line through the last ticks (`tick_line`).

Senders differ, and the follower survives it:

* most hardware sends ticks all the time: while stopped they tell the tempo and nothing else;
* a clock that begins after a pause is a start, though the start message was lost (Ardour 7.3 loses it at times);
* after a stop, the position may go on at the next beat, with song position and continue, or with neither;
* song position may be counted in another way than the standard's (`song_position`), and may come while rolling;
* ticks that fail to come are bridged for a while (`patience`); then the music stops, and goes on at the counted
  position when they come back: whether the sender rolled on meanwhile they do not say, so `gap` tells of it, and a
  start or a song position, also one while rolling, puts it right;
* a clock slower than `MIN_TEMPO` or faster than `MAX_TEMPO` is not followed; `outside` says its tempo.
"""

import math
from dataclasses import dataclass
from typing import Literal

from bridge.midi.messages import CLOCK, CONTINUE, SONG_POSITION, START, STOP, Sync
from bridge.system.clock import MAX_TEMPO
from bridge.transport.beat_line import Line
from bridge.transport.song_position import SongPosition
from bridge.transport.tick_line import BUNCH, LONGEST, TICKS, TickLine

PAUSE = 0.5  # seconds without a tick that are bridged, at least; and eight ticks
LEAP = 0.25  # beats by which the line may move without that being a jump
FLOOD = 0.5  # seconds in which ticks are counted to tell a clock that is too fast from one that catches up


@dataclass(frozen=True, slots=True)
class Change:
    """The transport did something other than roll on."""

    kind: Literal['start', 'stop', 'tempo']  # a jump is a start at another beat
    time: float  # seconds on the bridge clock
    beat: float  # transport beats


@dataclass(frozen=True, slots=True)
class Gap:
    """Ticks were away without a stop, and how many of them were lost nobody knows."""

    seconds: float
    beat: float  # of the sender, as counted, at which it went on


class ClockFollower:
    """Follows one sender of MIDI clock. Feed it with `sync` and `check`; both return what changed.

    Parameters
    ----------
    tempo : float
        Quarter notes a minute, until two ticks have come.
    times_24 : bool or None
        How the sender counts song position, see `SongPosition`.
    """

    name = 'MIDI clock'
    help = "Switch the clock on in your DAW or machine, connect it and start; or set transport.leader to 'auto'."

    def __init__(self, tempo: float = 120.0, *, times_24: bool | None = None) -> None:
        self.position = SongPosition(times_24)
        self.ticks = 0  # clock messages received, ever
        self.last = -math.inf  # time of the last tick
        self.started = False  # the sender says that it rolls: by start or continue, not by ticks alone
        self.gap: Gap | None = None  # after which the song rolls by count; whoever tells of it takes it
        self.outside: float | None = None  # tempo of a clock that is too slow or too fast to be followed
        self._line = TickLine(tempo)
        # armed: start or continue came, the next tick rolls; stalled: the ticks ceased without a stop
        self._state: Literal['stopped', 'armed', 'rolling', 'stalled'] = 'stopped'
        self._number = 0  # number of the next tick on the line; while rolling, the position
        self._away_from: float | None = None  # time of the last tick before ticks ceased, until the place is told again
        self._positioned = False  # song position came since the song last rolled
        self._waking: float | None = None  # time of the first tick after a pause
        self._idle = 0  # ticks since a stop
        self._always_on = False  # the sender's ticks run while it is stopped
        self._slow = 0  # ticks in a row that came too late for any tempo
        self._flood = (-math.inf, 0, 0)  # since when, ticks since then, spans before that were too full

    @property
    def rolling(self) -> bool:
        """Whether the song runs."""
        return self._state == 'rolling'

    @property
    def is_on(self) -> bool:
        """Whether the song rolls, or will with the next tick."""
        return self._state in ('rolling', 'armed')

    @property
    def armed(self) -> float | None:
        """The beat at which the song starts with the next tick, or None."""
        return self.position.tick / TICKS if self._state == 'armed' else None

    @property
    def stalled(self) -> bool:
        """Whether the ticks ceased without a stop."""
        return self._state == 'stalled'

    @property
    def line(self) -> Line:
        """Beats of the song against time."""
        return self._line.line

    @property
    def times_24(self) -> bool | None:
        """How song position is counted, see `SongPosition.times_24`."""
        return self.position.times_24

    @property
    def patience(self) -> float:
        """Seconds without a tick after which the clock is away."""
        return max(PAUSE, 8 * self._line.period)

    # --- what the sender says

    def sync(self, event: Sync) -> list[Change]:
        """Take one transport message."""
        if event.kind == CLOCK:
            return self._tick(event.time)
        if event.kind == START:
            self.started = True
            changes = self._arm(event.time)
            self.position.reset()
            self._away_from = None
            return changes
        if event.kind == CONTINUE:
            self.started = True
            return [] if self._state == 'rolling' else self._arm(event.time)
        if event.kind == SONG_POSITION:
            return self._receive_position(event)
        if event.kind == STOP:
            self.started = self._positioned = False
            self._idle, self._waking = 0, None
            return self._halt('stopped', event.time)
        return []

    def lost(self) -> None:
        """Messages were lost on the way here before the next one. Ticks among them count, if they can be told."""
        self._line.lost()

    def check(self, time: float) -> list[Change]:
        """Notice at `time` that the ticks have ceased without a stop."""
        if self._state != 'rolling':
            return []
        self._line.hold(time)
        if time - self.last <= (self.patience if self._line.known else LONGEST):
            return []
        return self._halt('stalled', time)

    def close(self) -> None:
        """Nothing to let go of."""

    def _halt(self, state: Literal['stopped', 'armed', 'stalled'], time: float) -> list[Change]:
        was, self._state = self._state, state
        if was == 'rolling' and state == 'stalled':
            self._away_from = self.last
        return [Change('stop', time, self.position.tick / TICKS)] if was == 'rolling' else []

    def _arm(self, time: float) -> list[Change]:
        self._waking = None
        return self._halt('armed', time)

    def _receive_position(self, event: Sync) -> list[Change]:
        reached = self.line.beat_at(event.time)
        self._away_from = None
        if not self.position.receive(event.value, rolling=self._state == 'rolling'):
            return []
        self._positioned = True
        if self._state != 'rolling':
            return []
        self._state = 'armed'  # a position sent while rolling: the next tick is there
        return [Change('stop', event.time, reached)]

    # --- ticks

    def _tick(self, time: float) -> list[Change]:
        changes = self.check(time)
        gap, self.last = time - self.last, time
        self.ticks += 1
        changes += self._judge_speed(gap, time)
        if self.outside is not None:
            self.position.count(self._state == 'stalled')
            return changes
        if self._state == 'armed':
            return changes + self._roll(time, steady=gap <= self.patience)
        if self._state == 'rolling':
            return changes + self._count(time)
        return changes + self._tick_while_still(gap, time)

    def _tick_while_still(self, gap: float, time: float) -> list[Change]:
        """Take a tick that no start announced: it tells the tempo, or is the second one of a clock that begins."""
        if self._waking is not None:
            if BUNCH <= gap <= LONGEST:
                first, self._waking = self._waking, None
                return self._roll(first, steady=False) + self._count(time)
            if self._state == 'stalled' or abs(gap) < BUNCH:  # in a bunch the sender makes up for its pause
                self.position.count()
            self._waking = time
            return []
        if self._state == 'stalled' or (gap > self.patience and not self._always_on):
            self._waking = time
            if self._state == 'stopped' and not self._positioned:
                self.position.reset()
            return []
        if gap > self.patience:
            self._line.restart(self._number, time)
        self._idle += 1
        self._always_on = self._always_on or self._idle > TICKS
        self._number += 1 + self._line.feed(self._number, time)
        return []

    def _roll(self, time: float, *, steady: bool) -> list[Change]:
        """Roll from the tick at `time` on; `steady`: ticks came before it, and still tell the tempo."""
        self._state, self._positioned, self._idle = 'rolling', False, 0
        self._number = first = self.position.tick
        if self._away_from is not None:
            # Ticks that were only held up, and came at once, are on the old line again: none is missing.
            if time - self.line.time_at(first / TICKS) > 1.5 * self._line.period:
                self.gap = Gap(time - self._away_from, first / TICKS)
            self._away_from = None
        if steady:
            self._line.go_on_as(first, time)
        else:
            self._line.restart(first, time)
        self._count(time)
        return [Change('start', time, first / TICKS)]

    def _count(self, time: float) -> list[Change]:
        """Count a tick of the rolling song."""
        old = self.line
        lost = self._line.feed(self._number, time)
        self.position.count(1 + lost)
        self._number = self.position.tick
        leap = self.line.beat_at(time) - old.beat_at(time)
        if abs(leap) > LEAP:
            return [Change('start', time, self.line.beat_at(time))]
        if abs(self.line.tempo - old.tempo) > 0.02 * old.tempo:
            return [Change('tempo', time, self.line.beat_at(time))]
        return []

    def _judge_speed(self, gap: float, time: float) -> list[Change]:
        """Leave alone a clock that is too slow or too fast, and take it up again when it is not."""
        self._slow = self._slow + 1 if LONGEST < gap < 30 * LONGEST else 0
        since, count, full = self._flood
        self._flood = (since, count + 1, full)
        if not 0 <= time - since < FLOOD:
            most = max(time - since, FLOOD) * MAX_TEMPO * TICKS / 60
            full = full + 1 if count > 1.1 * most else 0
            self._flood = (time, 0, full)
            if full >= 3:
                self.outside = count / max(time - since, FLOOD) * 60 / TICKS
            elif self.outside is not None and self.outside > MAX_TEMPO:
                self.outside = None
        if self._slow >= 3:
            self.outside = 60 / TICKS / gap
        elif not self._slow and self.outside is not None and self.outside < MAX_TEMPO:
            self.outside = None
        if self.outside is None or self._state not in ('rolling', 'armed'):
            return []
        return self._halt('stalled', time)
