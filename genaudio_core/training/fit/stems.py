"""The training loop of the live separator.

    genaudio-train fit stems --sounds data/bands --space runs/query/space.npz --out runs/stems --minutes 60

* No accelerator needed: products are in bfloat16 where the processor has them (Intel's AMX), and mixtures are made in a
  process beside. What a step draws depends on the seed and its number.
* The learning rate falls with the minutes spent of all that were planned (`--total-minutes`).
* ``log.csv`` holds the losses and the SI-SDR improvement by family; ``best.safetensors`` is the running
  average of the weights and the words it knows, which is what gets exported.
"""

import argparse
import itertools
import math
import queue
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from genaudio_core.command_line import notice, share, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder, read_arrays
from genaudio_core.models.dual_path import Block
from genaudio_core.models.stream_separator import StreamSeparator, StreamSeparatorConfig, overlapped
from genaudio_core.processes.child_process import CONTEXT, ChildProcess, begin
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.low_delay_stft import windows
from genaudio_core.sound.separation_metrics import si_sdr
from genaudio_core.training.loops.arguments import add_separator_arguments, limit_threads
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.checkpoints import begin_with, not_of, read_checkpoint
from genaudio_core.training.loops.loop import Ahead, Trainee
from genaudio_core.training.loops.loop import train as train_in_loop
from genaudio_core.training.loops.optimizers import HALF, Optimizers, cosine
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.mixtures.band_mixtures import FAMILY_WORDS, SHARE_COMPOSED, BandMixtures, batch_of, family
from genaudio_core.training.mixtures.clip_store import ClipStore
from genaudio_core.training.mixtures.device_mixtures import BandsOnDevice, DeviceBatches
from genaudio_core.training.queries.query_tables import (
    QueryTable,
    placeholder_queries,
    queries_of_space,
    with_neighbours,
)
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
    """A network's filter bank for the loss: spectra in, sound of masked ones out."""

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


def met(own: Tensor, other: Tensor, config: StreamSeparatorConfig, cold: int) -> tuple[slice, Tensor]:
    """Return the mean of a network's sound and of one that went the other way, and which samples of the input it is.

    Parameters
    ----------
    own, other : (..., frames * hop)
        As `StreamSeparator.separate` makes them, each in the time of its network.
    config
        Of both.
    cold
        Frames that each begins with and that are left out.
    """
    first, hop, samples = config.n_fft - 2 * config.hop, config.hop, own.shape[-1]
    begin, end = first + cold * hop, samples + hop - cold * hop  # where both are warm
    both = own[..., begin - first : end - first] + other.flip(-1)[..., begin - hop : end - hop]
    return slice(begin, end), 0.5 * both


@torch.no_grad()
def improvement(
    model: StreamSeparator,
    source: BandMixtures,
    queries: QueryTable,
    count: int,
    seed: int = 0,
    partner: StreamSeparator | None = None,
) -> dict[str, float]:
    """Return family -> mean SI-SDR improvement in dB over `count` mixtures of `source`, and 'mean' of all.

    With `partner`, a network that goes the other way, of the mean of both.
    """
    rng = np.random.default_rng(seed)
    config = model.config
    found: dict[str, list[float]] = {}
    for _ in range(count):
        drawn = source.draw(rng)
        frames = (drawn.mixture.shape[-1] - config.n_fft + config.hop) // config.hop
        used = config.n_fft - config.hop + frames * config.hop
        vectors = np.stack([queries[word].mean(0) for word in drawn.queries])
        heard = torch.from_numpy(drawn.mixture[None, :, :used].copy()).to(model.gather.device)
        asked = torch.from_numpy(vectors[None]).to(model.gather.device)
        audio, _ = model.separate(heard, asked)
        start = config.n_fft - 2 * config.hop
        part = slice(start + config.hop, start + frames * config.hop)
        if partner is None:
            audio = audio[..., config.hop :]
        else:
            part, audio = met(audio, partner.separate(heard.flip(-1), asked)[0], config, 1)
        audio = audio.cpu()
        for i, word in enumerate(drawn.queries):
            target, mixture = drawn.targets[i, :, part], drawn.mixture[:, part]
            if rms(target) < 1e-3 or len(source.groups) == 0:
                continue
            gain = si_sdr(target, audio[0, i].numpy()) - si_sdr(target, mixture)
            name = next((f for f, words in FAMILY_WORDS.items() if word in words), None) or family(word)
            found.setdefault(name, []).append(gain)
    result = {name: float(np.mean(values)) for name, values in sorted(found.items())}
    result['mean'] = float(np.mean([v for values in found.values() for v in values])) if found else math.nan
    return result


def keep(step: int) -> float:
    """Share of the average that stays at step number `step`."""
    return min(0.998, 1 - 1 / (1 + (step + 1) / 5))


