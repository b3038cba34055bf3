"""The training loop of the live separator.

    genaudio-train fit stems --sounds data/bands --space runs/query/space.npz --out runs/stems --minutes 60

* One process, one or two threads, no accelerator needed: the batch is small and the network smaller.
* Stops after `--minutes` and resumes where it stopped (network, optimiser, average, step). The learning rate falls
  with the minutes spent of all that were planned (`--total-minutes`).
* ``log.csv`` holds the losses, ``valid.csv`` the SI-SDR improvement by family; ``best.safetensors`` is the running
  average of the weights and the words it knows, which is what gets exported; ``last.pt`` is for resuming.
"""

import argparse
import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.models.stream_separator import State, StreamSeparator, StreamSeparatorConfig
from genaudio_core.training.band_mixtures import FAMILY_WORDS, BandMixtures, chunks, family
from genaudio_core.training.lexicon import CONCEPTS, NAMES
from genaudio_core.training.loop import Optimizers, begin_with, cosine, read_checkpoint, write_checkpoint
from genaudio_core.training.sounds import SoundSet

HELP = 'the live separator, on stems of bands'
EXAMPLE = 'genaudio-train fit stems --sounds data/bands --space runs/query/space.npz --out runs/stems --minutes 60'
CHUNKS = 4  # of a mixture that follow each other
WORDS = 'query_words'  # the tensor of a checkpoint that holds the vectors of the words it was trained with
QueryTable = dict[str, np.ndarray]  # word -> vectors (n, D), one of which is drawn


