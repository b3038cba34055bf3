"""Mixtures made where the network is trained: for accelerators, which learn faster than processors can mix.

Notable choices

* All clips lie in the accelerator's memory as one long row of int16 (`ClipStore`). A batch costs a gather, two Fourier
  transforms for its equalisers and rooms, and no copy. Folders may still be written to while a run reads them.
* What is drawn (which clips, where, how fast) is drawn by numpy from the seed and the number of the step, what is
  random in every sample on the device. With the same sounds a step is the same whenever it is taken.
* The mixtures are those of ``solo_mixtures.py`` and ``band_mixtures.py``, with effects in the frequency domain in
  place of pedalboard's: an equaliser for every part, dull and coarse recordings, rooms, overdriven guitars.
"""

import contextlib
import itertools
import math
import queue
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from genaudio_core.errors import GenaudioError
from genaudio_core.training.mixtures.band_mixtures import (
    FAMILY_WORDS,
    PARTS_SPEED,
    SHARE_COMPOSED,
    SHARE_MAIN,
    SPREAD,
    SPREAD_MAIN,
    BandMixtures,
    family,
    main_parts,
    words_for,
)
from genaudio_core.training.mixtures.clip_store import ClipStore
from genaudio_core.training.mixtures.device_effects import BLOCK, through_effects
from genaudio_core.training.mixtures.solo_mixtures import (
    SOUNDING,
    MixtureConfig,
    MixtureMaker,
    draw_absent,
    draw_strangers,
)
from genaudio_core.training.sounds.lexicon import NAMES

LOUDNESS = 0.08  # that parts of bands are brought to when they stand alone, as solos were when they were rendered


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
    backwards
        Their end comes first.
    """

    def __init__(
        self, bank: ClipStore, queries: dict[str, np.ndarray], n_queries: int, n_samples: int,
        composed: float = SHARE_COMPOSED, backwards: bool = False,
    ):  # fmt: skip
        self.bank, self.n_queries, self.n_samples, self.backwards = bank, n_queries, n_samples, backwards
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
                options = words_for(name, words.get(name, []))
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
        if self.backwards:
            stems = stems.flip(-1)
        mixture = torch.zeros(size, 2, n, device=device).index_add_(0, torch.tensor(owner, device=device), stems)
        level = 10 ** ((torch.rand(size, 1, 1, generator=self.generator, device=device) * 18 - 30) / 20)
        gain = level / mixture.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-4)
        angle = torch.rand(size, generator=self.generator, device=device) * math.pi / 2
        mix = torch.stack([angle.cos(), angle.sin()], 1)
        targets = stems[torch.from_numpy(asked_rows).to(device)]  # (B, Q, 2, n)
        targets = (targets * mix[:, None, :, None]).sum(2) * gain
        return mixture * gain, mix, targets, self.words.vectors[torch.from_numpy(vectors).to(device)]


class MixturesOnDevice:
    """Batches for the offline separator, as `fit/clipsep.make_batch` makes them, on the device.

    Parameters
    ----------
    bank
        Of one channel.
    features
        Energies and cross energies of sources (B, S, n): see `clipsep.Features.of_batch`.
    vectors
        Label -> vectors (n, D), one of which is drawn.
    """

    def __init__(
        self, bank: ClipStore, features: Any, vectors: dict[str, np.ndarray], config: MixtureConfig, frames: int
    ):
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
        self.weights = MixtureMaker.weights_of(
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
        """Return mixtures for `clipsep.loss_of`: energies (size, 1, bands, frames) and what goes with them."""
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
        # Words, phrases and recordings land beside a concept, not on it; see `clipsep.QueryBook`.
        noise = torch.randn(vector.shape, generator=self.generator, device=device) / vector.shape[-1] ** 0.5
        away = torch.rand(*vector.shape[:2], 1, generator=self.generator, device=device)
        vector = vector + (0.9 * away - 0.45).clamp(min=0) * noise
        return {
            'energy': (energy / scale[:, None, None])[:, None],
            'cross': cross * (here / scale[:, None])[:, :, None, None],
            'total': total, 'present': here, 'query': torch.nn.functional.normalize(vector, dim=-1),
        }  # fmt: skip


class BatchSource(Protocol):
    """Maker of batches on a device."""

    @property
    def bank(self) -> ClipStore: ...

    @property
    def ready(self) -> bool: ...

    def refresh(self, most: int = ...) -> int: ...

    @property
    def batch(self) -> Callable[..., tuple[Tensor, ...] | dict[str, Tensor]]:
        """The function that makes a batch, of arrays (size, ...)."""
        ...


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

    def __init__(self, source: BatchSource, first: int, *wanted: Any, most: int = 2):
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
