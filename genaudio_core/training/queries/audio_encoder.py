"""Training of the bundled audio encoder ("more like this"): `genaudio-train fit query-audio`.

A clip goes to the vector of its label, against all other concepts (softmax over cosines). What it must not learn is
the SoundFont: clips are played faster and slower, through other rooms and microphones, and with holes. It goes on
exactly where it stopped: what is drawn depends on seed and step only.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from genaudio_core.errors import GenaudioError
from genaudio_core.models.query_encoder import AudioNet, AudioNetConfig
from genaudio_core.query.audio_encoder import drawn_to
from genaudio_core.sound.spectrogram import bands_to_bins
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.checkpoints import begin_with, rebuild
from genaudio_core.training.loops.loop import Trainee, train
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.packed_clips import SoundSet, at_speed

WARMUP, FALL = 50, 300  # steps until the peak learning rate is there, and from which it falls
SPEED = 0.12  # by how much a clip is played faster or slower, each way: two semitones


def audio_batch(
    mixer: MixtureMaker,
    gather: Tensor,
    config: AudioNetConfig,
    rng: random.Random,
    size: int,
    *,
    vary: bool = False,
    only: Sequence[str] = (),
) -> tuple[Tensor, list[str]]:
    """Return (energies (B, 1, bands, frames), their labels): single sounds, sometimes with a little else.

    With `vary` they are heard at other speeds, through other rooms and microphones, and with holes in time and band;
    `only` are the labels to draw from (default: all).
    """
    known = only or mixer.labels
    window = torch.hann_window(config.n_fft)
    n_samples = int(config.frames * config.hop_length)
    audio, labels = [], []
    while len(audio) < size:
        # Rare labels are heard as often as common ones: an example may be of anything.
        label = rng.choice(known)
        clip = mixer.crop(mixer.choose(label, rng), rng)
        if clip is None:
            continue
        if rng.random() < 0.3:
            other = mixer.crop(mixer.choose(rng.choice(known), rng), rng)
            if other is not None:
                clip = clip + other * 10 ** (rng.uniform(-30, -8) / 20)
        if vary:
            clip = at_speed(clip, 2 ** rng.uniform(-SPEED, SPEED))
        clip = clip[:n_samples]
        audio.append(np.pad(clip, (0, n_samples - len(clip))))
        labels.append(label)
    spectra = torch.stft(torch.from_numpy(np.stack(audio).astype(np.float32)), config.n_fft, config.hop_length,
                         window=window, return_complex=True, pad_mode='constant')[..., : config.frames]  # fmt: skip
    energy = torch.matmul(gather, spectra.real**2 + spectra.imag**2)
    if vary:
        draw = torch.Generator().manual_seed(rng.getrandbits(60))
        # A smooth equaliser, about 4 dB from one end to the other and 2 dB in between.
        place = torch.linspace(0, math.pi, config.bands)
        waves = torch.stack([torch.cos(k * place) for k in range(1, 7)])
        amounts = torch.randn(size, 6, generator=draw) / torch.arange(1, 7) ** 0.5
        energy = energy * torch.exp(0.8 * amounts @ waves)[:, :, None]
        for one in energy:  # holes: no single band or moment may decide
            if rng.random() < 0.5:
                width, first = rng.randrange(1, config.bands // 6), rng.randrange(config.bands)
                one[first : first + width] *= 1e-3
            if rng.random() < 0.5:
                width, first = rng.randrange(1, config.frames // 3), rng.randrange(config.frames)
                one[:, first : first + width] *= 1e-3
    return energy[:, None], labels


def train_audio(
    space: QuerySpace,
    sounds: Path,
    out: Path,
    limit: TimeLimit,
    *,
    batch: int = 24,
    rate: float = 2e-3,
    seed: int = 1,
    steps: float = math.inf,
    start_from: Path | None = None,
) -> dict:
    """Train the audio encoder as `loop.train` does; return how well it does."""
    torch.manual_seed(seed)
    config = AudioNetConfig()
    model = AudioNet(config)
    gather = torch.from_numpy(bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)).T.contiguous()
    # A little more than is seen: some of it is played faster.
    mixing = MixtureConfig(seconds=2**SPEED * config.frames * config.hop_length / config.sample_rate)
    concepts = torch.from_numpy(space.concepts)
    mixer = MixtureMaker(SoundSet(sounds), 'train', mixing)
    if not mixer.labels:
        raise GenaudioError(f'{sounds} contains no sound to train on; make some with: genaudio-train prepare-sounds')
    for label in mixer.labels:
        space.number(label)  # says so where there is none
    if start_from is not None:
        begin_with(model, start_from)

    def draw(step: int, _: int) -> tuple[Tensor, list[str]]:
        torch.manual_seed(seed * 7919 + step)  # of the dropout
        return audio_batch(mixer, gather, config, random.Random(seed * 7919 + step), batch, vary=True)

    def loss(drawn: tuple[Tensor, list[str]]) -> tuple[Tensor, int, dict]:
        energy, labels = drawn[0], _numbers(space, drawn[1])
        return F.cross_entropy(model(energy) @ concepts.T * 12, labels, label_smoothing=0.05), batch, {}

    trainee = Trainee(
        model, config.to_dict(), {'model': config.to_dict(), 'seed': seed}, draw, loss,
        lambda network: audio_accuracy(cast(AudioNet, network), space, SoundSet(sounds), gather),
        lambda step, _: rate * min(1.0, (step + 1) / WARMUP, math.sqrt(FALL / (step + 1))),
        Optimizers.of(torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)), watch='valid_top1',
        average=Average(model), clip=None,  # the average does what a decay of the rate would, whenever the run stops
    )  # fmt: skip
    return train(trainee, out, limit, steps=steps, every_minutes=5)


def audio_accuracy(model: AudioNet, space: QuerySpace, sounds: SoundSet, gather: Tensor, n: int = 384) -> dict:
    """Return top-1 and top-3 accuracy over all concepts, per split, on single sounds; `gather` (bands, bins)."""
    config, result = model.config, {}
    mixing = MixtureConfig(seconds=config.frames * config.hop_length / config.sample_rate)
    for split in ('valid', 'test'):
        mixer = MixtureMaker(sounds, split, mixing)
        if not mixer.labels:
            continue
        rng, ranks = random.Random(3), []
        with torch.inference_mode():
            for _ in range(n // 48):
                energy, labels = audio_batch(mixer, gather, config, rng, 48)
                scores = model(energy) @ torch.from_numpy(space.concepts).T
                ranks += (scores > scores.gather(1, _numbers(space, labels)[:, None])).sum(dim=1).tolist()
        result[f'{split}_top1'] = round(float(np.mean([r == 0 for r in ranks])), 3)
        result[f'{split}_top3'] = round(float(np.mean([r < 3 for r in ranks])), 3)
    return result


def _numbers(space: QuerySpace, labels: Sequence[str]) -> Tensor:
    return torch.tensor([space.number(label) for label in labels])


def audio_vectors(
    checkpoint: Path, space: QuerySpace, sounds: Path, per_label: int, seed: int = 5
) -> dict[str, np.ndarray]:
    """Return label -> (per_label, dim): what examples of training clips ask for, by the encoder of a checkpoint."""
    model, _ = rebuild(checkpoint, lambda config: AudioNet(AudioNetConfig(**config)), 'the audio encoder')
    config = model.config
    gather = torch.from_numpy(bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)).T.contiguous()
    mixing = MixtureConfig(seconds=config.frames * config.hop_length / config.sample_rate)
    mixer = MixtureMaker(SoundSet(sounds), 'train', mixing)
    table, rng = {}, random.Random(seed)
    for label in mixer.labels:
        with torch.inference_mode():
            heard = model(audio_batch(mixer, gather, config, rng, per_label, only=[label])[0]).numpy()
        # As `QueryEncoder.example` does.
        table[label] = np.stack([drawn_to(space.concepts, vector) for vector in heard])
    return table