def placeholder_queries(dim: int) -> QueryTable:
    """Return a random unit vector per word: to train before a query encoder exists; `adapt_queries` follows."""
    words = sorted({*NAMES, *(word for words in FAMILY_WORDS.values() for word in words)})
    vectors = np.random.default_rng(6).standard_normal((len(words), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {word: vector[None] for word, vector in zip(words, vectors, strict=True)}


def queries_of_space(space: Path, *, copies: int = 3, spread: float = 0.2, seed: int = 6) -> QueryTable:
    """Return the vectors of a query space (``training/query_space.py``): each word's own, and `copies` near it.

    Vectors near it stand for typos, phrases and audio examples, which land beside a concept, not on it.
    """
    with np.load(space, allow_pickle=False) as data:
        vectors = dict(zip(data['names'].tolist(), data['concepts'].astype(np.float32), strict=True))
    rng = np.random.default_rng(seed)
    table: QueryTable = {}
    for word in sorted({*vectors, *(word for words in FAMILY_WORDS.values() for word in words)}):
        concept = next((c.name for c in CONCEPTS if word == c.name or word in c.synonyms), None)
        if concept is None:
            continue
        own = vectors[concept] / np.linalg.norm(vectors[concept])
        near = own + spread * rng.standard_normal((copies, len(own))).astype(np.float32) / len(own) ** 0.5
        table[word] = np.concatenate([own[None], near / np.linalg.norm(near, axis=1, keepdims=True)])
    return table


def save_queries(path: Path, table: QueryTable) -> None:
    np.savez(path, **table)  # pyright: ignore[reportArgumentType]


def load_queries(path: Path) -> QueryTable:
    with np.load(path, allow_pickle=False) as data:
        return {word: data[word] for word in data.files}


def adapt_queries(model: StreamSeparator, old: QueryTable, new: QueryTable) -> None:
    """Make `model` read the vectors of `new` as it read those of `old`, as nearly as one linear layer can."""
    words = [word for word in old if word in new]
    before = torch.from_numpy(np.stack([old[word].mean(0) for word in words]))
    rows, targets = [], []
    with torch.no_grad():
        told = model.query_in(before)
        for i, word in enumerate(words):
            for vector in new[word]:
                rows.append(np.append(vector, 1.0))
                targets.append(told[i].numpy())
        x, y = np.stack(rows), np.stack(targets)
        solution = np.linalg.solve(x.T @ x + 1e-2 * np.eye(x.shape[1]), x.T @ y)
        model.query_in.weight.copy_(torch.from_numpy(solution[:-1].T))
        model.query_in.bias.copy_(torch.from_numpy(solution[-1]))


def separation_loss(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Return the mean error in dB relative to the target, over (B, Q, 2, samples).

    A floor of 0.3% of the mixture's power in numerator and denominator makes one formula of two: where the target
    sounds it is a signal-to-noise ratio (at most 25 dB), where it is silent it asks for silence.
    """
    floor = 3e-3 * mixture.square().sum((-1, -2))[:, None] + 1e-5
    error = (estimate - target).square().sum((-1, -2)) + floor
    return (10 * torch.log10(error / (target.square().sum((-1, -2)) + floor))).mean()


def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, over all channels together."""
    e, t = estimate.ravel().astype(np.float64), target.ravel().astype(np.float64)
    scaled = t * (e @ t / max(t @ t, 1e-12))
    return float(10 * np.log10((scaled @ scaled + 1e-12) / (np.sum((e - scaled) ** 2) + 1e-12)))


@torch.no_grad()
def improvement(
    model: StreamSeparator, source: BandMixtures, queries: QueryTable, count: int, seed: int = 0
) -> dict[str, float]:
    """Return family -> mean SI-SDR improvement in dB over `count` mixtures of `source`, and 'mean' of all."""
    rng = np.random.default_rng(seed)
    config = model.config
    found: dict[str, list[float]] = {}
    for _ in range(count):
        drawn = source.draw(rng)
        frames = (drawn.mixture.shape[-1] - config.n_fft + config.hop) // config.hop
        used = config.n_fft - config.hop + frames * config.hop
        vectors = np.stack([queries[word].mean(0) for word in drawn.queries])
        audio, _ = model.separate(
            torch.from_numpy(drawn.mixture[None, :, :used].copy()), torch.from_numpy(vectors[None])
        )
        start = config.n_fft - 2 * config.hop
        for i, word in enumerate(drawn.queries):
            part = slice(start + config.hop, start + frames * config.hop)
            target, mixture = drawn.targets[i, :, part], drawn.mixture[:, part]
            if np.sqrt(np.mean(target**2)) < 1e-3 or len(source.groups) == 0:
                continue
            gain = si_sdr(audio[0, i, :, config.hop :].numpy(), target) - si_sdr(mixture, target)
            name = next((f for f, words in FAMILY_WORDS.items() if word in words), None) or family(word)
            found.setdefault(name, []).append(gain)
    result = {name: float(np.mean(values)) for name, values in sorted(found.items())}
    result['mean'] = float(np.mean([v for values in found.values() for v in values])) if found else math.nan
    return result


class Trainer:
    """Network, optimiser and average of a run folder."""

    def __init__(self, run: Path, config: StreamSeparatorConfig, queries: QueryTable, lr: float, muon: bool = True,
                 start_from: Path | None = None):  # fmt: skip
        self.run, self.lr = run, lr
        run.mkdir(parents=True, exist_ok=True)
        self.step, self.minutes, self.losses = 0, 0.0, []
        saved: dict[str, Any] = {}
        if (run / 'last.pt').exists():
            saved = torch.load(run / 'last.pt', weights_only=True)
            config = StreamSeparatorConfig(**saved['config'])
        self.model = StreamSeparator(config)
        self.average = StreamSeparator(config)
        self.optimiser = Optimizers(self.model, weight_decay=1e-3, muon=muon, axes=(2, 3))
        if saved:
            self.model.load_state_dict(saved['model'])
            self.average.load_state_dict(saved['average'])
            self.optimiser.resume(saved['optimiser'])
            self.step, self.minutes = saved['step'], saved['minutes']
            old = load_queries(run / 'queries.npz')
            if {w: v.shape for w, v in old.items()} != {w: v.shape for w, v in queries.items()} or any(
                not np.allclose(old[word], queries[word]) for word in queries
            ):
                notice('other query vectors than before: adapting the first layer')
                adapt_queries(self.model, old, queries)
                adapt_queries(self.average, old, queries)
        else:
            if start_from:
                begin_with(self.model, start_from, without=(WORDS,))
            self.average.load_state_dict(self.model.state_dict())
        self.queries = queries

    def vectors(self, asked: list[list[str]], rng: np.random.Generator) -> Tensor:
        """Return (B, Q, D): for each word one of its vectors."""
        rows = [[self.queries[w][rng.integers(len(self.queries[w]))] for w in words] for words in asked]
        return torch.from_numpy(np.asarray(rows, np.float32))

    def train_step(self, batch, state: State | None, rng: np.random.Generator, rate: float) -> State:
        """One update; return the state for the next chunk."""
        mixed, wanted, asked, fresh = batch
        mixture, target = torch.from_numpy(mixed), torch.from_numpy(wanted)
        if state is not None and fresh.any():
            keep = torch.from_numpy(~fresh).float()
            state = State(*(part * keep.view(1, -1, *([1] * (part.dim() - 2))) for part in state))
        estimate, state = self.model.separate(mixture, self.vectors(asked, rng), state)
        hop = self.model.config.hop
        start = self.model.config.n_fft - 2 * hop
        heard = mixture[..., start + hop : start + target.shape[-1]]
        loss = separation_loss(estimate[..., hop:], target[..., hop:], heard)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step(rate)
        self.step += 1
        with torch.no_grad():
            keep = min(0.998, 1 - 1 / (1 + self.step / 5))
            for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        self.losses.append(float(loss.detach()))
        return state.detach()

    def save(self) -> None:
        save_queries(self.run / 'queries.npz', self.queries)
        words = sorted(self.queries)
        vectors = torch.from_numpy(np.stack([self.queries[word][0] for word in words]))
        loss = float(np.mean(self.losses[-100:])) if self.losses else None
        info = {'step': self.step, 'minutes': round(self.minutes, 1), 'loss': loss, 'words': words}
        weights = {**self.average.state_dict(), WORDS: vectors}
        write_checkpoint(self.run / 'best.safetensors', weights, self.model.config.as_dict(), info)
        torch.save(
            {
                'config': self.model.config.as_dict(), 'model': self.model.state_dict(),
                'average': self.average.state_dict(), 'optimiser': self.optimiser.state_dict(),
                'step': self.step, 'minutes': self.minutes,
            },
            self.run / 'last.tmp',
        )  # fmt: skip
        (self.run / 'last.tmp').replace(self.run / 'last.pt')


def load_separator(checkpoint: Path) -> tuple[StreamSeparator, dict[str, np.ndarray]]:
    """Return the averaged network of a checkpoint and the vectors (D,) of the words it was trained with.

    Raises
    ------
    GenaudioError
        If it is missing, damaged, or of another model.
    """
    weights, config, info = read_checkpoint(checkpoint)
    try:
        words = dict(zip(info['words'], weights.pop(WORDS).float().numpy(), strict=True))
        model = StreamSeparator(StreamSeparatorConfig(**config))
        model.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise GenaudioError(f'{checkpoint} is no checkpoint of a live separator.') from error
    return model.eval(), words


def train(
    sounds: Sequence[Path], run: Path, *, minutes: float, total_minutes: float | None = None, batch: int = 8,
    frames: int = 160, n_queries: int = 2, lr: float = 2e-3, queries: QueryTable | None = None,
    config: StreamSeparatorConfig | None = None, seed: int = 0, valid_every: float = 15.0, muon: bool = True,
    start_from: Path | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train for `minutes` of wall time; see the module's notes.

    Returns
    -------
    dict
        step, loss (of the last hundred steps), minutes (in all), audio_seconds_per_second.
    """
    config = config or StreamSeparatorConfig()
    if queries is None:  # a run goes on with the vectors it began with
        table = run / 'queries.npz'
        queries = load_queries(table) if table.exists() else placeholder_queries(config.query_dim)
    trainer = Trainer(run, config, queries, lr, muon, start_from)
    config = trainer.model.config
    before, begin = trainer.minutes, time.monotonic()
    total = (total_minutes or before + minutes) or 1.0
    rng = np.random.default_rng(seed + trainer.step)
    sets = [SoundSet(path) for path in sounds]
    n_samples = config.n_fft + (CHUNKS * frames - 1) * config.hop
    source = BandMixtures(sets, 'train', n_queries=n_queries, n_samples=n_samples)
    data: Iterator = chunks(source, batch, config.n_fft, config.hop, frames, rng)
    valid = BandMixtures(sets, 'valid', n_queries=4, augment=False)
    state, last_save, last_valid, first = None, begin, begin, trainer.step
    while (now := time.monotonic()) - begin < minutes * 60:
        trainer.minutes = before + (now - begin) / 60
        rate = lr * min(1.0, (trainer.step + 1) / 100) * cosine(trainer.minutes / total)
        state = trainer.train_step(next(data), state, rng, rate)
        if trainer.step % 20 == 0:
            loss = float(np.mean(trainer.losses[-20:]))
            _append(run / 'log.csv', ('step', 'minutes', 'loss', 'lr'), (trainer.step, trainer.minutes, loss, rate))
            if on_step:
                on_step(trainer.step, loss)
        if now - last_save > 120:
            trainer.save()
            last_save = now
        if now - last_valid > valid_every * 60 and valid.groups:
            scores = improvement(trainer.average, valid, queries, 16)
            row = (trainer.step, trainer.minutes, json.dumps(scores))
            _append(run / 'valid.csv', ('step', 'minutes', 'scores'), row)
            last_valid = time.monotonic()
    spent = time.monotonic() - begin
    trainer.minutes = before + spent / 60
    trainer.save()
    heard = (trainer.step - first) * batch * frames * config.hop / config.sample_rate
    return {
        'step': trainer.step, 'loss': float(np.mean(trainer.losses[-100:])) if trainer.losses else None,
        'minutes': trainer.minutes, 'audio_seconds_per_second': heard / max(spent, 1e-9),
    }  # fmt: skip


def _append(path: Path, header: Sequence[str], row: Sequence[Any]) -> None:
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(header)
        writer.writerow([f'{v:.5g}' if isinstance(v, float) else v for v in row])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', nargs='+', type=Path, required=True, help='folders made by prepare-bands')
    parser.add_argument('--space', type=Path, help='.npz of a query space; default: the vectors the run began with')
    parser.add_argument('--out', type=Path, required=True, help='folder of the run')
    parser.add_argument('--minutes', type=float, default=60.0, help='stop after this long; run again to go on')
    parser.add_argument('--total-minutes', type=float, help='the learning rate reaches its end here')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--frames', type=int, default=128, help='of a chunk; state goes on from chunk to chunk')
    parser.add_argument('--queries', type=int, default=4, help='asked of each mixture; they share the trunk')
    parser.add_argument('--hop', type=int, default=256)
    parser.add_argument('--local', action='store_true', help='let the decoder weigh bins one by one, too')
    parser.add_argument('--start-from', type=Path, help='weights of another run; what they lack begins anew')
    parser.add_argument('--rate', type=float, default=2e-3)
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default='muon')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(args.threads)
    table = queries_of_space(args.space) if args.space else None
    dim = next(iter(table.values())).shape[-1] if table else StreamSeparatorConfig.query_dim
    return train(
        args.sounds, args.out, minutes=args.minutes, total_minutes=args.total_minutes, batch=args.batch,
        frames=args.frames, n_queries=args.queries, lr=args.rate, queries=table, seed=args.seed,
        muon=args.optimizer == 'muon', start_from=args.start_from,
        config=StreamSeparatorConfig(hop=args.hop, query_dim=dim, local=args.local),
    )  # fmt: skip
