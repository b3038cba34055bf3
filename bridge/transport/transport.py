"""Where we are in the song: one `Transport`, whatever leads it.

The leaders, in order of preference: MIDI clock, JACK transport, Ableton Link, the bridge's own tempo with tap.
`Transport` adds the session beat. A DAW's beat jumps back in a loop; the session beat never does: at each jump it
goes on from the next place that has the same position in the bar. Everything that is heard and planned is told in
session beats, so a loop is simply more music.
"""

import math
from collections.abc import Callable
from typing import Protocol

from bridge.midi.jack_ports import JackPosition
from bridge.midi.messages import CLOCK, Sync
from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from bridge.transport.beat_line import Line
from bridge.transport.midi_clock import Change, ClockFollower

NEXT_BEAT = 1.5  # beats: a sender that was stopped may go on at its next beat
SLACK = 0.25  # beats by which a jump may fall behind what was already reached
MASTER_LATE = 0.1  # seconds that JACK's timebase master has to tell the beat of a new place


class Leader(Protocol):
    """Tells tempo and position, in its own beats."""

    @property
    def name(self) -> str:
        """Its name for the person."""
        ...

    @property
    def help(self) -> str:
        """Advice for the person if it does not roll."""
        ...

    @property
    def rolling(self) -> bool:
        """Whether beats go by."""
        ...

    @property
    def line(self) -> Line:
        """The leader's beats against time."""
        ...

    @property
    def outside(self) -> float | None:
        """The tempo, if it is outside `MIN_TEMPO` to `MAX_TEMPO`; then the leader does not roll."""
        ...

    def check(self, time: float) -> list[Change]:
        """Called a few hundred times a second; returns what changed since."""
        ...

    def close(self) -> None:
        """Let go of what the leader holds; it is not asked again."""


class InternalLeader:
    """Our own tempo: starts at once, or with `start`; `tap` sets the tempo from the last taps."""

    name = 'our own tempo'
    help = "Start it with the command 'start' (key s), or set transport.leader to 'auto'."
    outside = None

    def __init__(self, tempo: float = 120.0) -> None:
        self.rolling = False
        self.line = Line(0.0, 0.0, tempo)
        self._pending: list[Change] = []
        self._taps: list[float] = []

    def start(self, time: float) -> None:
        """Start from beat 0 at bridge time `time` (seconds)."""
        self.rolling = True
        self.line = Line(time, 0.0, self.line.tempo)
        self._pending.append(Change('start', time, 0.0))

    def stop(self, time: float) -> None:
        """Stop at bridge time `time` (seconds)."""
        if self.rolling:
            self.rolling = False
            self._pending.append(Change('stop', time, self.line.beat_at(time)))

    def set_tempo(self, time: float, tempo: float) -> None:
        """Another tempo (quarter notes a minute) from `time` on, within `MIN_TEMPO` to `MAX_TEMPO`."""
        self.line = self.line.bent(time, min(max(tempo, MIN_TEMPO), MAX_TEMPO))
        self._pending.append(Change('tempo', time, self.line.beat_at(time)))

    def tap(self, time: float) -> None:
        """Count one tap; from the second on, the mean distance of up to five taps is a beat."""
        if self._taps and time - self._taps[-1] < 60 / MAX_TEMPO:
            return  # a switch that bounces
        if self._taps and time - self._taps[-1] > 2.5:
            self._taps.clear()
        self._taps = [*self._taps[-4:], time]
        if len(self._taps) > 1:
            self.set_tempo(time, 60 * (len(self._taps) - 1) / max(self._taps[-1] - self._taps[0], 1e-3))

    def check(self, time: float) -> list[Change]:
        """Starts, stops and jumps since the last call."""
        pending, self._pending = self._pending, []
        return pending

    def close(self) -> None:
        """Nothing to let go of."""


