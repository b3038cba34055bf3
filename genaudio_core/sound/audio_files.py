"""Audio files in and out: whole, or block by block in constant memory. Float32 (channels, n_samples) throughout.

There is one reader for all of the program: libsndfile decodes (soundfile; wav, flac, ogg, mp3, aiff and their kin),
after ``audio_containers.py`` has looked at what is really there. pedalboard resamples and writes. Both are imported
inside the functions, so that reading the names of this module costs nothing.
"""

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.sound.audio_containers import MIDI, Link, Shown, foreign_kind, links_of

READABLE = (
    '.wav', '.flac', '.ogg', '.mp3', '.aiff', '.aif', '.aifc', '.oga', '.opus', '.w64', '.rf64', '.caf', '.au',
)  # fmt: skip
WRITABLE = ('.wav', '.flac', '.mp3', '.ogg', '.aiff')
MAX_CHANNELS = 8  # more is a multitrack session, which nobody means to separate as one sound
_MP3_RATES = (32000, 44100, 48000)
_PIECE = 65536  # samples decoded at a time
MIN_RATE, MAX_RATE = 100, 1_000_000  # Hz; another one is a damaged header
LOUDEST = 1e12  # full scale is 1; what is louder is damage, and its power would be too large for a number
_log = logging.getLogger(__name__)
_UNKNOWN = 1 << 40  # samples; a length beyond that is none


def _decoder(path: Path, link: Link, whole: bool) -> Any:
    """A soundfile.SoundFile of a link (of the file itself, where there is nothing to mend)."""
    import soundfile

    class Straight(soundfile.SoundFile):
        """Reads on and on: by itself soundfile seeks to where it is after each read, which some decoders cannot."""

        def seekable(self) -> bool:
            return False

    shown: Any = _as_libsndfile_takes(path) if whole else Shown(path, link)
    return Straight(shown)


def _as_libsndfile_takes(path: str | Path) -> Any:
    """The name of a file: as bytes where names are bytes, which need not be UTF-8."""
    return str(path) if os.name == 'nt' else os.fsencode(path)


