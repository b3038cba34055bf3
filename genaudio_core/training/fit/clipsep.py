"""The training loop of the offline separators: the band separator that is shipped, and CLIPSep-small.

On a processor one process and one thread make mixtures and learn from them; with `--device cuda` both happen on the
accelerator (``device_mixtures.py``). What a step draws depends on the seed, its number and the sounds that are there.

    genaudio-train fit clipsep --sounds data/sounds --space runs/query/space.npz --out runs/clipsep --minutes 60

The learning rate falls with the minutes spent of all that were planned (`--total-minutes`), and a running average of
the weights smooths what is left: a run may stop anywhere, and go on. What is saved as ``best.safetensors`` is that
average. ``log.csv`` holds training and validation (decibels of improvement over the mixture, in the band domain).
"""

import argparse
import json
import math
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from genaudio_core.command_line import minutes, notice, number, seed, share, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder, read_arrays
from genaudio_core.models.band_separator import BandConfig, BandSeparator
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig
from genaudio_core.sound.spectrogram import bands_to_bins
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.run_folder import (
    Budget,
    Optimizers,
    a_device,
    append_row,
    begin_with,
    cosine,
    reading_run,
    rebuild,
    save_checkpoint,
)
from genaudio_core.training.mixtures.clip_store import ClipStore
from genaudio_core.training.mixtures.device_mixtures import DeviceBatches, MixturesOnDevice
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker, SoloMixture
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.lexicon import NAMES
from genaudio_core.training.sounds.packed_clips import SoundSet

HELP = 'the offline separator: --network bands, as bundled, or unet (CLIPSep-small; with --nit noise-invariantly)'
EXAMPLE = 'genaudio-train fit clipsep --sounds data/sounds --space runs/query/space.npz --out runs/clipsep --minutes 60'
MAX_SOURCES = 4
SHARE_STEMS = 0.4  # of sources that are stems of bands, where a label has both stems and solos
SHARE_ABSENT = 0.2  # of mixtures in which one of two queries is for something absent
ABSENT_WEIGHT = 1.0  # dB that a query for something absent costs if all of the mixture's energy is let through
# Of the mixture's energy, what the noise maps may take for nothing, and the dB that taking all beyond that would cost.
# The paper counts bins (gamma 0.25), and its loss weighs them nearly alike. Ours counts energy, of which a quarter of
# the bins can hold everything: noise maps that are free there did the sources' work (1.9 dB instead of 3.6).
NOISE_SHARE, NOISE_WEIGHT = 0.0, 3.0


