"""Pads as a JACK client (JACK or PipeWire): MIDI in, two outputs, and the loop around it."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bridge.audio.jack_sound_client import JackSoundClient
from bridge.pads.clip_store import Folder, PadBank
from bridge.pads.pad_player import PadPlayer
from bridge.settings.pads_table import Pad, check_note
from bridge.system.line_input import LineInput
from bridge.system.notices import notice
from bridge.system.real_time import SWITCH, keep_what_is_loaded
from bridge.system.signals import SignalWatch
from bridge.system.sound_process import SoundProcess
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.processes.child_process import begin

HELP_LINE = 'Lines that change pads: load NOTE FILE, gain NOTE DB, choke NOTE GROUP, silence, status, quit.'


class JackPads(JackSoundClient):
    """A JACK client around a `PadPlayer`."""

    def __init__(
        self, name: str = 'genaudio-pads', channel: int | None = None, connect: Sequence[str] = (),
        on_notice: Callable[[str], None] = notice,
    ):  # fmt: skip
        super().__init__(name, connect)
        self.player = PadPlayer(self.sample_rate, channel)
        self.bank = PadBank(self.player, on_notice)

    def render(self, out: np.ndarray, events: list[tuple[int, bytes]]) -> None:
        """Fill a block `out` (channels, samples); events are (sample, message). For the thread of the callback."""
        self.player.render(out, events)

    def silence(self) -> None:
        self.player.silence()

    def rate_changed(self) -> None:
        self.player = PadPlayer(self.sample_rate, self.player.channel)
        self.bank.play_with(self.player)

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
    pads: Sequence[Pad],
    folder: Path | None = None,
    *,
    name: str = 'genaudio-pads',
    channel: int | None = None,
    first: int = 36,
    n_pads: int = 16,
    connect: Sequence[str] = (),
    seconds: float | None = None,
    lines: Any = None,
    orders: Connection | None = None,
    told: SignalWatch | None = None,
    beat: Callable[[], None] = lambda: None,
    on_ready: Callable[[], None] = lambda: None,
    on_notice: Callable[[str], None] = notice,
) -> dict[str, Any]:
    """Play pads until 'quit', `told.ended` or `seconds`; return the final figures. What sounds at the end fades out.

    A file that cannot be used costs a line, and the other pads play.

    Parameters
    ----------
    lines
        A text stream of commands (`JackPads.obey`), such as ``sys.stdin``.
    orders
        The same from a parent process; its end of the pipe closing ends us.
    told
        Entered: what signals want of us.
    beat, on_ready
        Called in every turn of the loop, and once when it begins.

    Raises
    ------
    GenaudioError
        If no server runs, or none of the pads' files can be used.
    """
    # The callback must get the interpreter soon, whoever has it (measured: reference/linux-stack.md).
    sys.setswitchinterval(SWITCH)
    told = told or SignalWatch()
    jack = JackPads(name, channel, connect, on_notice)
    try:
        faults = []
        for pad in pads:
            beat()
            if told.ended:
                return jack.status()
            try:
                jack.bank.load(pad)
            except GenaudioError as error:
                faults.append(str(error))
        if faults and len(faults) == len(pads) and folder is None:
            raise GenaudioError(faults[0])
        for fault in faults:
            on_notice(fault)
        watch = Folder(folder, jack.bank, first, n_pads) if folder else None
        while watch and not told.ended and watch.look(on_notice, patient=False, most=1):
            beat()
        keep_what_is_loaded()
        jack.start()
        on_notice(f'Pads: JACK client {jack.client.name}, {jack.sample_rate} Hz. Ctrl-C ends.')
        on_ready()
        told_lines = LineInput(lines, orders)
        until = time.monotonic() + seconds if seconds else float('inf')
        while not told.ended and time.monotonic() < until:
            beat()
            told.look(pause=jack.pause, resume=jack.resume)
            if said := jack.poll():
                on_notice(said)
            if watch:
                watch.poll(on_notice)
            for line in told_lines.wait(0.02):
                if line in ('quit', 'exit'):
                    return jack.status()
                try:
                    on_notice(jack.obey(line))
                except GenaudioError as error:
                    on_notice(str(error))
                except Exception as error:  # a line can say anything, and what plays must not end by it
                    on_notice(f"'{line}' cannot be done: {one_line(error)}")
        return jack.status()
    finally:
        jack.close()


def _child(pads: Sequence[Pad], name: str, cells: Any, pipe: Connection) -> None:
    heart = begin(cells)

    def tell(kind: str, value: Any = None) -> None:
        with contextlib.suppress(OSError):
            pipe.send((kind, value))

    told = SignalWatch()
    signal.signal(signal.SIGTERM, lambda number, frame: told.end('SIGTERM'))
    try:
        status = run(
            pads, name=name, orders=pipe, told=told, beat=heart.beat, on_ready=lambda: tell('ready'),
            on_notice=lambda line: tell('told', line),
        )  # fmt: skip
        tell('status', status)
    except GenaudioError as error:
        tell('failed', f'Pads: {error}')


class PadsProcess(SoundProcess):
    """The pads of a live session; looked after by `poll`."""

    def __init__(self, pads: Sequence[Pad], name: str = 'genaudio-pads'):
        self._pads = {pad.note: pad for pad in pads}
        # A slow disk holds up the main loop of the process, not what it plays.
        super().__init__(_child, (tuple(pads), name), 'genaudio-pads', what='The pads process', stuck=60.0)

    def load(self, note: int, file: str) -> bool:
        """Put a file on a pad while it plays; whether the process was told."""
        return self.obey(f'load {note} {file}')

    def obey(self, line: str) -> bool:
        """Hand over a line; what it changes is so again after a restart."""
        verb, _, rest = line.strip().partition(' ')
        which, _, value = rest.strip().partition(' ')
        with contextlib.suppress(GenaudioError, ValueError):
            if verb == 'load' and value.strip():
                note = check_note(which)
                old = self._pads.get(note)
                file = Path(value.strip())
                self._pads[note] = replace(old, file=file) if old else Pad(note, file)
                self._arguments = (tuple(self._pads.values()), self._arguments[1])
        return super().obey(line)
