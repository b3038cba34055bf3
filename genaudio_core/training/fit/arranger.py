"""Training models that tell parts: `genaudio-train fit arranger`."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudio_core.command_line import number, whole
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import read_arrays
from genaudio_core.models.arranger.part_tagger import PartTagger, PartTaggerConfig
from genaudio_core.models.arranger.published import CONFIGS as PUBLISHED
from genaudio_core.models.arranger.published import PublishedArranger, PublishedConfig
from genaudio_core.score.instruments import find_instrument, instrument_code
from genaudio_core.training.loops.arguments import add_sequence_arguments
from genaudio_core.training.loops.checkpoints import initialise, rebuild
from genaudio_core.training.loops.optimizers import cosine
from genaudio_core.training.loops.sequences import Task, fit, launch
from genaudio_core.training.scores.packed_scores import ScoreData
from genaudio_core.training.scores.part_batches import Mixture, MixtureSampler, apart_from, collate

HELP = 'the arranger: which instrument plays each note'
EXAMPLE = 'genaudio-train fit arranger --data data/scores.safetensors --out runs/arranger --minutes 25'
CONFIGS = {
    'parts': PartTaggerConfig(),
    'tiny': PartTaggerConfig(width=16, top=8, part=8, dropout=0.0),
    **PUBLISHED,
}
Network = PartTagger | PublishedArranger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--config', default='parts', help=f'one of {", ".join(CONFIGS)} (default: parts)')
    parser.add_argument('--init', type=Path, help='checkpoint to begin from')
    parser.add_argument('--length', type=whole('--length', 16, 4096), default=256, help='notes in an excerpt')
    parser.add_argument('--balance', type=number('--balance', 0, 1), default=0.5, help='1: sources by size, 0: alike')
    parser.add_argument('--favour', default='', metavar='SOURCE=TIMES', help='draw sources more often, comma-separated')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    parser.add_argument('--apart-from', type=Path, metavar='NOTES.npz',
                        help='works to be judged by, arrays (n, 2 or more) of time and pitch: left out')  # fmt: skip
    parser.add_argument('--parts', default='violin,violin,viola,cello',
                        help='of the published configurations: the parts that all pieces must have')  # fmt: skip
    add_sequence_arguments(parser, rate=2e-3)


class Loss(nn.Module):
    """Nats a note, of all readings of the model together; holds the model."""

    def __init__(self, model: Network):
        super().__init__()
        self.model = model

    def forward(self, b: dict[str, Tensor]) -> tuple[Tensor, int]:
        """The loss (), in nats a note, of a batch of `part_batches`, and its number of notes."""
        with torch.autocast(b['causal'].device.type, torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported()):
            found = readings(self.model, b)
        losses = [reading_loss(scores, b['part']) for scores in found.values()]
        return torch.stack(losses).mean(), int((b['part'] >= 0).sum())


def readings(model: Network, b: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scores (batch, time, parts) of a batch of `collate` by each reading that a model has: 'live', 'whole' or both.

    Those of a published model have one column more at the end, that of padding.
    """
    if isinstance(model, PartTagger):
        found = model(b)
        return {name: found[name] for name in ('live', 'whole')}
    real = b['part'] >= 0
    hint = b['causal'].new_zeros(*real.shape, len(model.config.parts))
    scores = model(b['time'], torch.where(real, b['pitch'] + 1, 0), b['duration'], hint)
    return {'live' if model.config.is_live else 'whole': scores.roll(-1, -1)}


def reading_loss(scores: Tensor, part: Tensor) -> Tensor:
    """Mean nats a note of scores (batch, time, parts), where `part` (batch, time) is a label."""
    return F.cross_entropy(scores.float().flatten(0, 1), part.flatten(), ignore_index=-1)


@torch.no_grad()
def evaluate(model: Network, windows: dict[str, list[Mixture]]) -> dict[str, dict[str, float]]:
    """Held-out figures by source: 'nll' (mean of the readings), and the share of notes put right by each."""
    training = model.training
    model.eval()
    result: dict[str, dict[str, float]] = {}
    for source, mixtures in windows.items():
        sums: dict[str, float] = {}
        notes = 0
        for i in range(0, len(mixtures), 8):
            b = {k: v.to(next(model.parameters()).device) for k, v in collate(mixtures[i : i + 8]).items()}
            found, real = readings(model, b), b['part'] >= 0
            for name, scores in found.items():
                nats = float(reading_loss(scores, b['part'])) * int(real.sum()) / len(found)
                right = float(((scores[..., : b['there'].shape[1]].argmax(-1) == b['part']) & real).sum())
                sums['nll'], sums[name] = sums.get('nll', 0.0) + nats, sums.get(name, 0.0) + right
            notes += int(real.sum())
        result[source] = {name: value / notes for name, value in sums.items()}
    model.train(training)
    names = next(iter(result.values()))
    result['mean'] = {name: float(np.mean([row[name] for row in result.values()])) for name in names}
    return result


