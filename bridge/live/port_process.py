"""The port process: ports, clock, session and sender, and nothing that could hold them up.

One loop: take what came in, let the session decide, hand over what is due, wait. The music engine is another
process, the view, OSC and keys are in the parent. If the parent goes, the pipe ends, and so does the music: every
note first. If this process is killed, its successor finds in the shared table what still sounds.
"""

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from bridge.band.arrange import make_arranger
from bridge.live.kept_takes import Piece, to_pieces
from bridge.live.session import Session
from bridge.live.snapshot import Scenes
from bridge.midi.input_queue import LOST, Inbox, ends_a_note, starts_a_note
from bridge.midi.jack_ports import JackMidi
from bridge.midi.rtmidi_ports import PortSet, why_no_virtual
from bridge.midi.sender import PrecisionSender, Sender
from bridge.midi.sounding_notes import Sounding
from bridge.musicians.choose import make_musician
from bridge.musicians.musician_process import ProcessEngine
from bridge.settings.band_preset import Preset
from bridge.system.clock import Clock, RealClock
from bridge.system.cpu_wakeup import awake
from bridge.system.jack_client import is_running
from bridge.system.notices import Sparing
from bridge.system.real_time import SWITCH, in_real_time, raise_priority
from bridge.transport.transport import JackLeader, Leader, LinkLeader
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import begin
from genaudio_core.processes.child_watch import Heartbeat, send_now

ORPHANED = 10.0  # seconds in which it must have ended every note, once the parent is gone
SHOW = 0.1  # seconds between two snapshots for the view
MOST_AT_ONCE = 500  # messages that come in, between two steps: a flood must not keep the notes from their ends
TOO_LATE = 1.0  # seconds after which a key is not played any more: after a flood, the band goes on with what is new
MAX_FAULTS, FAULTS_WITHIN = 20, 30.0  # so many exceptions in so many seconds: the process is started again
COUNTED = ('heard', 'played', 'missed', 'units', 'late', 'bad_bytes', 'xruns', 'port_errors', 'lost_in', 'lost_out',
           'faults')  # fmt: skip
"""The counters of a snapshot; they go on through a restart."""


@dataclass
class Setup:
    """Set-up of the port process, from its parent."""

    preset: Preset
    table: str  # file of the shared table of sounding notes
    client_name: str = 'genaudio'
    reconnect: list[tuple[str, str]] = field(default_factory=list)  # JACK connections to restore (source, sink)
    draws: bool = False  # somebody draws the music: send scenes
    saves: bool = False  # somebody saves answers as they are heard


class Backend:
    """Ports and sender of one kind: JACK with frame offsets, or rtmidi with a precise sender."""

    def __init__(self, setup: Setup, inbox: Inbox, notify: Callable[[str], None]) -> None:
        preset = setup.preset
        inputs, outputs = preset['ports.inputs'], preset['ports.outputs']
        sounding = Sounding.shared(setup.table)
        wanted = preset['ports.backend']
        self.clock: Clock
        self.sender: Sender
        self.jack: JackMidi | None = None
        if wanted == 'jack' or (wanted == 'auto' and is_running()):
            self.jack = JackMidi(
                inputs, outputs, inbox.put, name=setup.client_name, connect=preset['ports.connect'],
                sounding=sounding, notify=notify,
            )  # fmt: skip
            self.jack.restore(setup.reconnect)
            self.clock = self.sender = self.jack
            self.horizon = self.jack.horizon
            self._look, self._outputs_back, self._close = self.jack.look, self.jack.outputs_back, lambda: None
            self.name = 'jack'
        else:
            self.clock = RealClock()
            try:
                ports = PortSet(inputs, outputs, self.clock, inbox.put, client_name=setup.client_name, notify=notify)
            except GenaudioError as error:
                if reason := why_no_virtual():
                    raise GenaudioError(f'No MIDI here: {reason}.') from error
                raise
            self.sender = PrecisionSender(self.clock, ports.write, len(outputs), sounding)
            self.horizon = 0.03
            self._look, self._outputs_back, self._close = ports.look, ports.outputs_back, ports.close
            self.name = 'rtmidi'
        if sounding.count():
            notify(f'{sounding.count()} notes were still on from before: they end now.')
        self.sender.silence()

    def leader(self, preset: Preset) -> Leader | None:
        """The leader that the preset names, where it needs more than MIDI messages."""
        wanted = preset['transport.leader']
        if wanted == 'link':
            try:
                return LinkLeader(preset['transport.tempo'], preset.bar)
            except ImportError as error:
                raise GenaudioError("Ableton Link needs a package: pip install 'genaudio[link]'.") from error
        if wanted == 'jack':
            if self.jack is None:
                raise GenaudioError("transport.leader = 'jack' needs JACK, which does not run.")
            return JackLeader(self.jack.transport, preset['transport.tempo'])
        return None

    def look(self) -> list[int]:
        """Open ports that are there again; return the numbers of inputs that were lost since the last call."""
        return self._look()

    def counts(self) -> dict[str, int]:
        """Counts of faults at the ports so far; names as in `COUNTED`."""
        if self.jack is not None:
            return {'xruns': self.jack.xruns, 'port_errors': self.jack.errors, 'lost_out': 0}
        faults, lost = getattr(self.sender, 'faults', 0), getattr(self.sender, 'lost', 0)
        return {'xruns': 0, 'port_errors': faults, 'lost_out': lost}

    def outputs_back(self) -> list[int]:
        """Numbers of the outputs whose port has come back since the last call."""
        return self._outputs_back()

    def connections(self) -> list[tuple[str, str]]:
        """(output, input) of all connections of JACK's ports, by name; empty with RtMidi."""
        return self.jack.connections() if self.jack else []

    def close(self) -> None:
        """Silence, then close the ports."""
        self._close()


