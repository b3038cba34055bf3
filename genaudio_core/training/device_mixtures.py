"""Mixtures made where the network is trained: for accelerators, which learn faster than processors can mix.

Notable choices

* All clips lie in the accelerator's memory as one long row of int16 (`Bank`). A batch costs a gather, two Fourier
  transforms for its equalisers and rooms, and no copy. Folders may still be written to while a run reads them.
* What is drawn (which clips, where, how fast) is drawn by numpy from the seed and the number of the step, what is
  random in every sample on the device. With the same sounds a step is the same whenever it is taken.
* The mixtures are those of ``mixtures.py`` and ``band_mixtures.py``, with effects in the frequency domain in place of
  pedalboard's: an equaliser for every part, dull and coarse recordings, rooms, overdriven guitars.
"""

import contextlib
import itertools
import json
import math
import queue
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.training.band_mixtures import (
    FAMILY_WORDS,
    PARTS_SPEED,
    SHARE_COMPOSED,
    SHARE_MAIN,
    SPREAD,
    SPREAD_MAIN,
    BandMixtures,
    family,
    main_parts,
)
from genaudio_core.training.lexicon import NAMES
from genaudio_core.training.mixtures import SOUNDING, Mixer, MixtureConfig, draw_absent, draw_strangers
from genaudio_core.training.sounds import Clip

BLOCK = 11025  # samples whose loudness is known: a quarter of a second
LOUDNESS = 0.08  # that parts of bands are brought to when they stand alone, as solos were when they were rendered
SHARE_DULL, SHARE_ROOM, SHARE_OVERDRIVEN = 0.15, 0.25, 0.2
TAIL = 32768  # samples that a room may go on for
PEAK_DB = 6.0  # standard deviation of an equaliser's curve
SHARE_PRESSED = 0.3  # of parts whose loud and soft moments are brought together, or apart