def new_network(config: StreamSeparatorConfig, start_from: Path | None = None) -> StreamSeparator:
    """Return a network of `config`, with the weights of a checkpoint where it has them.

    Blocks that the checkpoint lacks begin by adding nothing, so that it goes on as it was.
    """
    model = StreamSeparator(config)
    if start_from is not None:
        begin_with(model, start_from, without=(WORDS,))
        old = read_checkpoint(start_from)[1]
        with torch.no_grad():
            for blocks, known in ((model.trunk, old['trunk']), (model.asked, old['asked'])):
                for block in list(blocks)[known:]:
                    assert isinstance(block, Block)
                    block.along.out.weight.zero_()
                    block.across.out.weight.zero_()
    return model


def partner_of(config: StreamSeparatorConfig, checkpoint: Path, frames: int) -> StreamSeparator:
    """Return the network that one of `config` is trained beside, on mixtures of so many frames.

    Raises
    ------
    GenaudioError
        If it goes the same way, is of another shape, or the mixtures are too short for both to be warm.
    """
    network = load_separator(checkpoint)[0]
    if network.config != replace(config, backwards=not config.backwards):
        raise GenaudioError(
            f'{checkpoint} goes the same way as what is trained, or is of another shape (--backwards, --hop).'
        )
    least = 2 * COLD + config.n_fft // config.hop
    if frames < least:
        raise GenaudioError(f'--frames {frames} is too short for a --partner: give {least} or more.')
    return network.requires_grad_(False)


class BatchLoss:
    """The loss of a batch, in portions that a processor's cache holds; products in bfloat16 where `half`.

    With `partner`, a network that goes the other way and learns nothing, it is that of the mean of both: the one that
    learns makes up for what the other lacks.
    """

    def __init__(self, model: StreamSeparator, half: bool, partner: StreamSeparator | None = None):
        self.model, self.half, self.device, self.partner = model, half, model.gather.device, partner
        self.sounder = Sounder(model, torch.bfloat16 if half else torch.float32)

    def portions(self, batch: Batch | DeviceBatch) -> Iterator[tuple[DeviceBatch, float]]:
        """Yield parts of a batch and their shares."""
        mixture, mix, target, query = (torch.as_tensor(part, device=self.device) for part in batch)
        size = len(mixture)
        at_once = AT_ONCE if self.device.type == 'cpu' else size
        for i in range(0, size, at_once):
            part = slice(i, i + at_once)
            yield (mixture[part], mix[part], target[part], query[part]), len(mixture[part]) / size

    def __call__(self, batch: DeviceBatch) -> tuple[Tensor, int, dict[str, Tensor]]:
        mixture, mix, target, query = batch
        c = self.model.config
        estimate = self._estimate(self.model, mixture, mix, query)
        if self.partner is None:  # the first hops are heard without their past
            part = slice(c.n_fft - 2 * c.hop + COLD * c.hop, c.n_fft - 2 * c.hop + estimate.shape[-1])
            estimate = estimate[..., COLD * c.hop :]
        else:
            with torch.no_grad():
                other = self._estimate(self.partner, mixture.flip(-1), mix, query)
            part, estimate = met(estimate, other, c, COLD)
        heard = (mixture * mix[..., None]).sum(1)[:, part]
        return separation_loss(estimate, target[..., part], heard), len(mixture), {}

    def _estimate(self, network: StreamSeparator, mixture: Tensor, mix: Tensor, query: Tensor) -> Tensor:
        features, spectra = self.sounder.hear(mixture, mix)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            masks, _ = network(features, query)
        return self.sounder.sound(masks, spectra)


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
    backwards: bool,
) -> Iterator[Batch]:
    """Yield the batches of the steps from `first` on, in order, without end."""
    sets = [SoundSet(path) for path in sounds]
    source = BandMixtures(
        sets, 'train', n_queries=n_queries, n_samples=n_samples, composed=composed, backwards=backwards
    )
    for step in itertools.count(first):
        yield make_batch(source, size, queries, seed, step)


def _fill(out: Any, wanted: tuple, cells: Any, pipe: Any) -> None:
    """Body of the process beside training (`ChildProcess`)."""
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
        raise not_of(checkpoint, config, 'a live separator') from error
    return model.eval(), words


