"""Who leads the transport, among all that could.

Every input may bring a MIDI clock; each has a follower of its own. The first that is heard leads. Another takes the
lead when it is started while the leader is not, or when the leader's clock has been away for `AWAY` seconds. Until a
MIDI clock comes, whatever else rolls leads (JACK transport); without that, our own tempo, which begins with the first
note.
"""

from collections.abc import Callable, Iterable

from bridge.midi import messages
from bridge.midi.messages import Sync
from bridge.settings.band_preset import Preset
from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from bridge.transport.midi_clock import Change, ClockFollower
from bridge.transport.tick_line import TICKS
from bridge.transport.transport import InternalLeader, JackLeader, Leader, Transport

AWAY = 2.0  # seconds without a tick after which another clock may lead
SETTLED = 3.0  # seconds after a start in which the tempo is still being found


class LeaderChoice:
    """Keeps the transport, and hands it to the one who leads. Like the session, it belongs to one thread.

    Parameters
    ----------
    preset : Preset
    leader : Leader or None
        Who leads, if that is settled; by default what the preset asks for among MIDI clock and our own tempo.
    quiet : callable
        Called before the transport goes to another leader: what sounds ends, what is planned is dropped.
    notify : callable
        Gets one line for the person.
    """

    def __init__(
        self, preset: Preset, leader: Leader | None, *, quiet: Callable[[], None], notify: Callable[[str], None]
    ) -> None:
        self.own = InternalLeader(preset['transport.tempo'])
        self.alternatives: list[Leader] = []  # leaders that may take over from our own tempo when they roll
        self._preset, self._quiet, self._notify = preset, quiet, notify
        wanted = preset['transport.leader'] if leader is None else ''
        self._auto = wanted == 'auto'
        self._followers: dict[int, ClockFollower] = {}  # input -> its clock
        self._spare = self._new_follower() if wanted == 'midi' else None  # leads until the first clock comes
        self._ardour: bool | None = None
        self._told: set[str] = set()
        self._rolled = False  # the present leader has rolled at least once
        self._steady = (0.0, 0.0)  # (time of the last start, tempo at the last look)
        self.transport = Transport(leader or self._spare or self.own, preset.bar)
        self.transport.fresh = True

    @property
    def own_leads(self) -> bool:
        """Whether our own tempo leads only because nobody else does: then the first note starts it."""
        return self._auto and self.transport.leader is self.own

    # --- MIDI clock

    def _new_follower(self) -> ClockFollower:
        known = {'auto': None, 'standard': False, 'times24': True}[self._preset['transport.song_position']]
        return ClockFollower(self._preset['transport.tempo'], times_24=known)

    def _follower(self, source: int) -> ClockFollower:
        if source not in self._followers:
            self._followers[source] = self._spare or self._new_follower()
            self._followers[source].position.hear_name(self._ardour)
            self._spare = None
        return self._followers[source]

    def sync(self, source: int, event: Sync) -> list[Change]:
        """Take a transport message of input `source`; return what changed, in session beats."""
        leader = self.transport.leader
        if not (self._auto or isinstance(leader, ClockFollower)):
            return []
        follower = self._follower(source)
        if follower is leader:
            return self._told_of(self.transport.sync(event))
        was_armed = follower.armed is not None
        follower.sync(event)
        # A start without any clock is a keyboard's button, and no reason to give up who leads.
        starts = event.kind in (messages.START, messages.CONTINUE) and follower.ticks > 0
        starts = starts or (was_armed and follower.rolling)
        if isinstance(leader, ClockFollower):
            self._tell_of_two(source, follower, leader, event.time)
            takes_over = self._is_free(leader, follower, event.time, starts=starts)
        else:
            takes_over = follower.rolling or starts
        return self._hand_to(follower, event.time) if takes_over else []

    def lost(self, source: int) -> None:
        """Messages of input `source` were lost, ticks perhaps: its clock looks whether."""
        if source in self._followers:
            self._followers[source].lost()

    def _is_free(self, leader: ClockFollower, other: ClockFollower, time: float, *, starts: bool) -> bool:
        """Whether the clock `other` may take the lead from `leader`."""
        if starts:
            return not (leader.started and leader.is_on)
        away = time - leader.last > AWAY
        # A leader that was stopped properly is not away: ticks of a machine that nobody started do not replace it.
        return other.rolling and away and (other.started or leader.is_on or leader.stalled)

    def _tell_of_two(self, source: int, other: ClockFollower, leader: ClockFollower, time: float) -> None:
        if other.ticks >= TICKS and leader.ticks >= TICKS and time - leader.last < leader.patience:
            self._tell(
                f'two {source}',
                f'MIDI clock comes in twice, at {self._name(leader)} and at {self._name(other)}: the first one leads. '
                'Disconnect the other; it leads when the first is away.',
            )

    def _name(self, follower: ClockFollower) -> str:
        names = self._preset['ports.inputs']
        sources = [source for source, one in self._followers.items() if one is follower]
        return f"'{names[sources[0]]}'" if sources and sources[0] < len(names) else 'another input'

    def hint_senders(self, names: Iterable[str]) -> None:
        """Tell who is connected to our inputs: Ardour counts song positions its own way."""
        self._ardour = True if any(name.lower().startswith('ardour') for name in names) else None
        for follower in self._followers.values():
            follower.position.hear_name(self._ardour)

    # --- time passes

    def check(self, now: float) -> list[Change]:
        """Return what changed until `now`, in session beats. Called a few hundred times a second."""
        if self.own_leads:
            for other in self.alternatives:
                other.check(now)
                if other.rolling:
                    return self._hand_to(other, now)
        leader = self.transport.leader
        for follower in self._followers.values():
            if follower is not leader:
                follower.check(now)
        changes = self._told_of(self.transport.check(now))
        self._watch_tempo(now)
        self._tell_of_gaps()
        for one in (leader, *self._followers.values()):
            if one.outside is not None:
                self._tell(
                    'outside',
                    f'{one.name} runs at {one.outside:.3g} beats a minute; '
                    f'{MIN_TEMPO:g} to {MAX_TEMPO:g} can be followed.',
                )
        return changes

    def _tell_of_gaps(self) -> None:
        """Ticks that were lost are nobody's secret: the person hears where the band takes the song to be."""
        for follower in self._followers.values():
            gap, follower.gap = follower.gap, None
            if gap is None or follower is not self.transport.leader:
                continue
            bar, beat = divmod(gap.beat, self.transport.bar)
            self._notify(
                f'MIDI clock was away for {gap.seconds:.1f} s without a stop. Ticks do not say how many of them were '
                f'lost: the band goes on at bar {int(bar) + 1}, beat {beat + 1:.4g}, as counted. If your song is '
                'elsewhere, stop and start it, or send a song position.'
            )

    def key(self, time: float) -> list[Change]:
        """A key was struck: it starts our own tempo if nobody leads; if the leader never rolled, say so, once."""
        changes: list[Change] = []
        if self.own_leads and not self.transport.rolling:
            self.own.start(time)
            changes = self._told_of(self.transport.check(time))
        elif not (self.transport.rolling or self._rolled):
            leader = self.transport.leader
            self._tell('keys', f'You are playing, but {leader.name} does not roll. {leader.help}')
        self.transport.use()
        return changes

    def run(self, start: bool, now: float) -> None:
        """Start or stop our own transport; where another device leads, say so."""
        if self.transport.leader is not self.own:
            self._notify('The transport follows another device: start and stop it there.')
        elif start:
            self.own.start(now)
        else:
            self.own.stop(now)

    def set_tempo(self, now: float, tempo: float) -> None:
        """Set the tempo (quarter notes a minute) for where nobody else tells one."""
        self.own.set_tempo(now, tempo)
        for leader in (self.transport.leader, *self.alternatives):
            if isinstance(leader, JackLeader):
                leader.own_tempo = tempo

    def close(self) -> None:
        """Let go of what the leaders hold."""
        for leader in (self.transport.leader, *self.alternatives):
            leader.close()

    def _hand_to(self, leader: Leader, time: float) -> list[Change]:
        self._quiet()
        old, self.transport.leader = self.transport.leader, leader
        self._rolled = False
        where = ''
        if isinstance(old, ClockFollower) and isinstance(leader, ClockFollower):
            where = f' at {self._name(leader)}'
        self._notify(f'Following {leader.name}{where}.')
        if not leader.rolling:
            return []
        return self._told_of(self.transport.follow([Change('start', time, leader.line.beat_at(time))]))

    def _told_of(self, changes: list[Change]) -> list[Change]:
        """Note what the changes of the leader tell, and return them."""
        if any(change.kind == 'start' for change in changes):
            self._steady = (changes[-1].time, 0.0)
        self._rolled = self._rolled or self.transport.rolling
        return changes

    def _watch_tempo(self, now: float) -> None:
        """Ardour's clock says nothing when a new tempo puts its playhead on another beat."""
        since, tempo = self._steady
        clock = isinstance(self.transport.leader, ClockFollower)
        if not (clock and self._ardour and self.transport.rolling) or now - since < SETTLED:
            return
        if tempo and abs(self.transport.tempo - tempo) > 0.03 * tempo:
            self._tell(
                'tempo',
                "Ardour's tempo was changed while it rolls: its MIDI clock does not say where the bar is now. "
                "Stop and start it, or follow JACK transport (transport.leader = 'jack').",
            )
        self._steady = (since, self.transport.tempo)

    def _tell(self, kind: str, line: str) -> None:
        """Give a line to the person: one of each kind."""
        if kind not in self._told:
            self._told.add(kind)
            self._notify(line)
