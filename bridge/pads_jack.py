"""Pads as a JACK client (JACK or PipeWire): MIDI in, two outputs, and the loop around it."""

import contextlib
import gc
import multiprocessing
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bridge.audio_jack import open_client
from bridge.pads import Bank, Folder, Pad, PadPlayer, check_note
from bridge.priority import SWITCH
from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError

HELP_LINE = 'Lines that change pads: load NOTE FILE, gain NOTE DB, choke NOTE GROUP, silence, status, quit.'
RETRY = 1.0  # seconds between attempts to find a server that went away


class JackPads:
    """A JACK client around a `PadPlayer`: ``in`` (MIDI), ``out_1``, ``out_2``."""

    def __init__(self, name: str = 'genaudio-pads', channel: int | None = None, connect: Sequence[str] = ()):
        self.name, self._connect = name, tuple(connect)
        self.client = open_client(name)
        self.player = PadPlayer(self.client.samplerate, channel)
        self.bank = Bank(self.player)
        self.xruns = self.faults = 0
        self.lost = False
        self._retry_at = 0.0
        self._out = np.zeros((2, 8192), np.float32)
        self._set_up()

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
        self._wire()

    def _wire(self) -> None:
        """Connect what was asked for, by part of a name; what is not there is left."""
        for part in self._connect:
            with contextlib.suppress(Exception):
                for port in self.client.get_ports(is_midi=True, is_output=True):
                    if part.lower() in port.name.lower():
                        self.client.connect(port.name, f'{self.client.name}:in')
                sinks = [p.name for p in self.client.get_ports(is_audio=True, is_input=True) if part in p.name]
                for own, sink in zip(self._ports, sinks, strict=False):
                    self.client.connect(own.name, sink)

    def _process(self, frames: int) -> None:
        try:
            out = self._out[:, :frames]
            self.player.render(out, [(offset, bytes(data)) for offset, data in self._midi.incoming_midi_events()])
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
        if self.client.samplerate != self.player.sample_rate:
            pads, channel = self.player.pads, self.player.channel
            self.player = PadPlayer(self.client.samplerate, channel)
            self.player.pads = pads
            self.bank.player = self.player
            self.bank.reload_all()
        self._set_up()
        self.start()
        return 'The JACK server is back.'

    def close(self) -> None:
        """Fade out and leave the server."""
        if self.lost:
            return
        self.player.silence()
        with contextlib.suppress(Exception):
            time.sleep(0.01 + 2 * self.client.blocksize / self.client.samplerate)
            self.client.deactivate()
            self.client.close()

    def status(self) -> dict[str, Any]:
        """Figures for a person."""
        pads = {str(pad.note): pad.file.name for pad in self.player.pads if pad is not None}
        return {'pads': pads, 'played': self.player.played, 'xruns': self.xruns, 'faults': self.faults}

    def obey(self, line: str) -> str:
        """Do what a line says; return what to answer.

        Raises
        ------
        GenaudioError
            If the line makes no sense, or the file cannot be used.
        """
        verb, _, rest = line.strip().partition(' ')
        if verb == 'status':
            return ', '.join(f'{key} {value}' for key, value in self.status().items())
        if verb == 'silence':
            self.player.silence()
            return 'silence'
        which, _, value = rest.strip().partition(' ')
        if verb not in ('load', 'gain', 'choke') or not which or not value.strip():
            raise GenaudioError(f"I do not understand '{line.strip()}'. {HELP_LINE}")
        note = check_note(which)
        if verb == 'load':
            self.bank.put(note, value.strip())
            return f'pad {note}: {Path(value.strip()).name}'
        pad = self.player.pads[note]
        if pad is None:
            raise GenaudioError(f'There is nothing on pad {note}; load a file first.')
        try:
            number = float(value)
            if not (-60 <= number <= 12 if verb == 'gain' else 0 <= number <= 127 and number.is_integer()):
                raise ValueError
        except ValueError:
            what = 'a gain of -60 to 12 dB' if verb == 'gain' else 'a choke group of 0 to 127'
            raise GenaudioError(f"'{value.strip()}' is not {what}.") from None
        changed = replace(pad, gain_db=number) if verb == 'gain' else replace(pad, choke=int(number))
        self.player.pads[note] = changed
        return line.strip()


class _Lines:
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


def run(
    pads: Sequence[Pad], folder: Path | None = None, *, name: str = 'genaudio-pads', channel: int | None = None,
    first: int = 36, n_pads: int = 16, connect: Sequence[str] = (), seconds: float | None = None, lines: Any = None,
    orders: Connection | None = None, ended: Callable[[], bool] = lambda: False,
    on_notice: Callable[[str], None] = notice,
) -> dict[str, Any]:
    """Play pads until 'quit', `ended` or `seconds`; return the final figures.

    Parameters
    ----------
    lines
        A text stream of commands (`JackPads.obey`), such as ``sys.stdin``.
    orders
        The same from a parent process; its end of the pipe closing ends us.

    Raises
    ------
    GenaudioError
        If no server runs, or a pad's file cannot be used.
    """
    # The callback must get the interpreter soon, whoever has it (measured: reference/linux-stack.md).
    sys.setswitchinterval(SWITCH)
    jack = JackPads(name, channel, connect)
    try:
        for pad in pads:
            jack.bank.load(pad)
        watch = Folder(folder, jack.bank, first, n_pads) if folder else None
        if watch:
            watch.look(on_notice, patient=False)
        gc.collect()
        gc.freeze()
        jack.start()
        on_notice(f'Pads: JACK client {jack.client.name}, {jack.player.sample_rate} Hz. Ctrl-C ends.')
        told_lines = _Lines(lines, orders)
        until = time.monotonic() + seconds if seconds else float('inf')
        while not ended() and time.monotonic() < until:
            if told := jack.poll():
                on_notice(told)
            if watch:
                watch.poll(on_notice)
            for line in told_lines.wait(0.02):
                if line in ('quit', 'exit'):
                    return jack.status()
                try:
                    on_notice(jack.obey(line))
                except GenaudioError as error:
                    on_notice(str(error))
        return jack.status()
    finally:
        jack.close()


def _child(pads: Sequence[Pad], name: str, orders: Connection, told: Connection) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def tell(text: str) -> None:
        with contextlib.suppress(OSError):
            told.send(text)

    try:
        run(pads, name=name, orders=orders, on_notice=tell)
    except GenaudioError as error:
        tell(f'Pads: {error}')


class PadsProcess:
    """The pads of a live session, in a process of their own: the band plays on whatever happens to them."""

    def __init__(self, pads: Sequence[Pad], name: str = 'genaudio-pads'):
        context = multiprocessing.get_context('spawn')
        theirs, self._orders = context.Pipe(duplex=False)
        self._told, their_told = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_child, args=(tuple(pads), name, theirs, their_told), name='genaudio-pads', daemon=True
        )
        self.process.start()
        theirs.close()
        their_told.close()

    def load(self, note: int, file: str) -> None:
        """Put a file on a pad while it plays."""
        self.obey(f'load {note} {file}')

    def obey(self, line: str) -> None:
        """Hand over a line such as ``load 36 kick.wav``."""
        with contextlib.suppress(OSError):
            self._orders.send(line)

    def poll(self) -> list[str]:
        """What the process has to tell."""
        lines = []
        with contextlib.suppress(EOFError, OSError):
            while self._told.poll():
                lines.append(self._told.recv())
        return lines

    def stop(self) -> None:
        """End the process, fading out."""
        self.obey('quit')
        self.process.join(3.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(3.0)
        self._orders.close()
        self._told.close()
