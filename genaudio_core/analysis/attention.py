"""Where does the model look? Mean relative attention and its gain, field by field (MMT paper, section 5).

For a field d and a difference k the mean relative attention is the share of all attention that goes from an event to
one whose value of d is greater by k (negative: lower, or earlier). The gain is what remains of it when the share that
even attention would give is taken off. Two definitions:

``paper``
    Pairs of an event and one strictly before it, for the attention and for what even attention would give.
``code``
    What the published script does: the attention of an event to itself counts, and 'even' counts all ordered pairs,
    also those to the future, which a causal model cannot see. Its gains therefore favour the past.

Pairs in which the field is undefined on either side do not count.
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
        """What even attention would give, (differences,)."""
        return self.pairs[definition] / max(self.pairs[definition].sum(), 1)

    def gain(self, definition: str = 'paper') -> np.ndarray:
        """Mean relative attention gain, (layers, heads, differences)."""
        return self.mean(definition) - self.even(definition)


def values(events: np.ndarray, encoding: Encoding) -> dict[str, np.ndarray]:
    """Value of each field of each event, 0 where it is undefined; beats are absolute in every layout."""
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
        seen = known.tril(-1 if definition == 'paper' else 0)
        even = seen if definition == 'paper' else known
        width = 2 * attention.reach + 1
        index = difference[seen] + attention.reach
        hist = torch.zeros(weights.shape[0] * weights.shape[1], width, dtype=torch.float64)
        hist.index_add_(1, index, weights.flatten(0, 1)[:, seen].double())
        attention.weight[definition] += hist.view(*weights.shape[:2], width).numpy()
        attention.pairs[definition] += torch.bincount(difference[even] + attention.reach, minlength=width).numpy()


@torch.no_grad()
def study(model: MMT, sequences: Iterable[np.ndarray]) -> dict[str, FieldAttention]:
    """Attention of every layer and head over teacher-forced event arrays (n, fields)."""
    config = model.config
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
    return result


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

    columns = ('mean relative attention', "gain (the paper's definition)", "gain (the published script's)")
    figure = Figure(figsize=(15, 2.4 * len(result)), layout='constrained')
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title)
    panels = figure.subplots(len(result), len(columns), squeeze=False)
    for row, (name, attention) in zip(panels, result.items(), strict=True):
        low, high = _SHOWN[name]
        low, high = max(low, -attention.reach), min(high, attention.reach)
        part = slice(low + attention.reach, high + attention.reach + 1)
        grids = [attention.mean(), attention.gain('paper'), attention.gain('code')]
        for axes, grid, label in zip(row, grids, columns, strict=True):
            shown = (grid[-1:] if layers == 'last' else grid).reshape(-1, grid.shape[-1])[:, part]
            # The difference 0 would drown all others; the scale is that of the rest.
            rest = np.delete(shown, -low, axis=1)
            peak = float(np.abs(rest).max(initial=1e-9))
            gain = label.startswith('gain')
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


def save(result: dict[str, FieldAttention], path: Path) -> None:
    """All numbers behind the figures, as .npz: ``<field>/<definition>/weight`` and ``.../pairs``."""
    arrays: dict[str, Any] = {}
    for name, attention in result.items():
        for definition in DEFINITIONS:
            arrays[f'{name}/{definition}/weight'] = attention.weight[definition]
            arrays[f'{name}/{definition}/pairs'] = attention.pairs[definition]
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)
