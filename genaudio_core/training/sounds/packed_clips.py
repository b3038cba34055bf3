"""Labelled sounds in compact packed shards: what the separators and the synthesis models train on.

Read this first (the streaming separator and the synthesis models use it too)::

    sounds = SoundSet('data/sounds')           # made by `genaudio-train prepare-sounds`
    clips = sounds.select(split='train', kind='stem')
    audio = sounds.read(clips[0], start=0, n_samples=44100)   # float32 (channels, n_samples)
    for group, stems in sounds.groups(split='train').items(): # stems of one band, sample-aligned
        mix = sum(sounds.read(clip) for clip in stems)

* A folder holds ``index.jsonl`` (one line per clip) and ``shard-*.pcm`` (little-endian int16, frames of
  interleaved channels). Shards are memory-mapped: a random crop costs one copy and no decoding, which on
  two cores matters more than the factor of two that FLAC would save.
* A clip carries its own ``sample_rate`` and ``channels``. Everything rendered by us is 44.1 kHz; band stems
  are stereo, solo stems and recordings mono.
* ``kind``: 'stem' (one instrument of a band; its ``group`` names the piece, and the stems of a group start
  together and are equally long; ``role`` is drums, bass, lead or chords), 'solo' (one instrument alone),
  'recording' (real instruments, voices and everyday sounds), 'noise' (real sounds whose label is not trusted).
* ``label`` is a concept of ``training/lexicon.py`` in plain words ('electric bass', 'drums', 'violin').
* ``split``: train, valid, test, by piece or recording, never by window. Split 'test' is also rendered with a
  SoundFont that no training clip uses (``source`` names it).
"""

import contextlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import make_folder

SHARD_BYTES = 512 * 2**20
SPLITS = ('train', 'valid', 'test')


@dataclass(frozen=True, slots=True)
class Clip:
    """One labelled piece of audio inside a shard."""

    label: str
    kind: str  # stem, solo, recording or noise
    split: str  # train, valid or test
    shard: str  # file name beside the index
    offset: int  # frames from the start of the shard's clip area, counted in int16 values
    n_samples: int  # frames
    channels: int
    sample_rate: int  # Hz
    source: str = ''  # SoundFont or recording set
    group: str = ''  # piece or recording, the unit of the split
    role: str = ''  # drums, bass, lead, chords for band stems

    @property
    def seconds(self) -> float:
        return self.n_samples / self.sample_rate


def at_speed(audio: np.ndarray, speed: float) -> np.ndarray:
    """Return `audio` (..., n) faster and higher, or slower and lower: float32 (..., n / speed).

    In straight lines between samples: forty times faster than a sinc, and it is to make sounds unlike each other.
    """
    n = audio.shape[-1]
    places = np.arange(int(n / speed)) * speed
    moved = [np.interp(places, np.arange(n), row) for row in audio.reshape(-1, n)]
    return np.stack(moved).reshape(*audio.shape[:-1], len(places)).astype(np.float32)


class SoundWriter:
    """Append clips to a folder; what was there stays. Use as a context manager."""

    def __init__(self, folder: str | Path):
        self.folder = make_folder(folder)
        self._n_shards = len(list(self.folder.glob('shard-*.pcm')))
        self._shard: io.FileIO | None = None
        self._index = io.FileIO(self.folder / 'index.jsonl', 'a')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._shard is not None:
            self._shard.close()
        self._index.close()
        for file in (self._shard, self._index):  # where nothing came, leave no empty set behind
            with contextlib.suppress(OSError):
                if file is not None and not (path := Path(str(file.name))).stat().st_size:
                    path.unlink()

    def add(
        self,
        audio: np.ndarray,
        sample_rate: int,
        *,
        label: str,
        kind: str,
        split: str,
        source: str = '',
        group: str = '',
        role: str = '',
    ) -> Clip:
        """Store `audio`, float (channels, n_samples) in -1..1, and return where it went.

        Raises
        ------
        GenaudioError
            If the disk takes no more; what was stored before is whole.
        """
        audio = np.atleast_2d(audio)
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, not {split!r}')
        data = np.round(np.clip(audio, -1, 1) * 32767).astype('<i2').T.tobytes()
        if self._shard is None or self._shard.tell() + len(data) > SHARD_BYTES:
            if self._shard is not None:
                self._shard.close()
            # A new shard for each writer run: an interrupted run can leave a tail that no index line names.
            self._shard = io.FileIO(self.folder / f'shard-{self._n_shards:03d}.pcm', 'w')
            self._n_shards += 1
        offset = self._shard.tell() // 2
        _append(self._shard, data)
        clip = Clip(
            label,
            kind,
            split,
            Path(str(self._shard.name)).name,
            offset,
            audio.shape[1],
            audio.shape[0],
            sample_rate,
            source,
            group,
            role,
        )
        # The samples reach the file before the line that names them: readers may look while we write.
        _append(self._index, f'{json.dumps(asdict(clip))}\n'.encode())
        return clip