class Bank:
    """The train clips of sound sets (``sounds.py``) in the memory of a device.

    Parameters
    ----------
    folders
        Of prepared sounds; those that are not there yet are looked for again at every `refresh`.
    channels
        1 (the mean of both) or 2.
    hours
        Room for as many hours of one channel; what does not fit is left out.
    """

    def __init__(self, folders: Sequence[Path], device: torch.device, channels: int, hours: float):
        self.folders, self.device, self.channels = list(folders), device, channels
        for folder in self.folders:
            if not (folder / 'index.jsonl').is_file():
                notice(f'{folder} holds no sounds yet; it is looked at again while training goes on.')
        self.samples = torch.empty(int(hours * 3600 * 44100), dtype=torch.int16, device=device)
        self.filled = 0
        self.clips: list[Clip] = []
        self.groups: dict[str, list[int]] = defaultdict(list)
        self.places: list[tuple[int, int, int]] = []  # start in `samples`, samples of a channel, channels
        self.power: list[np.ndarray] = []  # of each block of a clip
        self._read: dict[Path, int] = defaultdict(int)  # bytes of each index
        self._table: Tensor | None = None
        self._turn = -1

    def refresh(self, most: int = 1 << 30) -> int:
        """Take in at most `most` clips that were written since the last call; return their number."""
        found = 0
        self._turn += 1  # each folder is first in turn: `most` may end in any of them
        first = self._turn % len(self.folders)
        for folder in self.folders[first:] + self.folders[:first]:
            index = folder / 'index.jsonl'
            if not index.is_file():
                continue
            with index.open('rb') as lines:
                lines.seek(self._read[folder])
                for line in lines:
                    if not line.endswith(b'\n') or found >= most:
                        break
                    self._read[folder] += len(line)
                    clip = Clip(**json.loads(line))
                    if clip.split == 'train' and clip.sample_rate == 44100 and self._take(folder, clip):
                        found += 1
        if found:
            self._table = None
        return found

    def _take(self, folder: Path, clip: Clip) -> bool:
        stored = min(clip.channels, self.channels)
        if self.filled + stored * clip.n_samples > len(self.samples) or clip.n_samples < BLOCK:
            return False
        raw = np.memmap(folder / clip.shard, '<i2', 'r', 2 * clip.offset, (clip.n_samples, clip.channels))
        audio = torch.from_numpy(np.array(raw)).to(self.device).T
        if stored < clip.channels:
            audio = audio.float().mean(0, keepdim=True).round().to(torch.int16)
        place = self.samples[self.filled : self.filled + stored * clip.n_samples]
        place.copy_(audio.reshape(-1))
        whole = clip.n_samples // BLOCK * BLOCK
        power = (audio[:, :whole].float() / 32767).square().mean(0).view(-1, BLOCK).mean(1)
        if clip.kind == 'stem':
            self.groups[f'{folder}/{clip.group}'].append(len(self.clips))
        self.clips.append(clip)
        self.places.append((self.filled, clip.n_samples, stored))
        self.power.append(power.cpu().numpy())
        self.filled += stored * clip.n_samples
        return True

    def sounding(self, clip: int, wanted: int, draw: Any, tries: int = 4) -> int | None:
        """Return where an excerpt of `wanted` samples begins that can be heard, or None."""
        length, power = self.places[clip][1], self.power[clip]
        for _ in range(tries):
            start = int(draw.random() * max(1, length - wanted))
            heard = power[start // BLOCK : max(start // BLOCK + 1, (start + wanted) // BLOCK)]
            if heard.size and heard.mean() > SOUNDING**2:
                return start
        return None

    def excerpts(self, clips: Sequence[int], starts: Sequence[int], speeds: Sequence[float], n: int) -> Tensor:
        """Return float32 (len(clips), channels, n); past the end comes silence, or the clip again if it is short."""
        if self._table is None:
            self._table = torch.tensor(self.places, dtype=torch.int64, device=self.device)
        rows = torch.index_select(self._table, 0, torch.tensor(clips, device=self.device))
        offset, length, channels = rows.T[:, :, None]
        start = torch.tensor(starts, device=self.device)[:, None]
        speed = torch.tensor(speeds, dtype=torch.float64, device=self.device)[:, None]
        at = torch.arange(n, device=self.device) * speed
        whole = at.floor()
        part = (at - whole).float()[:, None]
        # Short clips are heard again and again, with a gap, as ``mixtures.py`` tiles them.
        place = whole.long() + start
        place = torch.where(length < n, place % (length + 2 * BLOCK), place)
        channel = torch.arange(self.channels, device=self.device)[:, None] % channels[:, None]  # (S, channels, 1)
        base = offset[:, None] + channel * length[:, None]

        def heard(place: Tensor) -> Tensor:
            inside = (place < length)[:, None]
            index = base + torch.minimum(place, length - 1)[:, None]
            return torch.where(inside, self.samples[index].float(), 0.0)

        first = heard(place)
        return (first + (heard(place + 1) - first) * part) / 32767


def through_effects(
    audio: Tensor, generator: torch.Generator, *, room: Tensor | None = None, overdriven: Tensor | None = None
) -> Tensor:
    """Return parts (S, channels, n), each through an equaliser, some pressed, dull, in a room, overdriven; same levels.

    Parameters
    ----------
    room, overdriven
        (S,), bool: which parts may be; the default is all, and none.
    """
    n, device = audio.shape[-1], audio.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(len(audio), *shape, generator=generator, device=device) * (high - low) + low

    before = audio.square().mean((1, 2), keepdim=True).sqrt()
    # One instrument dies away where another goes on: what compressors, and the envelopes of SoundFonts, make of it.
    power = F.avg_pool1d(audio.square().mean(1, keepdim=True), 1764, 441, 882)  # 40 ms, every 10
    over = torch.log(power / (before.square() + 1e-9) + 1e-4)
    pressed = (uniform(-0.35, 0.25, 1, 1) * (uniform(0, 1, 1, 1) < SHARE_PRESSED) * over / 2).clamp(-1.4, 1.4)  # 12 dB
    audio = audio * F.interpolate(pressed, n, mode='linear').exp()
    size = 2 * math.ceil((n + TAIL) / 8192) * 4096
    hertz = torch.linspace(0, 22050, size // 2 + 1, device=device)
    octaves = torch.log2(hertz / 160 + 1)  # linear below some 200 Hz
    knots = PEAK_DB * torch.randn(len(audio), 8, generator=generator, device=device)
    at = octaves / octaves[-1] * (knots.shape[1] - 1.001)
    curve = torch.lerp(knots[:, at.long()], knots[:, at.long() + 1], at.frac())
    dull = uniform(0, 1, 1) < SHARE_DULL
    corner = 2000 * 2 ** uniform(0, 2.5, 1)
    fall = -12 * torch.log2(hertz / corner + 1e-9).clamp(min=0)  # 12 dB an octave
    filters = 10 ** ((curve + torch.where(dull, fall, 0.0)) / 20) + 0j
    there = uniform(0, 1) < SHARE_ROOM
    there = there if room is None else there & room
    if there.any():
        rows = there.nonzero()[:, 0]
        decay = uniform(0.05, 0.3, 1)[rows] * 44100  # samples to a fall by 8.7 dB
        wet = uniform(0.05, 0.35, 1)[rows]
        tail = torch.randn(len(rows), TAIL, generator=generator, device=device)
        tail = tail * torch.exp(-torch.arange(TAIL, device=device) / decay)
        tail = tail / tail.norm(dim=1, keepdim=True)
        filters[rows] = filters[rows] * (1 - wet + wet * torch.fft.rfft(tail, size))
    audio = torch.fft.irfft(torch.fft.rfft(audio, size) * filters[:, None], size)[..., :n]
    if overdriven is not None:
        hard = overdriven & (uniform(0, 1) < SHARE_OVERDRIVEN)
        loud = audio.square().mean((1, 2), keepdim=True).sqrt() + 1e-6
        driven = torch.tanh(audio / loud * uniform(0.5, 4, 1, 1))
        audio = torch.where(hard[:, None, None], driven * loud, audio)
    return audio * before / (audio.square().mean((1, 2), keepdim=True).sqrt() + 1e-6)


@dataclass(frozen=True)
class _Words:
    """Vectors (n, D) of all words on the device, and which belong to each."""

    vectors: Tensor
    ranges: dict[str, tuple[int, int]]

    @staticmethod
    def of(table: dict[str, np.ndarray], device: torch.device) -> '_Words':
        ranges, at = {}, 0
        for word, vectors in table.items():
            ranges[word] = (at, at + len(vectors))
            at += len(vectors)
        return _Words(torch.from_numpy(np.concatenate(list(table.values()))).float().to(device), ranges)

    def draw(self, word: str, rng: np.random.Generator) -> int:
        return int(rng.integers(*self.ranges[word]))


class BandsOnDevice:
    """Batches for the live separator, as `band_mixtures.batch_of` makes them, on the device.

    Parameters
    ----------
    bank
        Stereo.
    queries
        Word -> vectors (n, D).
    composed
        Share of the mixtures that are windows as they were composed.
    """

    def __init__(
        self, bank: Bank, queries: dict[str, np.ndarray], n_queries: int, n_samples: int,
        composed: float = SHARE_COMPOSED,
    ):  # fmt: skip
        self.bank, self.n_queries, self.n_samples = bank, n_queries, n_samples
        self.words = _Words.of(queries, bank.device)
        self.generator = torch.Generator(bank.device)
        self.rules = BandMixtures([], 'train', n_queries=n_queries, composed=composed)  # what is chosen
        self._known = 0

    def refresh(self, most: int = 1 << 30) -> int:
        """Take in new clips; return their number."""
        found = self.bank.refresh(most)
        for i in range(self._known, len(self.bank.clips)):
            clip = self.bank.clips[i]
            name = family(clip.label) if clip.label in NAMES else ''
            if clip.kind == 'stem':
                self.rules.by_family.setdefault(name, []).append(i)
            elif clip.kind in ('solo', 'recording') and name in FAMILY_WORDS:
                self.rules.alone.setdefault(name, []).append(i)
        self._known = len(self.bank.clips)
        self.groups = [group for group in self.bank.groups.values() if len(group) >= 2]
        return found

    @property
    def ready(self) -> bool:
        """Whether there is something to mix."""
        return bool(self.groups)

    def _main_parts(self, group: Sequence[int]) -> list[str]:
        loudness: dict[str, float] = defaultdict(float)
        for i in group:
            loudness[family(self.bank.clips[i].label)] += float(self.bank.power[i].mean())
        return main_parts(loudness)

    def batch(self, size: int, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mixture (B, 2, n), shares of its channels (B, 2), the targets' mix (B, Q, n), queries (B, Q, D)."""
        rng = np.random.default_rng((seed, step))
        self.generator.manual_seed(int(rng.integers(1 << 62)))
        device, n = self.bank.device, self.n_samples
        clips: list[int] = []
        starts: list[int] = []
        speeds: list[float] = []
        families: list[int] = []  # row of (mixture, family)
        alone: list[bool] = []
        spread: list[float] = []  # dB
        names: list[str] = []
        asked_rows = np.zeros((size, self.n_queries), np.int64)
        vectors = np.zeros((size, self.n_queries), np.int64)
        row = 1  # 0 is silence: what is asked for and is not there
        owner = [0]
        for b in range(size):
            coherent = rng.random() < self.rules.composed
            group = self.groups[rng.integers(len(self.groups))] if coherent else self.rules.thrown_together(rng)
            labels = [self.bank.clips[i].label for i in group]
            main = coherent and rng.random() < SHARE_MAIN
            kept = None
            if coherent:
                kept = self._main_parts(group) if main else self.rules.kept([family(label) for label in labels], rng)
            up, down = self.rules.speed(rng)
            begin = rng.random()
            rows: dict[str, int] = {}
            words: dict[str, list[str]] = {}
            for i, label in zip(group, labels, strict=True):
                name = family(label)
                if kept is not None and name not in kept:
                    continue
                speed = down / up
                if not coherent:
                    speed *= 2 ** rng.uniform(-PARTS_SPEED, PARTS_SPEED)
                    begin = rng.random()
                wanted, length = math.ceil(n * speed) + 2, self.bank.places[i][1]
                start = None if coherent else self.bank.sounding(i, wanted, rng)
                if name not in rows:
                    rows[name] = row
                    owner.append(b)
                    row += 1
                clips.append(i)
                starts.append(int(begin * max(1, length - wanted)) if start is None else start)
                speeds.append(speed)
                families.append(rows[name])
                alone.append(not coherent)
                spread.append(SPREAD_MAIN if main else SPREAD)
                names.append(name)
                words.setdefault(name, []).append(label)
            for q, name in enumerate(self.rules.asked(list(rows), rng)):
                asked_rows[b, q] = rows.get(name, 0)
                options = [*FAMILY_WORDS.get(name, ()), *words.get(name, ())]
                vectors[b, q] = self.words.draw(str(rng.choice(options)), rng)

        def flags(values: Sequence[bool]) -> Tensor:
            return torch.tensor(values, device=device)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return torch.rand(len(clips), *shape, generator=self.generator, device=device) * (high - low) + low

        audio = self.bank.excerpts(clips, starts, speeds, n)
        audio = through_effects(
            audio, self.generator, room=flags([name != 'bass' for name in names]),
            overdriven=flags([name == 'guitar' for name in names]),
        )  # fmt: skip
        thrown = flags(alone)[:, None, None]
        audio = torch.where(thrown, audio * 0.1 / (audio.square().mean((1, 2), keepdim=True).sqrt() + 1e-3), audio)
        audio = torch.where(thrown & (uniform(0, 1, 1, 1) < 0.3), audio.flip(-1), audio)
        audio = torch.where(uniform(0, 1, 1, 1) < 0.3, audio.mean(1, keepdim=True), audio)
        pan = torch.where(uniform(0, 1, 1) < 0.5, uniform(-0.6, 0.6, 1), 0.0)
        sides = torch.cat([1 - pan.clamp(min=0), 1 + pan.clamp(max=0)], 1)
        gains = 10 ** (uniform(-1, 1, 1) * torch.tensor(spread, device=device)[:, None] / 20)
        audio = audio * (gains * sides)[..., None]
        stems = torch.zeros(row, 2, n, device=device).index_add_(0, torch.tensor(families, device=device), audio)
        mixture = torch.zeros(size, 2, n, device=device).index_add_(0, torch.tensor(owner, device=device), stems)
        level = 10 ** ((torch.rand(size, 1, 1, generator=self.generator, device=device) * 18 - 30) / 20)
        gain = level / mixture.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-4)
        angle = torch.rand(size, generator=self.generator, device=device) * math.pi / 2
        mix = torch.stack([angle.cos(), angle.sin()], 1)
        targets = stems[torch.from_numpy(asked_rows).to(device)]  # (B, Q, 2, n)
        targets = (targets * mix[:, None, :, None]).sum(2) * gain
        return mixture * gain, mix, targets, self.words.vectors[torch.from_numpy(vectors).to(device)]


class MixturesOnDevice:
    """Batches for the offline separator, as `clipsep_small.make_batch` makes them, on the device.

    Parameters
    ----------
    bank
        Of one channel.
    features
        Energies and cross energies of sources (B, S, n): see `clipsep_small.Features.of_batch`.
    vectors
        Label -> vectors (n, D), one of which is drawn.
    """

    def __init__(self, bank: Bank, features: Any, vectors: dict[str, np.ndarray], config: MixtureConfig, frames: int):
        self.bank, self.features, self.config, self.frames = bank, features, config, frames
        self.n_samples = int(config.seconds * 44100)
        self.words = _Words.of(vectors, bank.device)
        self.generator = torch.Generator(bank.device)
        self.by_label: dict[str, dict[bool, list[int]]] = {}
        self.noises: list[int] = []
        self._known = 0

    def refresh(self, most: int = 1 << 30) -> int:
        """Take in new clips; return their number."""
        found = self.bank.refresh(most)
        for i in range(self._known, len(self.bank.clips)):
            clip = self.bank.clips[i]
            if clip.kind == 'noise':
                self.noises.append(i)
            elif clip.label in self.words.ranges:
                self.by_label.setdefault(clip.label, {}).setdefault(clip.kind == 'stem', []).append(i)
        self._known = len(self.bank.clips)
        self.bands = [group for group in self.bank.groups.values() if len(group) >= 3]
        self.labels = sorted(self.by_label)
        self.weights = Mixer.weights_of(
            self.labels,
            {label for label, kinds in self.by_label.items()
             if self.bank.clips[next(iter(kinds.values()))[0]].kind == 'recording'},
        )  # fmt: skip
        return found

    @property
    def ready(self) -> bool:
        """Whether there is something to mix."""
        return bool(self.labels)

    def _source(self, label: str, draw: random.Random) -> tuple[int, int, float, bool] | None:
        """Draw a clip of `label`, where it begins, how fast it is, and whether its level is to be set."""
        kinds = self.by_label[label]
        stem = draw.random() < (self.config.stems or 0.0)
        clip = draw.choice(kinds.get(stem) or kinds[not stem])
        speed = 2 ** draw.uniform(-self.config.speed, self.config.speed)
        start = self.bank.sounding(clip, math.ceil(self.n_samples * speed) + 2, draw)
        return None if start is None else (clip, start, speed, stem)

    def _mixture(self, draw: random.Random) -> tuple[list[str], list[tuple[int, int, float, bool]]]:
        config = self.config
        n = draw.choices((2, 3, 4), config.sources)[0]
        while True:
            labels: list[str] = []
            parts: list[tuple[int, int, float, bool]] = []
            if self.bands and draw.random() < config.band:
                stems = draw.choice(self.bands)
                begin, speed = draw.random(), 2 ** draw.uniform(-config.speed, config.speed)
                wanted = math.ceil(self.n_samples * speed) + 2
                for clip in draw.sample(stems, k=min(n + 1, 3, len(stems))):
                    start = int(begin * max(1, self.bank.places[clip][1] - wanted))
                    power = self.bank.power[clip][start // BLOCK : (start + wanted) // BLOCK + 1].mean()
                    label = self.bank.clips[clip].label
                    if power > SOUNDING**2 and label not in labels and label in self.by_label:
                        labels.append(label)
                        parts.append((clip, start, speed, False))
            else:
                confusable = draw.random() < config.related
                labels, parts = draw_strangers(self.labels, self.weights, n, confusable, draw, self._source)
            if len(labels) >= 2:
                return labels, parts

    def batch(self, size: int, n_queries: int, share_absent: float, seed: int, step: int) -> dict[str, Tensor]:
        """Return what `clipsep_small.loss_of` wants."""
        draw = random.Random(seed * 1_000_003 + step)
        rng = np.random.default_rng((seed, step))
        self.generator.manual_seed(int(rng.integers(1 << 62)))
        device, most = self.bank.device, len(self.config.sources) + 1
        entries: list[tuple[int, int, float, bool]] = []
        rows: list[int] = []
        gains: list[float] = []
        vectors = np.zeros((size, n_queries), np.int64)
        wanted = np.zeros((size, n_queries), np.int64)
        present = np.zeros((size, n_queries), np.float32)
        for b in range(size):
            labels, parts = self._mixture(draw)
            for s, part in enumerate(parts):
                entries.append(part)
                rows.append(b * (most + 1) + s)
                gains.append(draw.gauss(0, self.config.gain_db))
            if self.noises and draw.random() < self.config.noise:
                clip = draw.choice(self.noises)
                start = self.bank.sounding(clip, self.n_samples, draw)
                if start is not None:
                    entries.append((clip, start, 1.0, False))
                    rows.append(b * (most + 1) + most)
                    gains.append(draw.uniform(*self.config.noise_db))
            absent = draw.random() < share_absent
            order = draw.sample(range(len(labels)), min(n_queries - absent, len(labels)))
            for i in range(n_queries):
                if i < len(order):
                    label, wanted[b, i], present[b, i] = labels[order[i]], order[i], 1.0
                else:
                    label = draw_absent(self.labels, self.weights, labels, draw)
                vectors[b, i] = self.words.draw(label, rng)
        clips, starts, speeds, leveled = zip(*entries, strict=True)
        audio = self.bank.excerpts(clips, starts, speeds, self.n_samples)
        audio = through_effects(audio, self.generator)[:, 0]
        level = audio.square().mean(1, keepdim=True).sqrt() + 1e-6
        audio = torch.where(torch.tensor(leveled, device=device)[:, None], audio * LOUDNESS / level, audio)
        audio = audio * 10 ** (torch.tensor(gains, device=device)[:, None] / 20)
        sources = torch.zeros(size * (most + 1), self.n_samples, device=device)
        sources = sources.index_add_(0, torch.tensor(rows, device=device), audio).unflatten(0, (size, most + 1))
        energy, cross, total = self.features.of_batch(sources, self.frames)
        scale = energy.mean((1, 2)) + 1e-12
        ask = torch.from_numpy(wanted).to(device)
        cross = torch.gather(cross, 1, ask[:, :, None, None].expand(-1, -1, *cross.shape[2:]))
        here = torch.from_numpy(present).to(device)
        total = torch.where(here > 0, torch.gather(total, 1, ask) / scale[:, None], 1.0)
        vector = self.words.vectors[torch.from_numpy(vectors).to(device)]
        # Words, phrases and recordings land beside a concept, not on it; see `clipsep_small.QueryBook`.
        noise = torch.randn(vector.shape, generator=self.generator, device=device) / vector.shape[-1] ** 0.5
        away = torch.rand(*vector.shape[:2], 1, generator=self.generator, device=device)
        vector = vector + (0.9 * away - 0.45).clamp(min=0) * noise
        return {
            'energy': (energy / scale[:, None, None])[:, None],
            'cross': cross * (here / scale[:, None])[:, :, None, None],
            'total': total, 'present': here, 'query': torch.nn.functional.normalize(vector, dim=-1),
        }  # fmt: skip


class Source(Protocol):
    """What makes batches on a device."""

    @property
    def bank(self) -> Bank: ...

    @property
    def ready(self) -> bool: ...

    def refresh(self, most: int = ...) -> int: ...

    @property
    def batch(self) -> Callable[..., tuple[Tensor, ...] | dict[str, Tensor]]: ...


class DeviceBatches:
    """The batches of the steps from `first` on, made a few ahead by a thread on a stream of its own: training does not
    wait for them. A context manager. Folders may still be written to.

    Parameters
    ----------
    wanted
        What the source's `batch` is told beside the number of the step.

    Raises
    ------
    GenaudioError
        If there is nothing to learn from yet.
    """

    def __init__(self, source: Source, first: int, *wanted: Any, most: int = 2):
        self._source, self._first, self._wanted = source, first, wanted
        device = source.bank.device
        self._stream = torch.cuda.Stream(device) if device.type == 'cuda' else None
        self._made: queue.Queue[Any] = queue.Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        source.refresh()
        if not source.ready:
            raise GenaudioError(f'No sounds for training in {", ".join(map(str, source.bank.folders))}.')

    def __enter__(self) -> 'DeviceBatches':
        self._patience = sys.getswitchinterval()
        sys.setswitchinterval(5e-4)  # seconds; both threads launch many small kernels and must not wait for each other
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        sys.setswitchinterval(self._patience)

    def __next__(self) -> Any:
        batch, done = self._made.get()
        if isinstance(batch, BaseException):
            raise batch
        if done is not None:
            stream = torch.cuda.current_stream()
            stream.wait_event(done)
            for tensor in batch.values() if isinstance(batch, dict) else batch:
                tensor.record_stream(stream)
        return batch

    @torch.no_grad()
    def _run(self) -> None:
        try:
            with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
                for step in itertools.count(self._first):
                    if step % 25 == 24:
                        self._source.refresh(most=100)  # a few at a time
                    batch = self._source.batch(*self._wanted, step)
                    self._put((batch, self._stream.record_event() if self._stream else None))
                    if self._stopped.is_set():
                        return
        except BaseException as error:  # told where the batch is waited for
            self._put((error, None))

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(item, timeout=0.1)
                return
