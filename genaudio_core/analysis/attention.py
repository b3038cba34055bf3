"""Where does the model look? Mean relative attention and its gain, field by field (MMT paper, section 5).

For a field d and a difference k the mean relative attention is the share of all attention that goes from an event to
one whose value of d is greater by k (negative: lower, or earlier). The gain is what remains of it when the share that
even attention would give is taken off. Two definitions:

``paper``
    Pairs of an event and one strictly before it, for the attention and for what even attention would give.
``code``
    What the published script does: the attention of an event to itself counts, and 'even' counts all ordered pairs,
    also those to the future, which a causal model cannot see. Its gains therefore favour the past. The first event is
    never the one that looks, and the last one never what is looked at.

Pairs in which the field is undefined on either side do not count. The ratio is the mean relative attention over what
even attention would give. The absolute tables (type, duration, instrument) are the published script's, with its edges:
how the attention of events of one class is shared out among the classes that they look at.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudio_core.files import atomic_write
from genaudio_core.models.mmt import MMT
from genaudio_core.music.events import timeline
from genaudio_core.music.layouts import METER, NOTE, RESOLUTION, Encoding

FIELDS = ('beat', 'position', 'pitch', 'duration', 'instrument')  # those in which a difference says something
DEFINITIONS = ('paper', 'code')
TABLES = ('type', 'duration', 'instrument')  # fields with an absolute table
_SHOWN = {'beat': (-40, 4), 'position': (-11, 11), 'pitch': (-36, 36), 'duration': (-31, 31), 'instrument': (-64, 64)}


@dataclass
class FieldAttention:
    """Attention of every head by difference; index ``k + reach`` holds the difference k."""

    reach: int
    layers: int
    heads: int
    weight: dict[str, np.ndarray] = field(default_factory=dict)  # definition -> (layers, heads, 2 * reach + 1)
    pairs: dict[str, np.ndarray] = field(default_factory=dict)  # definition -> (2 * reach + 1,)

    def __post_init__(self):
        width = 2 * self.reach + 1
        for definition in DEFINITIONS:
            self.weight[definition] = np.zeros((self.layers, self.heads, width))
            self.pairs[definition] = np.zeros(width)

    def mean(self, definition: str = 'paper') -> np.ndarray:
        """Mean relative attention, (layers, heads, differences); each head sums to 1."""
        weight = self.weight[definition]
        total = weight.sum(-1, keepdims=True)
        return np.divide(weight, total, out=np.zeros_like(weight), where=total > 0)

    def even(self, definition: str = 'paper') -> np.ndarray:
        """The figures of even attention, (differences,)."""
        return self.pairs[definition] / max(self.pairs[definition].sum(), 1)

    def gain(self, definition: str = 'paper') -> np.ndarray:
        """Mean relative attention gain, (layers, heads, differences)."""
        return self.mean(definition) - self.even(definition)

    def ratio(self, definition: str = 'paper') -> np.ndarray:
        """Mean relative attention over what even attention would give, (layers, heads, differences).

        nan where no pair has the difference.
        """
        mean, even = self.mean(definition), self.even(definition)
        return np.divide(mean, even, out=np.full_like(mean, np.nan), where=np.broadcast_to(even > 0, mean.shape))


@dataclass
class ClassAttention:
    """Attention from events of one class of a field to those of another: weight (layers, heads, classes, classes)."""

    weight: np.ndarray  # from (rows) to (columns)

    def share(self) -> np.ndarray:
        """How each class shares out its attention, of the shape of `weight`: rows sum to 1, or are 0 unseen."""
        total = self.weight.sum(-1, keepdims=True)
        return np.divide(self.weight, total, out=np.zeros_like(self.weight), where=total > 0)

    def add(self, code: np.ndarray, weights: torch.Tensor, *, with_zero: bool) -> None:
        """Add one sequence: codes (time,), weights (layers, heads, time, time), as the published script counts."""
        n = self.weight.shape[-1]
        codes = torch.from_numpy(code)
        seen = published_pairs(len(code))
        if not with_zero:
            seen &= (codes[:, None] > 0) & (codes[None, :] > 0)
        index = (codes[:, None] * n + codes[None, :])[seen]
        hist = torch.zeros(weights.shape[0] * weights.shape[1], n * n, dtype=torch.float64)
        hist.index_add_(1, index, weights.flatten(0, 1)[:, seen].double())
        self.weight += hist.view(self.weight.shape).numpy()


def published_pairs(time: int) -> torch.Tensor:
    """Pairs of query (row) and key (column) that the published script looks at, (time, time) bool."""
    pairs = torch.ones(time, time, dtype=torch.bool)
    pairs[0], pairs[:, -1] = False, False
    return pairs


def values(events: np.ndarray, encoding: Encoding) -> dict[str, np.ndarray]:
    """Value (n,) of each field of events (n, fields), 0 where it is undefined; beats are absolute in every layout."""
    found = {name: events[:, encoding.index(name)].astype(np.int64) for name in FIELDS}
    timed = (events[:, 0] == NOTE) | (events[:, 0] == METER)
    found['beat'] = np.where(timed, timeline(events, encoding)[0] // RESOLUTION + 1, 0)
    return found


def _reach(name: str, encoding: Encoding) -> int:
    return 256 if name == 'beat' else encoding.sizes[encoding.index(name)]


def accumulate(attention: FieldAttention, value: np.ndarray, weights: torch.Tensor) -> None:
    """Add one sequence: value (time,), weights (layers, heads, time, time) from query (row) to key (column)."""
    code = torch.from_numpy(value)
    difference = code[None, :] - code[:, None]  # key minus query
    known = (code[None, :] > 0) & (code[:, None] > 0) & (difference.abs() <= attention.reach)
    for definition in DEFINITIONS:
        if definition == 'paper':
            seen = even = known.tril(-1)
        else:
            even = known & published_pairs(len(value))
            seen = even.tril()
        width = 2 * attention.reach + 1
        index = difference[seen] + attention.reach
        hist = torch.zeros(weights.shape[0] * weights.shape[1], width, dtype=torch.float64)
        hist.index_add_(1, index, weights.flatten(0, 1)[:, seen].double())
        attention.weight[definition] += hist.view(*weights.shape[:2], width).numpy()
        attention.pairs[definition] += torch.bincount(difference[even] + attention.reach, minlength=width).numpy()


@torch.no_grad()
def study_with_tables(
    model: MMT, sequences: Iterable[np.ndarray]
) -> tuple[dict[str, FieldAttention], dict[str, ClassAttention]]:
    """Attention of all layers and heads over teacher-forced sequences (n, fields), and the tables of `TABLES`."""
    config = model.config
    sizes = {name: config.layout.sizes[config.layout.index(name)] for name in TABLES}
    tables = {name: ClassAttention(np.zeros((config.layers, config.heads, n, n))) for name, n in sizes.items()}
    result = {
        name: FieldAttention(_reach(name, config.layout), config.layers, config.heads) for name in FIELDS
    }  # fmt: skip
    model.eval()
    for sequence in sequences:
        step, phase = timeline(sequence, config.layout)
        events, *times = (torch.from_numpy(np.asarray(a, np.int64))[None] for a in (sequence, step, phase))
        weights: list[torch.Tensor] = []
        model(events, *times, weights=weights)
        stacked = torch.cat(weights)  # batch of one: (layers, heads, time, time)
        for name, value in values(sequence, config.layout).items():
            accumulate(result[name], value, stacked)
        for name, table in tables.items():
            codes = sequence[:, config.layout.index(name)].astype(np.int64)
            table.add(codes, stacked, with_zero=name == 'type')
    return result, tables


def strongest(result: dict[str, FieldAttention], n: int = 5, definition: str = 'paper') -> dict[str, list[dict]]:
    """For each field the differences that all heads of the last layer favour most."""
    found = {}
    for name, attention in result.items():
        gain = attention.gain(definition)[-1].mean(0)
        order = np.argsort(-gain)[:n]
        found[name] = [{'difference': int(k) - attention.reach, 'gain': float(gain[k])} for k in order]
    return found


def draw(result: dict[str, FieldAttention], path: Path, *, layers: str = 'last', title: str = '') -> None:
    """Heat maps: a row of panels for each field, difference across, heads down.

    Parameters
    ----------
    layers : 'last' (as the paper) or 'all' (every head of every layer, layer by layer)
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = ('mean relative attention', "gain (the paper's definition)", "gain (the published script's)",
               "ratio (the published script's)")  # fmt: skip
    figure = Figure(figsize=(20, 2.4 * len(result)), layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title)
    panels = figure.subplots(len(result), len(columns), squeeze=False)
    for row, (name, attention) in zip(panels, result.items(), strict=True):
        low, high = _SHOWN[name]
        low, high = max(low, -attention.reach), min(high, attention.reach)
        part = slice(low + attention.reach, high + attention.reach + 1)
        # A ratio of 1 is even attention: shown as what it is above or below that.
        ratio = np.nan_to_num(attention.ratio('code') - 1)
        grids = [attention.mean(), attention.gain('paper'), attention.gain('code'), ratio]
        for axes, grid, label in zip(row, grids, columns, strict=True):
            shown = (grid[-1:] if layers == 'last' else grid).reshape(-1, grid.shape[-1])[:, part]
            # The difference 0 would drown all others; the scale is that of the rest.
            rest = np.delete(shown, -low, axis=1)
            peak = float(np.abs(rest).max(initial=1e-9))
            gain = not label.startswith('mean')
            picture = axes.imshow(
                shown, aspect='auto', interpolation='none', cmap='RdBu_r' if gain else 'Blues',
                vmin=-peak if gain else 0, vmax=peak, extent=(low - 0.5, high + 0.5, len(shown) + 0.5, 0.5),
            )  # fmt: skip
            figure.colorbar(picture, ax=axes, shrink=0.8)
            axes.set_title(f'{name}: {label}', fontsize=9)
            axes.set_xticks(_ticks(name, low, high))
            axes.set_ylabel('head' if layers == 'last' else 'layer x head', fontsize=8)
            if layers == 'all':
                for border in range(1, grid.shape[0]):
                    axes.axhline(border * grid.shape[1] + 0.5, color='black', linewidth=0.5)
    metadata: dict[str, Any] | None = {'Software': 'genaudio'} if path.suffix == '.png' else None
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata=metadata)


