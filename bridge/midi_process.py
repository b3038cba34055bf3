"""The port process: ports, clock, session and sender, and nothing that could hold them up.

One loop: take what came in, let the session decide, hand over what is due, wait. The music engine is another
process, the view, OSC and keys are in the parent. If the parent goes, the pipe ends, and so does the music: every
note first. If this process is killed, its successor finds in the shared table what still sounds.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from bridge.awake import awake
from bridge.clock import Clock, RealClock
from bridge.engine import ProcessEngine
from bridge.inbox import Inbox
from bridge.jack_midi import JackMidi, is_running
from bridge.kept_takes import Piece, to_pieces
from bridge.make_musician import make_musician
from bridge.ports import PortSet
from bridge.preset import Preset
from bridge.priority import SWITCH, in_real_time, raise_priority
from bridge.sender import PrecisionSender, Sender
from bridge.session import Session
from bridge.sounding import Sounding
from bridge.transport import JackLeader, Leader, LinkLeader
from genaudio_core.errors import GenaudioError

SHOW = 0.1  # seconds between two snapshots for the view
MAX_FAULTS = 20  # exceptions in the session after which the process gives up and is started anew


@dataclass
class Setup:
    """What the parent tells the port process."""

    preset: Preset
    table: str  # file of the shared table of sounding notes
    client_name: str = 'genaudio'
    reconnect: list[tuple[str, str]] = field(default_factory=list)  # JACK connections to restore (source, sink)


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
            self.jack.reconnect(setup.reconnect)
            self.clock = self.sender = self.jack
            self.horizon = self.jack.horizon
            self._look, self._outputs_back, self._close = self.jack.look, self.jack.outputs_back, lambda: None
            self.name = 'jack'
        else:
            self.clock = RealClock()
            ports = PortSet(inputs, outputs, self.clock, inbox.put, client_name=setup.client_name, notify=notify)
            self.sender = PrecisionSender(self.clock, ports.write, len(outputs), sounding)
            self.horizon = 0.03
            self._look, self._outputs_back, self._close = ports.look, ports.outputs_back, ports.close
            self.name = 'rtmidi'
        if sounding.count():
            notify(f'{sounding.count()} notes were still on from before: they end now.')
        self.sender.silence()

    def leader(self, preset: Preset) -> Leader | None:
        """The leader that the preset names, where it is no matter of MIDI messages."""
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
        return self._look()

    def outputs_back(self) -> list[int]:
        return self._outputs_back()

    def connections(self) -> list[tuple[str, str]]:
        return self.jack.connections() if self.jack else []

    def close(self) -> None:
        self._close()


def run_midi(connection: Connection, setup: Setup) -> None:
    """Run the port process until the parent says so, or is gone."""
    sys.setswitchinterval(SWITCH)
    raise_priority(-15)
    stop: list[str] = []
    pieces: deque[Piece] = deque()  # of takes that are kept, on their way to the parent
    inbox = Inbox()

    def on_signal(number: int, frame: object) -> None:
        stop.append(signal.Signals(number).name)
        inbox.wake()

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent tells us
    signal.signal(signal.SIGTERM, on_signal)

    def tell(kind: str, value: Any) -> bool:
        # Never wait for a parent that does not read.
        with contextlib.suppress(OSError, ValueError):
            if os.name == 'nt' or select.select([], [connection], [], 0)[1]:
                connection.send((kind, value))
                return True
        return False

    def notify(line: str) -> None:
        tell('line', line)

    try:
        backend = Backend(setup, inbox, notify)
        engine = ProcessEngine(make_musician, (setup.preset['music.model'],), clock=backend.clock, notify=notify)
        session = Session(
            setup.preset, backend.clock, backend.sender, engine, leader=backend.leader(setup.preset),
            horizon=backend.horizon, notify=notify,
        )  # fmt: skip
    except GenaudioError as error:
        tell('failed', str(error))
        return
    if backend.jack:
        session.leaders.alternatives.append(JackLeader(backend.jack.transport, setup.preset['transport.tempo']))
    tell('started', {'backend': backend.name, 'pid': os.getpid()})
    try:
        with awake(), in_real_time():
            _loop(connection, session, engine, backend, inbox, stop, tell, pieces)
    finally:
        session.close()
        until = session.clock.now() + 1
        while not _hand_on_takes(session, pieces, tell) and session.clock.now() < until:
            time.sleep(0.01)
        backend.close()
        inbox.close()
        tell('ended', None)


def _hand_on_takes(session: Session, pieces: deque[Piece], tell: Callable[[str, Any], bool]) -> bool:
    """Send takes that are kept to the parent, which writes them: as much as its pipe takes. Whether that was all."""
    while session.takes.gathered:
        pieces += to_pieces(session.takes.gathered.popleft())
    while pieces and tell('keep', pieces[0]):
        pieces.popleft()
    return not pieces


def _loop(
    connection: Connection, session: Session, engine: ProcessEngine, backend: Backend, inbox: Inbox, stop: list[str],
    tell: Callable[[str, Any], bool], pieces: deque[Piece],
) -> None:  # fmt: skip
    faults = 0
    next_show = 0.0
    while not stop:
        try:
            for source, message, at in inbox.drain():
                session.receive(source, message, at)
            wake = session.step()
        except Exception as error:  # a fault of ours must not leave a note hanging, nor end the music
            faults += 1
            session.notify(f'Fault in the session ({type(error).__name__}: {error}); playing on.')
            with contextlib.suppress(Exception):
                session.all_notes_off()
            backend.sender.silence()
            if faults > MAX_FAULTS:
                raise
            wake = session.clock.now() + 0.02
        now = session.clock.now()
        if now >= next_show:
            next_show = now + SHOW
            for source in backend.look():
                session.port_lost(source)
            for output in backend.outputs_back():
                session.output_back(output)
            _hand_on_takes(session, pieces, tell)
            if backend.jack:
                session.leaders.hint_senders(backend.jack.senders)
                session.scheduler.extra_latency = backend.jack.loop_delay
            snapshot = session.snapshot()
            snapshot['connections'] = backend.connections()
            snapshot['engine_pid'] = engine.pid
            snapshot['lost'] = inbox.lost
            tell('snapshot', snapshot)
        readable = wait([inbox.reader, engine.connection, connection], max(wake - session.clock.now(), 0))
        if connection in readable:
            try:
                while connection.poll():
                    message = connection.recv()
                    if 'stop' in message:
                        return
                    session.apply(message)
            except (EOFError, OSError):
                return  # the parent is gone