class JackLeader:
    """JACK transport: rolling state and frame; tempo from the timebase master, or ours where there is none.

    `query` says where JACK transport is, see `jack_ports.JackMidi.transport`.
    """

    name = 'JACK transport'
    help = "Start it in your DAW (in Ardour, choose JACK as sync source first), or set transport.leader to 'auto'."

    def __init__(self, query: Callable[[], JackPosition], tempo: float = 120.0) -> None:
        self.rolling = False
        self.line = Line(0.0, 0.0, tempo)
        self.own_tempo = tempo  # quarter notes a minute, where there is no timebase master
        self.outside: float | None = None
        self._query = query
        self._last = JackPosition(False)  # the newest position while rolling
        self._base = (0.0, 0.0)  # (seconds, beat) from which our own tempo counts
        self._mastered = -math.inf  # time at which a timebase master last told the beat

    def check(self, time: float) -> list[Change]:
        """Ask JACK where it is; return what changed since the last call."""
        where = self._query()
        tempo = where.tempo or self.own_tempo
        self.outside = None if MIN_TEMPO <= tempo <= MAX_TEMPO else tempo
        if not where.rolling or self.outside is not None:
            stops, self.rolling = self.rolling, False
            return [Change('stop', time, self.line.beat_at(time))] if stops else []
        if where.beat is not None:
            self._mastered = time
        elif self.rolling and time - self._mastered < MASTER_LATE:
            return []  # after a locate, the timebase master speaks a few periods later
        beat = self._beat_of(where, tempo)
        self._last = where
        drift = abs(self.line.beat_at(where.time) - beat) * 60 / tempo  # seconds
        changes: list[Change] = []
        if not self.rolling or drift > 0.05:
            changes.append(Change('start', where.time, beat))
        elif abs(tempo - self.line.tempo) > 1e-6:
            changes.append(Change('tempo', where.time, beat))
        if changes or drift > 0.0005:
            self.line = Line(where.time, beat, tempo)
        self.rolling = True
        return changes

    def _beat_of(self, where: JackPosition, tempo: float) -> float:
        if where.beat is not None:
            return where.beat
        moved = where.seconds - self._last.seconds - (where.time - self._last.time)
        if not self.rolling or abs(moved) > 0.05:
            self._base = (0.0, 0.0)  # a start or a locate: the song's beats are counted from its beginning
        elif abs(tempo - self.line.tempo) > 1e-6:
            self._base = (where.seconds, self.line.beat_at(where.time))  # our tempo was changed: no beat is skipped
        seconds, beat = self._base
        return beat + (where.seconds - seconds) * tempo / 60

    def close(self) -> None:
        """Nothing to let go of: JACK's client belongs to the ports."""


class LinkLeader:
    """Ableton Link, through the optional package `LinkPython-extern` (``pip install 'genaudio[link]'``).

    Link's beat always runs, and most programs leave "Start Stop Sync" off. So the music rolls with the beat, until
    somebody is seen to start by that sync: from then on it stops and starts with the others.
    """

    name = 'Ableton Link'
    help = 'Start it in a program that shares start and stop over Link.'

    def __init__(self, tempo: float = 120.0, bar: float = 4.0) -> None:
        import link  # type: ignore[import-not-found]  # optional: only who asks for Link needs it

        self.rolling = False
        self.line = Line(0.0, 0.0, tempo)
        self.outside: float | None = None
        self._bar = bar
        self._synced = False  # somebody starts and stops by Link
        self._link = link.Link(tempo)
        self._link.enabled = True
        self._link.startStopSyncEnabled = True

    def check(self, time: float) -> list[Change]:
        """Ask Link where it is; return what changed since the last call."""
        state = self._link.captureSessionState()
        micros = self._link.clock().micros()
        tempo, beat = state.tempo(), state.beatAtTime(micros, self._bar)
        self._synced = self._synced or state.isPlaying()
        self.outside = None if MIN_TEMPO <= tempo <= MAX_TEMPO else tempo
        rolls = (state.isPlaying() or not self._synced) and self.outside is None
        changes: list[Change] = []
        if not rolls:
            if self.rolling:
                changes.append(Change('stop', time, beat))
        elif not self.rolling or abs(self.line.beat_at(time) - beat) > 0.1:
            changes.append(Change('start', time, beat))
        elif abs(tempo - self.line.tempo) > 1e-3:
            changes.append(Change('tempo', time, beat))
        self.rolling = rolls
        self.line = Line(time, beat, tempo)
        return changes

    def close(self) -> None:
        """Leave the Link session."""
        self._link.enabled = False


