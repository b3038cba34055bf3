"""Mix-and-separate: random mixtures of labelled sounds, made on the fly.

A mixture has two to four sources of different labels (sometimes such that a listener could confuse them), now and
then a real band in place of strangers, and now and then unlabelled noise, which belongs to no query.
"""

import math
import random
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.loudness import rms
from genaudio_core.training.sounds.lexicon import NAMES, WEIGHT, related
from genaudio_core.training.sounds.packed_clips import Clip, SoundSet, at_speed

Part = TypeVar('Part')
SOUNDING = 3e-3  # root mean square of an excerpt that can be heard
MIXING_TRIES = 1000  # to draw two sounds for a mixture


@dataclass(frozen=True)
class MixtureConfig:
    """How mixtures are drawn. Probabilities are of 0..1."""

    seconds: float = 2.95
    sources: tuple[float, ...] = (0.6, 0.25, 0.15)  # of two, three, four sources
    related: float = 0.2  # of allowing sounds that a listener could call by one word
    band: float = 0.15  # of taking the stems of one band
    noise: float = 0.2  # of unlabelled noise
    noise_db: tuple[float, float] = (-20.0, -3.0)  # level of the noise against a source
    noise_in_source: bool = False  # the noise is part of one source, as in recordings that hold more than their label
    gain_db: float = 4.0  # standard deviation of a source's level
    speed: float = 0.0  # octaves by which a source may be faster and higher, or slower and lower: other sizes of things
    stems: float | None = None  # of a source being a stem of a band, where its label has both; None: by their numbers


@dataclass(frozen=True)
class SoloMixture:
    """Sources (n, n_samples) with their labels, and the noise (n_samples,) that is in the mixture beside them."""

    sources: np.ndarray
    labels: tuple[str, ...]
    noise: np.ndarray

    @property
    def mix(self) -> np.ndarray:
        """All that sounds, (samples,)."""
        return self.sources.sum(axis=0) + self.noise


def draw_strangers(
    labels: Sequence[str],
    weights: Sequence[float],
    n: int,
    confusable: bool,
    rng: random.Random,
    take: Callable[[str, random.Random], Part | None],
) -> tuple[list[str], list[Part]]:
    """Draw `n` labels, or fewer, and what `take` makes of each, which may be nothing; alike only if `confusable`."""
    drawn: list[str] = []
    parts: list[Part] = []
    for _ in range(20):
        label = rng.choices(labels, weights)[0]
        if any(label == other or (not confusable and related(label, other)) for other in drawn):
            continue
        part = take(label, rng)
        if part is not None:
            drawn.append(label)
            parts.append(part)
        if len(drawn) == n:
            break
    return drawn, parts


def draw_absent(labels: Sequence[str], weights: Sequence[float], present: Sequence[str], rng: random.Random) -> str:
    """Draw a label that nothing of what is `present` could be called by."""
    for _ in range(50):
        label = rng.choices(labels, weights)[0]
        if not any(related(label, other) for other in present):
            return label
    return labels[0]


