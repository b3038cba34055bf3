"""Takes on pads: loaded at the rate of the server, kept in memory, looked for in a folder.

* `PadBank` says which file is on which note. It loads files outside the callback and hands each over by one
  assignment: a voice that sounds keeps the take it began with, and the next strike plays the new one.
* `Folder` watches a folder: a file that appears goes to the next pad, a file that changes is loaded again.

Takes lie in memory as a whole: two minutes each at most, and `MAX_MEMORY` together. What cannot be used costs a line;
the pad stays as it was, and the others play on.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bridge.pads.pad_player import FADE, FIRST_NOTE, N_PADS, PadPlayer
from bridge.settings.pads_table import Pad
from bridge.system.notices import notice
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.sound.audio_files import READABLE, AudioReader

MAX_SECONDS = 120.0  # of a take
MAX_MEMORY = 1 << 30  # bytes of all takes together: 47 minutes at 48 kHz


def load_take(path: str | Path, sample_rate: int, on_notice: Callable[[str], None] = notice) -> np.ndarray:
    """Read a sound file for a pad: float32 (2, n_samples), its first and last samples brought to zero smoothly.

    A file that holds less than it says is taken as it is, and told.

    Raises
    ------
    GenaudioError
        If it cannot be read, holds NaN or infinite samples, or is longer than two minutes, whatever its header
        says.
    """
    blocks: list[np.ndarray] = []
    n, most = 0, MAX_SECONDS * sample_rate
    try:
        with AudioReader(path, sample_rate, on_notice=on_notice) as reader:
            n = reader.n_samples
            if n <= most:
                n = 0
                for block in reader.blocks():
                    n += block.shape[1]
                    if n > most:
                        break
                    blocks.append(np.repeat(block, 2, axis=0) if block.shape[0] == 1 else block[:2].copy())
    except GenaudioError:
        raise
    except Exception as error:  # of a library, or of the system: a file can be anything, and go at any moment
        raise GenaudioError(f'Cannot read {path}: {one_line(error)}') from error
    if n > most:
        raise GenaudioError(f'{path} is longer than {MAX_SECONDS:.0f} s, too long for a pad.')
    if not n:
        raise GenaudioError(f'{path} contains no sound: it is 0 seconds long.')
    audio = np.concatenate(blocks, axis=1).astype(np.float32, copy=False)
    n = min(round(0.0005 * sample_rate), audio.shape[1])  # short: an attack stays an attack
    audio[:, :n] *= np.linspace(0, 1, n + 1, dtype=np.float32)[:n]
    n = min(round(FADE * sample_rate), audio.shape[1])
    audio[:, audio.shape[1] - n :] *= np.linspace(1, 0, n + 1, dtype=np.float32)[1:]
    return audio


def _at_rate(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    from pedalboard.io import StreamResampler

    resampler = StreamResampler(source, target, audio.shape[0])
    return np.concatenate([resampler.process(audio), resampler.process(None)], axis=1)


class PadBank:
    """Which take is on which note. One thread; what sounds is never touched."""

    def __init__(self, player: PadPlayer, on_notice: Callable[[str], None] = notice):
        self.player, self.on_notice = player, on_notice

    def _bytes(self, without: int) -> int:
        return sum(pad.audio.nbytes for pad in self.player.pads if pad is not None and pad.note != without)

    def load(self, pad: Pad) -> None:
        """Read the pad's file and put it under its note; what sounds goes on.

        Raises
        ------
        GenaudioError
            If the file cannot be used, or there is no room for it; the pad stays as it was.
        """
        audio = load_take(pad.file, self.player.sample_rate, self.on_notice)
        if self._bytes(pad.note) + audio.nbytes > MAX_MEMORY:
            raise GenaudioError(f'{pad.file} is not loaded: all pads together hold {MAX_MEMORY >> 20} MiB at most.')
        self.player.pads[pad.note] = replace(pad, audio=audio)

    def put(self, note: int, file: str | Path) -> None:
        """Put a file on a note, which keeps its gain, choke group and hold.

        Raises
        ------
        GenaudioError
            As `load` does.
        """
        old = self.player.pads[note]
        self.load(replace(old, file=Path(file)) if old else Pad(note, Path(file)))

    def play_with(self, player: PadPlayer) -> None:
        """Go over to a player of another sample rate: each file is read again; of one that is gone by now, what is in
        memory is brought to the new rate."""
        old, self.player = self.player, player
        for pad in old.pads:
            if pad is None:
                continue
            try:
                self.load(pad)
            except GenaudioError as error:
                self.on_notice(f'{error} The pad keeps what it has.')
                audio = _at_rate(pad.audio, old.sample_rate, player.sample_rate)
                player.pads[pad.note] = replace(pad, audio=audio)


class Folder:
    """Watches a folder: what appears in it goes to the next pad."""

    def __init__(self, path: Path, bank: PadBank, first: int = FIRST_NOTE, n_pads: int = N_PADS):
        if not path.is_dir():
            raise GenaudioError(f'There is no folder {path}.')
        self.path, self.bank = path, bank
        self.notes = list(range(first, min(first + n_pads, 128)))
        self._next = 0
        self._seen: dict[str, tuple[int, int]] = {}  # name -> (size, time of change) as loaded or refused
        self._waiting: dict[str, tuple[int, int]] = {}  # as at the last look: not changing any more?
        self._note_of: dict[str, int] = {}
        self._look_at = 0.0
        self._gone = False

    def look(self, on_notice: Callable[[str], None], *, patient: bool = True, most: int = 128) -> bool:
        """Load what is new; whether more is waiting. With `patient`, only files that did not change between two looks.

        Parameters
        ----------
        most
            Files tried at one look: who watches has other things to do.
        """
        found: dict[str, tuple[int, int]] = {}
        try:
            files = sorted(self.path.iterdir())
        except OSError as error:  # what is loaded plays on
            if not self._gone:
                self._gone = True
                on_notice(f'The folder {self.path} cannot be read ({error.strerror}); what is on the pads stays.')
            return False
        if self._gone:
            self._gone = False
            on_notice(f'The folder {self.path} is back.')
        for file in files:
            # A name with a dot in front is a file that is still being written (files.atomic_write).
            if file.suffix.lower() in READABLE and not file.name.startswith('.'):
                try:
                    state = file.stat()
                except OSError:
                    continue
                found[file.name] = (state.st_size, state.st_mtime_ns)
        # One that went away and was never loaded may come back as it was.
        self._seen = {name: state for name, state in self._seen.items() if name in found or name in self._note_of}
        tried, more = 0, False
        for name, state in found.items():
            if self._seen.get(name) == state or (patient and self._waiting.get(name) != state):
                continue
            if tried >= most:
                more = True
                break
            tried += 1
            self._seen[name] = state
            note = self._note_of.get(name)
            fresh = note is None
            if note is None:
                note = self.notes[self._next % len(self.notes)]
            try:
                self.bank.put(note, self.path / name)
            except GenaudioError as error:
                on_notice(str(error))
                continue
            if fresh:
                self._next += 1
                self._note_of = {other: n for other, n in self._note_of.items() if n != note} | {name: note}
            on_notice(f'pad {note}: {name}')
        self._waiting = found
        return more

    def poll(self, on_notice: Callable[[str], None], every: float = 0.25) -> None:
        """`look`, but no more often than every so many seconds, and one file at a time."""
        now = time.monotonic()
        if now >= self._look_at:
            more = self.look(on_notice, most=1)
            self._look_at = time.monotonic() if more else now + every
