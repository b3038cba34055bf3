"""Training of the prior: from the text vector of a label to what the audio encoder hears in such sounds.

Pairs are (text vector of the item's label, its audio embedding), every label as often as every other. The text gets a
little noise, so that words between the known ones still lead somewhere sensible. A few minutes suffice.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import whole
from genaudio_core.models.clipsonic import PriorConfig, PriorNetwork
from genaudio_core.synthesis.diffusion import schedule
from genaudio_core.training.loops.arguments import add_average_arguments
from genaudio_core.training.loops.checkpoints import rebuild
from genaudio_core.training.loops.synthesis import fit
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.packed_mels import Balanced, SynthesisData

HELP = 'the diffusion prior of synthesis: from the words for a sound to what such sounds are heard as'
EXAMPLE = (
    'genaudio-train fit synth-prior --data data/synthesis.safetensors --space runs/query/space.npz '
    '--out runs/synth-prior --minutes 3'
)
TEXT_SPREAD = 0.3  # length of the noise added to a text vector


def prior_batch(
    data: SynthesisData, concepts: np.ndarray, rows: np.ndarray, rng: np.random.Generator, shift: float
) -> dict[str, Tensor]:
    """Return noisy embeddings z (rows, dim), times t (rows,), texts and targets v (rows, dim), at variance one.

    `concepts` (labels, dim) are the texts of the labels.
    """
    size, dim = len(rows), concepts.shape[1]
    text = concepts[data.label[rows]]
    text = text + TEXT_SPREAD * rng.random((size, 1)) * rng.standard_normal(text.shape) / np.sqrt(dim)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    clean = data.query[rows] * np.sqrt(dim)
    t = (rng.permutation(size) + rng.random(size)) / size
    alpha, sigma = (a[:, None] for a in schedule(t, shift))
    noise = rng.standard_normal(clean.shape)
    arrays = {
        'z': alpha * clean + sigma * noise, 't': t, 'text': text * np.sqrt(dim), 'v': alpha * noise - sigma * clean,
    }  # fmt: skip
    return {name: torch.from_numpy(a.astype(np.float32)) for name, a in arrays.items()}


def prior_loss(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean squared error () of the velocity."""
    return ((model(batch['z'], batch['t'], batch['text']) - batch['v']) ** 2).mean()


def load_prior(path: Path) -> tuple[PriorNetwork, dict]:
    """Return the prior of a checkpoint and what is known about it.

    Raises
    ------
    GenaudioError
        If it is not a checkpoint of a prior.
    """
    return rebuild(path, lambda config: PriorNetwork(PriorConfig(**config)), 'a prior')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='made by genaudio-train prepare-synthesis')
    parser.add_argument('--space', type=Path, required=True, help='query space (.npz)')
    parser.add_argument('--width', type=whole('--width', 1, 8192), default=192)
    add_average_arguments(parser, rate=2e-3, batch=256, average=0.995, log_every=500)


def run(args: argparse.Namespace) -> dict:
    torch.manual_seed(args.seed)
    data = SynthesisData(args.data)
    space = QuerySpace.load(args.space)
    concepts = np.stack([space.vector(name) for name in data.names])
    config = PriorConfig(width=args.width)
    model = PriorNetwork(config)
    draw = Balanced(data, 'train', start_share=0.5)
    valid = data.rows('valid')

    def loss(step: int) -> Tensor:
        rng = np.random.default_rng((args.seed, step))
        batch = prior_batch(data, concepts, draw.draw(args.batch, rng), rng, config.shift)
        return prior_loss(model, {name: value.to(args.device) for name, value in batch.items()})

    def validate(averaged: torch.nn.Module) -> dict[str, float]:
        if not len(valid):
            return {'valid': float('nan')}
        batch = prior_batch(data, concepts, valid, np.random.default_rng(3), config.shift)
        return {'valid': prior_loss(averaged, {name: value.to(args.device) for name, value in batch.items()}).item()}

    settings = {'data': args.data.name, 'width': args.width, 'batch': args.batch, 'seed': args.seed, 'rate': args.rate}
    return fit(model, config.to_dict(), settings, args, loss=loss, validate=validate, watch='valid')
