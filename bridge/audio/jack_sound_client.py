"""What plays sounds by MIDI as a JACK client (JACK or PipeWire), alone or in a process of its own beside a session.

Nothing in here waits without an end: a process that does not come, hangs or dies is told, and started again.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bridge.system.jack_client import leave, open_client
from genaudio_core.errors import GenaudioError, one_line

RETRY = 1.0  # seconds between attempts to find a server that went away, and between looks for ports to connect
TELL_SECONDS = 10.0  # between two lines about blocks that could not be played


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
        leave(self.client, active=not self.lost)
