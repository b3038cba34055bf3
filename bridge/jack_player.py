"""What plays sounds by MIDI as a JACK client (JACK or PipeWire), alone or in a process of its own beside a session.

Nothing in here waits without an end: a process that does not come, hangs or dies is told, and started again.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.audio_jack import open_client
from bridge.child_watch import Heartbeat, Patience, RestartLimit, end_process, send_now
from bridge.signals import born_deaf
from genaudio_core.errors import GenaudioError, one_line

RETRY = 1.0  # seconds between attempts to find a server that went away, and between looks for ports to connect
TELL_SECONDS = 10.0  # between two lines about blocks that could not be played
LOAD_SECONDS = 60.0  # until the process of a player must have said that it is ready


class JackPlayer:
    """A JACK client with ``in`` (MIDI), ``out_1`` and ``out_2``; what it plays is `render`'s.

    All methods but `render` belong to the main thread of the process.

    Parameters
    ----------
    connect
        Parts of names: MIDI ports of these names are heard, audio inputs of these names are played to.

    Raises
    ------
    GenaudioError
        If no server runs.
    """

    def __init__(self, name: str, connect: Sequence[str] = ()):
        self.name, self._connect = name, tuple(connect)
        self.client = open_client(name)
        self.sample_rate = int(self.client.samplerate)
        self.xruns = self.faults = 0
        self.lost = False
        self._retry_at = 0.0
        self._fault, self._faults_told, self._tell_at = '', 0, 0.0
        self._began = 0.0  # when the block that is being made was begun; 0: none is
        self._kept: list[tuple[str, str]] = []  # connections while it pauses
        self._set_up()

    def render(self, out: np.ndarray, events: list[tuple[int, bytes]]) -> None:
        """Fill `out` (2, frames); `events` are (frame, message). In the audio thread."""
        raise NotImplementedError

    def silence(self) -> None:
        """Let everything end, softly."""
        raise NotImplementedError

    def rate_changed(self) -> None:
        """The server came back with another sample rate."""
        raise NotImplementedError

    def _set_up(self) -> None:
        client = self.client
        self._out = np.zeros((2, max(8192, client.blocksize)), np.float32)
        self._midi = client.midi_inports.register('in')
        self._ports = [client.outports.register(f'out_{i}') for i in (1, 2)]
        client.set_process_callback(self._process)
        client.set_blocksize_callback(self._blocksize)
        client.set_xrun_callback(self._xrun)
        client.set_shutdown_callback(self._shutdown)

    def start(self) -> None:
        """Begin to play."""
        self.client.activate()
        self.wire()

    def wire(self) -> None:
        """Connect what was asked for and is there; what is connected stays."""
        client = self.client
        for part in self._connect:
            with contextlib.suppress(Exception):
                heard = {port.name for port in client.get_all_connections(self._midi)}
                for port in client.get_ports(is_midi=True, is_output=True):
                    if part.lower() in port.name.lower() and port.name not in heard:
                        client.connect(port.name, f'{client.name}:in')
                sinks = [p.name for p in client.get_ports(is_audio=True, is_input=True) if part in p.name]
                for own, sink in zip(self._ports, sinks, strict=False):
                    if sink not in {port.name for port in client.get_all_connections(own)}:
                        client.connect(own.name, sink)

    def _process(self, frames: int) -> None:
        self._began = time.monotonic()
        try:
            out = self._out[:, :frames]
            self.render(out, [(offset, bytes(data)) for offset, data in self._midi.incoming_midi_events()])
            for row, port in zip(out, self._ports, strict=True):
                port.get_array()[:] = row
        except Exception as error:  # an exception here would end the client
            self.faults += 1
            self._fault = one_line(error)
            for port in self._ports:
                port.get_array()[:] = 0
        self._began = 0.0

    def _blocksize(self, frames: int) -> None:
        if frames > self._out.shape[1]:
            self._out = np.zeros((2, frames), np.float32)

    def _xrun(self, delayed_usecs: float) -> None:
        self.xruns += 1

    def _shutdown(self, status: Any, reason: str) -> None:
        self.lost = True

    @property
    def stuck_for(self) -> float:
        """Seconds since the block that is being made was begun; 0 between two blocks."""
        began = self._began
        return time.monotonic() - began if began else 0.0

    def poll(self) -> str | None:
        """Look whether the server is there; return a line to tell when that changed, or blocks could not be played."""
        if not self.lost:
            now = time.monotonic()
            if self.faults == self._faults_told or now < self._tell_at:
                return None
            count, self._faults_told, self._tell_at = self.faults - self._faults_told, self.faults, now + TELL_SECONDS
            return f'{count} blocks could not be played and were silent: {self._fault}'
        if time.monotonic() < self._retry_at:
            return None
        first, self._retry_at = self._retry_at == 0.0, time.monotonic() + RETRY
        if first:
            self._leave()  # the server is gone, its client in this process is not
            self.silence()  # the ends of these notes went with it
            return 'The JACK server went away; waiting for it to come back.'
        try:
            self.client = open_client(self.name)
        except GenaudioError:
            return None
        try:
            self.lost, self._began = False, 0.0  # before there are callbacks: it may be lost again at once
            if self.client.samplerate != self.sample_rate:
                self.sample_rate = int(self.client.samplerate)
                self.rate_changed()
            self._set_up()
            self.start()
        except Exception:  # JACK's own; the server went away while we came
            self.lost = True
            self._leave()
            return None
        self._retry_at = 0.0
        return 'The JACK server is back.'

    def _leave(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()

    def _end_softly(self) -> None:
        self.silence()
        with contextlib.suppress(Exception):
            time.sleep(0.01 + 2 * self.client.blocksize / self.client.samplerate)

    def pause(self) -> None:
        """Ctrl-Z: fall silent and step out of JACK's graph, which would wait for a process that is stopped."""
        if self.lost:
            return
        self._end_softly()
        with contextlib.suppress(Exception):
            own = [(port.name, other.name) for port in self._ports for other in self.client.get_all_connections(port)]
            heard = [(other.name, self._midi.name) for other in self.client.get_all_connections(self._midi)]
            self._kept = own + heard
            self.client.deactivate()

    def resume(self) -> None:
        """Play again after `pause`, connected as before."""
        if self.lost:
            return
        with contextlib.suppress(Exception):
            self.client.activate()
        for source, sink in self._kept:
            with contextlib.suppress(Exception):  # what is gone meanwhile is left unconnected
                self.client.connect(source, sink)
        self._kept = []

    def close(self) -> None:
        """Fade out and leave the server."""
        if not self.lost:
            self._end_softly()
            with contextlib.suppress(Exception):
                self.client.deactivate()
        self._leave()