class Transport:
    """The leader's beat as session beat, and its changes.

    Parameters
    ----------
    leader : Leader
    bar : float
        Length of a bar in quarter notes.
    """

    def __init__(self, leader: Leader, bar: float = 4.0) -> None:
        self.leader = leader
        self.bar = bar
        self._shift = 0.0  # session beat minus the leader's beat
        self._reached = 0.0  # session beat when last rolling
        self._jumped = False  # the last start was at another place than the session's beats go on from
        self.fresh = False  # nothing was heard or planned yet: until `use`, a start begins the session again

    @property
    def rolling(self) -> bool:
        """Whether beats go by."""
        return self.leader.rolling

    @property
    def tempo(self) -> float:
        """Quarter notes a minute."""
        return self.leader.line.tempo

    def beat_at(self, time: float) -> float:
        """Session beat at `time`; while stopped, where it stopped, or where it starts with the next tick."""
        if not self.leader.rolling:
            starts = self.leader.armed if isinstance(self.leader, ClockFollower) else None
            return self._reached if starts is None else starts + self._shift_at(starts)
        return self.leader.line.beat_at(time) + self._shift

    def time_at(self, beat: float) -> float:
        """Time of a session beat, on the present line."""
        return self.leader.line.time_at(beat - self._shift)

    def next_bar(self, beat: float) -> float:
        """First bar line at or after `beat`."""
        return self.bar * math.ceil(beat / self.bar - 1e-6)

    def bar_start(self, beat: float) -> float:
        """Bar line at or before `beat`."""
        return self.bar * math.floor(beat / self.bar + 1e-6)

    def use(self) -> None:
        """Something is heard or planned at a session beat. What ran before, a clock that idled say, never was."""
        if self.fresh and not self.rolling:
            self._reached = 0.0
        self.fresh = False

    def sync(self, event: Sync) -> list[Change]:
        """Give a transport message to the leader, if MIDI leads."""
        if isinstance(self.leader, ClockFollower):
            changes = self.leader.sync(event)
            if event.kind == CLOCK and not changes:
                return changes
            return self.follow(changes)
        return []

    def check(self, time: float) -> list[Change]:
        """Ask the leader what changed; changes come back in session beats."""
        changes = self.follow(self.leader.check(time))
        if self.leader.rolling:
            self._reached = max(self._reached, self.leader.line.beat_at(time) + self._shift)
        return changes

    def follow(self, changes: list[Change]) -> list[Change]:
        """Turn changes of the leader into changes in session beats, and go along with jumps."""
        told = []
        for change in changes:
            if change.kind == 'start':
                before, self._shift = self._shift, self._shift_at(change.beat)
                self._jumped = self._shift != before
                self._reached = change.beat + self._shift
            elif change.kind == 'stop':
                self._reached = max(self._reached, change.beat + self._shift)
            told.append(Change(change.kind, change.time, change.beat + self._shift))
        return told

    def goes_on(self, stopped: float, starts: float) -> bool:
        """Whether the last start, at session beat `starts`, goes on from a stop at `stopped`, and is no jump."""
        return not self._jumped and -SLACK <= starts - stopped <= NEXT_BEAT

    def _shift_at(self, beat: float) -> float:
        """Beats by which a start at the leader's `beat` is shifted: the fewest whole bars that do not go back.

        The line may have overshot a jump by a few milliseconds: that must not cost a whole bar.
        """
        reached = 0.0 if self.fresh else self._reached
        return self.bar * math.ceil((reached - SLACK - beat) / self.bar)
