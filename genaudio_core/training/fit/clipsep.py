"""The training loop of the offline separators: the band separator that is shipped, and CLIPSep-small.

On a processor one process and one thread make mixtures and learn from them; with `--device cuda` both happen on the
accelerator (``device_mixtures.py``). What a step draws depends on the seed, its number and the sounds that are there.

    genaudio-train fit clipsep --sounds data/sounds --space runs/query/space.npz --out runs/clipsep --minutes 60

The learning rate falls with the minutes spent of all that were planned (`--total-minutes`), and a running average of
the weights smooths what is left: a run may stop anywhere, and go on. What is saved as ``best.safetensors`` is that
average. ``log.csv`` holds training and validation (decibels of improvement over the mixture, in the band domain).
"""

import argparse
import contextlib
import functools
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from genaudio_core.command_line import number, share, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import read_arrays
from genaudio_core.models.band_separator import BandConfig, BandSeparator
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig
from genaudio_core.sound.spectrogram import bands_to_bins
from genaudio_core.training.loops.arguments import add_separator_arguments, limit_threads
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.checkpoints import begin_with, rebuild
from genaudio_core.training.loops.loop import Ahead, Trainee, train
from genaudio_core.training.loops.optimizers import Optimizers, cosine
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.mixtures.band_mixtures import BandMixtures
from genaudio_core.training.mixtures.clip_store import ClipStore
from genaudio_core.training.mixtures.device_mixtures import DeviceBatches, MixturesOnDevice
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker, SoloMixture
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.lexicon import NAMES, concept_called
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

    def of_band(self, mixture: Tensor, targets: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Stereo mixture (2, n), targets (N, 2, n) -> energy (bands, frames), cross (N, bands, frames), total (N,)."""
        together = torch.cat([mixture[None], targets]).transpose(0, 1)  # a channel is as good as a mixture of its own
        energy, cross, total = self.of_batch(together, frames, whole=True)
        return energy.sum(0), cross.sum(0), total.sum(0)

    def of_batch(
        self, sources: Tensor, frames: int, equalisers: Tensor | None = None, *, whole: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Sources (B, S, n), the last one noise -> energy (B, bands, frames), cross (B, S - 1, ...), total (B, S - 1).

        `equalisers` (S, bins, 1) are gains of the sources. With `whole` the first one is the mixture, and the others
        are what is wanted of it.
        """
        if self.gather.device != sources.device:
            self.gather, self.window = self.gather.to(sources.device), self.window.to(sources.device)
        spectra = torch.stft(
            sources.flatten(0, 1), self.config.n_fft, self.config.hop_length, window=self.window, return_complex=True,
            pad_mode='constant',
        )[..., :frames].unflatten(0, sources.shape[:2])  # fmt: skip
        if equalisers is not None:
            spectra = spectra * equalisers
        mix, wanted = (spectra[:, 0], spectra[:, 1:]) if whole else (spectra.sum(1), spectra[:, :-1])
        energy = self.gather @ (mix.real**2 + mix.imag**2)
        cross = self.gather @ (wanted.real * mix.real[:, None] + wanted.imag * mix.imag[:, None])
        return energy, cross, (wanted.real**2 + wanted.imag**2).sum(dim=(2, 3))


class Book(Protocol):
    """Label -> a query vector."""

    def draw(self, label: str, rng: random.Random) -> np.ndarray:
        """A query (dim,) for the sounds of a label."""
        ...


class QueryBook:
    """Label -> query vectors. Around the concept's own vector come what encoders make of words and recordings."""

    def __init__(self, space: QuerySpace, variants: dict[str, np.ndarray] | None = None, spread: float = 0.45):
        self.space, self.variants, self.spread = space, variants or {}, spread

    def draw(self, label: str, rng: random.Random) -> np.ndarray:
        """A query (dim,); see `Book`."""
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
    whole: BandMixtures | None = None,
    share_bands: float = 0.0,
) -> dict[str, Tensor]:
    """Return a batch in which `n_queries` are asked of each mixture.

    They are for its sources in random order; where those do not suffice, and for the last one with probability
    `share_absent`, for something absent ('present' (size, n_queries) is 0 there). `share_bands` of the mixtures are
    drawn from `whole`, which knows how many queries it is asked for.
    """
    bands, dim = features.config.bands, features.config.query_dim
    energy = torch.zeros(size, 1, bands, frames)
    cross = torch.zeros(size, n_queries, bands, frames)
    total = torch.ones(size, n_queries)
    present = torch.zeros(size, n_queries)
    query = torch.zeros(size, n_queries, dim)
    for b in range(size):
        if whole is not None and rng.random() < share_bands:
            band = whole.draw(np.random.default_rng(rng.getrandbits(64)))
            e, c, t = features.of_band(torch.from_numpy(band.mixture), torch.from_numpy(band.targets), frames)
            level = e.mean() + 1e-12
            heard = t > 1e-3 * t.max()
            energy[b, 0], cross[b], present[b] = e / level, c / level, heard.float()
            total[b] = torch.where(heard, t / level, 1.0)
            names = [concept_called(word) or word for word in band.queries]
            query[b] = torch.from_numpy(np.stack([book.draw(name, rng) for name in names]))
            continue
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
    """Return the loss () of a batch, and the mean improvement () in dB over taking the mixture itself."""
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
    parser.add_argument('--width', type=whole('--width', 1, 8192), help='of unet (24)')
    parser.add_argument('--max-width', type=whole('--max-width', 1, 8192), help='of unet (192)')
    parser.add_argument('--film', type=whole('--film', 0, 8192),
                        help='width of what steers the decoder of unet (64); 0: late fusion alone')  # fmt: skip
    parser.add_argument('--frames', type=whole('--frames', 1, 100000), default=128)
    parser.add_argument('--noise', type=share('--noise'),
                        help='share of mixtures in which a source holds noise without a label')  # fmt: skip
    parser.add_argument('--bands', type=share('--bands'), default=0.0, metavar='SHARE',
                        help='of mixtures that are whole bands, asked for by family')  # fmt: skip
    parser.add_argument('--ask', type=whole('--ask', 1, 64), help='queries for each mixture (2)')
    parser.add_argument('--two', action='store_true', help='two sources in every mixture')
    parser.add_argument('--nit', action='store_true', help='train noise-invariantly (implies --two)')
    parser.add_argument('--speed', type=number('--speed', 0, 4, unit='octaves'), default=0.3,
                        help='octaves by which sources are faster or slower')  # fmt: skip
    parser.add_argument('--colour', type=number('--colour', 0, 60, unit='dB'), default=5.0,
                        help='dB of the equalisers that sources are heard through (a GPU has its own)')  # fmt: skip
    parser.add_argument('--network', choices=('bands', 'unet'), default='bands', help='the one that is shipped, or '
                        'CLIPSep-small')  # fmt: skip
    add_separator_arguments(parser, batch=16, valid_every=4)


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
    limit = TimeLimit.of(args)
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    limit_threads(args.threads)
    torch.set_float32_matmul_precision('high')
    space = QuerySpace.load(args.space)
    if device.type == 'cpu':
        SoundSet(*args.sounds)  # what is wrong with them is told before there is a run folder
    model = new_network(args, space.dim).to(device)
    config = model.config
    if args.start_from:
        begin_with(model, args.start_from)
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
    n_queries = args.ask or n_queries
    variants = read_arrays(args.queries, 'table of queries') if args.queries else {}
    if any(array.shape[1:] != (space.dim,) for array in variants.values()):
        raise GenaudioError(
            f'{args.queries} is not a table of queries of {space.dim} numbers, as query-space makes it.'
        )

    @contextlib.contextmanager
    def made_here(step: int) -> Iterator[Iterator[dict[str, Tensor]]]:
        asked = {'n_queries': n_queries, 'share_absent': share_absent, 'n_sources': 2 if two else None}
        if args.bands:
            sets = [SoundSet(folder) for folder in args.sounds]
            long = args.frames * config.hop_length
            asked |= {
                'share_bands': args.bands,
                'whole': BandMixtures(sets, 'train', n_queries=n_queries, n_samples=long),
            }
        yield _made_here(args, mixing, QueryBook(space, variants), Features(config, args.colour), step, asked)

    def made_there(step: int) -> DeviceBatches:
        bank = ClipStore(args.sounds, device, 1, args.hours)
        mixtures = MixturesOnDevice(bank, Features(config), query_vectors(space, variants), mixing, args.frames)
        return DeviceBatches(mixtures, step, args.batch, n_queries, share_absent, args.seed)

    if device.type != 'cpu' and (two or args.noise is not None or args.bands):
        raise GenaudioError('--two, --nit, --noise and --bands are for --device cpu.')

    def loss(batch: dict[str, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != 'cpu'):
            value, gain = loss_of(model, batch)
        return value, args.batch, {'gain_db': gain.detach()}

    @functools.cache
    def held_out() -> list[dict[str, Tensor]]:
        sounds = SoundSet(args.sounds[0])
        if not sounds.select(split='valid', kind='solo'):
            return []
        quiet = MixtureConfig(seconds=seconds, noise=0.0, related=0.0)
        mixer, features, rng = MixtureMaker(sounds, 'valid', quiet), Features(config), random.Random(9)
        return [
            make_batch(mixer, features, QueryBook(space, spread=0.0), rng, 16, args.frames, n_queries=2,
                       share_absent=0.0, n_sources=2)
            for _ in range(8)
        ]  # fmt: skip

    def validate(network: nn.Module) -> dict[str, float]:
        if not args.valid_every or not held_out():
            return {'valid_gain_db': math.nan}
        plain = network.cpu()
        assert isinstance(plain, Small)
        with torch.inference_mode():
            return {'valid_gain_db': float(np.mean([loss_of(plain, batch)[1].item() for batch in held_out()]))}

    with Ahead(made_here if device.type == 'cpu' else made_there) as batches:
        trainee = Trainee(
            model, config.to_dict(), {'model': config.to_dict(), 'seed': args.seed}, batches, loss, validate,
            lambda step, share: args.rate * min(1.0, (step + 1) / 50) * cosine(share),
            Optimizers(model, muon=args.optimizer == 'muon', axes=(2, 4)), total_minutes=args.total_minutes,
            watch='valid_gain_db', average=Average(model), clip=5.0,
            info={'queries': space.queries} if space.queries else {},  # the user's own encoder: for the card
        )  # fmt: skip
        return train(trainee, args.out, limit, steps=args.steps, every_minutes=args.valid_every or math.inf)


def query_vectors(space: QuerySpace, variants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return label -> vectors (n, D), of which two in five are the concept's own; see `QueryBook`."""
    found = {}
    for label in NAMES:
        own = np.asarray(space.vector(label), np.float32)[None]
        others = variants.get(label, own[:0])
        found[label] = np.concatenate([np.repeat(own, max(1, round(len(others) * 2 / 3)), 0), others])
    return found


def _made_here(
    args: argparse.Namespace, mixing: MixtureConfig, book: QueryBook, features: Features, step: int, asked: dict
) -> Iterator[dict[str, Tensor]]:
    """Yield the batches from `step` on, made by this processor."""
    mixer = MixtureMaker(SoundSet(*args.sounds), 'train', mixing)
    while True:
        # Long runs read the index again: sounds may still be in the making.
        if step and step % 400 == 0:
            mixer = MixtureMaker(SoundSet(*args.sounds), 'train', mixing)
        rng = random.Random(args.seed * 1_000_003 + step)
        step += 1
        batch = make_batch(mixer, features, book, rng, args.batch, args.frames, **asked)
        batch['energy'] = batch['energy'].contiguous(memory_format=torch.channels_last)
        yield batch