class SoundProcess:
    """A player beside a live session, in a process of its own: the band plays on whatever happens to it.

    It is started again when it dies or hangs, a few times. One thread only, that of the session's loop.

    Parameters
    ----------
    body
        What the process runs: ``body(*arguments, heart, orders, told)``: the name of a `Heartbeat` and two ends of
        pipes. It tells texts, ('ready', value), ('failed', why), ('status', figures).
    what
        What a person calls it, such as 'The instrument Synth.vst3'.
    stuck
        Seconds without a sign of life after which it counts as hung.
    loading
        Seconds that it may take until it is ready.

    Attributes
    ----------
    ready : bool
        It plays.
    failed : str
        Why it cannot play and is not tried again, or ''.
    restarts : int
    """

    consequence = ''  # what a failure means, after its line

    def __init__(
        self, body: Callable[..., None], arguments: tuple[Any, ...], name: str, *, what: str = '', stuck: float = 8.0,
        loading: float = LOAD_SECONDS,
    ):  # fmt: skip
        self._body, self._arguments, self.name = body, arguments, name
        self.what = what or name
        self.ready, self.failed, self.restarts = False, '', 0
        self.status: dict[str, Any] = {}
        self._limit = RestartLimit()
        self._heart = Heartbeat()
        self._load_patience, self._stuck_patience = Patience(loading), Patience(stuck)
        self._stopping, self._hung = False, ''
        self._launch()

    def _launch(self) -> None:
        context = multiprocessing.get_context('spawn')
        theirs, self._orders = context.Pipe(duplex=False)
        self._told, their_told = context.Pipe(duplex=False)
        self._hung, self._beats = '', -1
        self._load_patience.renew()
        self._stuck_patience.renew()
        self.process = context.Process(
            target=self._body, args=(*self._arguments, self._heart.name, theirs, their_told), name=self.name,
            daemon=True,
        )  # fmt: skip
        with born_deaf():
            self.process.start()
        theirs.close()
        their_told.close()

    def obey(self, line: str) -> bool:
        """Hand over a line, such as ``load 36 kick.wav``; False where it is not taken now. Never waits."""
        return send_now(self._orders, line)

    def _heard(self) -> list[Any]:
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self._told.poll():
                found.append(self._told.recv())
        return found

    def _take(self, kind: str, value: Any) -> list[str]:
        """Take in one message; return lines to tell."""
        if kind == 'ready':
            self.ready = True
            self._stuck_patience.renew()
        elif kind == 'failed':
            self.failed = value
            return [f'{value} {self.consequence}'.strip()]
        elif kind == 'status':
            self.status = value
        return []

    def poll(self) -> list[str]:
        """Look after the process; return what there is to tell."""
        alive, lines = self.process.is_alive(), []
        for said in self._heard():
            lines += [said] if isinstance(said, str) else self._take(*said)
        if self.failed or self.status or self._stopping:
            return lines
        if alive:
            self._end_if_hung()
            alive = self.process.is_alive()
        return lines if alive else [*lines, self._revive()]

    def _end_if_hung(self) -> None:
        if not self.ready:
            over, why = self._load_patience.is_over(), f'was not ready after {self._load_patience.seconds:g} s'
        else:
            if self._heart.beats != self._beats:
                self._beats = self._heart.beats
                self._stuck_patience.renew()
            over, why = self._stuck_patience.is_over(), 'hangs'
        if over:
            self._hung = why
            end_process(self.process, 0.0)

    def _revive(self) -> str:
        if not self.ready or not self._limit.allows():
            why = self._hung if self._hung and not self.ready else 'crashed while it was loaded'
            self.failed = f'{self.what} {"crashed again and again" if self.ready else why}.'
            return f'{self.failed} {self.consequence}'.strip()
        line = f'{self.what} {self._hung or "crashed"}; it is started again.'
        self.restarts, self.ready = self.restarts + 1, False
        self._orders.close()
        self._told.close()
        self._launch()
        return line

    def stop(self) -> None:
        """End the process, fading out. A second time does nothing."""
        if self._stopping:
            return
        self._stopping = True
        end_process(self.process, 4.0 if self.obey('quit') else 0.5)
        self.poll()  # its last words
        self._orders.close()
        self._told.close()
        self._heart.close()
