"""JACK and PipeWire: the live audio side as a JACK client.

Ports: ``in_1``, ``in_2``; then a pair per output of `AudioHost.output_names`, such as ``drums_1``, ``drums_2``.
A mono source is connected to both inputs, or to one: a silent side is filled from the other when only one is connected.
"""

import contextlib
import errno
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.audio.callback import AudioCore
from bridge.audio.jack_latency import JackLatency
from bridge.system.jack_client import leave, open_client
from bridge.system.jack_names import port_name
from genaudio_core.errors import GenaudioError, did_you_mean

RETRY = 1.0  # seconds between attempts to find a server that went away
PENDING = 60.0  # seconds in which connections are made again as their ports come back


class OtherRate(GenaudioError):
    """The server came back at another sample rate: all that counts samples must be made anew."""

    def __init__(self, sample_rate: int, block: int):
        super().__init__(f'The JACK server came back at {sample_rate} Hz.')
        self.sample_rate, self.block = sample_rate, block  # Hz, samples


def server_timing(name: str) -> tuple[int, int]:
    """Return sample rate (Hz) and block size (samples) of the running server; errors as for `open_client`."""
    client = open_client(name)
    try:
        return int(client.samplerate), int(client.blocksize)
    finally:
        client.close()


class JackAudio:
    """A JACK client around an `AudioCore`.

    Parameters
    ----------
    client
        From `open_client`.
    core
        What the callback calls.
    output_names
        One per pair of outputs.
    on_midi
        Gets the bytes of every message at the MIDI port ``midi_in``, in the callback; without it there is no such port.
    """

    def __init__(
        self, client: Any, core: AudioCore, output_names: Sequence[str], on_midi: Callable[[bytes], None] | None = None
    ):
        self.client, self.core = client, core
        self.name = client.name
        self.output_names, self._on_midi = list(output_names), on_midi
        self.lost = False
        self._make_room(core.block)
        self.connected: list[tuple[str, str]] = []  # as they were last; made again when the server comes back
        self._pending: list[tuple[str, str]] = []
        self._pending_until = 0.0
        self._look_at = 0.0
        self._retry_at = 0.0
        self._set_up()

    def _make_room(self, n: int) -> None:
        self._in = np.zeros((2, n), np.float32)
        self._out = np.zeros((2 * len(self.output_names), n), np.float32)

    def _set_up(self) -> None:
        import jack

        client = self.client
        try:
            self._inputs = [client.inports.register(f'in_{i + 1}') for i in range(2)]
            self._outputs = [
                client.outports.register(port_name(f'{name}_{side}', jack, client.name))
                for name in self.output_names for side in (1, 2)
            ]  # fmt: skip
            self._midi = client.midi_inports.register('midi_in') if self._on_midi else None
        except jack.JackError as error:
            raise GenaudioError(f'JACK does not give us our ports: {error}') from None
        self.latency = JackLatency(client, self._inputs, self._outputs, lambda: self.core.latency)
        client.set_process_callback(self._process)
        client.set_xrun_callback(self._xrun)
        client.set_freewheel_callback(self._freewheel)
        client.set_blocksize_callback(self._blocksize)
        client.set_shutdown_callback(self._shutdown)

    @property
    def faults(self) -> int:
        """Blocks of silence because the callback failed."""
        return self.core.counts.faults

    def start(self) -> None:
        """Begin to play.

        Raises
        ------
        GenaudioError
            If the server refuses.
        """
        import jack

        try:
            self.client.activate()
        except jack.JackError as error:
            raise GenaudioError(f'JACK does not let us play: {error}') from None
        self._pending, self._pending_until = list(self.connected), time.monotonic() + PENDING
        self._connect_pending()

    def restore(self, connections: Sequence[tuple[str, str]]) -> None:
        """Make these connections as soon as their ports are there; what does not come in a while is left."""
        self._pending = [*self._pending, *connections]
        self._pending_until = time.monotonic() + PENDING
        self._connect_pending()

    def _connect_pending(self) -> None:
        left = []
        for source, sink in self._pending:
            try:
                self.client.connect(source, sink)
            except Exception as error:
                if getattr(error, 'code', None) != errno.EEXIST:
                    left.append((source, sink))
        self._pending = left if time.monotonic() < self._pending_until else []

    def connections(self) -> list[tuple[str, str]]:
        """All connections of our ports, (source, sink); those that wait for a port to come back are among them."""
        found: list[tuple[str, str]] = []
        ports = [*self._inputs, *self._outputs, *([self._midi] if self._midi is not None else [])]
        for port in ports:
            for peer in self.client.get_all_connections(port):
                found.append((peer.name, port.name) if port.is_input else (port.name, peer.name))
        return [*found, *(pair for pair in self._pending if pair not in found)]

    def _process(self, frames: int) -> None:
        try:
            if frames > self._in.shape[1]:
                self._make_room(frames)
            inputs, out = self._in[:, :frames], self._out[:, :frames]
            for row, port in zip(inputs, self._inputs, strict=True):
                row[:] = port.get_array()
            if not self._inputs[1].number_of_connections:
                inputs[1] = inputs[0]
            if self._midi is not None and self._on_midi is not None:
                for _, data in self._midi.incoming_midi_events():
                    self._on_midi(bytes(data))
            self.core.process(inputs, out)
            for row, port in zip(out, self._outputs, strict=True):
                port.get_array()[:] = row
        except Exception:  # an exception here would end the client; the other clients must not hear of it
            self.core.counts.faults += 1
            for port in self._outputs:
                port.get_array()[:] = 0

    def _xrun(self, delayed_usecs: float) -> None:
        self.core.counts.device_xruns += 1

    def _freewheel(self, starting: bool) -> None:
        self.core.waits = bool(starting)

    def _blocksize(self, frames: int) -> None:
        self.core.block = int(frames)

    def _shutdown(self, status: Any, reason: str) -> None:
        self.lost = True  # nothing more may be called from here

    def connect(self, source: str, sink: str) -> None:
        """Connect two ports by full name, now and after the server comes back.

        Raises
        ------
        GenaudioError
            If one does not exist; those that do are listed.
        """
        try:
            self.client.connect(source, sink)
        except Exception:
            ports = '\n  '.join(port.name for port in self.client.get_ports())
            raise GenaudioError(f"Cannot connect '{source}' to '{sink}'. Ports:\n  {ports}") from None
        if (source, sink) not in self.connected:
            self.connected.append((source, sink))

    def connect_midi(self, part: str) -> None:
        """Connect every MIDI source whose name has `part` in it to ``midi_in``, now and after the server comes back.

        Raises
        ------
        GenaudioError
            If there is none; those that are there are listed.
        """
        names = [port.name for port in self.client.get_ports(is_midi=True, is_output=True)]
        found = [name for name in names if part.lower() in name.lower()]
        if not found:
            listed = ''.join(f'\n  {name}' for name in names) or ' none.'
            raise GenaudioError(f"No MIDI source matches '{part}'.{did_you_mean(part, names)} There are:{listed}")
        for name in found:
            self.connect(name, f'{self.client.name}:midi_in')

    def poll(self) -> str | None:
        """Look whether the server is there, and after connections and latency; return a line to tell.

        Raises
        ------
        OtherRate
            If the server came back at another sample rate.
        """
        if not self.lost:
            return self._look()
        if time.monotonic() < self._retry_at:
            return None
        first, self._retry_at = self._retry_at == 0.0, time.monotonic() + RETRY
        if first:
            self._leave()  # the server is gone, its client in this process is not
            self.core.counts.device_losses += 1
            return 'The JACK server went away; waiting for it to come back.'
        try:
            client = open_client(self.name)
        except GenaudioError:
            return None
        if client.samplerate != self.core.sample_rate:
            rate, block = int(client.samplerate), int(client.blocksize)
            client.close()
            raise OtherRate(rate, block)
        self.client, self.lost = client, False  # before there are callbacks: it may be lost again at once
        try:
            self.core.block = int(client.blocksize)
            self._set_up()
            self.start()
        except Exception:  # JACK's own, too; the server went away while we came
            self.lost = True
            self._leave()
            return None
        self._retry_at = 0.0
        return 'The JACK server is back.'

    def _leave(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()

    def _look(self) -> str | None:
        line = self.latency.poll()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + 0.5
            if self._pending:
                self._connect_pending()
            with contextlib.suppress(Exception):  # the server may be going away at this moment
                now = self.connections()
                if not self.lost:
                    self.connected = now
        return line

    def close(self) -> None:
        """Leave the server."""
        leave(self.client, active=not self.lost)
