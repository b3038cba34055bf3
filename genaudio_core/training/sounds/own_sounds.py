"""A user's own sounds into packed clips: folders named after what sounds in them, and songs as folders of stems.

    mine/violin/take 3.wav          a folder with the name of a sound (training/lexicon.py): everything in it is that
    mine/violin/concert.mp4         videos too, by ffmpeg
    mine/my song/drums.wav          any other folder is a song; its files are named after their sounds, start together
    mine/my song/bass guitar.flac   and become the stems of one band

Names are read as queries are: synonyms count ('fiddle'). What cannot be used is passed over and named.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.processes.programs import run_program
from genaudio_core.sound.audio_files import READABLE, read_audio, to_mono
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.soundfont import SAMPLE_RATE
from genaudio_core.training.sounds.lexicon import BY_NAME, CONCEPTS
from genaudio_core.training.sounds.packed_clips import SoundWriter
from genaudio_core.training.sounds.recordings import concept_of, plain_label, split_of
from genaudio_core.training.sounds.soundfont_clips import LOUDNESS, level

VIDEO = ('.mp4', '.mkv', '.webm', '.mov', '.avi', '.m4a')  # what ffmpeg reads for us
FFMPEG_TIMEOUT = 1800.0  # seconds
CLIP_SECONDS = 30.0  # longer files are cut
SILENT = 1e-3  # root mean square under which a clip is left out
_WORDS = sorted({word for concept in CONCEPTS for word in (concept.name, *concept.synonyms)})

Notify = Callable[[str], None]


@dataclass
class _Packed:
    """The sounds that were found."""

    clips: int = 0
    seconds: float = 0.0
    songs: int = 0
    labels: set[str] = field(default_factory=set)


def read_sound(path: Path) -> np.ndarray:
    """Return float32 (channels, n_samples) at 44.1 kHz of an audio file, or of the sound of a video.

    Raises
    ------
    GenaudioError
        If it cannot be read, or ffmpeg is needed and missing.
    """
    if path.suffix.lower() not in VIDEO:
        return read_audio(path, SAMPLE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / 'sound.wav'
        command = ['ffmpeg', '-v', 'error', '-nostdin', '-i', str(path), '-vn', '-ar', str(SAMPLE_RATE), str(wav)]
        done = run_program(command, timeout=FFMPEG_TIMEOUT, advice=f'{path} needs it: apt-get install ffmpeg.')
        if done.returncode:
            reason = (done.stderr.decode(errors='replace').strip().splitlines() or ['no sound in it'])[-1]
            raise GenaudioError(f'ffmpeg cannot read {path}: {reason}')
        return read_audio(wav)


def pack_own_sounds(writer: SoundWriter, folders: list[Path], notify: Notify = print) -> dict[str, float]:
    """Add everything usable under `folders` to `writer`; return what was added.

    Raises
    ------
    GenaudioError
        If a folder is missing, or nothing in any of them can be used.
    """
    packed = _Packed()
    for folder in folders:
        if not folder.is_dir():
            raise GenaudioError(f'The folder {folder} does not exist.')
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
        if not inner:
            notify(f'{folder} contains no folders: make one for each sound (violin/) or for each song.')
        for path in inner:
            files = sorted(p for p in path.rglob('*') if p.is_file() and p.suffix.lower() in READABLE + VIDEO)
            if concept := concept_of(path.name):
                _add_labelled(writer, files, concept, folder, packed, notify)
            else:
                _add_song(writer, path, files, packed, notify)
    if not packed.clips:
        raise GenaudioError(
            'No usable sound was found. Put files into folders named after what sounds in them (drums/, violin/), '
            'or give each song a folder whose files are named after their stems (drums.wav, bass.wav).'
        )
    return {
        'clips': packed.clips, 'minutes': round(packed.seconds / 60, 2), 'songs': packed.songs,
        'labels': len(packed.labels),
    }  # fmt: skip


def _read(path: Path, notify: Notify) -> np.ndarray | None:
    try:
        return read_sound(path)
    except GenaudioError as error:
        notify(str(error))
        return None


def _add_labelled(
    writer: SoundWriter, files: list[Path], concept: str, root: Path, packed: _Packed, notify: Notify
) -> None:
    kind = 'solo' if BY_NAME[concept].programs else 'recording'
    for path in files:
        audio = _read(path, notify)
        if audio is None:
            continue
        mono = to_mono(audio)[None]
        if rms(mono) < SILENT:
            notify(f'{path} is silent; left out.')
            continue
        size = round(CLIP_SECONDS * SAMPLE_RATE)
        # One split for a whole file, whatever it is cut into.
        split = split_of(str(path.relative_to(root)))
        for at in range(0, mono.shape[1], size):
            part = mono[:, at : at + size]
            if part.shape[1] < SAMPLE_RATE // 4 or rms(part) < SILENT:
                continue
            writer.add(level(part), SAMPLE_RATE, label=concept, kind=kind, split=split, source=root.name,
                       group=str(path.relative_to(root)))  # fmt: skip
            packed.clips += 1
            packed.seconds += part.shape[1] / SAMPLE_RATE
            packed.labels.add(concept)


def _add_song(writer: SoundWriter, folder: Path, files: list[Path], packed: _Packed, notify: Notify) -> None:
    stems: dict[str, np.ndarray] = {}
    for path in files:
        concept = concept_of(path.stem)
        if not concept:
            hint = did_you_mean(plain_label(path.stem), _WORDS)
            notify(f"{path}: neither '{folder.name}' nor '{path.stem}' is the name of a sound.{hint} Left out.")
            continue
        audio = _read(path, notify)
        if audio is None:
            continue
        audio = np.repeat(audio, 2, 0) if audio.shape[0] == 1 else audio[:2]
        if concept in stems:  # two guitars are one stem
            long, short = sorted((stems[concept], audio), key=lambda a: -a.shape[1])
            long = long.copy()
            long[:, : short.shape[1]] += short
            stems[concept] = long
        else:
            stems[concept] = audio
    if len(stems) < 2:
        if stems:
            notify(f'{folder} has one usable stem; a song needs two. Left out.')
        return
    length = max(audio.shape[1] for audio in stems.values())
    padded = {name: np.pad(audio, ((0, 0), (0, length - audio.shape[1]))) for name, audio in stems.items()}
    # One gain for all: the song keeps its balance.
    loudest = max(rms(audio) for audio in padded.values())
    gain = min(LOUDNESS / max(loudest, 1e-6), 0.95 / max(float(np.abs(audio).max()) for audio in padded.values()))
    size, split = round(CLIP_SECONDS * SAMPLE_RATE), split_of(folder.name)
    for at in range(0, length, size):
        parts = {name: audio[:, at : at + size] * gain for name, audio in padded.items()}
        parts = {name: part for name, part in parts.items() if rms(part) >= SILENT}
        if len(parts) < 2 or length - at < SAMPLE_RATE:
            continue
        for name, part in parts.items():
            writer.add(part, SAMPLE_RATE, label=name, kind='stem', split=split, source='own',
                       group=f'{folder.name}@{at / SAMPLE_RATE:.0f}', role=BY_NAME[name].family)  # fmt: skip
            packed.clips += 1
            packed.seconds += part.shape[1] / SAMPLE_RATE
            packed.labels.add(name)
    packed.songs += 1
