"""Training the Multitrack Music Transformer: `genaudio-train fit mmt`."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudio_core.command_line import share, whole
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.models.growing import grow
from genaudio_core.models.mmt import CONFIGS, MMT, MMTConfig
from genaudio_core.music.layouts import CHORD, NOTE, PART
from genaudio_core.training.loops.arguments import add_sequence_arguments
from genaudio_core.training.loops.checkpoints import initialise, rebuild
from genaudio_core.training.loops.sequences import Task, fit, launch
from genaudio_core.training.scores.batches import WindowSampler, collate, fixed_windows, published_windows
from genaudio_core.training.scores.packed_scores import ScoreData

HELP = 'the music model (MMT and its live extension)'
EXAMPLE = 'genaudio-train fit mmt --data data/scores.safetensors --config live --out runs/live --minutes 60'


# Option -> ours, and the published training's.
DEFAULTS: dict[str, tuple[Any, Any]] = {
    'length': (512, 1024), 'rate': (2e-3, 5e-4), 'warmup': (200, 5000), 'optimizer': ('muon', 'adam'),
    'validate_every': (250, 1000),
}  # fmt: skip
AS_PUBLISHED = (
    "MMT's own training: its crops, transposition, mask, loss and validation loss, over all held-out pieces; and, "
    'where nothing else is asked for, sequences of 1024 events, Adam, a rate of 0.0005 after 5000 steps that falls to '
    'a tenth by step 100000, validation every 1000 steps, and an end after 20 without gain'
)
PUBLISHED_BETAS = (0.9, 0.999)  # torch's own for Adam
PUBLISHED_PATIENCE = 21  # the published script stops once more than 20 validations in a row brought nothing


def published_rate(step: int, peak: float, warmup: int = 5000, end: int = 100_000, last: float = 0.1) -> float:
    """Learning rate at `step` (from 0): it rises over `warmup` steps and falls to `last` of `peak` until `end`."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - (1 - last) * min((step - warmup) / (end - warmup), 1.0))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--config', default='live', help=f'one of {", ".join(CONFIGS)} (default: live)')
    start = parser.add_mutually_exclusive_group()
    start.add_argument('--init', type=Path, help='checkpoint to begin from')
    start.add_argument('--grow-from', type=Path, help='checkpoint of a smaller model that the new one grows from')
    parser.add_argument('--length', type=whole('--length', 16, 65536),
                        help='events in a sequence (default: 512; as published 1024)')  # fmt: skip
    parser.add_argument('--balance', type=share('--balance'), default=0.5, help='1: sources by size, 0: all alike')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    parser.add_argument('--as-published', action='store_true', help=AS_PUBLISHED)
    add_sequence_arguments(parser, rate=2e-3)
    parser.set_defaults(**dict.fromkeys(DEFAULTS))


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
    return rebuild(path, lambda config: MMT(MMTConfig(**config)), 'a music model')


@torch.no_grad()
def _losses(
    model: MMT, sequences: list[np.ndarray], batch: int, types: tuple[int, ...] | None = None
) -> tuple[dict[str, float], int]:
    """Nats of each field summed over all next events (of some types only), and how many those are."""
    device, layout = next(model.parameters()).device, model.config.layout
    total, events = torch.zeros(len(layout.fields), dtype=torch.float64), 0
    for i in range(0, len(sequences), batch):
        b = {k: v.to(device) for k, v in collate(sequences[i : i + batch], layout).items()}
        hidden = model(b['events'], b['step'], b['phase'])
        where = None
        if types is not None:
            where = torch.isin(b['target'][..., 0], torch.tensor(types, device=device))
        losses, counts = model.field_losses(hidden, b['target'], b['target_phase'], where=where)
        total += losses.double().cpu()
        events += int(counts[0])
    return dict(zip(layout.fields, total.tolist(), strict=True)), events


def evaluate(
    model: MMT,
    windows: dict[str, list[np.ndarray]],
    *,
    batch: int = 8,
    told: dict[str, list[np.ndarray]] | None = None,
) -> dict[str, dict[str, float]]:
    """Held-out NLL in nats of windows (n, fields), per source and over all ('mean' weighs every source alike).

    Parameters
    ----------
    told
        The same pieces with all that can be told of them, for the described layout.

    Returns
    -------
    dict
        source -> {'nll': nats per event, one per field, 'events': count}. With `told` also 'note' and 'note_told': nats
        per note without and with descriptions (to which part a note belongs does not count); and 'description': nats
        per event of those.
    """
    training = model.training
    model.eval()
    fields = model.config.layout.fields
    result = {}
    for source, sequences in windows.items():
        sums, events = _losses(model, sequences, batch)
        per_event = {field: value / events for field, value in sums.items()}
        result[source] = {'nll': sum(per_event.values()), **per_event, 'events': events}
        if told:
            for name, some in (('note', sequences), ('note_told', told[source])):
                nats, notes = _losses(model, some, batch, (NOTE,))
                result[source][name] = (sum(nats.values()) - nats['part']) / max(notes, 1)
            nats, rows = _losses(model, told[source], batch, (CHORD, PART))
            result[source]['description'] = sum(nats.values()) / max(rows, 1)
    model.train(training)
    keys = ('nll', *fields, *(('note', 'note_told', 'description') if told else ()))
    result['mean'] = {key: float(np.mean([row[key] for row in result.values()])) for key in keys}
    return result


