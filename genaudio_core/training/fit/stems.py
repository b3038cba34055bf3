"""The training loop of the live separator.

    genaudio-train fit stems --sounds data/bands --space runs/query/space.npz --out runs/stems --minutes 60

* No accelerator needed: products are in bfloat16 where the processor has them (Intel's AMX), and mixtures are made in a
  process beside. What a step draws depends on the seed and its number.
* Stops after `--minutes` and resumes where it stopped (network, optimiser, average, step). The learning rate falls
  with the minutes spent of all that were planned (`--total-minutes`).
* ``log.csv`` holds the losses, ``valid.csv`` the SI-SDR improvement by family; ``best.safetensors`` is the running
  average of the weights and the words it knows, which is what gets exported; ``last.pt`` is for resuming.
"""

import argparse
import itertools
import json
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from genaudio_core.command_line import minutes, number, seed, share, threads, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder, read_arrays
from genaudio_core.models.dual_path import Block
from genaudio_core.models.stream_separator import StreamSeparator, StreamSeparatorConfig, overlapped
from genaudio_core.processes.child_process import CONTEXT, ChildProcess, begin
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.low_delay_stft import windows
from genaudio_core.sound.separation_metrics import si_sdr
from genaudio_core.training.loops.run_folder import (
    HALF,
    Budget,
    Optimizers,
    a_device,
    append_row,
    begin_with,
    cosine,
    read_checkpoint,
    reading_run,
    write_checkpoint,
)
from genaudio_core.training.mixtures.band_mixtures import FAMILY_WORDS, SHARE_COMPOSED, BandMixtures, batch_of, family
from genaudio_core.training.mixtures.clip_store import ClipStore
from genaudio_core.training.mixtures.device_mixtures import BandsOnDevice, DeviceBatches
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES
from genaudio_core.training.sounds.packed_clips import SoundSet

HELP = 'the live separator, on stems of bands'
EXAMPLE = 'genaudio-train fit stems --sounds data/bands --space runs/query/space.npz --out runs/stems --minutes 60'
COLD = 8  # frames that a mixture begins with and that do not count: nobody hears the first 50 ms of a session
AT_ONCE = 4  # mixtures that go through a processor together: more of them fall out of its cache, a third slower
HUNG_SECONDS = 600.0  # without a mixture, after which the process that makes them hangs
WORDS = 'query_words'  # the tensor of a checkpoint that holds the vectors of the words it was trained with
# Mixture (B, 2, n), shares of its channels (B, 2), targets (B, Q, n), queries (B, Q, D).
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
DeviceBatch = tuple[Tensor, Tensor, Tensor, Tensor]  # the same on an accelerator, where the targets are mixed already
QueryTable = dict[str, np.ndarray]  # word -> vectors (n, D), one of which is drawn