def _ticks(name: str, low: int, high: int) -> list[int]:
    every = {'beat': 4, 'position': 3, 'pitch': 12, 'duration': 8, 'instrument': 16}[name]
    return [k for k in range(low, high + 1) if k % every == 0]


def draw_tables(tables: dict[str, ClassAttention], path: Path, *, title: str = '') -> None:
    """Heat maps of the last layer, mean over heads: what events of a class (across) look at (down)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * len(tables), 6), layout='constrained')
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    for axes, (name, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        picture = axes.imshow(table.share()[-1].mean(0).T, cmap='Blues', interpolation='none')
        figure.colorbar(picture, ax=axes, shrink=0.8)
        axes.set_title(f'{name}: share of attention')
        axes.set_xlabel('class that looks')
        axes.set_ylabel('class looked at')
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)


def save(
    result: dict[str, FieldAttention], path: Path, tables: dict[str, ClassAttention] | None = None,
    cosines: dict[str, np.ndarray] | None = None,
) -> None:  # fmt: skip
    """All numbers behind the figures, as .npz.

    ``<field>/<definition>/weight`` and ``.../pairs``; ``table/<field>`` (layers, heads, from, to); ``cosine/<what>``.
    """
    arrays: dict[str, Any] = {f'table/{name}': table.weight for name, table in (tables or {}).items()}
    arrays |= {f'cosine/{name}': matrix for name, matrix in (cosines or {}).items()}
    for name, attention in result.items():
        for definition in DEFINITIONS:
            arrays[f'{name}/{definition}/weight'] = attention.weight[definition]
            arrays[f'{name}/{definition}/pairs'] = attention.pairs[definition]
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)