def run(args: argparse.Namespace) -> dict:
    config = build(args.config)
    if args.as_published and not config.layout.is_published:
        raise GenaudioError(
            f'--as-published is the training of MMT, and {args.config} has a layout of ours. Give --config published, '
            'published-rotary or published-none with it.'
        )
    for name, (ours, published) in DEFAULTS.items():
        if getattr(args, name) is None:
            setattr(args, name, published if args.as_published else ours)
    if config.positions == 'learned' and args.length > config.context:
        raise GenaudioError(f'--length {args.length} is more than the {config.context} positions of {args.config}.')
    config = replace(config, context=max(config.context, args.length))
    data = ScoreData(args.data)
    exclude = tuple(name for name in args.exclude.split(',') if name)
    windows = fixed_windows(data, config.layout, args.length, 'valid', per_source=args.validate_pieces, exclude=exclude)
    if not windows:
        raise GenaudioError(f'{args.data} has no held-out pieces to validate on; prepare at least three works.')
    told = None
    if config.layout.has_descriptions:
        told = fixed_windows(
            data, config.layout, args.length, 'valid', per_source=args.validate_pieces, exclude=exclude, told=True
        )
    sampler = WindowSampler(
        data, config.layout, args.length, balance=args.balance, exclude=exclude, as_published=args.as_published
    )
    fabric = launch(args)
    torch.manual_seed(args.seed)
    if args.grow_from:
        model = grow(load_mmt(args.grow_from)[0], config).train()
    else:
        model = MMT(config)
    if args.init:
        initialise(model, args.init, load_mmt)
    settings = {
        'model': config.to_dict(), 'rate': args.rate, 'seed': args.seed,
        'optimizer': args.optimizer, 'as_published': args.as_published, 'balance': args.balance,
    }  # fmt: skip
    task = Task(
        model, Loss(model, args.as_published), lambda step, rank: sampler.batch(args.batch, args.seed, step, rank),
        lambda: evaluate(model, windows, told=told), config.to_dict(), settings,
    )  # fmt: skip
    if not args.as_published:
        return fit(fabric, task, args)
    held_out = published_windows(data, config.layout, args.length, 'valid', exclude)
    task.exact = True
    task.validate = lambda: evaluate_as_published(model, held_out)
    task.betas = PUBLISHED_BETAS
    if args.decay_at is None:
        task.rate = lambda step: published_rate(step, args.rate, args.warmup)
    return fit(fabric, task, args, patience=PUBLISHED_PATIENCE)


def real_events(b: dict[str, torch.Tensor]) -> torch.Tensor:
    """Where the events of a batch of `collate` are not padding, (batch, time) bool."""
    real = torch.ones_like(b['target'][..., 0], dtype=torch.bool)
    real[:, 1:] = b['target'][:, :-1, 0] >= 0  # an event is what the one before was to tell
    return real


@torch.no_grad()
def evaluate_as_published(model: MMT, sequences: list[np.ndarray], batch: int = 8) -> dict[str, dict[str, float]]:
    """The loss that the paper's runs are chosen by: the mean over batches of sequences
    (n, fields), in order, of the sum of six means.

    Padding counts, as it does in training, so the figure depends on the batches: eight sequences in the order of the
    list, as published. (The published log of single fields is a quarter of what is returned here.)

    Returns
    -------
    dict
        'mean' -> {'nll': the loss, and one for each field}.
    """
    training, device, layout = model.training, next(model.parameters()).device, model.config.layout
    model.eval()
    rows = []
    for i in range(0, len(sequences), batch):
        b = {k: v.to(device) for k, v in collate(sequences[i : i + batch], layout).items()}
        hidden = model(b['events'], b['step'], b['phase'], real=real_events(b))
        losses, counts = model.field_losses(hidden, b['target'], b['target_phase'], as_published=True)
        rows.append((losses / counts).double().cpu())
    model.train(training)
    means = torch.stack(rows).mean(0).tolist()
    return {'mean': {'nll': sum(means), **dict(zip(layout.fields, means, strict=True))}}


class Loss(torch.nn.Module):
    """Model and loss in one module, so that DDP sees one forward."""

    def __init__(self, model: MMT, as_published: bool = False):
        super().__init__()
        self.model, self.as_published = model, as_published

    def forward(self, b: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss () of a batch of `batches`, and the number () of targets in it."""
        hidden = self.model(b['events'], b['step'], b['phase'], real=real_events(b) if self.as_published else None)
        losses, counts = self.model.field_losses(hidden, b['target'], b['target_phase'], as_published=self.as_published)
        if self.as_published:  # sum of six means
            return (losses / counts).sum(), counts[0]
        return losses.sum() / counts[0], counts[0]  # nats per event