def placeholder_queries(dim: int) -> QueryTable:
    """Return a random unit vector per word: for tests and trials, where no query encoder is at hand."""
    words = sorted({*NAMES, *(word for words in FAMILY_WORDS.values() for word in words)})
    vectors = np.random.default_rng(6).standard_normal((len(words), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {word: vector[None] for word, vector in zip(words, vectors, strict=True)}


def queries_of_space(space: Path, *, copies: int = 3, spread: float = 0.2, seed: int = 6) -> QueryTable:
    """Return the vectors of a query space (``training/queries/space.py``): each word's own, and `copies` near it.

    Vectors near it stand for typos, phrases and audio examples, which land beside a concept, not on it.
    """
    found = QuerySpace.load(space)
    vectors = dict(zip(found.names, found.concepts.astype(np.float32), strict=True))
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


def separation_loss(estimate: Tensor, target: Tensor, mixture: Tensor) -> Tensor:
    """Return the mean error in dB, over (B, Q, samples) of a mixture (B, samples): of two measures the mean.

    * The error relative to the target. A floor of 0.3% of the mixture's power in numerator and denominator makes one
      formula of two: where the target sounds it is a signal-to-noise ratio (at most 25 dB), where it is silent it asks
      for silence.
    * Where the target sounds, the scale-invariant ratio that the evaluation measures. The first alone is content with
      silence wherever a young network is unsure, and stays there for a thousand steps; this one is not.
    """
    whole = mixture.square().sum(-1)[:, None]
    floor = 3e-3 * whole + 1e-5
    wanted, made = target.square().sum(-1), estimate.square().sum(-1)
    error = (estimate - target).square().sum(-1) + floor
    plain = 10 * torch.log10(error / (wanted + floor))
    part = (estimate * target).sum(-1).square() / (wanted + floor)
    least = 1e-3 * made + 1e-9 * whole + 1e-12
    scaled = 10 * torch.log10(((made - part).clamp(min=0) + least) / (part + least))
    return 0.5 * (plain + scaled * (wanted > floor)).mean()


class _Sound(torch.autograd.Function):
    """Masks of bands -> the newest samples of each frame, as one product: most of an inverse FFT would be thrown away.

    The products are in bfloat16 where `spectra` are: 50 dB below the sound, far beyond what a mask can separate.
    """

    @staticmethod
    def forward(ctx, masks: Tensor, spectra: Tensor, to_bins: Tensor, to_sound: Tensor) -> Tensor:
        """masks (B, Q, T, K), spectra (B, 1, T, 2, F), to_bins (F, K), to_sound (2 F, 2 hop) -> (B, Q, T, 2 hop)."""
        bins = masks.to(spectra.dtype) @ to_bins.T
        ctx.save_for_backward(spectra, to_bins, to_sound)
        return ((spectra * bins[..., None, :]).flatten(-2) @ to_sound).float()

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        spectra, to_bins, to_sound = ctx.saved_tensors
        back = (grads[0].to(spectra.dtype) @ to_sound.T).unflatten(-1, (2, -1))
        return ((back * spectra).sum(-2) @ to_bins).float(), None, None, None


class Sounder:
    """What the loss needs of a network's filter bank: spectra in, sound of masked ones out."""

    def __init__(self, model: StreamSeparator, dtype: torch.dtype):
        c = model.config
        self.model, self.dtype, self.hop = model, dtype, c.hop
        device = model.gather.device
        self.to_bins = model.gather.to(dtype)
        # The inverse transform as a matrix: what each bin's real and imaginary part add to the newest samples.
        lines = torch.eye(model.n_bins)
        both = torch.cat([torch.complex(lines, 0 * lines), torch.complex(0 * lines, lines)])
        synthesis = torch.from_numpy(windows(c.n_fft, c.hop)[1][-2 * c.hop :]).float()
        self.to_sound = (torch.fft.irfft(both, c.n_fft)[:, -2 * c.hop :] * synthesis).to(device, dtype)

    @torch.no_grad()
    def hear(self, mixture: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """Mixture (B, 2, n) and shares of its channels (B, 2) -> features, and spectra of the mix for `sound`."""
        spectra = self.model.spectra(mixture)  # (B, 2, T, F)
        one = (spectra * mix[:, :, None, None]).sum(1)
        return self.model.features(spectra), torch.stack([one.real, one.imag], 2).to(self.dtype)[:, None]

    def sound(self, masks: Tensor, spectra: Tensor) -> Tensor:
        """Masks (B, Q, T, K) -> (B, Q, T * hop); the first hop lacks its older half."""
        return overlapped(_Sound.apply(masks, spectra, self.to_bins, self.to_sound), self.hop)


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
            torch.from_numpy(drawn.mixture[None, :, :used].copy()).to(model.gather.device),
            torch.from_numpy(vectors[None]).to(model.gather.device),
        )
        audio = audio.cpu()
        start = config.n_fft - 2 * config.hop
        for i, word in enumerate(drawn.queries):
            part = slice(start + config.hop, start + frames * config.hop)
            target, mixture = drawn.targets[i, :, part], drawn.mixture[:, part]
            if rms(target) < 1e-3 or len(source.groups) == 0:
                continue
            gain = si_sdr(target, audio[0, i, :, config.hop :].numpy()) - si_sdr(target, mixture)
            name = next((f for f, words in FAMILY_WORDS.items() if word in words), None) or family(word)
            found.setdefault(name, []).append(gain)
    result = {name: float(np.mean(values)) for name, values in sorted(found.items())}
    result['mean'] = float(np.mean([v for values in found.values() for v in values])) if found else math.nan
    return result


class Trainer:
    """Network, optimiser and average of a run folder."""

    def __init__(self, run: Path, config: StreamSeparatorConfig, queries: QueryTable, muon: bool = True,
                 start_from: Path | None = None, half: bool = False, device: str = 'cpu'):  # fmt: skip
        self.run, self.half, self.device = run, half, torch.device(device)
        make_folder(run)
        self.step, self.minutes = 0, 0.0
        self.losses: list[Tensor] = []
        saved: dict[str, Any] = {}
        if (run / 'last.pt').exists():
            with reading_run(run / 'last.pt'):
                saved = torch.load(run / 'last.pt', weights_only=True, map_location=self.device)
                config = StreamSeparatorConfig(**saved['config'])
        self.model = StreamSeparator(config).to(self.device)
        self.average = StreamSeparator(config).to(self.device)
        self.sounder = Sounder(self.model, torch.bfloat16 if half else torch.float32)
        self.optimiser = Optimizers(self.model, weight_decay=1e-3, muon=muon, axes=(2, 4))
        if saved:
            with reading_run(run / 'last.pt'):
                self.model.load_state_dict(saved['model'])
                self.average.load_state_dict(saved['average'])
                self.optimiser.resume(saved['optimiser'])
                self.step, self.minutes = saved['step'], saved['minutes']
        else:
            if start_from:
                begin_with(self.model, start_from, without=(WORDS,))
                self._silence(read_checkpoint(start_from)[1])
            self.average.load_state_dict(self.model.state_dict())
        self.queries = queries

    @torch.no_grad()
    def _silence(self, config: dict[str, Any]) -> None:
        """Let the blocks that a network of `config` lacks begin by adding nothing, so that it goes on as it was."""
        for blocks, known in ((self.model.trunk, config['trunk']), (self.model.asked, config['asked'])):
            for block in list(blocks)[known:]:
                assert isinstance(block, Block)
                block.along.out.weight.zero_()
                block.across.out.weight.zero_()

    def train_step(self, batch: Batch | DeviceBatch, rate: float) -> None:
        """One update."""
        tensors = [torch.as_tensor(part, device=self.device) for part in batch]
        size = len(tensors[0])
        at_once = AT_ONCE if self.device.type == 'cpu' else size
        losses = []
        for i in range(0, size, at_once):
            part = [tensor[i : i + at_once] for tensor in tensors]
            loss = self._loss_of(*part) * (len(part[0]) / size)
            loss.backward()
            losses.append(loss.detach())
        self.losses.append(torch.stack(losses).sum())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step(rate)
        self.step += 1
        with torch.no_grad():
            keep = min(0.998, 1 - 1 / (1 + self.step / 5))
            get_ema_multi_avg_fn(keep)([*self.average.parameters()], [*self.model.parameters()], self.step)

    def _loss_of(self, mixture: Tensor, mix: Tensor, target: Tensor, query: Tensor) -> Tensor:
        features, spectra = self.sounder.hear(mixture, mix)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            masks, _ = self.model(features, query)
        c = self.model.config
        estimate = self.sounder.sound(masks, spectra)
        # The first hops are heard without their past.
        part = slice(c.n_fft - 2 * c.hop + COLD * c.hop, c.n_fft - 2 * c.hop + estimate.shape[-1])
        heard = (mixture * mix[..., None]).sum(1)[:, part]
        return separation_loss(estimate[..., COLD * c.hop :], target[..., part], heard)

    def loss(self, steps: int) -> float | None:
        """Return the mean loss of the last `steps` steps of this call."""
        return float(torch.stack(self.losses[-steps:]).mean()) if self.losses else None

    def save(self) -> None:
        np.savez(self.run / 'queries.npz', **self.queries)  # pyright: ignore[reportArgumentType]
        words = sorted(self.queries)
        vectors = torch.from_numpy(np.stack([self.queries[word][0] for word in words]))
        info = {'step': self.step, 'minutes': round(self.minutes, 1), 'loss': self.loss(100), 'words': words}
        weights = {**{name: value.cpu() for name, value in self.average.state_dict().items()}, WORDS: vectors}
        write_checkpoint(self.run / 'best.safetensors', weights, self.model.config.as_dict(), info)
        with atomic_write(self.run / 'last.pt') as temporary:
            torch.save(
                {
                    'config': self.model.config.as_dict(), 'model': self.model.state_dict(),
                    'average': self.average.state_dict(), 'optimiser': self.optimiser.state_dict(),
                    'step': self.step, 'minutes': self.minutes,
                },
                temporary,
            )  # fmt: skip


def make_batch(source: BandMixtures, size: int, queries: QueryTable, seed: int, step: int) -> Batch:
    """Return the batch of a step, which depends on `seed` and `step` only."""
    rng = np.random.default_rng((seed, step))
    mixture, mix, targets, asked = batch_of(source, size, rng)
    vectors = np.array([[queries[w][rng.integers(len(queries[w]))] for w in words] for words in asked], np.float32)
    return mixture, mix, targets, vectors


def batches_from(
    first: int,
    sounds: Sequence[Path],
    n_samples: int,
    n_queries: int,
    composed: float,
    size: int,
    queries: QueryTable,
    seed: int,
) -> Iterator[Batch]:
    """Yield the batches of the steps from `first` on, in order, without end."""
    sets = [SoundSet(path) for path in sounds]
    source = BandMixtures(sets, 'train', n_queries=n_queries, n_samples=n_samples, composed=composed)
    for step in itertools.count(first):
        yield make_batch(source, size, queries, seed, step)


def _fill(out: Any, wanted: tuple, cells: Any, pipe: Any) -> None:
    """What the process beside training does (`ChildProcess`)."""
    heart = begin(cells, grace=0.0)
    for batch in batches_from(*wanted):
        heart.beat()
        out.put(batch)


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
        raise GenaudioError(f'{checkpoint} is not a checkpoint of a live separator.') from error
    return model.eval(), words


def train(
    sounds: Sequence[Path],
    run: Path,
    *,
    minutes: float,
    total_minutes: float | None = None,
    batch: int = 8,
    frames: int = 256,
    n_queries: int = 4,
    composed: float = SHARE_COMPOSED,
    lr: float = 2e-3,
    queries: QueryTable | None = None,
    config: StreamSeparatorConfig | None = None,
    seed: int = 0,
    valid_every: float = 10.0,
    muon: bool = True,
    start_from: Path | None = None,
    half: bool = False,
    beside: bool = True,
    device: str = 'cpu',
    hours: float = 40.0,
    on_step: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train for `minutes` of wall time; see the module's notes.

    Parameters
    ----------
    half
        Products in bfloat16, on processors that have them.
    beside
        Mixtures are made in a process beside this one (on a processor; an accelerator makes its own).
    hours
        Of sound that an accelerator holds, one channel.

    Returns
    -------
    dict
        step, loss (of the last hundred steps), minutes (in all), audio_seconds_per_second.
    """
    start = config or StreamSeparatorConfig()
    if queries is None:  # a run goes on with the vectors it began with
        table = run / 'queries.npz'
        queries = read_arrays(table, 'table of queries') if table.exists() else placeholder_queries(start.query_dim)
    trainer = Trainer(run, start, queries, muon, start_from, half, device)
    c = trainer.model.config
    before = trainer.minutes
    total = (total_minutes or before + minutes) or 1.0
    n_samples = c.n_fft + (frames - 1) * c.hop
    # An accelerator may begin before all is rendered; on a processor what is missing is told at once.
    waits = trainer.device.type != 'cpu'
    there = [SoundSet(path) for path in sounds if not waits or (path / 'index.jsonl').is_file()]
    valid = BandMixtures(there if valid_every else [], 'valid', n_queries=4, augment=False)
    last_save = last_valid = time.monotonic()
    first = trainer.step
    if trainer.device.type == 'cpu':
        source = Batches(beside, trainer.step, sounds, n_samples, n_queries, composed, batch, queries, seed)
    else:
        bands = BandsOnDevice(ClipStore(sounds, trainer.device, 2, hours), queries, n_queries, n_samples, composed)
        source = DeviceBatches(bands, trainer.step, batch, seed)
    with source as batches, Budget(minutes) as budget:
        while budget:
            trainer.minutes = before + budget.spent
            rate = lr * min(1.0, (trainer.step + 1) / 100) * cosine(trainer.minutes / total)
            trainer.train_step(next(batches), rate)
            if trainer.step % 20 == 0:
                loss = trainer.loss(20) or 0.0
                del trainer.losses[:-100]
                row = {'step': trainer.step, 'minutes': trainer.minutes, 'loss': loss, 'lr': rate}
                append_row(run / 'log.csv', row)
                if on_step:
                    on_step(trainer.step, loss)
            if time.monotonic() - last_save > 120:
                trainer.save()
                last_save = time.monotonic()
            if valid.groups and time.monotonic() - last_valid > valid_every * 60:
                scores = improvement(trainer.average, valid, queries, 40)
                row = {'step': trainer.step, 'minutes': trainer.minutes, 'scores': json.dumps(scores)}
                append_row(run / 'valid.csv', row)
                last_valid = time.monotonic()
        spent = budget.spent
    trainer.minutes = before + spent
    trainer.save()
    heard = (trainer.step - first) * batch * frames * c.hop / c.sample_rate
    return {
        'step': trainer.step, 'loss': trainer.loss(100),
        'minutes': trainer.minutes, 'audio_seconds_per_second': heard / max(60 * spent, 1e-9),
    }  # fmt: skip


class Batches:
    """What `batches_from` yields for `wanted`, made in a process beside this one, or here; a context manager."""

    def __init__(self, beside: bool, *wanted: Any):
        self._process = None
        if beside:
            self._queue: Any = CONTEXT.Queue(maxsize=3)
            self._process = ChildProcess(
                _fill, (self._queue, wanted), name='genaudio mixtures', loading=HUNG_SECONDS, stuck=HUNG_SECONDS
            )
        else:
            self._steps = batches_from(*wanted)

    def __enter__(self) -> 'Batches':
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.close()

    def __next__(self) -> Batch:
        if self._process is None:
            return next(self._steps)
        while True:
            try:
                return self._queue.get(timeout=0.5)
            except queue.Empty:
                if not self._process.is_alive():
                    raise GenaudioError('The process that makes mixtures has ended; see its output above.') from None
                if self._process.is_hung():
                    raise GenaudioError(f'No mixture was made in {HUNG_SECONDS:g} s; run again to go on.') from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', nargs='+', type=Path, required=True, help='folders made by prepare-bands')
    parser.add_argument('--space', type=Path, help='.npz of a query space; default: the vectors the run began with')
    parser.add_argument('--out', type=Path, required=True, help='folder of the run')
    parser.add_argument('--minutes', type=minutes(), default=60.0, help='stop after this long; run again to go on')
    parser.add_argument('--total-minutes', type=minutes('--total-minutes'),
                        help='the learning rate reaches its end here')  # fmt: skip
    parser.add_argument('--batch', type=whole('--batch', 1, 65536), default=8)
    parser.add_argument('--frames', type=whole('--frames', 1, 100000), default=256, help='of a mixture')
    parser.add_argument('--queries', type=whole('--queries', 1, 64), default=4,
                        help='asked of each mixture; they share the trunk')  # fmt: skip
    parser.add_argument('--composed', type=share('--composed'), default=SHARE_COMPOSED,
                        help='share of mixtures of one band; the others are random')  # fmt: skip
    parser.add_argument('--hop', type=whole('--hop', 16, 8192), default=256)
    parser.add_argument('--trunk', type=whole('--trunk', 1, 8192), default=StreamSeparatorConfig.trunk,
                        help='blocks before the query; those that --start-from lacks add nothing yet')  # fmt: skip
    parser.add_argument('--bf16', choices=('auto', 'yes', 'no'), default='auto',
                        help='products in bfloat16 (auto: where the processor has them)')  # fmt: skip
    parser.add_argument('--start-from', type=Path, help='weights of another run; new layers start from scratch')
    parser.add_argument('--rate', type=number('--rate', above=0, high=10), default=2e-3)
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default='muon')
    parser.add_argument('--threads', type=threads(), default=1)
    parser.add_argument('--device', type=a_device, default='cpu', help='cpu, or cuda: mixtures are then made there')
    parser.add_argument('--hours', type=number('--hours', 0, 100_000), default=40, help='of sound that a GPU holds')
    parser.add_argument('--valid-every', type=number('--valid-every', 0, 1e6), default=10, help='minutes; 0: never')
    parser.add_argument('--seed', type=seed(), default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision('high')
    table = queries_of_space(args.space) if args.space else None
    dim = next(iter(table.values())).shape[-1] if table else StreamSeparatorConfig.query_dim
    return train(
        args.sounds, args.out, minutes=args.minutes, total_minutes=args.total_minutes, batch=args.batch,
        frames=args.frames, n_queries=args.queries, composed=args.composed, lr=args.rate, queries=table, seed=args.seed,
        muon=args.optimizer == 'muon', start_from=args.start_from,
        half=args.bf16 == 'yes' or (args.bf16 == 'auto' and (HALF or args.device != 'cpu')),
        device=args.device, hours=args.hours, valid_every=args.valid_every,
        config=StreamSeparatorConfig(hop=args.hop, query_dim=dim, trunk=args.trunk),
    )  # fmt: skip