class AudioReader:
    """Reads one file block by block. Use as a context manager.

    The header is not believed: what is there is read, and where that is less than the header says, a line says so when
    the end is reached. Encoder delay and padding are left out; streams that lie in the file one after the other are
    all read.

    Parameters
    ----------
    sample_rate : int, optional
        Hz; what is read is brought to it.
    on_notice : callable
        Told in one line what is missing.

    Attributes
    ----------
    sample_rate : int
        Hz, of what `blocks` gives.
    source_rate : int
        Hz, of the file.
    channels : int
    n_samples : int
        Length at `sample_rate`, as far as it can be known without decoding: a damaged file may hold less.

    Raises
    ------
    GenaudioError
        If the file is missing, unreadable, empty or has more than `MAX_CHANNELS` channels.
    """

    def __init__(
        self, path: str | Path, sample_rate: int | None = None, *, on_notice: Callable[[str], None] = _log.warning
    ):
        self.path = path = Path(path)
        self._notice, self._told = on_notice, False
        self._files: list[Any] = []
        self._begun = False
        self._open()
        first = self._files[0]
        self.source_rate, self.channels = int(first.samplerate), int(first.channels)
        self.sample_rate = int(sample_rate or self.source_rate)
        if self.channels > MAX_CHANNELS:
            self.close()
            raise GenaudioError(
                f'{path} has {self.channels} channels; at most {MAX_CHANNELS} are taken. Mix it down first.'
            )
        if not MIN_RATE <= self.source_rate <= MAX_RATE:
            self.close()
            raise GenaudioError(f'{path} says that its sample rate is {self.source_rate} Hz: its header is damaged.')
        lengths = [int(file.frames) for file in self._files]
        for i, link in enumerate(self._links):
            lengths[i] = lengths[i] if link.at_most is None else min(lengths[i], link.at_most)
        if len(lengths) == 1 and self._links[0].promised and lengths[0] < _UNKNOWN:
            lengths[0] = min(lengths[0], self._links[0].promised)
        if any(length >= _UNKNOWN for length in lengths):  # written into a pipe: only decoding tells
            lengths = [sum(piece.shape[1] for piece in self._pieces())]
        if not sum(lengths):
            self.close()
            why = 'it is cut short.' if any(link.cut_short for link in self._links) else 'it is 0 seconds long.'
            raise GenaudioError(f'{path} contains no sound: {why}')
        self.n_samples = self._resampled(sum(lengths))

    def _resampled(self, n: int) -> int:
        return round(n * self.sample_rate / self.source_rate)

    def _open(self) -> None:
        """Open every link of the file; those of another rate or other channels than the first are told and left out."""
        path = self.path
        try:
            if path.is_dir():
                raise GenaudioError(f'{path} is a folder; give an audio file.')
            if not path.is_file():
                if path.exists():
                    raise GenaudioError(f'{path} is a pipe or a device; save the sound to a file first.')
                raise GenaudioError(f'There is no file {path}.')
            if path.stat().st_size == 0:
                raise GenaudioError(f'{path} is empty.')
            self._links = links_of(path)
        except OSError as error:
            raise GenaudioError(f'Cannot read {path}: {error.strerror or error}.') from error
        self._files, links = [], self._links
        try:
            whole = not links[0].head and (links[0].start, links[0].stop) == (0, path.stat().st_size)
            # By its name libsndfile takes anything for MPEG, and its decoder prints what it thinks of it.
            whole = whole and not path.suffix.lower().startswith('.mp')
            for link in links:
                self._files.append(_decoder(path, link, whole))
        except Exception as error:  # libsndfile has an error of its own; or there is no link
            if self._files:  # what follows the first stream may be anything
                self._links = links[: len(self._files)]
                return
            raise GenaudioError(f'Cannot read {path}: {self._not_understood()}') from error

    def _not_understood(self) -> str:
        path, kind = self.path, foreign_kind(self.path)
        if not kind:
            return (
                'no audio that is understood (wav, flac, ogg, opus, mp3, aiff); if it is sound, convert it first, such '
                'as by ffmpeg.'
            )
        if kind == MIDI:
            return f'it is {kind}. genaudio compose makes it sound: give it a script with one row, Music, {path.name}.'
        name = f'{path.stem}.wav' if path.suffix.lower() != '.wav' else f'{path.stem}-converted.wav'
        how = f'Convert it first: ffmpeg -i {shlex.quote(path.name)} {shlex.quote(name)}'
        return f'it is {kind} that is not read. {how}'

    def close(self) -> None:
        """Let go of the file."""
        for file in self._files:
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _pieces(self) -> Iterator[np.ndarray]:
        """Yield what is decoded, (channels, up to `_PIECE`), and tell at the end, once, what is missing."""
        if self._begun:
            self.close()
            self._open()
        self._begun = True
        done, missing, why, rate = 0, 0, '', self.source_rate
        for link, file in zip(self._links, self._files, strict=True):
            if (int(file.samplerate), int(file.channels)) != (self.source_rate, self.channels):
                why = f'another stream ({file.samplerate} Hz, {file.channels} channels) follows in it and is left out'
                break
            said = int(file.frames) if link.promised is None else link.promised
            said = said if link.at_most is None else min(said, link.at_most)
            got = 0
            buffer = np.empty((_PIECE, self.channels), np.float32)
            while True:
                buffer.fill(np.nan)
                try:
                    n = len(file.read(out=buffer))
                except Exception:  # damaged from here on: what was decoded of this piece is no longer NaN
                    n, end = int((~np.isnan(buffer[:, 0])).argmin()), True
                    link = Link(link.start, link.stop, cut_short=True)
                else:
                    end = n == 0
                if link.at_most is not None:
                    n = min(n, link.at_most - got)
                    end = end or n == 0
                if n:
                    got += n
                    yield np.array(buffer[:n].T, order='C')
                if end:
                    break
            done += got
            if said > got:
                missing += said - got
            elif link.cut_short and not why:
                last = link is self._links[-1] or link not in self._links
                why = f'after {done / rate:.2f} s {"the rest" if last else "a part of it"} is missing'
        if self._told:
            return
        self._told = True
        if missing:
            self._notice(
                f'{self.path} is shorter than its header says: {done / rate:.2f} of {(done + missing) / rate:.2f} s '
                'are there, the rest is missing.'
            )
        elif why:
            self._notice(f'{self.path} is damaged or cut short: {why}.')

    def blocks(self, block_size: int = 65536) -> Iterator[np.ndarray]:
        """Yield float32 (channels, n), n at most `block_size`, to the end; called again, from the beginning.

        Raises
        ------
        GenaudioError
            If a sample is not a finite number, or nothing can be decoded.
        """
        waiting: list[np.ndarray] = []
        n_waiting = position = 0
        for part in self._at_rate():
            waiting.append(part)
            n_waiting += part.shape[1]
            if n_waiting >= block_size:
                whole = np.concatenate(waiting, axis=1)
                for start in range(0, n_waiting - block_size + 1, block_size):
                    yield self._checked(whole[:, start : start + block_size], position)
                    position += block_size
                waiting = [whole[:, n_waiting // block_size * block_size :]]
                n_waiting %= block_size
        if n_waiting:
            yield self._checked(np.concatenate(waiting, axis=1), position)
        elif not position:
            raise GenaudioError(f'{self.path} contains no sound that can be decoded: it is damaged.')

    def _at_rate(self) -> Iterator[np.ndarray]:
        """Yield float32 (channels, n) at `sample_rate`."""
        if self.sample_rate == self.source_rate:
            yield from self._pieces()
            return
        from pedalboard.io import StreamResampler

        resampler = StreamResampler(self.source_rate, self.sample_rate, self.channels)
        taken = given = 0
        for piece in self._pieces():
            taken += piece.shape[1]
            out = resampler.process(piece)
            given += out.shape[1]
            yield out
        rest = resampler.process(None)
        wanted = max(0, self._resampled(taken) - given)  # rounding inside may lose or win a sample
        yield np.pad(rest[:, :wanted], ((0, 0), (0, max(0, wanted - rest.shape[1]))))

    def _checked(self, block: np.ndarray, position: int) -> np.ndarray:
        if not (usable := (np.abs(block) <= LOUDEST).all(axis=0)).all():  # NaN is not
            at = int(usable.argmin())
            what = 'louder than any sound' if np.isfinite(block[:, at]).all() else 'no numbers (NaN or infinite)'
            second = (position + at) / self.sample_rate
            raise GenaudioError(f'{self.path} holds samples that are {what} near {second:.1f} s: it is damaged.')
        return block


def read_audio(
    path: str | Path, sample_rate: int | None = None, *, on_notice: Callable[[str], None] = _log.warning
) -> np.ndarray:
    """Return a whole file as float32 (channels, n_samples), resampled if a rate is given.

    Raises
    ------
    GenaudioError
        As `AudioReader` does.
    """
    with AudioReader(path, sample_rate, on_notice=on_notice) as reader:
        return np.concatenate(list(reader.blocks()), axis=1)


CANCELLED = 0.05  # of the channels' mean power; a sum that has less of it has lost the sound


def to_mono(audio: np.ndarray) -> np.ndarray:
    """Return (channels, n_samples) as float32 (n_samples,): the channels' mean.

    Where they are out of phase and their mean cancels the sound out, it is the loudest channel.
    """
    audio = np.atleast_2d(np.asarray(audio, np.float32))
    mean = audio.mean(axis=0, dtype=np.float32)
    powers = [float(np.square(channel, dtype=np.float64).sum()) for channel in audio]
    if float(np.square(mean, dtype=np.float64).sum()) < CANCELLED * sum(powers) / len(powers):
        return audio[int(np.argmax(powers))].copy()
    return mean


def _is_text(path: str | Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


class AudioWriter:
    """Writes one file block by block: 32-bit float wav, 24-bit flac and aiff, mp3 and ogg at high quality.

    The format is the suffix of `path`. Only float wav keeps samples beyond full scale and adds up exactly;
    the others are clipped at -1..1 by their nature, which is told when the file is closed.

    Parameters
    ----------
    name : path, optional
        What it will be called in the end, for what is told.
    on_notice : callable
        Told in one line that samples were clipped.

    Raises
    ------
    GenaudioError
        If the format cannot hold it, or it cannot be written (`write` too).
    """

    def __init__(
        self, path: str | Path, sample_rate: int, channels: int, *, name: str | Path | None = None,
        on_notice: Callable[[str], None] = _log.warning,
    ):  # fmt: skip
        import pedalboard.io

        suffix = Path(path).suffix.lower()
        if suffix not in WRITABLE:
            raise GenaudioError(f"Cannot write '{suffix}' files; use one of {', '.join(WRITABLE)}.")
        if suffix == '.mp3' and sample_rate not in _MP3_RATES:
            raise GenaudioError(f'mp3 cannot hold {sample_rate} Hz (only 32, 44.1 and 48 kHz); use wav or flac.')
        if suffix == '.mp3' and channels > 2:
            raise GenaudioError(f'mp3 cannot hold {channels} channels; use wav or flac.')
        self._path, self._name, self._notice = path, Path(name or path), on_notice
        self._suffix, self._written = suffix, 0
        self._open: Any = None  # the file, where pedalboard cannot open it itself
        self._clips, self._clipped, self._peak = suffix != '.wav', 0, 0.0
        options: dict = {'quality': 'V0'} if suffix == '.mp3' else {}
        if suffix in ('.wav', '.flac', '.aiff'):
            options['bit_depth'] = 32 if suffix == '.wav' else 24
        try:
            if _is_text(path):
                self._file = pedalboard.io.AudioFile(str(path), 'w', sample_rate, channels, **options)
            else:  # pedalboard takes only names that are UTF-8
                self._open = open(path, 'wb')  # noqa: SIM115
                self._file = pedalboard.io.AudioFile(
                    self._open, 'w', sample_rate, channels, format=suffix[1:], **options
                )
        except Exception as error:
            self._close()
            raise self._fault(error) from error

    def _close(self) -> None:
        if self._open is not None:
            with contextlib.suppress(OSError):
                self._open.close()

    def _fault(self, error: Exception) -> GenaudioError:
        return GenaudioError(f'Cannot write {self._name}: {one_line(error)}')

    def __enter__(self):
        return self

    def __exit__(self, kind: object, *_: object):
        try:
            self._file.close()
            if self._open is not None:
                self._open.close()
        except Exception as error:
            self._close()
            if kind is None:
                raise self._fault(error) from error
        if kind is None:
            self._check_arrived()
        if kind is None and self._clipped:
            self._notice(
                f'{self._name.name} was clipped: {self._clipped} samples were louder than full scale, by up to '
                f'{20 * np.log10(self._peak):.1f} dB. A .wav keeps them.'
            )

    def _check_arrived(self) -> None:
        """The last samples are written when the file is closed, where no error is told: they are counted."""
        import soundfile

        if self._suffix not in ('.wav', '.flac', '.aiff') or not self._written:
            return
        try:
            there = int(soundfile.info(_as_libsndfile_takes(self._path)).frames)
        except Exception as error:  # libsndfile has errors of its own
            raise self._fault(error) from error
        if there != self._written:
            told = f'{there} of {self._written} samples arrived. Is the disk full?'
            raise GenaudioError(f'Cannot write {self._name}: {told}')

    def write(self, block: np.ndarray) -> None:
        """Append float32 (channels, n_samples)."""
        if block.ndim != 2:
            raise ValueError(f'a block is (channels, n_samples), not {block.shape}')
        if not block.shape[1]:
            return
        block = np.ascontiguousarray(block, np.float32)
        if self._clips:
            over = np.abs(block)
            self._clipped += int(np.count_nonzero(over > 1 + 1e-4))
            self._peak = max(self._peak, float(over.max()))
        # A first block with as many samples as channels could lie either way round, for all that pedalboard knows.
        parts = [block] if block.shape[0] != block.shape[1] else [block[:, :1].copy(), block[:, 1:].copy()]
        try:
            for part in parts:
                if part.size:
                    self._file.write(part)
        except (OSError, RuntimeError) as error:
            raise GenaudioError(f'{self._fault(error)} Is the disk full?') from error
        self._written += block.shape[1]


def write_audio(path: str | Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write float32 (channels, n_samples) or (n_samples,) as one file, whole or not at all."""
    from genaudio_core.files import atomic_write

    audio = np.atleast_2d(audio)
    with atomic_write(path) as temporary, AudioWriter(temporary, sample_rate, audio.shape[0], name=path) as writer:
        writer.write(audio)
