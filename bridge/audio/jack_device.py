"""JACK and PipeWire: the live audio side as a JACK client.

Ports: ``in_1``, ``in_2``; then a pair per output of `AudioHost.output_names`, such as ``drums_1``, ``drums_2``.
A mono source is connected to both inputs, or to one: a silent side is filled from the other when only one is connected.
"""

import errno
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.audio.callback import AudioCore
from bridge.audio.jack_latency import JackLatency
from bridge.system.jack_client import JackClient, NoServer, OtherRate, open_client
from bridge.system.jack_names import port_name
from genaudio_core.errors import GenaudioError, did_you_mean


def server_timing(name: str) -> tuple[int, int]:
    """Return sample rate (Hz) and block size (samples) of the running server; errors as for `open_client`."""
    try:
        client = open_client(name)
    except NoServer as error:
        raise NoServer(f'{error} Without JACK: `device`.') from None
    try:
        return int(client.samplerate), int(client.blocksize)
    finally:
        client.close()


class JackAudio(JackClient):
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
        self.core = core
        self.output_names, self._on_midi = list(output_names), on_midi
        self._look_at = 0.0
        self._make_room(core.block)
        super().__init__(client.name, client)

    def _make_room(self, n: int) -> None:
        self._in = np.zeros((2, n), np.float32)
        self._out = np.zeros((2 * len(self.output_names), n), np.float32)

    def set_up(self) -> None:
        import jack

        client = self.client
        try:
            self._audio = [client.inports.register(f'in_{i + 1}') for i in range(2)]
            self._outputs = [
                client.outports.register(port_name(f'{name}_{side}', jack, client.name))
                for name in self.output_names for side in (1, 2)
            ]  # fmt: skip
            self._midi = client.midi_inports.register('midi_in') if self._on_midi else None
        except jack.JackError as error:
            raise GenaudioError(f'JACK refuses to register our ports: {error}') from None
        self._inputs = [*self._audio, *([self._midi] if self._midi is not None else [])]
        self.latency = JackLatency(client, self._audio, self._outputs, lambda: self.core.latency)
        client.set_freewheel_callback(self._freewheel)

    @property
    def faults(self) -> int:
        """Blocks of silence because the callback failed."""
        return self.core.counts.faults

    def _process(self, frames: int) -> None:
        try:
            if frames > self._in.shape[1]:
                self._make_room(frames)
            inputs, out = self._in[:, :frames], self._out[:, :frames]
            for row, port in zip(inputs, self._audio, strict=True):
                row[:] = port.get_array()
            if not self._audio[1].number_of_connections:
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

    def connect(self, source: str, sink: str) -> None:
        """Connect two ports by full name, now and after the server comes back.

        Raises
        ------
        GenaudioError
            If one does not exist; those that do are listed.
        """
        try:
            self.client.connect(source, sink)
        except Exception as error:
            if getattr(error, 'code', None) != errno.EEXIST:  # a patchbay was there first
                ports = '\n  '.join(port.name for port in self.client.get_ports())
                raise GenaudioError(f"Cannot connect '{source}' to '{sink}'. Ports:\n  {ports}") from None
        if (source, sink) not in self.kept:
            self.kept.append((source, sink))

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
        if self.lost:
            return self.look_for_server()
        line = self.latency.poll()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + 0.5
            self.connect_pending()
            self.connections()
        return line

    def went_away(self) -> None:
        self.core.counts.device_losses += 1

    def came_back(self, client: Any) -> None:
        if client.samplerate != self.core.sample_rate:
            raise OtherRate(int(client.samplerate), int(client.blocksize))
        self.core.block = int(client.blocksize)
