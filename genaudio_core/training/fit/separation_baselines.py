"""CLIPSep-small beside its baselines, trained alike: one network, other sources of the query.

    text    what ours is asked by: the words' places in the query space
    nit     the same, trained noise-invariantly: it goes on from text's weights, where those stand after `warmup` steps
            (from the start the noise heads, which an order is chosen for as in pit, do the queries' work)
    bert    BERTSep: the sentence encoder's own vectors (all-MiniLM-L6-v2; needs the teacher), as they are
    label   LabelSep: a learned vector for each label, which no other word can reach
    pit     no query at all: two masks, and the better order of the two (an oracle chooses in tests too)

All ways step together on the very same mixtures, so a run may be stopped anywhere and they have still seen the same.
Making a mixture costs as much as learning from it, and is paid once. Fusion is late, as published (``--film 0``).
In a third of the mixtures one source holds noise that its label does not name, as recordings from the world do: the
network is told to give that noise with the source, and NIT's noise heads are what lets it refuse. (Noise beside the
sources would need no NIT: every loss then says that it belongs to none.)

Queries are rows of a table, picked by one-hot labels. For LabelSep the table is the identity: a linear layer on a
one-hot vector *is* a learned vector for each label.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import atomic_write, make_folder, read_arrays
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig
from genaudio_core.training.fit.clipsep import Features, error_db, loss_of, make_batch
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.checkpoints import begin_with
from genaudio_core.training.loops.loop import Trainee
from genaudio_core.training.loops.loop import train as train_in_loop
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.loops.run_folder import Run, reading_run
from genaudio_core.training.loops.time_limit import TimeLimit
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker
from genaudio_core.training.queries.space import QuerySpace, encode_with_teacher
from genaudio_core.training.sounds.packed_clips import SoundSet

WAYS: dict[str, tuple[str, int]] = {
    'text': ('text', 0), 'nit': ('text', 2), 'bert': ('bert', 0), 'label': ('label', 0), 'pit': ('none', 0),
}  # fmt: skip
"""Name -> source of the query, noise heads."""
N_QUERIES = 3  # two sources and something absent
NOISE_DB = (-6.0, 3.0)  # of the unlabelled noise against a source: as loud as what is asked for
GAMMA, LOUD = 0.25, 30.0  # of the published loss: share of bins free to noise, and what stands for its levels
WARMUP, FALL = 50, 200  # steps until the learning rate is there, and from which it falls


@dataclass(frozen=True)
class Plan:
    """Settings that must stay the same from the first step of a run to its last."""

    ways: tuple[str, ...] = tuple(WAYS)
    batch: int = 16
    frames: int = 64
    width: int = 16
    max_width: int = 160
    film: int = 0
    rate: float = 2e-3
    warmup: int = 300  # steps after which nit goes on from text's weights
    optimizer: str = 'adam'  # Muon's matrices cost more here than forward and backward
    loss: str = 'db'  # or 'published': binary cross-entropy per bin, for text and nit
    noise: float = 1 / 3  # share of mixtures with unlabelled noise
    seed: int = 1

    def __post_init__(self):
        for way in self.ways:
            if way not in WAYS:
                raise GenaudioError(f"Unknown way '{way}'.{did_you_mean(way, WAYS)} There are: {', '.join(WAYS)}.")
        if self.loss not in ('db', 'published'):
            raise GenaudioError(f"The loss is 'db' or 'published', not '{self.loss}'.")
        if 'nit' in self.ways and 'text' not in self.ways:
            raise GenaudioError("'nit' goes on from the weights of 'text': name both.")
        if not self.ways or min(self.batch, self.frames) < 1 or not 0 <= self.noise <= 1:
            raise GenaudioError('Batch and frames must be at least 1, the share of noise 0 to 1.')


class OneHotBook:
    """Label -> which row of a table it is: the query book of all ways at once."""

    def __init__(self, names: Sequence[str]):
        self.rows = {name: row for row, name in enumerate(names)}

    def draw(self, label: str, rng: random.Random) -> np.ndarray:
        """A query (labels,); see `Book`."""
        vector = np.zeros(len(self.rows), np.float32)
        vector[self.rows[label]] = 1.0
        return vector


def make_tables(space: QuerySpace, ways: Sequence[str]) -> dict[str, np.ndarray]:
    """Return source of the query -> (n_labels, dim), rows of length one; 'none' has two rows, one per mask."""
    tables: dict[str, np.ndarray] = {}
    for source in {WAYS[way][0] for way in ways}:
        if source == 'text':
            tables[source] = np.asarray(space.concepts, np.float32)
        elif source == 'bert':
            tables[source] = encode_with_teacher(space.names)
        else:
            tables[source] = np.eye(2 if source == 'none' else len(space.names), dtype=np.float32)
    return tables


def pit_loss(model: CLIPSepSmall, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss and improvement in dB of two masks in the better order, per mixture; queries (B, 2, 2)."""
    energy, cross, total = batch['energy'], batch['cross'][:, :2], batch['total'][:, :2]
    masks = model(energy, batch['query'])
    orders = torch.stack([error_db(m, energy, cross, total).mean(dim=1) for m in (masks, masks.flip(1))])
    error = orders.min(dim=0).values.mean()
    return error, error_db(torch.ones_like(masks), energy, cross, total).mean() - error


