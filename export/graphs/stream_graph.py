"""The graph of one frame of the live separator, written node by node (`nodes.py`).

Rows of places stay two-dimensional, so that biases and what came in are added by the products themselves; only
attention (onnxruntime's own node) needs to know where a frame's places end. Bands and bins meet in a few products each,
because a band knows only the bins around it: one product of all would be mostly zeros, and with its weights the graph
would fall out of the processor's second-level cache.
"""

import itertools
import math
from typing import Any

import numpy as np
import onnx

from export.graphs.nodes import Graph
from genaudio_core.models.dual_path import Block
from genaudio_core.models.stream_separator import FLOOR, N_FEATURES, PLACE, StreamSeparator

BAND_CUTS = (0.54, 0.8)  # of the bands, and
BIN_CUTS = (0.15, 0.44)  # of the bins, where products are cut: low bands are many and narrow, high ones few and wide


def build(model: StreamSeparator) -> onnx.ModelProto:
    """Return the graph of one frame.

    Inputs: spectrum (2, 2, F) in planes (real and imaginary; left and right), query (Q, D), and what each block
    remembers of the frame before, ``trunk_0`` (places, C) and so on, ``asked_0`` (Q, places, C) and so on. Outputs:
    masks (Q, F), and what to remember, as ``next_...``.
    """
    c, g, places = model.config, Graph(), model.places
    to_bins = model.gather.numpy()  # (F, K)
    trunk, asked = _blocks_of(model.trunk), _blocks_of(model.asked)
    x = g.reshape(_features(g, model, to_bins), N_FEATURES, places, PLACE)
    x = g.reshape(g.op('Transpose', x, perm=[1, 0, 2]), places, N_FEATURES * PLACE)
    position = (model.position[0] + model.into.bias).detach()
    x = g.op('Gemm', x, g.weight(model.into.weight.t()), g.weight(position))
    for i, block in enumerate(trunk):
        x, h = _block(g, x, f'trunk_{i}', block, places)
        g.name(h, f'next_trunk_{i}')

    told = g.op('Gemm', 'query', g.weight(model.tell.weight.t() * c.query_dim**0.5), g.weight(model.tell.bias))
    told = g.op('Relu', told)
    lean = g.gemm(told, model.lean)
    told = g.op('Unsqueeze', told, g.shape(1))

    def steered(x: str, steer: Any) -> str:
        """(places or Q * places, C) -> (Q * places, C)."""
        return g.reshape(g.steer(g.reshape(x, -1, places, c.width), told, steer), -1, c.width)

    x = steered(x, model.steer)
    for i, block in enumerate(asked):
        x, h = _block(g, x, g.reshape(f'asked_{i}', -1, c.width), block, places)
        g.name(g.reshape(h, -1, places, c.width), f'next_asked_{i}')
    x = steered(g.norm(x, model.norm), model.steer_out)
    x = g.gemm(g.op('Relu', g.gemm(x, model.last)), model.out)
    masks = g.op('Sigmoid', g.op('Add', g.reshape(x, -1, c.bands), lean))
    g.name(_pieces(g, masks, to_bins.T, BIN_CUTS), 'masks')

    states: dict[str, list[int | str]] = {f'trunk_{i}': [places, c.width] for i in range(c.trunk)}
    states |= {f'asked_{i}': ['queries', places, c.width] for i in range(c.asked)}
    inputs = {'spectrum': [2, 2, model.n_bins], 'query': ['queries', c.query_dim], **states}
    outputs = {'masks': ['queries', model.n_bins], **{f'next_{name}': shape for name, shape in states.items()}}
    return g.model('stream_separator', inputs, outputs)


def _blocks_of(modules: Any) -> list[Block]:
    return list(modules)  # torch's type of a module list knows only Module


def _block(g: Graph, x: str, h: str, block: Block, places: int) -> tuple[str, str]:
    """x and h (rows, C) -> the new ones; see `dual_path.Block`."""
    along, across = block.along, block.across
    width = across.norm.normalized_shape[0]
    h = g.gru_frame(g.norm(x, along.norm), h, along.gru)
    x = g.op('Gemm', h, g.weight(along.out.weight.t()), x)
    y = g.attention(g.reshape(g.norm(x, across.norm), -1, places, width), across)
    return g.op('Gemm', g.reshape(y, -1, width), g.weight(across.out.weight.t()), x), h


def _pieces(g: Graph, x: str, matrix: np.ndarray, cuts: tuple[float, ...]) -> str:
    """x (..., a) times a matrix (a, b) whose columns know a few neighbouring rows each, in pieces of columns."""
    edges = [0, *(round(cut * matrix.shape[1]) for cut in cuts), matrix.shape[1]]
    pieces = []
    for begin, end in itertools.pairwise(edges):
        rows = np.flatnonzero(matrix[:, begin:end].any(1))
        first, last = int(rows[0]), int(rows[-1]) + 1
        part = g.op('Slice', x, g.shape(first), g.shape(last), g.shape(-1))
        pieces.append(g.op('MatMul', part, g.weight(matrix[first:last, begin:end])))
    return g.op('Concat', *pieces, axis=-1)


def _features(g: Graph, model: StreamSeparator, to_bins: np.ndarray) -> str:
    """The features (1, N_FEATURES, K) of the spectrum; see `StreamSeparator.features`."""
    # left, right -> mid, side, left, right, scaled, as one product from the left
    mixing = np.array([[0.5, 0.5], [0.5, -0.5], [1, 0], [0, 1]], np.float32) * np.float32(model.scale)
    four = g.op('MatMul', g.weight(mixing), 'spectrum')  # (2, 4, F)
    real, imaginary = g.ops('Split', [g.op('Mul', four, four)], 2, axis=0, num_outputs=2)
    energy = _pieces(g, g.op('Add', real, imaginary), to_bins, BAND_CUTS)  # (1, 4, K)
    mid_and_side, left, right = g.ops('Split', [energy, g.shape(2, 1, 1)], 3, axis=1)
    floor = g.number(FLOOR)
    levels = g.op('Mul', g.op('Log', g.op('Add', mid_and_side, floor)), g.number(1 / (2 * math.log(10))))
    levels = g.op('Add', levels, g.number(4.5 / 2))
    pan = g.op('Div', g.op('Sub', left, right), g.op('Add', g.op('Add', left, right), floor))
    return g.op('Concat', levels, pan, axis=1)
