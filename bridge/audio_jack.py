"""JACK and PipeWire: the live audio side as a JACK client.

Ports: ``in_1``, ``in_2``; then a pair per output of `AudioHost.output_names`, such as ``drums_1``, ``drums_2``.
A mono source is connected to both inputs, or to one: a silent side is filled from the other when only one is connected.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bridge.audio import AudioCore
from genaudio_core.errors import GenaudioError, did_you_mean

RETRY = 1.0  # seconds between attempts to find a server that went away


def open_client(name: str) -> Any:
    """Return a JACK client that is not active yet.

    Raises
    ------
    GenaudioError
        If JACK-Client is not installed or no server runs.
    """
    try:
        import jack
    except ModuleNotFoundError:
        raise GenaudioError("JACK needs the package 'JACK-Client': pip install 'genaudio[jack]'") from None
    except OSError as error:  # the package is there, the library is not
        raise GenaudioError(f'JACK is not installed on this system: {error}') from None
    try:
        jack.set_error_function(lambda text: None)  # it reaches the person as one line of ours
        jack.set_info_function(lambda text: None)
        return jack.Client(name, no_start_server=True)
    except jack.JackError:
        raise GenaudioError('No JACK server runs. Start one (qjackctl, or jackd -d alsa), or use --device.') from None


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
        self.faults = 0
        self._in = np.zeros((2, 8192), np.float32)
        self._out = np.zeros((2 * len(self.output_names), 8192), np.float32)
        self._connections: list[tuple[str, str]] = []
        self._retry_at = 0.0
        self._set_up()

    def _set_up(self) -> None:
        client = self.client
        self._inputs = [client.inports.register(f'in_{i + 1}') for i in range(2)]
        self._outputs = [
            client.outports.register(f'{name}_{side}') for name in self.output_names for side in (1, 2)
        ]  # fmt: skip
        self._midi = client.midi_inports.register('midi_in') if self._on_midi else None
        client.set_process_callback(self._process)
        client.set_xrun_callback(self._xrun)
        client.set_freewheel_callback(self._freewheel)
        client.set_blocksize_callback(self._blocksize)
        client.set_shutdown_callback(self._shutdown)

    def start(self) -> None:
        """Begin to play."""
        self.client.activate()
        for source, sink in self._connections:
            with contextlib.suppress(Exception):  # what is not there again yet is left unconnected
                self.client.connect(source, sink)

    def _process(self, frames: int) -> None:
        try:
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
            self.faults += 1
            for port in self._outputs:
                port.get_array()[:] = 0

    def _xrun(self, delayed_usecs: float) -> None:
        self.core.counts.device_xruns += 1

    def _freewheel(self, starting: bool) -> None:
        self.core.waits = bool(starting)

    def _blocksize(self, frames: int) -> None:
        if frames != self.core.block:
            self.core.set_timing(frames, self.core.margin)

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
        self._connections.append((source, sink))

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
        """Look whether the server is there; return a line to tell when that changed."""
        if not self.lost or time.monotonic() < self._retry_at:
            return None
        first = self._retry_at == 0.0
        self._retry_at = time.monotonic() + RETRY
        try:
            client = open_client(self.name)
        except GenaudioError:
            if first:
                self.core.counts.device_losses += 1
                return 'The JACK server went away; waiting for it to come back.'
            return None
        if client.samplerate != self.core.sample_rate:
            client.close()
            raise GenaudioError(
                f'The JACK server came back at {client.samplerate} Hz instead of {self.core.sample_rate}; start again.'
            )
        self.client, self.lost, self._retry_at = client, False, 0.0
        if client.blocksize != self.core.block:
            self.core.set_timing(client.blocksize, self.core.margin)
        self._set_up()
        self.start()
        return 'The JACK server is back.'

    def close(self) -> None:
        """Leave the server."""
        if not self.lost:
            with contextlib.suppress(Exception):
                self.client.deactivate()
                self.client.close()