def network(config: dict) -> Network:
    """The network of a configuration's numbers, with new weights."""
    if config.get('network') == 'published':
        return PublishedArranger(PublishedConfig(**config))
    return PartTagger(PartTaggerConfig(**config))


def load_arranger(path: Path) -> tuple[Network, dict]:
    """Rebuild a model, ours or a published one, from its checkpoint, in eval mode; also what is known about it.

    Raises
    ------
    GenaudioError
        If it is none of these.
    """
    return rebuild(path, network, 'an arranger')


def held_out_works(path: Path | None) -> list[np.ndarray]:
    """Pitches (n,) of the works of an .npz of arrays of notes.

    Raises
    ------
    GenaudioError
        If it is none.
    """
    if path is None:
        return []
    try:
        return [rows[:, 1] for rows in read_arrays(path, 'table of notes').values()]
    except IndexError as error:
        raise GenaudioError(f'{path} is not an .npz of arrays of notes (time, pitch, ...): {error}') from None


def _favoured(text: str) -> dict[str, float]:
    try:
        return {name: float(times) for name, times in (part.split('=') for part in text.split(',') if part)}
    except ValueError:
        raise GenaudioError(f"--favour takes NAME=WEIGHT, such as 'quartets=4,lieder=2', not '{text}'.") from None


def windows_of(
    data: ScoreData, length: int, kept: np.ndarray, per_source: int, names: tuple[str, ...] | None = None
) -> dict[str, list[Mixture]]:
    """The same held-out excerpts for every model, by source, of the pieces kept (n,). `names`: see `MixtureSampler`."""
    found: dict[str, list[Mixture]] = {}
    for index, source in enumerate(data.sources):
        some = kept & (data.source == index)
        try:
            sampler = MixtureSampler(data, length, kept=some, split='valid', augment=False, names=names)
        except GenaudioError:
            continue
        rng = np.random.default_rng(0)
        found[source] = [sampler.draw(rng) for _ in range(per_source)]
    return found


def run(args: argparse.Namespace) -> dict:
    if args.config not in CONFIGS:
        hint, known = did_you_mean(args.config, CONFIGS), ', '.join(CONFIGS)
        raise GenaudioError(f"Unknown configuration '{args.config}'.{hint} Known: {known}.")
    config, names = CONFIGS[args.config], None
    if isinstance(config, PublishedConfig):
        names = tuple(sorted((find_instrument(name) for name in args.parts.split(',')), key=instrument_code))
        config = replace(config, parts=names)
    data = ScoreData(args.data)
    left_out = [data.sources.index(name) for name in args.exclude.split(',') if name in data.sources]
    kept = apart_from(data, held_out_works(args.apart_from)) & ~np.isin(data.source, left_out)
    sampler = MixtureSampler(
        data, args.length, kept=kept, balance=args.balance, favoured=_favoured(args.favour), names=names
    )
    windows = windows_of(data, 2 * args.length, kept, args.validate_pieces, names)
    if not windows:
        raise GenaudioError(f'{args.data} has no held-out pieces of such parts; prepare more works.')
    fabric = launch(args)
    torch.manual_seed(args.seed)
    model = network(config.to_dict())
    if args.init:
        initialise(model, args.init, load_arranger)
    settings = {'model': config.to_dict(), 'rate': args.rate, 'seed': args.seed, 'optimizer': args.optimizer,
                'balance': args.balance, 'favour': args.favour}  # fmt: skip
    task = Task(
        model, Loss(model), lambda step, rank: sampler.batch(args.batch, args.seed, step, rank),
        lambda: evaluate(model, windows), config.to_dict(), settings,
    )  # fmt: skip
    if args.minutes and args.decay_at is None:  # the rate falls over the time that there is
        began, planned = getattr(args, 'began', time.monotonic()), 60 * args.minutes
        task.rate = lambda step: (
            args.rate * min(1.0, (step + 1) / args.warmup) * cosine((time.monotonic() - began) / planned)
        )
    return fit(fabric, task, args)
