"""Real recordings of `shared/data/audio` into clips: one-shots become little performances, words become labels."""

import csv
import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.training.sounds.lexicon import CONCEPTS, RECORDING_LABELS
from genaudio_core.training.sounds.packed_clips import at_speed


class Recording(NamedTuple):
    """One file of the manifest."""

    path: Path
    label: str  # as in the manifest, lower case, plain words
    concept: str  # '' if the label says nothing we have a concept for
    need: str  # instruments, vocals or sound-events
    source: str
    seconds: float


def plain_label(label: str) -> str:
    """Return `label` in lower-case words."""
    return ' '.join(re.sub(r'[_\-+]+', ' ', label).lower().split())


_WORDS = {word: c.name for c in reversed(CONCEPTS) for word in (*reversed(c.synonyms), c.name)}


def concept_of(label: str) -> str:
    """Return the concept a manifest label means, or ''."""
    label = plain_label(label)
    if label in RECORDING_LABELS:
        return RECORDING_LABELS[label]
    spaced = {plain_label(key): value for key, value in RECORDING_LABELS.items()}
    return spaced.get(label) or _WORDS.get(label, '')


def read_manifest(folder: str | Path) -> list[Recording]:
    """Return the recordings that ``manifest.csv`` in `folder` lists, images and development songs left out.

    Raises
    ------
    GenaudioError
        If the folder has no manifest.
    """
    folder = Path(folder)
    try:
        with open(folder / 'manifest.csv', encoding='utf-8', newline='') as lines:
            rows = list(csv.DictReader(lines))
        return [
            Recording(folder / row['file'], plain_label(row['label']), concept_of(row['label']), row['need'],
                      row['source'], float(row['seconds'] or 0))
            for row in rows if row['need'] in ('instruments', 'vocals', 'sound-events') and row['file'].endswith('.ogg')
        ]  # fmt: skip
    except OSError as error:
        raise GenaudioError(f'{folder} has no readable manifest.csv: {error.strerror}.') from error
    except KeyError as error:
        raise GenaudioError(f'{folder}/manifest.csv lacks the column {error}.') from error
    except (ValueError, TypeError, AttributeError, csv.Error) as error:  # not UTF-8, no number, a row too short
        raise GenaudioError(f'{folder}/manifest.csv cannot be used: {one_line(error)}.') from error


def split_of(name: str, valid: float = 0.05, test: float = 0.1) -> str:
    """Return the split of a piece or recording: a fixed function of its name."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big') / 2**32
    return 'test' if place < test else 'valid' if place < test + valid else 'train'


def _load(path: Path, sample_rate: int) -> np.ndarray:
    from genaudio_core.sound.audio_files import read_audio, to_mono

    return to_mono(read_audio(path, sample_rate))[None]


def performances(
    recordings: list[Recording],
    sample_rate: int,
    rng: random.Random,
    seconds: float = 12.0,
    per_label: int = 30,
) -> Iterator[tuple[np.ndarray, str, str, str, str]]:
    """Yield (audio (1, n), concept, kind, split, source) made of the recordings.

    Instrument one-shots and sung vowels are strung together, each by a random step of the scale and with some
    overlap. Longer sounds and speech are used as they are; sounds without a concept are 'noise'.
    """
    by_concept: dict[tuple[str, str], list[Recording]] = defaultdict(list)
    for recording in recordings:
        split = split_of(str(recording.path.name))
        if recording.need == 'sound-events' and recording.source == 'ESC-10':
            # The first digit is ESC's own fold; a recording cut into several clips stays in one fold.
            split = {'5': 'test', '4': 'valid'}.get(recording.path.name[0], 'train')
        by_concept[recording.concept, split].append(recording)
    for (concept, split), members in sorted(by_concept.items()):
        singles = [r for r in members if r.need == 'sound-events' or concept in ('speech', '')]
        notes = [r for r in members if r not in singles]
        for recording in singles:
            audio = _load(recording.path, sample_rate)
            if audio.shape[1] >= sample_rate // 4 and np.abs(audio).max() > 1e-3:
                kind = 'recording' if concept else 'noise'
                yield audio, concept or 'noise', kind, split, recording.source
        if not notes:
            continue
        loaded = {r.path: _load(r.path, sample_rate) for r in notes}
        n_clips = min(per_label, max(2, len(notes) // 2))
        for _ in range(n_clips if split == 'train' else max(1, n_clips // 4)):
            line = np.zeros((1, int(seconds * sample_rate)), np.float32)
            place = 0
            gap = rng.uniform(0.15, 1.2)
            while place < line.shape[1] - sample_rate // 10:
                sound = loaded[rng.choice(notes).path]
                sound = at_speed(sound, 2 ** (rng.uniform(-3, 3) / 12)) * rng.uniform(0.4, 1.0)
                length = min(sound.shape[1], line.shape[1] - place)
                line[:, place : place + length] += sound[:, :length]
                step = min(sound.shape[1] / sample_rate, rng.choice([gap, gap, gap * 2, gap / 2]))
                place += max(int(step * sample_rate), sample_rate // 20)
            yield line, concept, 'recording', split, notes[0].source
