"""Audio files in and out: whole, or block by block in constant memory. Float32 (channels, n_samples) throughout.

pedalboard.io does the work (wav, aiff, flac, ogg, mp3). It is imported inside the functions, so that reading the
names of this module costs nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError

READABLE = ('.wav', '.flac', '.ogg', '.mp3', '.aiff', '.aif')
WRITABLE = ('.wav', '.flac', '.mp3', '.ogg', '.aiff')
MAX_CHANNELS = 8  # more is a multitrack session, which nobody means to separate as one sound
_MP3_RATES = (32000, 44100, 48000)


def _open(path: str | Path):
    import pedalboard.io

    path = Path(path)
    if path.is_dir():
        raise GenaudioError(f'{path} is a folder; give an audio file.')
    if not path.is_file():
        raise GenaudioError(f'There is no file {path}.')
    if path.stat().st_size == 0:
        raise GenaudioError(f'{path} is empty.')
    try:
        return pedalboard.io.AudioFile(str(path))
    except Exception as error:  # pedalboard raises ValueError, RuntimeError and others for a broken file
        raise GenaudioError(f'Cannot read {path}: no audio that is understood (wav, flac, ogg, mp3, aiff).') from error


class AudioReader:
    """Reads one file block by block. Use as a context manager.

    Attributes
    ----------
    sample_rate : int
        Hz, of what `blocks` gives.
    channels : int
    n_samples : int
        Length at `sample_rate`. The header's word: a damaged file may hold less.

    Raises
    ------
    GenaudioError
        If the file is missing, unreadable, empty or has more than `MAX_CHANNELS` channels.
    """

    def __init__(self, path: str | Path, sample_rate: int | None = None):
        self.path = Path(path)
        self._file = _open(path)
        source_rate = self._file.samplerate
        self.source_rate = int(source_rate)
        self.channels = self._file.num_channels
        if self.channels > MAX_CHANNELS:
            self._file.close()
            raise GenaudioError(
                f'{path} has {self.channels} channels; at most {MAX_CHANNELS} are taken. Mix it down first.'
            )
        if self._file.frames == 0 or self.channels == 0:
            self._file.close()
            raise GenaudioError(f'{path} holds no sound: it is 0 seconds long.')
        self.sample_rate = int(sample_rate or source_rate)
        self.n_samples = int(self._file.frames)
        if self.sample_rate != source_rate:
            self._file = self._file.resampled_to(self.sample_rate)
            self.n_samples = int(self._file.frames)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def blocks(self, block_size: int = 65536) -> Iterator[np.ndarray]:
        """Yield float32 (channels, up to `block_size`) until the end of the file.

        Raises
        ------
        GenaudioError
            If a sample is not a finite number.
        """
        position = 0
        while True:
            block = self._file.read(block_size)
            if block.shape[-1] == 0:
                return
            if not (finite := np.isfinite(block).all(axis=0)).all():
                second = (position + int(finite.argmin())) / self.sample_rate
                raise GenaudioError(
                    f'{self.path} holds samples that are no numbers (NaN or infinite) near {second:.1f} s.'
                )
            position += block.shape[-1]
            yield block


def read_audio(path: str | Path, sample_rate: int | None = None) -> np.ndarray:
    """Return a whole file as float32 (channels, n_samples), resampled if a rate is given.

    Raises
    ------
    GenaudioError
        As `AudioReader` does.
    """
    with AudioReader(path, sample_rate) as reader:
        blocks = list(reader.blocks())
    if not blocks:
        raise GenaudioError(f'{path} holds no sound: it is 0 seconds long.')
    return np.concatenate(blocks, axis=1)


class AudioWriter:
    """Writes one file block by block: 32-bit float wav, 24-bit flac and aiff, mp3 and ogg at high quality.

    The format is the suffix of `path`. Only float wav keeps samples beyond full scale and adds up exactly;
    the others are clipped at -1..1 by their nature.
    """

    def __init__(self, path: str | Path, sample_rate: int, channels: int):
        import pedalboard.io

        suffix = Path(path).suffix.lower()
        if suffix not in WRITABLE:
            raise GenaudioError(f"Cannot write '{suffix}' files; use one of {', '.join(WRITABLE)}.")
        if suffix == '.mp3' and sample_rate not in _MP3_RATES:
            raise GenaudioError(f'mp3 cannot hold {sample_rate} Hz (only 32, 44.1 and 48 kHz); use wav or flac.')
        if suffix == '.mp3' and channels > 2:
            raise GenaudioError(f'mp3 cannot hold {channels} channels; use wav or flac.')
        options: dict = {'quality': 'V0'} if suffix == '.mp3' else {}
        if suffix in ('.wav', '.flac', '.aiff'):
            options['bit_depth'] = 32 if suffix == '.wav' else 24
        try:
            self._file = pedalboard.io.AudioFile(str(path), 'w', sample_rate, channels, **options)
        except Exception as error:
            raise GenaudioError(f'Cannot write {path}: {error}') from error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def write(self, block: np.ndarray) -> None:
        """Append float32 (channels, n_samples)."""
        if block.shape[-1]:
            self._file.write(np.ascontiguousarray(block, np.float32))


def write_audio(path: str | Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write float32 (channels, n_samples) or (n_samples,) as one file, whole or not at all."""
    from genaudio_core.files import atomic_write

    audio = np.atleast_2d(audio)
    with atomic_write(path) as temporary, AudioWriter(temporary, sample_rate, audio.shape[0]) as writer:
        writer.write(audio)
