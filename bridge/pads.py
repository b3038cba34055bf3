"""Finished takes on pads: a MIDI note plays a sound file.

* `PadPlayer` is what the audio callback runs: notes in with their frame, sound out. Every voice that is cut off (pad
  struck again, choked, let go or silenced) fades over 5 ms, so nothing clicks. It reads no file and takes no lock.
* `Bank` says which file is on which note. It loads files outside the callback and hands each over by one assignment: a
  voice that sounds keeps the take it began with, and the next strike plays the new one.
* `Folder` watches a folder: a file that appears goes to the next pad, a file that changes is loaded again.

Takes lie in memory as a whole: two minutes each at most, and `MAX_MEMORY` together. What cannot be used costs a line;
the pad stays as it was, and the others play on.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.audio_files import READABLE, AudioReader
from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError, did_you_mean, one_line

FIRST_NOTE, N_PADS = 36, 16  # as most pad controllers send: C1 upwards
MAX_VOICES = 24
FADE = 0.005  # seconds over which a voice is cut off
MAX_SECONDS = 120.0  # of a take
MAX_MEMORY = 1 << 30  # bytes of all takes together: 47 minutes at 48 kHz
_KEYS = ('file', 'gain_db', 'choke', 'hold')


@dataclass(frozen=True)
class Pad:
    """What a note plays."""

    note: int  # 0..127
    file: Path
    gain_db: float = 0.0
    choke: int = 0  # pads of one group cut each other off, as open and closed hi-hat do; 0: none
    hold: bool = False  # sound only while the note is held
    audio: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.float32), compare=False, repr=False)


class _Voice:
    """One sounding pad."""

    __slots__ = ('at', 'audio', 'choke', 'gain', 'left', 'note')

    def __init__(self) -> None:
        self.audio: np.ndarray | None = None
        self.at = 0  # sample of the take
        self.gain = 0.0
        self.left = -1  # samples of fade that are left; -1: not fading
        self.note = self.choke = 0


class PadPlayer:
    """Plays pads; `render` belongs to the audio callback, everything else may be called from anywhere."""

    def __init__(self, sample_rate: int, channel: int | None = None):
        self.sample_rate, self.channel = sample_rate, channel
        self.pads: list[Pad | None] = [None] * 128
        self.played = 0  # strikes that found a pad
        self._voices = [_Voice() for _ in range(MAX_VOICES)]
        self._tails = [_Voice() for _ in range(MAX_VOICES)]  # voices that had to give way, while they fade
        n = round(FADE * sample_rate)
        self._fade = np.linspace(1, 0, n + 1, dtype=np.float32)[:n]
        self._scratch = np.zeros((2, 8192), np.float32)
        self._silence = False

    def silence(self) -> None:
        """Fade everything out, from the next block on."""
        self._silence = True

    @property
    def sounding(self) -> int:
        """How many voices sound."""
        return sum(voice.audio is not None for voice in (*self._voices, *self._tails))

    def render(self, out: np.ndarray, events: Iterable[tuple[int, bytes]] = ()) -> None:
        """Fill float32 `out` (2, n_samples); `events` are (frame in this block, MIDI message), in order."""
        out[:] = 0
        at, n = 0, out.shape[1]
        if self._silence:
            self._silence = False
            for voice in self._voices:
                self._release(voice)
        for frame, message in events:
            frame = min(max(frame, at), n)
            self._play(out, at, frame)
            at = frame
            self._obey(message)
        self._play(out, at, n)

    def _obey(self, message: bytes) -> None:
        if len(message) < 3 or (self.channel is not None and message[0] & 0x0F != self.channel):
            return
        kind, note, value = message[0] & 0xF0, message[1] & 0x7F, message[2]
        if kind == 0x90 and value:
            self._strike(note, value)
        elif kind == 0x80 or kind == 0x90:
            pad = self.pads[note]
            if pad is not None and pad.hold:
                for voice in self._voices:
                    if voice.note == note:
                        self._release(voice)
        elif kind == 0xB0 and note in (120, 123):  # all sound off, all notes off
            for voice in self._voices:
                self._release(voice)

    def _strike(self, note: int, velocity: int) -> None:
        pad = self.pads[note]
        if pad is None or not pad.audio.shape[1]:
            return
        self.played += 1
        for voice in self._voices:
            if voice.audio is not None and (voice.note == note or (pad.choke and voice.choke == pad.choke)):
                self._release(voice)
        voice = next((voice for voice in self._voices if voice.audio is None), None)
        if voice is None:  # all busy: the one that has played longest gives way, fading
            voice = max(self._voices, key=lambda v: (v.left >= 0, v.at))
            tail = min(self._tails, key=lambda v: v.left if v.audio is not None else -1)
            self._release(voice)
            for name in _Voice.__slots__:
                setattr(tail, name, getattr(voice, name))
        voice.audio, voice.at, voice.left = pad.audio, 0, -1
        voice.note, voice.choke = note, pad.choke
        voice.gain = (velocity / 127) ** 2 * 10 ** (pad.gain_db / 20)

    def _release(self, voice: _Voice) -> None:
        if voice.audio is not None and voice.left < 0:
            voice.left = len(self._fade)

    def _play(self, out: np.ndarray, begin: int, end: int) -> None:
        if end <= begin:
            return
        for voice in (*self._voices, *self._tails):
            if voice.audio is None:
                continue
            n = min(end - begin, voice.audio.shape[1] - voice.at, voice.left if voice.left >= 0 else end)
            at = 0
            while at < n:  # a block may be longer than the scratch memory
                part = min(n - at, self._scratch.shape[1])
                scratch = self._scratch[:, :part]
                np.multiply(voice.audio[:, voice.at : voice.at + part], np.float32(voice.gain), out=scratch)
                if voice.left >= 0:
                    done = len(self._fade) - voice.left
                    scratch *= self._fade[done : done + part]
                    voice.left -= part
                out[:, begin + at : begin + at + part] += scratch
                voice.at += part
                at += part
            if voice.left == 0 or voice.at >= voice.audio.shape[1]:
                voice.audio, voice.left = None, -1


def load_take(path: str | Path, sample_rate: int, on_notice: Callable[[str], None] = notice) -> np.ndarray:
    """Read a sound file for a pad: float32 (2, n_samples), its first and last samples brought to zero smoothly.

    A file that holds less than it says is taken as it is, and told.

    Raises
    ------
    GenaudioError
        If it cannot be read, holds samples that are no numbers, or is longer than two minutes, whatever its header
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
        raise GenaudioError(f'{path} holds no sound: it is 0 seconds long.')
    audio = np.concatenate(blocks, axis=1).astype(np.float32, copy=False)
    n = min(round(0.0005 * sample_rate), audio.shape[1])  # short: an attack stays an attack
    audio[:, :n] *= np.linspace(0, 1, n + 1, dtype=np.float32)[:n]
    n = min(round(FADE * sample_rate), audio.shape[1])
    audio[:, audio.shape[1] - n :] *= np.linspace(1, 0, n + 1, dtype=np.float32)[1:]
    return audio


