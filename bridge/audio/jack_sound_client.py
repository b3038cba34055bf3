"""A JACK client (JACK or PipeWire) that plays sounds by MIDI, alone or in a process of its own beside a session.

Nothing in here waits without an end: a process that does not come, hangs or dies is told, and started again.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bridge.system.jack_client import RETRY, JackClient
from genaudio_core.errors import GenaudioError, one_line

TELL_SECONDS = 10.0  # between two lines about blocks that could not be played


class JackSoundClient(JackClient):
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
        self._connect = tuple(connect)
        self.faults = 0
        self._fault, self._faults_told, self._tell_at = '', 0, 0.0
        self._began = 0.0  # when the block that is being made was begun; 0: none is
        self._look_at = 0.0
        super().__init__(name)
        self.sample_rate = int(self.client.samplerate)

    def render(self, out: np.ndarray, events: list[tuple[int, bytes]]) -> None:
        """Fill `out` (2, frames); `events` are (frame, message). In the audio thread."""
        raise NotImplementedError

    def silence(self) -> None:
        """Let everything end, softly."""
        raise NotImplementedError

    def rate_changed(self) -> None:
        """The server came back with another sample rate."""
        raise NotImplementedError

    def set_up(self) -> None:
        client = self.client
        self._out = np.zeros((2, max(8192, client.blocksize)), np.float32)
        self._midi = client.midi_inports.register('in')
        self._ports = [client.outports.register(f'out_{i}') for i in (1, 2)]
        self._inputs, self._outputs = [self._midi], self._ports

    def start(self) -> None:
        """Begin to play."""
        super().start()
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

    @property
    def stuck_for(self) -> float:
        """Seconds since the block that is being made was begun; 0 between two blocks."""
        began = self._began
        return time.monotonic() - began if began else 0.0

    def poll(self) -> str | None:
        """Look whether the server is there; return a line to tell when that changed, or blocks could not be played."""
        now = time.monotonic()
        if self.lost:
            return self.look_for_server()
        if now >= self._look_at:
            self._look_at = now + RETRY
            self.connect_pending()
            self.connections()
        if self.faults == self._faults_told or now < self._tell_at:
            return None
        count, self._faults_told, self._tell_at = self.faults - self._faults_told, self.faults, now + TELL_SECONDS
        return f'{count} blocks could not be played and were silent: {self._fault}'

    def went_away(self) -> None:
        self.silence()  # the ends of these notes went with it

    def came_back(self, client: Any) -> None:
        self._began = 0.0
        if client.samplerate != self.sample_rate:
            self.sample_rate = int(client.samplerate)
            self.rate_changed()

    def _end_softly(self) -> None:
        self.silence()
        with contextlib.suppress(Exception):
            time.sleep(0.01 + 2 * self.client.blocksize / self.client.samplerate)

    def pause(self) -> None:
        """Ctrl-Z: fall silent and step out of JACK's graph, which would wait for a process that is stopped."""
        if self.lost:
            return
        self._end_softly()
        self.connections()
        with contextlib.suppress(Exception):
            self.client.deactivate()

    def resume(self) -> None:
        """Play again after `pause`, connected as before."""
        if self.lost:
            return
        with contextlib.suppress(GenaudioError):  # the server is gone meanwhile: `poll` finds out
            JackClient.start(self)

    def close(self) -> None:
        """Fade out and leave the server."""
        if not self.lost:
            self._end_softly()
        super().close()