def _append(file: io.FileIO, data: bytes) -> None:
    """Write all of `data` at the end of an unbuffered file, or nothing."""
    end, rest = file.tell(), data
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        file.truncate(end)
        raise GenaudioError(f'Cannot write {os.fspath(file.name)}: {error.strerror}.') from error


class SoundSet:
    """A prepared folder, or several as one, read through memory maps; safe to open in many processes.

    Raises
    ------
    GenaudioError
        If a folder holds no prepared sounds, or they are damaged.
    """

    def __init__(self, folder: str | Path, *more: str | Path):
        self.folder = Path(folder)
        self.clips = self._index(self.folder)
        for other in more:  # their shards by absolute paths, which `folder / path` leaves as they are
            other = Path(other).absolute()
            self.clips += [replace(clip, shard=str(other / clip.shard)) for clip in self._index(other)]
        self._maps: dict[str, np.ndarray] = {}

    @staticmethod
    def _index(folder: Path) -> list[Clip]:
        index = folder / 'index.jsonl'
        if not index.is_file():
            raise GenaudioError(f'{folder} contains no prepared sounds; make them with: genaudio-train prepare-sounds')
        try:
            with open(index, encoding='utf-8') as lines:
                clips = [Clip(**json.loads(line)) for line in lines if line.endswith('\n')]
            ends: dict[str, int] = defaultdict(int)  # bytes
            for clip in clips:
                ends[clip.shard] = max(ends[clip.shard], 2 * (clip.offset + clip.n_samples * clip.channels))
            for shard, end in ends.items():  # samples are written before the line that names them
                if (size := (folder / shard).stat().st_size) < end:
                    raise ValueError(f'{shard} has {size} bytes of {end}')
        except OSError as error:
            raise GenaudioError(f'Cannot read {error.filename or index}: {error.strerror or error}.') from error
        except (ValueError, TypeError, RecursionError) as error:
            raise GenaudioError(
                f'The sounds in {folder} are damaged ({one_line(error)}); make them again with: '
                'genaudio-train prepare-sounds'
            ) from error
        if not clips:
            raise GenaudioError(f'The index of {folder} is empty; make it again with: genaudio-train prepare-sounds')
        return clips

    def __getstate__(self):
        return {'folder': self.folder, 'clips': self.clips, '_maps': {}}

    @property
    def labels(self) -> list[str]:
        return sorted({clip.label for clip in self.clips})

    def select(
        self,
        *,
        split: str | None = None,
        kind: str | Iterable[str] | None = None,
        label: str | None = None,
        min_seconds: float = 0.0,
    ) -> list[Clip]:
        """Return the clips that match all the given conditions, in stored order."""
        kinds = None if kind is None else {kind} if isinstance(kind, str) else set(kind)
        return [
            clip for clip in self.clips
            if (split is None or clip.split == split) and (kinds is None or clip.kind in kinds)
            and (label is None or clip.label == label) and clip.seconds >= min_seconds
        ]  # fmt: skip

    def by_label(self, clips: Iterable[Clip]) -> dict[str, list[Clip]]:
        found: dict[str, list[Clip]] = defaultdict(list)
        for clip in clips:
            found[clip.label].append(clip)
        return dict(found)

    def groups(self, *, split: str | None = None) -> dict[str, list[Clip]]:
        """Return the bands: group name -> its sample-aligned stems."""
        found: dict[str, list[Clip]] = defaultdict(list)
        for clip in self.select(split=split, kind='stem'):
            found[clip.group].append(clip)
        return dict(found)

    def read(self, clip: Clip, start: int = 0, n_samples: int | None = None) -> np.ndarray:
        """Return float32 (channels, n_samples) from frame `start`; past the end of the clip comes silence."""
        shard = self._maps.get(clip.shard)
        if shard is None:
            shard = np.memmap(self.folder / clip.shard, dtype='<i2', mode='r')
            self._maps[clip.shard] = shard
        elif clip.offset + clip.n_samples * clip.channels > len(shard):  # the file has grown since it was mapped
            shard = self._maps[clip.shard] = np.memmap(self.folder / clip.shard, dtype='<i2', mode='r')
        n_samples = clip.n_samples - start if n_samples is None else n_samples
        out = np.zeros((clip.channels, n_samples), np.float32)
        stop = min(start + n_samples, clip.n_samples)
        if stop > start:
            values = shard[clip.offset + start * clip.channels : clip.offset + stop * clip.channels]
            out[:, : stop - start] = values.reshape(-1, clip.channels).T
            out /= 32767
        return out