def run_midi(setup: Setup, cells: Any, connection: Connection) -> None:
    """Run the port process (`ChildProcess`) until the parent says so, or is gone."""
    sys.setswitchinterval(SWITCH)
    raise_priority(-15)
    heart = begin(cells, ORPHANED)
    stop: list[str] = []
    inbox = Inbox()

    def on_signal(number: int, frame: object) -> None:
        stop.append(signal.Signals(number).name)
        inbox.wake()

    signal.signal(signal.SIGTERM, on_signal)
    parent = Parent(connection)
    try:
        backend = Backend(setup, inbox, parent.notify)
        try:
            engine = ProcessEngine(
                make_musician, (setup.preset['music.model'],), clock=backend.clock, notify=parent.notify
            )
            session = Session(
                setup.preset, backend.clock, backend.sender, engine, leader=backend.leader(setup.preset),
                horizon=backend.horizon, notify=parent.notify,
                arranger=make_arranger(setup.preset['music.model']),
            )  # fmt: skip
        except BaseException:
            backend.sender.close()
            backend.close()
            raise
    except GenaudioError as error:
        parent.tell('failed', str(error))
        return
    if backend.jack:
        session.leaders.alternatives.append(JackLeader(backend.jack.transport, setup.preset['transport.tempo']))
    if setup.saves:
        session.takes.heard = deque(maxlen=64)
    parent.tell('started', {'backend': backend.name, 'pid': os.getpid()})
    loop = Loop(parent, session, engine, backend, inbox, heart, Scenes(session) if setup.draws else None)
    try:
        with awake(), in_real_time():
            loop.run(stop)
    finally:
        try:
            session.close()
        finally:
            backend.close()  # the wire first: what follows is of no use to a note
            inbox.close()
            if loop.orphaned:  # nobody else is left to clear up
                with contextlib.suppress(OSError):
                    os.unlink(setup.table)
        loop.say_goodbye()


