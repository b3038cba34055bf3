"""The host of a plug-in leads: it says in every block where it is, so nothing is estimated."""

from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from bridge.transport.beat_line import Line
from bridge.transport.midi_clock import Change


class HostLeader:
    """A leader that is told. For the session's thread.

    Its beats are those that the plug-in counts: from its place in the bar at a start, without end.
    """

    name = 'the host'
    help = 'Start it: the band plays with its transport.'

    def __init__(self) -> None:
        self.rolling = False
        self.line = Line(0.0, 0.0, 120.0)
        self.outside: float | None = None
        self.stands_at = 0.0  # beat, while it does not roll
        self._changes: list[Change] = []

    def start(self, time: float, beat: float, tempo: float) -> None:
        """It starts, or has jumped: at bridge time `time` (seconds) it is at `beat`, at quarter notes a minute."""
        self.line = Line(time, beat, tempo)
        self.outside = None if MIN_TEMPO <= tempo <= MAX_TEMPO else tempo
        self.rolling = self.outside is None
        self.stands_at = beat
        if self.rolling:
            self._changes.append(Change('start', time, beat))

    def stop(self, time: float) -> None:
        """It stops."""
        if self.rolling:
            self.rolling, self.stands_at = False, self.line.beat_at(time)
            self._changes.append(Change('stop', time, self.stands_at))

    def bend(self, time: float, beat: float, tempo: float) -> None:
        """Another tempo from here on."""
        if not MIN_TEMPO <= tempo <= MAX_TEMPO:
            self.stop(time)
            self.outside = tempo
        elif not self.rolling and self.outside is not None:
            self.start(time, beat, tempo)
        else:
            self.line = Line(time, beat, tempo)
            self._changes.append(Change('tempo', time, beat))

    @property
    def has_news(self) -> bool:
        """Whether a start, jump or stop was not asked for yet."""
        return any(change.kind != 'tempo' for change in self._changes)

    def beat_at(self, time: float) -> float:
        """Its beat at bridge time `time`, also while it stands."""
        return self.line.beat_at(time) if self.rolling else self.stands_at

    def check(self, time: float) -> list[Change]:
        """Return the changes that the host made since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def close(self) -> None:
        """Nothing to let go of."""
