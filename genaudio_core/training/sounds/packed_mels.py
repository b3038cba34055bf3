"""Training data of the synthesis models: packed mels of single sounds, each with what the audio encoder hears in it.

    genaudio-train prepare-synthesis --sounds data/sounds --recordings shared/data/audio -o data/synthesis.safetensors

Everything slow is done once: spectrograms, onsets, embeddings. A training step reads bytes.

* An item is 176 frames (2.04 s) of 96 bands in uint8, brought to one level, its query vector, and whether it begins
  with an onset. A performer asks for sounds that begin now: three of four crops start at an onset, one frame before
  the attack; the others start anywhere and teach how sounds go on.
* Sources: solos, single stems and recordings of the prepared sounds; single notes of the recorded instruments; single
  notes and drum hits rendered here with the SoundFonts (one-shots). Sounds whose label is not trusted are left out.
* Splits are those of the prepared sounds; rendered one-shots of the split 'test' use a SoundFont never trained on.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, check_readable
from genaudio_core.query.audio_encoder import AudioEncoder
from genaudio_core.sound.mel import BANDS, HOP, level_gain, log_mel, mel_magnitude, moment_power, pack_mel
from genaudio_core.sound.soundfont import SAMPLE_RATE, FontSampler, PlayedNote, find_font
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES, WEIGHT
from genaudio_core.training.sounds.packed_clips import SPLITS, SoundSet
from genaudio_core.training.sounds.recordings import Recording, read_manifest, split_of
from genaudio_core.training.sounds.soundfont_clips import TEST_FONT, TRAIN_FONTS, add_effects

FRAMES = 176  # of an item: 44 tokens of 4 frames
QUIET = 1e-6  # moment power under which there is nothing
LEAD = 1  # frames before an attack
CROPS = {'solo': (4, 2), 'stem': (3, 2), 'recording': (3, 1)}  # kind -> crops at onsets, anywhere
DRUM_KEYS = {
    'kick drum': (35, 36), 'snare drum': (37, 38, 40), 'hi-hat': (42, 44, 46), 'cymbals': (49, 51, 53, 55, 57, 59),
    'hand percussion': (39, 54, 56, 60, 61, 62, 63, 64, 69, 70, 75, 76), 'taiko': (41, 43, 45, 47, 48, 50),
}  # fmt: skip
KITS = (0, 8, 16, 24, 25, 32, 40)  # General MIDI drum kits (GS numbers)
Progress = Callable[[str, int, int], None]


class Item(NamedTuple):
    """One crop before it is packed."""

    magnitude: np.ndarray  # (FRAMES, BANDS)
    audio: np.ndarray  # (n_samples,) what the encoder hears: the sounding part
    label: str
    split: str
    start: bool  # begins with an onset


def onsets(magnitude: np.ndarray) -> np.ndarray:
    """Return the frames (n,) at which something begins in mel magnitudes (frames, bands), the clearest first."""
    log = np.log(magnitude + 1e-4)
    rise = np.maximum(log[1:] - log[:-1], 0).mean(axis=1)
    if len(rise) < 3:
        return np.zeros(1, int)
    peak = (rise[1:-1] >= rise[:-2]) & (rise[1:-1] > rise[2:])
    places = np.flatnonzero(peak) + 2  # the frame that is louder than the one before
    loud = moment_power(magnitude)
    after = np.array([loud[p : p + 10].max() for p in places]) if len(places) else np.zeros(0)
    keep = (rise[places - 1] > 0.15) & (after > 0.02 * loud.max()) & (after > QUIET)
    places = places[keep]
    return places[np.argsort(-rise[places - 1])]


def crop(audio: np.ndarray, magnitude: np.ndarray, begin: int, label: str, split: str, start: bool) -> Item | None:
    """Return the item of a clip (n_samples,) and its mel magnitudes (frames, BANDS) from frame `begin`, or None."""
    part = magnitude[begin : begin + FRAMES]
    power = moment_power(part)
    if not len(part) or power.max() < QUIET:
        return None
    sounding = np.flatnonzero(power > power.max() * 1e-5)
    out = np.zeros((FRAMES, BANDS), np.float32)
    out[: len(part)] = part
    begin_sample = max(0, begin * HOP)
    heard = audio[begin_sample : begin_sample + (sounding[-1] + 2) * HOP]
    return Item(out * level_gain(part), heard, label, split, start)


def crops_of(
    audio: np.ndarray, label: str, split: str, at_onsets: int, anywhere: int, rng: random.Random
) -> Iterator[Item]:
    """Yield items of one clip (n_samples,): the clearest onsets, spread over the clip, and some other places."""
    magnitude = mel_magnitude(audio)
    found: list[int] = []
    clear = list(onsets(magnitude))[: 6 * at_onsets]
    rng.shuffle(clear)
    for place in clear:
        if len(found) < at_onsets and all(abs(place - other) > 12 for other in found):
            found.append(int(place))
    for place in found:
        item = crop(audio, magnitude, max(0, place - LEAD), label, split, True)
        if item:
            yield item
    for _ in range(anywhere if len(magnitude) > FRAMES else 0):
        item = crop(audio, magnitude, rng.randrange(len(magnitude) - FRAMES), label, split, False)
        if item:
            yield item


def one_shots(per_font: int, rng: random.Random, progress: Progress) -> Iterator[tuple[np.ndarray, str, str]]:
    """Yield (audio (n_samples,), label, split) of single notes and drum hits, played by the SoundFonts."""
    seconds = FRAMES * HOP / SAMPLE_RATE
    fonts = [(name, file, 'train') for name, file in TRAIN_FONTS.items()] + [(*TEST_FONT, 'test')]
    seen: set[bytes] = set()
    for package, file, split in fonts:
        sampler = FontSampler(find_font(file, package))
        plan: list[tuple[str, int, int, bool]] = []
        n = per_font if split == 'train' else max(1, per_font // 4)
        for concept in CONCEPTS:
            if concept.programs and concept.programs[0] >= 0:
                plan += [(concept.name, rng.choice(concept.programs), rng.randint(concept.low, concept.high), False)
                         for _ in range(n)]  # fmt: skip
        for label, keys in DRUM_KEYS.items():
            plan += [(label, rng.choice(KITS), rng.choice(keys), True) for _ in range(3 * n)]
        for done, (label, program, note, is_drum) in enumerate(plan):
            progress(f'one-shots of {file}', done, len(plan))
            start = LEAD * HOP / SAMPLE_RATE
            length = rng.choice((0.12, 0.3, 0.7, 1.2, 1.8))
            notes = [PlayedNote(start, start + length, note, rng.randint(55, 122))]
            audio = sampler.play(notes, program, is_drum, seconds)
            if np.abs(audio).max() < 1e-3 or (key := audio[0, :22050].tobytes()) in seen:
                continue
            seen.add(key)
            if rng.random() < 0.4:
                audio = add_effects(audio, SAMPLE_RATE, label, rng)
            part = split if split == 'train' or rng.random() < 0.75 else 'valid'
            yield audio.mean(axis=0), label, part
        sampler.close()


def _single_notes(folder: Path) -> list[Recording]:
    return [r for r in read_manifest(folder) if r.concept and r.concept != 'speech' and r.need != 'sound-events']


def recorded_notes(found: list[Recording], progress: Progress) -> Iterator[tuple[np.ndarray, str, str]]:
    """Yield (audio (n_samples,), label, split) of recorded single notes."""
    from genaudio_core.sound.audio_files import read_audio, to_mono

    for done, recording in enumerate(found):
        progress('recorded notes', done, len(found))
        audio = to_mono(read_audio(recording.path, SAMPLE_RATE))
        yield audio, recording.concept, split_of(recording.path.name)


def items(
    sounds: SoundSet, recordings: list[Recording], *, per_font: int, scale: float, seed: int, progress: Progress
) -> Iterator[Item]:
    """Yield every item there is to train and measure on."""
    rng = random.Random(seed)
    for audio, label, split in recorded_notes(recordings, progress):  # one that cannot be read is told in seconds
        yield from crops_of(audio, label, split, 1, 0, rng)
    for audio, label, split in one_shots(per_font, rng, progress) if per_font else ():
        item = crop(audio, mel_magnitude(audio), 0, label, split, True)
        if item:
            yield item
    clips = [c for c in sounds.clips if c.kind != 'noise' and c.label in NAMES and c.sample_rate == SAMPLE_RATE]
    for done, clip in enumerate(clips):
        progress('crops', done, len(clips))
        if rng.random() > scale:
            continue
        audio = sounds.read(clip).mean(axis=0)
        at_onsets, anywhere = CROPS.get(clip.kind, (2, 1))
        # Speech and song come in long recordings of which a few crops say little.
        if clip.seconds > 20:
            at_onsets, anywhere = at_onsets * 2, anywhere * 2
        yield from crops_of(audio, clip.label, clip.split, at_onsets, anywhere, rng)


def prepare_synthesis(
    out: Path,
    sounds: SoundSet,
    recordings: Path | None = None,
    *,
    per_font: int = 10,
    scale: float = 1.0,
    seed: int = 1,
    encoder: AudioEncoder | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> dict:
    """Write the pack; return how many items each split has."""
    from safetensors.numpy import save_file

    found = _single_notes(recordings) if recordings else []  # what is wrong with them is said before the long work
    if recordings and not found:
        raise GenaudioError(f'{recordings}/manifest.csv lists no notes of instruments: give another, or leave it out.')
    encoder = encoder or AudioEncoder.load()
    mels, vectors, labels, splits, starts = [], [], [], [], []
    for item in items(sounds, found, per_font=per_font, scale=scale, seed=seed, progress=progress):
        try:
            vectors.append(encoder.encode(item.audio[None], SAMPLE_RATE).astype(np.float16))
        except GenaudioError:  # too quiet for the encoder
            continue
        mels.append(pack_mel(log_mel(item.magnitude)))
        labels.append(NAMES.index(item.label))
        splits.append(SPLITS.index(item.split))
        starts.append(item.start)
    if not mels:
        raise GenaudioError(f'{sounds.folder} contains no sound that synthesis can learn from.')
    tensors = {
        'mel': np.stack(mels), 'query': np.stack(vectors), 'label': np.array(labels, np.int16),
        'split': np.array(splits, np.uint8), 'start': np.array(starts, np.uint8),
    }  # fmt: skip
    with atomic_write(out) as temporary:
        save_file(tensors, temporary, {'labels': json.dumps(NAMES), 'seed': str(seed)})
    counts = {name: int((tensors['split'] == i).sum()) for i, name in enumerate(SPLITS)}
    return {'items': len(mels), 'labels': len(set(labels)), **counts, 'megabytes': round(out.stat().st_size / 1e6, 1)}


class SynthesisData:
    """A pack in memory.

    Attributes
    ----------
    mel : uint8 (n, FRAMES, BANDS)
    query : float32 (n, 128)
    label, split, start : (n,)
    names : list of str

    Raises
    ------
    GenaudioError
        If the file is not a pack.
    """

    def __init__(self, path: str | Path):
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(check_readable(path, 'synthesis pack')), 'numpy') as file:
                self.names: list[str] = json.loads(file.metadata()['labels'])
                self.mel, self.label = file.get_tensor('mel'), file.get_tensor('label')
                self.query = file.get_tensor('query').astype(np.float32)
                self.split, self.start = file.get_tensor('split'), file.get_tensor('start').astype(bool)
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise GenaudioError(
                f'{path} is not a synthesis pack; make one: genaudio-train prepare-synthesis'
            ) from error

    def rows(self, split: str, start: bool | None = None) -> np.ndarray:
        """Return the numbers (n,) of the items of a split."""
        chosen = self.split == SPLITS.index(split)
        if start is not None:
            chosen &= self.start == start
        return np.flatnonzero(chosen)


class Balanced:
    """Draws items such that every label is heard, common ones somewhat more."""

    def __init__(self, data: SynthesisData, split: str, *, start_share: float = 0.75):
        self.start_share = start_share
        self._rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for label in np.unique(data.label[data.rows(split)]):
            rows = data.rows(split)
            rows = rows[data.label[rows] == label]
            self._rows[int(label)] = rows[data.start[rows]], rows[~data.start[rows]]
        if not self._rows:
            raise GenaudioError(f"The pack has no items of the split '{split}'.")
        self.labels = sorted(self._rows)
        counts = np.array([sum(map(len, self._rows[label])) for label in self.labels])
        weight = np.array([WEIGHT.get(data.names[label], 1.0) for label in self.labels]) ** 0.5
        weight *= np.minimum(counts, 40) ** 0.5  # a label of three clips would only be learnt by heart
        self.weights = weight / weight.sum()

    def draw(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """Return the numbers (size,) of drawn items."""
        out = np.empty(size, np.int64)
        for i, choice in enumerate(rng.choice(len(self.labels), size, p=self.weights)):
            at_onset, anywhere = self._rows[self.labels[choice]]
            first = rng.random() < self.start_share
            rows = (
                (at_onset if first else anywhere)
                if len(at_onset) and len(anywhere)
                else (at_onset if len(at_onset) else anywhere)
            )
            out[i] = rows[rng.integers(len(rows))]
        return out
