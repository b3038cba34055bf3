"""Training the Multitrack Music Transformer: `genaudio-train fit mmt`."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.models.mmt import CONFIGS, MMT, MMTConfig
from genaudio_core.training.loops.run_folder import rebuild
from genaudio_core.training.loops.sequence_loop import Task, add_run_arguments, fit, launch
from genaudio_core.training.scores.batches import WindowSampler, collate, fixed_windows
from genaudio_core.training.scores.packed_scores import ScoreData

HELP = 'the music model (MMT and its live extension)'
EXAMPLE = 'genaudio-train fit mmt --data data/scores.safetensors --config live --out runs/live --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--config', default='live', help=f'one of {", ".join(CONFIGS)} (default: live)')
    parser.add_argument('--init', type=Path, help='checkpoint to begin from')
    parser.add_argument('--length', type=int, default=512, help='events in a sequence')
    parser.add_argument('--balance', type=float, default=0.5, help='1: sources by size, 0: all alike')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    parser.add_argument('--as-published', action='store_true', help="MMT's own crops, augmentation and loss")
    add_run_arguments(parser, rate=2e-3)


def build(name: str) -> MMTConfig:
    """Configuration by name.

    Raises
    ------
    GenaudioError
        If there is none of this name.
    """
    if name not in CONFIGS:
        known = ', '.join(CONFIGS)
        raise GenaudioError(f"Unknown configuration '{name}'.{did_you_mean(name, CONFIGS)} Known: {known}.")
    return CONFIGS[name]


def load_mmt(path: Path) -> tuple[MMT, dict]:
    """Rebuild a model from its checkpoint; returns it in eval mode, and the checkpoint's info.

    Raises
    ------
    GenaudioError
        If the checkpoint is none of ours or of another layout.
    """
    return rebuild(path, lambda config: MMT(MMTConfig(**config)), 'this layout of the music model')


@torch.no_grad()
def evaluate(model: MMT, windows: dict[str, list[np.ndarray]], *, batch: int = 8) -> dict[str, dict[str, float]]:
    """Held-out NLL in nats, per source and over all ('mean' weighs every source alike).

    Returns
    -------
    dict
        source -> {'nll': nats per event, one per field, 'events': count}
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    layout = model.config.layout
    result = {}
    for source, sequences in windows.items():
        total, events = torch.zeros(len(layout.fields), dtype=torch.float64), 0
        for i in range(0, len(sequences), batch):
            b = {k: v.to(device) for k, v in collate(sequences[i : i + batch], layout).items()}
            hidden = model(b['events'], b['step'], b['phase'])
            losses, counts = model.field_losses(hidden, b['target'], b['target_phase'])
            total += losses.double().cpu()
            events += int(counts[0])
        fields = {field: float(total[i] / events) for i, field in enumerate(layout.fields)}
        result[source] = {'nll': sum(fields.values()), **fields, 'events': events}
    model.train(training)
    keys = ('nll', *layout.fields)
    result['mean'] = {key: float(np.mean([row[key] for row in result.values()])) for key in keys}
    return result


def run(args: argparse.Namespace) -> dict:
    config = build(args.config)
    if config.positions == 'learned' and args.length > config.context:
        raise GenaudioError(f'--length {args.length} is more than the {config.context} positions of {args.config}.')
    config = replace(config, context=max(config.context, args.length))
    data = ScoreData(args.data)
    exclude = tuple(name for name in args.exclude.split(',') if name)
    windows = fixed_windows(data, config.layout, args.length, 'valid', per_source=args.validate_pieces, exclude=exclude)
    if not windows:
        raise GenaudioError(f'{args.data} holds no held-out pieces to validate on; prepare at least three works.')
    sampler = WindowSampler(
        data, config.layout, args.length, balance=args.balance, exclude=exclude, as_published=args.as_published
    )
    fabric = launch(args)
    torch.manual_seed(args.seed)
    model = MMT(config)
    if args.init:
        initialise(model, args.init)
    settings = {
        'model': config.to_dict(), 'rate': args.rate, 'seed': args.seed,
        'optimizer': args.optimizer, 'as_published': args.as_published, 'balance': args.balance,
    }  # fmt: skip
    task = Task(
        model, Loss(model, args.as_published), lambda step, rank: sampler.batch(args.batch, args.seed, step, rank),
        lambda: evaluate(model, windows), config.to_dict(), settings,
    )  # fmt: skip
    return fit(fabric, task, args)


def initialise(model: MMT, path: Path) -> None:
    """Give `model` the weights of a checkpoint of the same configuration (its context may differ).

    Raises
    ------
    GenaudioError
        If they do not fit.
    """
    other = load_mmt(path)[0]
    try:
        model.load_state_dict(other.state_dict())
    except RuntimeError:
        why = f'{path} is a model of another size or layout; give the --config it was trained with.'
        raise GenaudioError(why) from None


class Loss(torch.nn.Module):
    """Model and loss in one module, so that DDP sees one forward."""

    def __init__(self, model: MMT, as_published: bool = False):
        super().__init__()
        self.model, self.as_published = model, as_published

    def forward(self, b: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = self.model(b['events'], b['step'], b['phase'])
        losses, counts = self.model.field_losses(hidden, b['target'], b['target_phase'], as_published=self.as_published)
        if self.as_published:  # sum of six means
            return (losses / counts).sum(), counts[0]
        return losses.sum() / counts[0], counts[0]  # nats per event
