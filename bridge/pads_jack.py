"""Pads as a JACK client (JACK or PipeWire): MIDI in, two outputs, and the loop around it."""

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bridge.jack_player import JackPlayer, Lines, SoundProcess
from bridge.pads import Bank, Folder, Pad, PadPlayer, check_note
from bridge.priority import SWITCH, keep_what_is_loaded
from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError

HELP_LINE = 'Lines that change pads: load NOTE FILE, gain NOTE DB, choke NOTE GROUP, silence, status, quit.'


class JackPads(JackPlayer):
    """A JACK client around a `PadPlayer`."""

    def __init__(self, name: str = 'genaudio-pads', channel: int | None = None, connect: Sequence[str] = ()):
        super().__init__(name, connect)
        self.player = PadPlayer(self.sample_rate, channel)
        self.bank = Bank(self.player)

    def render(self, out: np.ndarray, events: list[tuple[int, bytes]]) -> None:
        self.player.render(out, events)

    def silence(self) -> None:
        self.player.silence()

    def rate_changed(self) -> None:
        pads, channel = self.player.pads, self.player.channel
        self.player = PadPlayer(self.sample_rate, channel)
        self.player.pads = pads
        self.bank.player = self.player
        self.bank.reload_all()

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
        keep_what_is_loaded()
        jack.start()
        on_notice(f'Pads: JACK client {jack.client.name}, {jack.sample_rate} Hz. Ctrl-C ends.')
        told_lines = Lines(lines, orders)
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


class PadsProcess(SoundProcess):
    """The pads of a live session."""

    def __init__(self, pads: Sequence[Pad], name: str = 'genaudio-pads'):
        super().__init__(_child, (tuple(pads), name), 'genaudio-pads')

    def load(self, note: int, file: str) -> None:
        """Put a file on a pad while it plays."""
        self.obey(f'load {note} {file}')