def train(
    sounds: Sequence[Path],
    out: Path,
    limit: TimeLimit,
    *,
    total_minutes: float | None = None,
    steps: float = math.inf,
    batch: int = 8,
    frames: int = 256,
    n_queries: int = 4,
    composed: float = SHARE_COMPOSED,
    rate: float = 2e-3,
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
    partner: Path | None = None,
) -> dict[str, Any]:
    """Train as `loop.train` does; see the module's notes.

    Parameters
    ----------
    valid_every
        Minutes between validations; 0: none.
    half
        Products in bfloat16, on processors that have them.
    beside
        Mixtures are made in a process beside this one (on a processor; an accelerator makes its own).
    hours
        Of sound that an accelerator holds, one channel.
    partner
        Checkpoint of a network that goes the other way: what is trained is the mean of both.

    Returns
    -------
    dict
        What `loop.train` returns, and audio_seconds_per_second.
    """
    c = config or StreamSeparatorConfig()
    table = out / 'queries.npz'
    if queries is None:  # a run goes on with the vectors it began with
        if table.exists():
            queries = read_arrays(table, 'table of queries')
        elif start_from is not None:  # with those of the run before it
            queries = with_neighbours(load_separator(start_from)[1])
        else:
            notice('No --space: words are random vectors, which no text or example will ever land near. For trials.')
            queries = placeholder_queries(c.query_dim)
    torch.manual_seed(seed)
    model = new_network(c, start_from).to(device)
    other = None if partner is None else partner_of(c, partner, frames).to(device)
    settings = {'model': c.as_dict(), 'seed': seed} | ({} if partner is None else {'partner': partner.name})
    n_samples = c.n_fft + (frames - 1) * c.hop
    # An accelerator may begin before all is rendered; on a processor what is missing is told at once.
    there = [SoundSet(path) for path in sounds if device == 'cpu' or (path / 'index.jsonl').is_file()]
    valid = BandMixtures(there if valid_every else [], 'valid', n_queries=4, augment=False, backwards=c.backwards)
    words = sorted(queries)

    def made_there(step: int) -> DeviceBatches:
        store = ClipStore(sounds, torch.device(device), 2, hours)
        bands = BandsOnDevice(store, queries, n_queries, n_samples, composed, c.backwards)
        return DeviceBatches(bands, step, batch, seed)

    def made_here(step: int) -> Batches:
        return Batches(beside, step, sounds, n_samples, n_queries, composed, batch, queries, seed, c.backwards)

    def validate(network: nn.Module) -> dict[str, float]:
        if not valid.groups:
            return {}
        assert isinstance(network, StreamSeparator)
        scores = improvement(network, valid, queries, 40, partner=other)
        return {'valid_db': scores.pop('mean')} | {f'{name}_db': value for name, value in scores.items()}

    loss = BatchLoss(model, half, other)
    make_folder(out)
    with atomic_write(table) as temporary, open(temporary, 'wb') as file:
        np.savez(file, **queries)  # pyright: ignore[reportArgumentType]
    with Ahead(made_here if device == 'cpu' else made_there) as batches:
        trainee = Trainee(
            model, c.as_dict(), settings, batches, loss, validate,
            lambda step, share: rate * min(1.0, (step + 1) / 100) * cosine(share),
            Optimizers(model, weight_decay=1e-3, muon=muon, axes=(2, 4)), total_minutes=total_minutes,
            watch='valid_db', average=Average(model, keep), clip=5.0, portions=loss.portions, info={'words': words},
            tensors={WORDS: torch.from_numpy(np.stack([queries[word][0] for word in words]))},
        )  # fmt: skip
        report = train_in_loop(trainee, out, limit, steps=steps, every_minutes=valid_every or math.inf)
    return report | {'audio_seconds_per_second': report['items_per_s'] * frames * c.hop / c.sample_rate}


class Batches:
    """The batches of `batches_from` for `wanted`, made in a process beside this one, or here; a context manager."""

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
    parser.add_argument('--space', type=Path,
                        help='.npz of a query space; default: the vectors of the run, or of --start-from')  # fmt: skip
    parser.add_argument('--frames', type=whole('--frames', 1, 100000), default=256, help='of a mixture')
    parser.add_argument('--queries', type=whole('--queries', 1, 64), default=4,
                        help='asked of each mixture; they share the trunk')  # fmt: skip
    parser.add_argument('--composed', type=share('--composed'), default=SHARE_COMPOSED,
                        help='share of mixtures of one band; the others are random')  # fmt: skip
    parser.add_argument('--backwards', action='store_true',
                        help='the end of every sound comes first: the way back of `separate`')  # fmt: skip
    parser.add_argument('--partner', type=Path,
                        help='checkpoint of one that goes the other way: trained is the mean of both')  # fmt: skip
    parser.add_argument('--hop', type=whole('--hop', 16, 8192), default=256)
    parser.add_argument('--trunk', type=whole('--trunk', 1, 8192), default=StreamSeparatorConfig.trunk,
                        help='blocks before the query; those that --start-from lacks add nothing yet')  # fmt: skip
    parser.add_argument('--bf16', choices=('auto', 'yes', 'no'), default='auto',
                        help='products in bfloat16 (auto: where the processor has them)')  # fmt: skip
    add_separator_arguments(parser, batch=8, valid_every=10)
    parser.set_defaults(seed=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    limit_threads(args.threads)
    torch.set_float32_matmul_precision('high')
    table = queries_of_space(args.space) if args.space else None
    dim = next(iter(table.values())).shape[-1] if table else StreamSeparatorConfig.query_dim
    return train(
        args.sounds, args.out, TimeLimit.of(args), total_minutes=args.total_minutes, steps=args.steps, batch=args.batch,
        frames=args.frames, n_queries=args.queries, composed=args.composed, rate=args.rate, queries=table,
        seed=args.seed, muon=args.optimizer == 'muon', start_from=args.start_from,
        half=args.bf16 == 'yes' or (args.bf16 == 'auto' and (HALF or args.device != 'cpu')),
        device=args.device, hours=args.hours, valid_every=args.valid_every, partner=args.partner,
        config=StreamSeparatorConfig(hop=args.hop, query_dim=dim, trunk=args.trunk, backwards=args.backwards),
    )  # fmt: skip
