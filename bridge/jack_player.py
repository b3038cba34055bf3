"""What plays sounds by MIDI as a JACK client (JACK or PipeWire), alone or in a process of its own beside a session."""

import contextlib
import multiprocessing
import os
import select
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bridge.audio_jack import open_client
from genaudio_core.errors import GenaudioError

RETRY = 1.0  # seconds between attempts to find a server that went away, and between looks for ports to connect


class JackPlayer:
    """A JACK client with ``in`` (MIDI), ``out_1`` and ``out_2``; what it plays is `render`'s.

    Parameters
    ----------
    connect
        Parts of names: MIDI ports of these names are heard, audio inputs of these names are played to.
    """

    def __init__(self, name: str, connect: Sequence[str] = ()):
        self.name, self._connect = name, tuple(connect)
        self.client = open_client(name)
        self.sample_rate = int(self.client.samplerate)
        self.xruns = self.faults = 0
        self.lost = False
        self._retry_at = 0.0
        self._out = np.zeros((2, 8192), np.float32)
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
        self._midi = client.midi_inports.register('in')
        self._ports = [client.outports.register(f'out_{i}') for i in (1, 2)]
        client.set_process_callback(self._process)
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
        try:
            out = self._out[:, :frames]
            self.render(out, [(offset, bytes(data)) for offset, data in self._midi.incoming_midi_events()])
            for row, port in zip(out, self._ports, strict=True):
                port.get_array()[:] = row
        except Exception:  # an exception here would end the client
            self.faults += 1
            for port in self._ports:
                port.get_array()[:] = 0

    def _xrun(self, delayed_usecs: float) -> None:
        self.xruns += 1

    def _shutdown(self, status: Any, reason: str) -> None:
        self.lost = True

    def poll(self) -> str | None:
        """Look whether the server is there; return a line to tell when that changed."""
        if not self.lost or time.monotonic() < self._retry_at:
            return None
        first, self._retry_at = self._retry_at == 0.0, time.monotonic() + RETRY
        try:
            self.client = open_client(self.name)
        except GenaudioError:
            return 'The JACK server went away; waiting for it to come back.' if first else None
        self.lost, self._retry_at = False, 0.0
        if self.client.samplerate != self.sample_rate:
            self.sample_rate = int(self.client.samplerate)
            self.rate_changed()
        self._set_up()
        self.start()
        return 'The JACK server is back.'

    def close(self) -> None:
        """Fade out and leave the server."""
        if self.lost:
            return
        self.silence()
        with contextlib.suppress(Exception):
            time.sleep(0.01 + 2 * self.client.blocksize / self.client.samplerate)
            self.client.deactivate()
            self.client.close()


class Lines:
    """Lines from a text stream and from a pipe, whichever has some."""

    def __init__(self, stream: Any, orders: Connection | None):
        self._stream, self._orders, self._rest = stream, orders, b''

    def wait(self, seconds: float) -> list[str]:
        """Whole lines that came within `seconds`, without blanks."""
        sources = [source for source in (self._stream, self._orders) if source is not None]
        if not sources:
            time.sleep(seconds)
            return []
        lines: list[str] = []
        for source in select.select(sources, [], [], seconds)[0]:
            if source is self._orders:
                try:
                    lines.append(source.recv())
                except (EOFError, OSError):  # the parent is gone
                    return ['quit']
                continue
            # Read past Python's own buffer: lines that wait in it would not wake `select` again.
            data = os.read(source.fileno(), 65536)
            if not data:  # the other end closed: play on, without it
                self._stream = None
            *whole, self._rest = (self._rest + data).split(b'\n')
            lines += [line.decode(errors='replace') for line in whole]
        return [line.strip() for line in lines if line.strip()]


class SoundProcess:
    """A player beside a live session, in a process of its own: the band plays on whatever happens to it.

    Parameters
    ----------
    body
        What the process runs: ``body(*arguments, orders, told)``, two ends of pipes.
    """

    def __init__(self, body: Callable[..., None], arguments: tuple[Any, ...], name: str):
        self._body, self._arguments, self.name = body, arguments, name
        self._launch()

    def _launch(self) -> None:
        context = multiprocessing.get_context('spawn')
        theirs, self._orders = context.Pipe(duplex=False)
        self._told, their_told = context.Pipe(duplex=False)
        self.process = context.Process(
            target=self._body, args=(*self._arguments, theirs, their_told), name=self.name, daemon=True
        )
        self.process.start()
        theirs.close()
        their_told.close()

    def obey(self, line: str) -> None:
        """Hand over a line, such as ``load 36 kick.wav``."""
        with contextlib.suppress(OSError):
            self._orders.send(line)

    def _heard(self) -> list[Any]:
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self._told.poll():
                found.append(self._told.recv())
        return found

    def poll(self) -> list[str]:
        """What the process has to tell."""
        return self._heard()

    def stop(self) -> None:
        """End the process, fading out."""
        self.obey('quit')
        self.process.join(3.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(3.0)
        self._orders.close()
        self._told.close()