class Parent:
    """The pipe to the parent, which is never waited for. For the main thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.notify = Sparing(lambda line: self._keep('line', line))
        self._kept: deque[tuple[str, Any]] = deque(maxlen=1000)  # must arrive, also at a parent that is stopped now

    def tell(self, kind: str, value: Any) -> bool:
        """Send if the pipe takes it now; whether it did."""
        return not self._kept and send_now(self.connection, (kind, value))

    def _keep(self, kind: str, value: Any) -> None:
        self._kept.append((kind, value))
        self.hand_on()

    def hand_on(self) -> None:
        """Send what waits, as much as the pipe takes."""
        while self._kept and send_now(self.connection, self._kept[0]):
            self._kept.popleft()

    def orders(self) -> list[dict[str, Any]]:
        """The orders of the parent since the last call.

        Raises
        ------
        EOFError
            If it is gone.
        """
        found = []
        try:
            while self.connection.poll():
                found.append(self.connection.recv())
        except OSError as error:
            raise EOFError from error
        return found


class Loop:
    """The loop of the port process. Whatever goes wrong in a turn costs a line."""

    def __init__(
        self, parent: Parent, session: Session, engine: ProcessEngine, backend: Backend, inbox: Inbox,
        heart: Heartbeat, scenes: Scenes | None = None,
    ) -> None:  # fmt: skip
        self.scenes = scenes
        self.parent, self.session, self.engine, self.backend, self.inbox = parent, session, engine, backend, inbox
        self._heart = heart
        self.faults = 0
        self.orphaned = False  # the parent went away without a word
        self._recent: deque[float] = deque(maxlen=MAX_FAULTS)
        self._applied = 0  # messages of the parent
        self._lost = 0  # messages of a flood that the person knows of
        self._paused = False
        self._next_show = 0.0
        self._pieces: deque[Piece] = deque()  # of takes on their way to the parent, which writes them

    def run(self, stop: list[str]) -> None:
        """Turn until something is in `stop`, the parent says so, or is gone."""
        clock = self.session.clock
        while not stop:
            self._heart.beat()
            self.take_in()
            wake = self._guard(self._step)
            if clock.now() >= self._next_show:
                self._next_show = clock.now() + SHOW
                self._guard(self._look_around)
            wake = clock.now() + 0.02 if wake is None else wake
            readable = wait([self.inbox.reader, self.engine.connection, self.parent.connection],
                            max(wake - clock.now(), 0))  # fmt: skip
            if self.parent.connection in readable:
                try:
                    orders = self.parent.orders()
                except EOFError:
                    self.orphaned = True
                    return
                for order in orders:
                    if 'stop' in order:
                        return
                    if 'pause' in order:
                        self._guard(self._pause, order['pause'])
                        continue
                    self._applied += 1
                    self._guard(self.session.apply, order)

    def take_in(self) -> None:
        """Hand on what came in, as much as may hold up the rest."""
        for source, message, at in self.inbox.drain(MOST_AT_ONCE):
            if starts_a_note(message) and self.session.clock.now() - at > TOO_LATE:
                self.inbox.lost += 1
            # Of what comes in while it is paused, ends of notes count, and clock and position, which go on.
            elif not self._paused or message == LOST or ends_a_note(message) or message[0] >= 0xF0:
                self._guard(self.session.receive, source, message, at)

    def _guard(self, do: Callable[..., Any], *arguments: Any) -> Any:
        """Do it; a bug here must not leave a note hanging or stop the music. None then."""
        try:
            return do(*arguments)
        except GenaudioError as error:
            self.parent.notify(str(error))
        except Exception as error:
            self.faults += 1
            self.parent.notify(f'Fault in the session ({type(error).__name__}: {error}); playing on.')
            with contextlib.suppress(Exception):
                self.session.all_notes_off()
            self.backend.sender.silence()
            now = self.session.clock.now()
            self._recent.append(now)
            if len(self._recent) == MAX_FAULTS and now - self._recent[0] < FAULTS_WITHIN:
                raise SystemExit(1) from error
        return None

    def _step(self) -> float:
        if not self._paused:
            return self.session.step()
        self.engine.poll()  # it goes on living; what it makes is not played
        return self.session.clock.now() + 0.05

    def _pause(self, wanted: bool) -> None:
        self._paused = wanted
        if wanted:
            self.session.command('panic')
            self.session.all_notes_off()
            self.backend.sender.silence()
            self.parent.tell('paused', None)

    def _look_around(self) -> None:
        session, backend = self.session, self.backend
        for source in {*backend.look(), *self.inbox.missed_ends()}:
            session.port_lost(source)
        for output in backend.outputs_back():
            session.output_back(output)
        self._hand_on_takes()
        if (lost := self.inbox.lost) > self._lost:
            self.parent.notify(f'Too much MIDI at once. Messages dropped: {lost - self._lost}.')
            self._lost = lost
        self.parent.hand_on()
        self.parent.notify.look()
        if backend.jack:
            session.leaders.hint_senders(backend.jack.senders)
            session.scheduler.extra_latency_s = backend.jack.loop_delay
            session.scheduler.horizon = backend.jack.horizon  # the blocks may be longer now
        self._show()
        self._show_scene()

    def _show_scene(self) -> None:
        """For the panel. A fault in what is only looked at ends no note, as one in the session would."""
        if self.scenes is None:
            return
        try:
            if self.parent.tell('scene', self.scenes.make()):
                self.scenes.told()
        except Exception as error:
            self.scenes = None
            self.parent.notify(f'The panel stopped showing notes ({type(error).__name__}: {error}); the music goes on.')

    def _show(self) -> bool:
        snapshot = self.session.snapshot()
        snapshot |= self.backend.counts()
        snapshot |= {
            'connections': self.backend.connections(), 'engine_pid': self.engine.pid, 'lost_in': self.inbox.lost,
            'faults': self.faults, 'applied': self._applied, 'paused': self._paused,
        }  # fmt: skip
        return self.parent.tell('snapshot', snapshot)

    def _hand_on_takes(self) -> bool:
        """Send takes to the parent, which writes them: as much as its pipe takes. Whether all."""
        for waiting in (self.session.takes.gathered, self.session.takes.heard):
            while waiting:
                self._pieces += to_pieces(waiting.popleft())
        while self._pieces and self.parent.tell('keep', self._pieces[0]):
            self._pieces.popleft()
        return not self._pieces

    def say_goodbye(self) -> None:
        """The last words, for a second at most: lines, takes, the final figures."""
        self.parent.notify.flush()
        until = time.monotonic() + 1
        while time.monotonic() < until:
            self.parent.hand_on()
            if self._hand_on_takes() and self._show():
                break
            time.sleep(0.01)
        self.parent.tell('ended', None)