class MixtureMaker:
    """Draws mixtures from the clips of one split."""

    def __init__(self, sounds: SoundSet, split: str, config: MixtureConfig | None = None, sample_rate: int = 44100):
        self.sounds, self.split, self.config = sounds, split, config or MixtureConfig()
        self.n_samples = int(self.config.seconds * sample_rate)
        clips = [c for c in sounds.select(split=split) if c.sample_rate == sample_rate]
        self.by_label = sounds.by_label(c for c in clips if c.kind != 'noise' and c.label in NAMES)
        self.noises = [c for c in clips if c.kind == 'noise']
        self.bands = [g for g in sounds.groups(split=split).values() if len(g) >= 3]
        self.labels = sorted(self.by_label)
        self.weights = self.weights_of(
            self.labels, {label for label in self.labels if self.by_label[label][0].kind == 'recording'}
        )

    @staticmethod
    def weights_of(labels: Sequence[str], recorded: Container[str]) -> list[float]:
        """Return how often each label is drawn: rare ones less, everyday sounds, of few recordings, least."""
        return [WEIGHT.get(label, 1.0) * (0.5 if label in recorded else 1.0) for label in labels]

    def crop(self, clip: Clip, rng: random.Random, tries: int = 4) -> np.ndarray | None:
        """Return a sounding mono excerpt (n_samples,), tiled if the clip is short, or None."""
        speed = 2 ** rng.uniform(-self.config.speed, self.config.speed) if self.config.speed else 1.0
        wanted = self.n_samples if speed == 1 else math.ceil(self.n_samples * speed) + 1
        for _ in range(tries):
            start = rng.randrange(max(1, clip.n_samples - wanted))
            audio = self.sounds.read(clip, start, min(wanted, clip.n_samples)).mean(axis=0)
            if speed != 1:
                audio = at_speed(audio, speed)[: self.n_samples]
            if rms(audio) > SOUNDING:
                if len(audio) < self.n_samples:
                    gap = np.zeros(rng.randrange(1, 22050), np.float32)
                    audio = np.tile(np.concatenate([audio, gap]), self.n_samples // len(audio) + 1)
                    audio = np.roll(audio, rng.randrange(len(audio)))[: self.n_samples]
                return audio
        return None

    def choose(self, label: str, rng: random.Random) -> Clip:
        """Draw a clip of `label`."""
        clips = self.by_label[label]
        if self.config.stems is not None:
            wanted = rng.random() < self.config.stems
            clips = [clip for clip in clips if (clip.kind == 'stem') == wanted] or clips
        return rng.choice(clips)

    def _gain(self, rng: random.Random) -> float:
        return 10 ** (rng.gauss(0, self.config.gain_db) / 20)

    def draw(self, rng: random.Random, n_sources: int | None = None) -> SoloMixture:
        """Return a new mixture; the same generator state gives the same one.

        Raises
        ------
        GenaudioError
            If there are no two sounds that can be mixed.
        """
        config = self.config
        n = n_sources or rng.choices((2, 3, 4), config.sources)[0]
        for _ in range(MIXING_TRIES if len(self.labels) > 1 else 0):
            sources: list[np.ndarray] = []
            labels: list[str] = []
            if n_sources is None and self.bands and rng.random() < config.band:
                stems = rng.sample(rng.choice(self.bands), k=min(n + 1, 3))
                start = rng.randrange(max(1, stems[0].n_samples - self.n_samples))
                for clip in stems:
                    audio = self.sounds.read(clip, start, self.n_samples).mean(axis=0) * self._gain(rng)
                    if rms(audio) > SOUNDING and clip.label not in labels:
                        sources.append(audio)
                        labels.append(clip.label)
            else:
                confusable = rng.random() < config.related
                labels, sources = draw_strangers(self.labels, self.weights, n, confusable, rng, self._source)
            if len(labels) >= 2:
                break
        else:
            raise GenaudioError(
                f"In the split '{self.split}' of {self.sounds.folder} there are no two sounds of different names that "
                'sound at once; prepare more.'
            )
        noise = np.zeros(self.n_samples, np.float32)
        if self.noises and rng.random() < config.noise:
            audio = self.crop(rng.choice(self.noises), rng)
            if audio is not None:
                noise = audio * 10 ** (rng.uniform(*config.noise_db) / 20)
        if config.noise_in_source and noise.any():
            sources[rng.randrange(len(sources))] += noise
            noise = np.zeros_like(noise)
        return SoloMixture(np.stack(sources).astype(np.float32), tuple(labels), noise.astype(np.float32))

    def _source(self, label: str, rng: random.Random) -> np.ndarray | None:
        audio = self.crop(self.choose(label, rng), rng)
        return None if audio is None else audio * self._gain(rng)

    def absent(self, mixture: SoloMixture, rng: random.Random) -> str:
        """Return a label that nothing in the mixture could be called by."""
        return draw_absent(self.labels, self.weights, mixture.labels, rng)