class Features:
    """Mixtures -> what the loss needs, per band: energies of the mixture, cross energies with each source.

    With `colour`, dB, each source is heard through an equaliser of its own: SoundFonts and microphones differ in colour
    more than in anything else, and a network that trusts it knows three of each instrument.
    """

    def __init__(self, config: SmallConfig | BandConfig, colour: float = 0.0):
        self.config, self.colour = config, colour
        self.gather = torch.from_numpy(bands_to_bins(config.n_fft // 2 + 1, config.bands, config.base)).T.contiguous()
        self.window = torch.hann_window(config.n_fft)

    def equalisers(self, n: int, rng: random.Random) -> Tensor | None:
        """Return smooth random gains (n, bins, 1), level in the mean; None without `colour`."""
        if not self.colour:
            return None
        knots = torch.tensor([[rng.gauss(0, self.colour) for _ in range(7)] for _ in range(n)])
        knots = knots - knots.mean(dim=1, keepdim=True)
        octaves = torch.log2(torch.arange(self.config.n_fft // 2 + 1) / 16 + 1)  # linear below some 200 Hz
        at = octaves / octaves[-1] * (knots.shape[1] - 1.001)
        low, part = at.long(), at.frac()
        curve = knots[:, low] * (1 - part) + knots[:, low + 1] * part
        return 10 ** (curve / 20)[..., None]

    def __call__(self, mixture: SoloMixture, frames: int, rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
        """Return energy (bands, frames), cross (n, bands, frames), total (n,): ||S - mX||^2 = total - 2mc + m^2 e."""
        audio = torch.from_numpy(np.concatenate([mixture.sources, mixture.noise[None]]))
        energy, cross, total = self.of_batch(audio[None], frames, self.equalisers(len(audio), rng))
        return energy[0], cross[0], total[0]

    def of_batch(self, sources: Tensor, frames: int, equalisers: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Sources (B, S, n), the last one noise -> energy (B, bands, frames), cross (B, S - 1, ...), total (B, S - 1).

        `equalisers` (S, bins, 1) are gains of the sources.
        """
        if self.gather.device != sources.device:
            self.gather, self.window = self.gather.to(sources.device), self.window.to(sources.device)
        spectra = torch.stft(
            sources.flatten(0, 1), self.config.n_fft, self.config.hop_length, window=self.window, return_complex=True,
            pad_mode='constant',
        )[..., :frames].unflatten(0, sources.shape[:2])  # fmt: skip
        if equalisers is not None:
            spectra = spectra * equalisers
        mix = spectra.sum(1)
        energy = self.gather @ (mix.real**2 + mix.imag**2)
        wanted = spectra[:, :-1]
        cross = self.gather @ (wanted.real * mix.real[:, None] + wanted.imag * mix.imag[:, None])
        return energy, cross, (wanted.real**2 + wanted.imag**2).sum(dim=(2, 3))


class Book(Protocol):
    """Label -> a query vector."""

    def draw(self, label: str, rng: random.Random) -> np.ndarray: ...


class QueryBook:
    """Label -> query vectors. Around the concept's own vector come what encoders make of words and recordings."""

    def __init__(self, space: QuerySpace, variants: dict[str, np.ndarray] | None = None, spread: float = 0.45):
        self.space, self.variants, self.spread = space, variants or {}, spread

    def draw(self, label: str, rng: random.Random) -> np.ndarray:
        vector = self.space.vector(label)
        variants = self.variants.get(label)
        if variants is not None and rng.random() < 0.6:
            vector = variants[rng.randrange(len(variants))]
        if rng.random() < 0.5:
            noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(vector.shape)
            vector = vector + noise / math.sqrt(len(vector)) * self.spread * rng.random()
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def make_batch(
    mixer: MixtureMaker,
    features: Features,
    book: Book,
    rng: random.Random,
    size: int,
    frames: int,
    *,
    n_queries: int = MAX_SOURCES + 1,
    share_absent: float = 1.0,
    n_sources: int | None = None,
) -> dict[str, Tensor]:
    """Return a batch in which `n_queries` are asked of each mixture.

    They are for its sources in random order; where those do not suffice, and for the last one with probability
    `share_absent`, for something absent ('present' (size, n_queries) is 0 there).
    """
    bands, dim = features.config.bands, features.config.query_dim
    energy = torch.zeros(size, 1, bands, frames)
    cross = torch.zeros(size, n_queries, bands, frames)
    total = torch.ones(size, n_queries)
    present = torch.zeros(size, n_queries)
    query = torch.zeros(size, n_queries, dim)
    for b in range(size):
        mixture = mixer.draw(rng, n_sources)
        e, c, t = features(mixture, frames, rng)
        level = e.mean() + 1e-12
        energy[b, 0] = e / level
        wanted = n_queries - 1 if rng.random() < share_absent else n_queries
        sources = rng.sample(range(len(mixture.labels)), min(wanted, len(mixture.labels)))
        for i in range(n_queries):
            if i < len(sources):
                source = sources[i]
                label = mixture.labels[source]
                cross[b, i], total[b, i], present[b, i] = c[source] / level, t[source] / level, 1.0
            else:
                label = mixer.absent(mixture, rng)
            query[b, i] = torch.from_numpy(book.draw(label, rng))
    return {'energy': energy, 'cross': cross, 'total': total, 'present': present, 'query': query}


def error_db(mask: Tensor, energy: Tensor, cross: Tensor, total: Tensor) -> Tensor:
    """Error of the masked mixture against the source, dB per source (B, N); floored at -30."""
    error = total + (mask * (mask * energy - 2 * cross)).sum(dim=(2, 3))
    return 10 * torch.log10(error.clamp_min(0) / total + 1e-3)


def explained(mask: Tensor, energy: Tensor, cross: Tensor) -> Tensor:
    """Energy of the source (B, N) that the masked mixture holds at its best level; `total` has the rest."""
    return (mask * cross).sum(dim=(2, 3)).square() / (mask.square() * energy).sum(dim=(2, 3)).clamp_min(1e-12)


def scaled_error_db(mask: Tensor, energy: Tensor, cross: Tensor, total: Tensor) -> Tensor:
    """Minus the scale-invariant ratio of the masked mixture to the source, dB per source (B, N); -30 to 30."""
    part = torch.minimum(explained(mask, energy, cross) / total, torch.ones_like(total))
    return 10 * torch.log10((1 - part + 1e-3) / (part + 1e-3))


def loss_of(model: 'Small', batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the loss and the mean improvement in dB over taking the mixture itself."""
    energy, cross, total, present = (batch[key] for key in ('energy', 'cross', 'total', 'present'))
    masks = model(energy, batch['query'])
    error = error_db(masks, energy, cross, total)
    if isinstance(model, CLIPSepSmall) and len(model.noise):
        # Noise-invariant training: what is in the mixture without a label may go to one of the noise maps, whichever
        # source it is counted with. The noise maps must not do the sources' work, hence the price of their size.
        noise = model.noise_masks(energy, batch['query'][:, :2])
        explained = [torch.stack([masks[:, 0] + noise[:, i], masks[:, 1] + noise[:, 1 - i]], 1).clamp(max=1.0)
                     for i in (0, 1)]  # fmt: skip
        errors = torch.stack([error_db(m, energy, cross[:, :2], total[:, :2]).mean(dim=1) for m in explained])
        excess = torch.relu((noise.sum(dim=1, keepdim=True) * energy).sum() / energy.sum() - NOISE_SHARE)
        loss = errors.min(dim=0).values.mean() + NOISE_WEIGHT * excess
    else:
        # Silence costs the first measure nothing, and a network that is unsure stays with it; the second is measured.
        both = 0.5 * (error + scaled_error_db(masks, energy, cross, total))
        loss = (both * present).sum() / present.sum().clamp(min=1)
    let_through = (masks**2 * energy).sum(dim=(2, 3)) / energy.sum(dim=(2, 3))
    loss = loss + ABSENT_WEIGHT * (let_through * (1 - present)).sum() / (1 - present).sum().clamp(min=1)
    before = error_db(torch.ones_like(masks), energy, cross, total)
    gain = ((before - error) * present).sum() / present.sum().clamp(min=1)
    return loss, gain


POWERS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5)


@torch.no_grad()
def improvement_at(masks: Tensor, batch: dict[str, Tensor], power: float) -> Tensor:
    """SI-SDR improvement (B, N) in dB, in the band domain, with masks (B, N, bands, frames) raised to `power`."""
    energy, cross, total = (batch[key] for key in ('energy', 'cross', 'total'))

    def si_sdr(mask: Tensor) -> Tensor:
        part = explained(mask, energy, cross)
        return 10 * torch.log10(part / (total - part).clamp_min(1e-9) + 1e-9)

    return si_sdr(masks**power) - si_sdr(torch.ones_like(cross))


Small = CLIPSepSmall | BandSeparator  # both take energies and queries and give masks


def build_small(config: dict) -> Small:
    """Return the network that a checkpoint's configuration is of."""
    return BandSeparator(BandConfig(**config)) if 'asked' in config else CLIPSepSmall(SmallConfig(**config))


def load_small(path: Path) -> tuple[Small, dict]:
    """Return the model of a checkpoint and what is known about it."""
    return rebuild(path, build_small, 'an offline separator')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', nargs='+', type=Path, required=True, help='folders made by prepare-sounds or '
                        'prepare-bands; the first is for validation too')  # fmt: skip
    parser.add_argument('--space', type=Path, required=True, help='query space (.npz)')
    parser.add_argument('--queries', type=Path, help='.npz of label -> (n, 128): what the encoders make of each label')
    parser.add_argument('--out', type=Path, required=True, help='folder of the run')
    parser.add_argument('--minutes', type=minutes(), default=60, help='stop after this long; run again to go on')
    parser.add_argument('--total-minutes', type=minutes('--total-minutes'),
                        help='the learning rate reaches its end here')  # fmt: skip
    parser.add_argument('--batch', type=whole('--batch', 1, 65_536), default=16)
    parser.add_argument('--rate', type=number('--rate', above=0, high=10), default=2e-3)
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default='muon')
    parser.add_argument('--width', type=whole('--width', 1, 8192), help='of unet (24)')
    parser.add_argument('--max-width', type=whole('--max-width', 1, 8192), help='of unet (192)')
    parser.add_argument('--film', type=whole('--film', 0, 8192),
                        help='width of what steers the decoder of unet (64); 0: late fusion alone')  # fmt: skip
    parser.add_argument('--frames', type=whole('--frames', 1, 100000), default=128)
    parser.add_argument(
        '--start-from', type=Path, help='weights of another run; layers that they lack start from scratch'
    )
    parser.add_argument('--noise', type=share('--noise'),
                        help='share of mixtures in which a source holds noise without a label')  # fmt: skip
    parser.add_argument('--two', action='store_true', help='two sources in every mixture')
    parser.add_argument('--nit', action='store_true', help='train noise-invariantly (implies --two)')
    parser.add_argument('--speed', type=number('--speed', 0, 4, unit='octaves'), default=0.3,
                        help='octaves by which sources are faster or slower')  # fmt: skip
    parser.add_argument('--colour', type=number('--colour', 0, 60, unit='dB'), default=5.0,
                        help='dB of the equalisers that sources are heard through (a GPU has its own)')  # fmt: skip
    parser.add_argument('--network', choices=('bands', 'unet'), default='bands', help='the one that is shipped, or '
                        'CLIPSep-small')  # fmt: skip
    parser.add_argument('--device', type=a_device, default='cpu', help='cpu, or cuda: mixtures are then made there')
    parser.add_argument('--hours', type=number('--hours', 0, 100_000), default=40, help='of sound that a GPU holds')
    parser.add_argument('--no-check', dest='check', action='store_false', help='leave validation out')
    parser.add_argument('--seed', type=seed(), default=1)


def new_network(args: argparse.Namespace, query_dim: int) -> Small:
    """Return an untrained network of the kind that `args` asks for."""
    asked = {'width': args.width, 'max_width': args.max_width, 'film': args.film}
    given = {name: value for name, value in asked.items() if value is not None}
    if args.network == 'bands' and not args.nit:
        if given:
            raise GenaudioError(f'--{next(iter(given)).replace("_", "-")} is for --network unet.')
        return BandSeparator(BandConfig(query_dim=query_dim))
    sizes = {'width': 24, 'max_width': 192, 'film': 64} | given
    config = SmallConfig(**sizes, noise_heads=2 if args.nit else 0, query_dim=query_dim)
    return CLIPSepSmall(config).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def run(args: argparse.Namespace) -> dict:
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    if device.type == 'cpu':
        torch.set_num_threads(1)
    torch.set_float32_matmul_precision('high')
    space = QuerySpace.load(args.space)
    model = new_network(args, space.dim).to(device)
    config = model.config
    if args.start_from and not (args.out / 'last.pt').exists():
        begin_with(model, args.start_from)
    average = Average(model)
    optimiser = Optimizers(model, muon=args.optimizer == 'muon', axes=(2, 4))
    make_folder(args.out)
    state_path = args.out / 'last.pt'
    step, spent = 0, 0.0
    if state_path.exists():
        with reading_run(state_path):
            state = torch.load(state_path, weights_only=True, map_location=device)
            model.load_state_dict(state['model'])
            optimiser.resume(state['optimiser'])
            average.state, step, spent = state['average'], state['step'], state['spent']
        notice(f'going on from step {step}')
    seconds = args.frames * config.hop_length / config.sample_rate
    mixing = MixtureConfig(seconds=seconds, speed=args.speed, stems=SHARE_STEMS)
    if args.noise is not None:
        mixing = replace(mixing, noise=args.noise, noise_db=(-6.0, 3.0), noise_in_source=True)
    two = args.nit or args.two
    # What comes after the query runs for each: two are asked at a time there, all where that costs nothing.
    steered = isinstance(config, BandConfig) or config.film
    n_queries, share_absent = (2, SHARE_ABSENT) if steered else (MAX_SOURCES + 1, 1.0)
    if two:
        n_queries, share_absent = 3, 1.0
    variants: dict[str, np.ndarray] = {}
    if args.queries:
        variants = read_arrays(args.queries, 'table of queries')
    quiet = MixtureConfig(seconds=seconds, noise=0.0, related=0.0)
    exact = QueryBook(space, spread=0.0)
    held: list[dict[str, Tensor]] = []
    check_at = time.monotonic() + 150
    losses: list[Tensor] = []
    gains: list[Tensor] = []
    result: dict = {}
    total_minutes = args.total_minutes or spent + args.minutes
    before = spent

    def save() -> None:
        with atomic_write(state_path) as temporary:
            torch.save({'model': model.state_dict(), 'optimiser': optimiser.state_dict(), 'average': average.state,
                        'step': step, 'spent': spent}, temporary)  # fmt: skip
        plain = build_small(config.to_dict())
        plain.load_state_dict(average.state)
        plain.eval()
        valid = None
        if args.check and not held and (sounds := SoundSet(args.sounds[0])).select(split='valid', kind='solo'):
            watch, plain_features, draw = MixtureMaker(sounds, 'valid', quiet), Features(config), random.Random(9)
            held.extend(
                make_batch(watch, plain_features, exact, draw, 16, args.frames, n_queries=2, share_absent=0.0,
                           n_sources=2)
                for _ in range(8)
            )  # fmt: skip
        if held:
            with torch.inference_mode():
                valid = round(float(np.mean([loss_of(plain, batch)[1].item() for batch in held])), 3)
        row = {'step': step, 'minutes': round(spent, 2), 'loss': _mean(losses, 4), 'gain_db': _mean(gains, 3),
               'valid_gain_db': valid}  # fmt: skip
        asked = {'queries': space.queries} if space.queries else {}  # the user's own encoder: for the card
        save_checkpoint(args.out / 'best.safetensors', plain, config.to_dict(), **row, **asked)
        append_row(args.out / 'log.csv', row)
        losses.clear()
        gains.clear()
        result.update(row)
        print(json.dumps(row), flush=True)

    if device.type == 'cpu':
        features = Features(config, args.colour)
        book = QueryBook(space, variants)
        source = _ProcessorBatches(args, mixing, book, features, n_queries, share_absent, two, step)
    else:
        if two or args.noise is not None:
            raise GenaudioError('--two, --nit and --noise are for --device cpu.')
        bank = ClipStore(args.sounds, device, 1, args.hours)
        mixtures = MixturesOnDevice(bank, Features(config), query_vectors(space, variants), mixing, args.frames)
        source = DeviceBatches(mixtures, step, args.batch, n_queries, share_absent, args.seed)
    with source as batches, Budget(args.minutes) as budget:
        while budget:
            spent = before + budget.spent
            rate = args.rate * min(1.0, (step + 1) / 50) * cosine(spent / total_minutes)
            batch = next(batches)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type != 'cpu'):
                loss, gain = loss_of(model, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step(rate)
            average.update(model, step)
            losses.append(loss.detach())
            gains.append(gain.detach())
            step += 1
            if time.monotonic() > check_at:
                check_at = time.monotonic() + 240
                save()
    save()
    return result


def _mean(values: list[Tensor], digits: int) -> float:
    return round(float(torch.stack(values).mean()), digits) if values else 0.0


def query_vectors(space: QuerySpace, variants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return label -> vectors (n, D), of which two in five are the concept's own; see `QueryBook`."""
    found = {}
    for label in NAMES:
        own = np.asarray(space.vector(label), np.float32)[None]
        others = variants.get(label, own[:0])
        found[label] = np.concatenate([np.repeat(own, max(1, round(len(others) * 2 / 3)), 0), others])
    return found


class _ProcessorBatches:
    """Batches made by this processor."""

    def __init__(self, args: argparse.Namespace, mixing: MixtureConfig, book: QueryBook, features: Features,
                 n_queries: int, share_absent: float, two: bool, first: int):  # fmt: skip
        self.args, self.mixing, self.book, self.features, self.step = args, mixing, book, features, first
        self.asked = {'n_queries': n_queries, 'share_absent': share_absent, 'n_sources': 2 if two else None}
        self.mixer = MixtureMaker(SoundSet(*args.sounds), 'train', mixing)

    def __enter__(self) -> '_ProcessorBatches':
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __next__(self) -> dict[str, Tensor]:
        # Long runs read the index again: sounds may still be in the making.
        if self.step and self.step % 400 == 0:
            self.mixer = MixtureMaker(SoundSet(*self.args.sounds), 'train', self.mixing)
        rng = random.Random(self.args.seed * 1_000_003 + self.step)
        self.step += 1
        batch = make_batch(self.mixer, self.features, self.book, rng, self.args.batch, self.args.frames, **self.asked)
        batch['energy'] = batch['energy'].contiguous(memory_format=torch.channels_last)
        return batch