def published_loss(model: CLIPSepSmall, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Loss () as the CLIPSep paper has it (section 3), and improvement () in dB: is a bin mostly this source's?

    Weighted binary cross-entropy per bin. With noise heads, each source may be explained by its own mask and one of the
    noise masks, in the better of the two orders; what noise masks fill beyond `GAMMA` of the bins costs.
    """
    energy, cross, total = batch['energy'], batch['cross'][:, :2], batch['total'][:, :2]
    query = batch['query'][:, :2]
    masks = model(energy, query)
    # The paper asks whether |S| > |X| / 2; the part of S in phase with X is what a mask could give.
    wanted = (cross > 0.5 * energy).float()
    weight = torch.log1p(LOUD * energy.sqrt()).clamp(1e-3, 10.0)

    def entropy(mask: Tensor) -> Tensor:
        each = torch.nn.functional.binary_cross_entropy(mask.clamp(0, 1), wanted, reduction='none')
        return (weight * each).mean(dim=(1, 2, 3))

    if model.config.noise_heads:
        noise = model.noise_masks(energy, query)
        loss = torch.stack([entropy(masks + n) for n in (noise, noise.flip(1))]).min(dim=0).values.mean()
        loss = loss + 0.1 * torch.relu(noise.sum(dim=1).mean() - GAMMA)
    else:
        loss = entropy(masks).mean()
    before = error_db(torch.ones_like(masks), energy, cross, total)
    return loss, (before - error_db(masks, energy, cross, total)).mean()


class Rows:
    """The networks of a run folder, with their optimisers and averages.

    `start_from` is a checkpoint of CLIPSep-small that the ways with text queries begin with.
    """

    def __init__(self, folder: Path, plan: Plan, space: QuerySpace | None = None, start_from: Path | None = None):
        self.folder, self.plan = folder, plan
        table_path = folder / 'tables.npz'
        if not table_path.exists():
            if space is None:
                raise GenaudioError(f'{folder} is not a comparison; train one first.')
            make_folder(folder)
            made = make_tables(space, plan.ways)
            with atomic_write(table_path) as temporary, open(temporary, 'wb') as file:
                np.savez(file, names=np.array(space.names), **made)  # pyright: ignore[reportArgumentType]
        saved = Run(folder, self.settings).load()
        with reading_run(table_path):
            tables = read_arrays(table_path, 'table of queries')
            self.names = [str(name) for name in tables.pop('names')]
            self.tables = {key: torch.from_numpy(table) for key, table in tables.items()}
        self.models: dict[str, CLIPSepSmall] = {}
        for way in plan.ways:
            source, heads = WAYS[way]
            torch.manual_seed(plan.seed)  # what networks have in common begins alike
            config = SmallConfig(width=plan.width, max_width=plan.max_width, film=plan.film, noise_heads=heads,
                                 query_dim=self.tables[source].shape[1])  # fmt: skip
            self.models[way] = CLIPSepSmall(config)
            if start_from is not None and saved is None and source == 'text':
                begin_with(self.models[way], start_from)
        self.all = nn.ModuleDict(self.models)
        self.average = Average(self.all)
        parts = [Optimizers(model, muon=plan.optimizer == 'muon', axes=(2, 4)).parts for model in self.models.values()]
        self.optimizers = Optimizers.of(*(part for own in parts for part in own))
        self.step = 0
        if saved is not None:
            with reading_run(folder / 'last.optimizer'):
                self.average.state, self.step = saved['average'], saved['step']

    @property
    def settings(self) -> dict:
        """The plan, as a run folder keeps it."""
        return {**asdict(self.plan), 'ways': list(self.plan.ways)}

    def query(self, way: str, one_hot: Tensor) -> Tensor:
        """One-hot labels (B, N, n_labels) -> queries (B, N, dim); two fixed ones where nothing is asked."""
        table = self.tables[WAYS[way][0]]
        return table.expand(len(one_hot), -1, -1) if WAYS[way][0] == 'none' else one_hot @ table

    @property
    def trained(self) -> list[str]:
        """The ways that have taken steps: nit waits for text's weights."""
        return [way for way in self.models if way != 'nit' or self.step > self.plan.warmup]

    def averaged(self, way: str) -> CLIPSepSmall:
        """Return the network to be used: its running average."""
        model = CLIPSepSmall(self.models[way].config)
        prefix = f'{way}.'
        own = {name[len(prefix) :]: value for name, value in self.average.state.items() if name.startswith(prefix)}
        model.load_state_dict(own)
        return model.eval()

    def begin_step(self, step: int) -> None:
        """Count a step; where its time has come, give the noise-invariant network the weights of the plain one."""
        self.step = step
        if step == self.plan.warmup and 'nit' in self.models:  # its noise heads are its own
            self.models['nit'].load_state_dict(self.models['text'].state_dict(), strict=False)
            text = {name: value for name, value in self.average.state.items() if name.startswith('text.')}
            self.average.state |= {f'nit.{name[5:]}': value.clone() for name, value in text.items()}

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
        """Return the sum () of all losses, and way -> improvement in dB (of the training mixtures)."""
        losses, gains = [], {}
        for way, model in self.models.items():
            if way == 'nit' and self.step < self.plan.warmup:
                gains[way] = torch.tensor(math.nan)
                continue
            own = {**batch, 'query': self.query(way, batch['query'])}
            measure = published_loss if self.plan.loss == 'published' else loss_of
            loss, gain = (pit_loss if WAYS[way][0] == 'none' else measure)(model, own)
            losses.append(loss)
            gains[way] = gain.detach()
        return torch.stack(losses).sum(), self.plan.batch, gains


def train(rows: Rows, sounds: SoundSet, steps: int, limit: TimeLimit | None = None) -> None:
    """Train all ways up to `steps` in all, or until the time is up; what is there is saved."""
    plan = rows.plan
    some = next(iter(rows.models.values())).config
    config = replace(some, query_dim=len(rows.names))
    seconds = plan.frames * config.hop_length / config.sample_rate
    mixing = MixtureConfig(seconds=seconds, noise=plan.noise, noise_db=NOISE_DB, noise_in_source=True)
    mixer = MixtureMaker(sounds, 'train', mixing)
    features, book = Features(config), OneHotBook(rows.names)

    def batch(step: int, _: int) -> dict[str, Tensor]:
        rng = random.Random(plan.seed * 1_000_003 + step)
        return make_batch(mixer, features, book, rng, plan.batch, plan.frames, n_queries=N_QUERIES, n_sources=2)

    def rate(step: int, _: float) -> float:
        # It falls with the root of the steps and weights are averaged: a run may stop anywhere, and go on.
        return plan.rate * min(1.0, (step + 1) / WARMUP, (FALL / (step + 1)) ** 0.5)

    trainee = Trainee(
        rows.all, rows.settings, rows.settings, batch, rows.loss, lambda network: {}, rate, rows.optimizers,
        average=rows.average, clip=5.0, apart=[*rows.models.values()], before_step=rows.begin_step,
    )  # fmt: skip
    rows.step = train_in_loop(trainee, rows.folder, limit or TimeLimit(), steps=steps, every_steps=50)['step']
