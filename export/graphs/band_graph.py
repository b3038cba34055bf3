"""The graph of the bundled offline separator, written node by node (`nodes.py`).

torch's exporter would unroll each GRU along time. Everything stays in the order (frames, queries, places, channels), in
which a GRU's batch, an attention's sentences and the rows of a product are the same numbers under other shapes.
"""

from typing import Any

import numpy as np
import onnx

from export.graphs.nodes import Graph
from genaudio_core.models.band_separator import CONTEXT, PLACE, BandSeparator
from genaudio_core.models.dual_path import Block


def build(model: BandSeparator, frames: int) -> onnx.ModelProto:
    """Return the graph of one window.

    Inputs: spectrum (1, 1, bands, frames), energies; query (Q, D). Output: masks (Q, bands, frames).
    """
    c, g, places = model.config, Graph(), model.places
    blocks: tuple[Any, Any] = (model.trunk, model.asked)  # torch's types of module lists know only Module
    steers: Any = model.steers

    # `log_features`, then what each place sees of it.
    mean = g.op('ReduceMean', 'spectrum', keepdims=1)
    floor = g.op('Add', g.op('Mul', mean, g.number(1e-6)), g.number(1e-12))
    x = g.op('Log', g.op('Add', 'spectrum', floor))
    x = g.op('Mul', g.op('Sub', x, g.op('ReduceMean', x, keepdims=1)), g.number(1 / 3))
    x = g.op('Pad', g.reshape(x, c.bands, frames), g.shape(CONTEXT, 0, CONTEXT, 0))
    seen = np.arange(places)[:, None] * PLACE + np.arange(PLACE + 2 * CONTEXT)
    x = g.op('Gather', x, g.weight(seen.astype(np.int64)), axis=0)  # (places, seen, T)
    x = g.op('MatMul', g.op('Transpose', x, perm=[0, 2, 1]), g.weight(model.into))
    x = g.op('Add', g.op('Transpose', x, perm=[1, 0, 2]), g.weight(model.position))  # (T, places, C)

    for block in blocks[0]:
        x = _block(g, x, block, frames, places)
    told = g.op('Gemm', 'query', g.weight(model.tell.weight.t() * c.query_dim**0.5), g.weight(model.tell.bias))
    told = g.op('Relu', told)
    lean = g.op('Unsqueeze', g.gemm(told, model.lean), g.shape(2))
    told = g.op('Unsqueeze', told, g.shape(1))  # (Q, 1, tell)

    def steered(x: str, i: int) -> str:
        """(T * 1 or T * Q, places, C) -> (T * Q, places, C)."""
        x = g.steer(g.reshape(x, frames, -1, places, c.width), told, steers[i])
        return g.reshape(x, -1, places, c.width)

    for i, block in enumerate(blocks[1]):
        x = _block(g, steered(x, i), block, frames, places)
    x = g.reshape(steered(g.norm(x, model.norm), -1), -1, c.width)
    x = g.op('Relu', g.gemm(x, model.last))
    x = g.op('Transpose', g.reshape(x, -1, places, c.hidden), perm=[1, 0, 2])
    x = g.reshape(g.op('MatMul', x, g.weight(model.out)), places, frames, -1, PLACE)
    x = g.reshape(g.op('Transpose', x, perm=[2, 0, 3, 1]), -1, c.bands, frames)
    g.name(g.op('Sigmoid', g.op('Add', x, lean)), 'masks')
    return g.model(
        'band_separator', {'spectrum': [1, 1, c.bands, frames], 'query': ['queries', c.query_dim]},
        {'masks': ['queries', c.bands, frames]},
    )  # fmt: skip


def _block(g: Graph, x: str, block: Block, frames: int, places: int) -> str:
    """x (T * rows, places, C) -> the same; see `dual_path.Block`."""
    along = block.along
    assert along.back is not None
    units, width = along.gru.width, along.norm.normalized_shape[0]
    y, _ = g.gru(g.reshape(g.norm(x, along.norm), frames, -1, width), '', along.gru, along.back)
    both = g.op('Transpose', y, perm=[0, 2, 1, 3])  # (T, rows * places, directions, units)
    x = g.across(g.added(x, g.reshape(both, -1, places, 2 * units), along.out), block.across)
    return x if block.feed is None else g.feed(x, block.feed)
