"""Training the baselines of the MMT paper, REMI+ and MMM: `genaudio-train fit remi` and `fit mmm`."""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import share, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.models.tokens import TokenConfig, TokenModel
from genaudio_core.music.layouts import LIVE
from genaudio_core.training.loops.arguments import add_sequence_arguments
from genaudio_core.training.loops.checkpoints import not_of, read_checkpoint
from genaudio_core.training.loops.sequences import Task, fit, launch
from genaudio_core.training.scores.batches import WindowSampler, bar_line
from genaudio_core.training.scores.packed_scores import ScoreData
from genaudio_core.training.scores.tokenizers import Tokenizer, note_starts

SIZES = {
    'published': {},
    'live': {'dim': 128, 'heads': 4, 'head_dim': 32, 'dropout': 0.0},  # as large as the bundled music model
    'tiny': {'dim': 32, 'layers': 2, 'heads': 2, 'head_dim': 16, 'dropout': 0.0},
}


def add_token_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--config', default='published', choices=tuple(SIZES), help='size (default: published)')
    parser.add_argument('--length', type=whole('--length', 16, 65_536), default=1024, help='tokens in a sequence')
    parser.add_argument('--balance', type=share('--balance'), default=0.5, help='1: sources by size, 0: all alike')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    add_sequence_arguments(parser, rate=5e-4)


def pad(sequences: list[np.ndarray], length: int) -> dict[str, Tensor]:
    """Sequences cut to `length` + 1 tokens, as one batch ``tokens`` (batch, time + 1) padded with -1."""
    sequences = [sequence[: length + 1] for sequence in sequences]
    tokens = np.full((len(sequences), max(map(len, sequences))), -1, np.int64)
    for row, sequence in zip(tokens, sequences, strict=True):
        row[: len(sequence)] = sequence
    return {'tokens': torch.from_numpy(tokens)}


def token_windows(
    data: ScoreData, tokenizer: Tokenizer, length: int, split: str, *, per_source: int, exclude: tuple[str, ...] = ()
) -> dict[str, list[np.ndarray]]:
    """Beginnings of held-out pieces: the pieces of `batches.fixed_windows`, in tokens (n,)."""
    windows: dict[str, list[np.ndarray]] = {}
    for index in np.random.default_rng(0).permutation(data.indices(split)):
        source = data.sources[data.source[index]]
        found = windows.setdefault(source, [])
        if len(found) >= per_source or source in exclude:
            continue
        table = data.notes(int(index), 0, length)
        table['step'] -= bar_line(int(table['step'][0]), data.meters(int(index)))
        tokens = tokenizer.window(table, length, ends=len(table) == data.n_notes(int(index)))
        if len(tokens) > 10:
            found.append(tokens[: length + 1])
    return {source: found for source, found in windows.items() if found}


@torch.no_grad()
def evaluate(
    model: TokenModel, windows: dict[str, list[np.ndarray]], starts: np.ndarray
) -> dict[str, dict[str, float]]:
    """Held-out NLL in nats per token and per note of note tables (n,), by source; 'mean' weighs every source alike."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    result = {}
    for source, sequences in windows.items():
        nats, tokens, notes = 0.0, 0, 0
        for sequence in sequences:
            total, count = model.loss(torch.from_numpy(sequence)[None].to(device))
            nats, tokens, notes = nats + float(total), tokens + int(count), notes + int(starts[sequence[1:]].sum())
        result[source] = {'nll': nats / tokens, 'nll_per_note': nats / max(notes, 1), 'tokens': tokens, 'notes': notes}
    model.train(training)
    keys = ('nll', 'nll_per_note')
    result['mean'] = {key: float(np.mean([row[key] for row in result.values()])) for key in keys}
    return result


class _Loss(torch.nn.Module):
    def __init__(self, model: TokenModel):
        super().__init__()
        self.model = model

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        total, count = self.model.loss(batch['tokens'])
        return total / count, count


def train(name: str, args: argparse.Namespace) -> dict:
    """Train the baseline `name`; see `sequences.fit`.

    Raises
    ------
    GenaudioError
        If there is nothing to validate on.
    """
    tokenizer = Tokenizer(name)
    config = TokenConfig(tokenizer=name, vocabulary=len(tokenizer), context=args.length, **SIZES[args.config])
    data = ScoreData(args.data)
    exclude = tuple(source for source in args.exclude.split(',') if source)
    windows = token_windows(data, tokenizer, args.length, 'valid', per_source=args.validate_pieces, exclude=exclude)
    if not windows:
        raise GenaudioError(f'{args.data} has no held-out pieces to validate on; prepare at least three works.')
    # An excerpt has three times this many notes at most; more would not fit anyway.
    sampler = WindowSampler(data, LIVE, max(args.length // 3, 16), balance=args.balance, exclude=exclude)

    def batch(step: int, rank: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([args.seed, step, rank])
        excerpts = [sampler.excerpt(rng) for _ in range(args.batch)]
        return pad([tokenizer.window(table, args.length, ends=ends) for table, ends in excerpts], args.length)

    fabric = launch(args)
    torch.manual_seed(args.seed)
    model = TokenModel(config)
    starts = note_starts(tokenizer)
    settings = {'model': config.to_dict(), 'rate': args.rate, 'batch': args.batch, 'seed': args.seed,
                'optimizer': args.optimizer, 'balance': args.balance}  # fmt: skip
    task = Task(model, _Loss(model), batch, lambda: evaluate(model, windows, starts), config.to_dict(), settings)
    return fit(fabric, task, args)


def load_tokens(path: Path) -> tuple[TokenModel, Tokenizer, dict]:
    """Rebuild a baseline from its checkpoint, in eval mode; with its tokenizer and the checkpoint's info.

    Raises
    ------
    GenaudioError
        If the checkpoint is not a baseline of ours, or MidiTok has other words now.
    """
    weights, saved, info = read_checkpoint(path)
    try:
        config = TokenConfig.from_dict(saved)
        tokenizer = Tokenizer(config.tokenizer)
        if len(tokenizer) != config.vocabulary:
            raise GenaudioError(f'{path} has {config.vocabulary} words, this MidiTok {len(tokenizer)}: train it again.')
        model = TokenModel(config)
        model.load_state_dict(weights)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise not_of(path, saved, 'a REMI+ or MMM baseline') from error
    return model.eval(), tokenizer, info