def parse_pads(table: Any, folder: Path) -> dict[int, Pad]:
    """Read a ``[pads]`` table; its paths count from `folder`. Two ways to write a pad::

        36 = "kick.wav"
        42 = {file = "hat.wav", choke = 1, gain_db = -3, hold = true}

    Raises
    ------
    GenaudioError
        With the key and what would be right.
    """
    if not isinstance(table, Mapping):
        raise GenaudioError('pads: write [pads] and below it lines such as 36 = "kick.wav".')
    pads: dict[int, Pad] = {}
    for key, value in table.items():
        note = check_note(key)
        settings = {'file': value} if isinstance(value, str) else value
        if not isinstance(settings, Mapping) or not isinstance(settings.get('file'), str):
            raise GenaudioError(f'pads: {key} needs a file, such as {key} = "kick.wav".')
        for name in settings:
            if name not in _KEYS:
                hint = did_you_mean(name, _KEYS)
                raise GenaudioError(f"unknown key 'pads.{key}.{name}'.{hint} Known: {', '.join(_KEYS)}.")
        gain, choke, hold = settings.get('gain_db', 0.0), settings.get('choke', 0), settings.get('hold', False)
        if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not -60 <= gain <= 12:
            raise GenaudioError(f"'pads.{key}.gain_db' must be in range -60..12, not {gain!r}.")
        if isinstance(choke, bool) or not isinstance(choke, int) or not 0 <= choke <= 127:
            raise GenaudioError(f"'pads.{key}.choke' is the number of a group, 1..127, or 0 for none, not {choke!r}.")
        if not isinstance(hold, bool):
            raise GenaudioError(f"'pads.{key}.hold' is true or false, not {hold!r}.")
        pads[note] = Pad(note, folder / settings['file'], float(gain), choke, hold)
    return pads


def check_note(text: Any) -> int:
    """Return a MIDI note 0..127; raises GenaudioError for anything else."""
    is_number = (isinstance(text, int) and not isinstance(text, bool)) or (
        isinstance(text, str) and text.strip().isdecimal() and len(text.strip()) < 9
    )
    if not is_number or not 0 <= int(text) <= 127:
        raise GenaudioError(f"'{text}' is not a MIDI note; write 0 to 127 (36 is the lowest of most pads).")
    return int(text)


def _at_rate(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    from pedalboard.io import StreamResampler

    resampler = StreamResampler(source, target, audio.shape[0])
    return np.concatenate([resampler.process(audio), resampler.process(None)], axis=1)


class Bank:
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

    def __init__(self, path: Path, bank: Bank, first: int = FIRST_NOTE, n_pads: int = N_PADS):
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
