"""The graph of the live separator, written node by node.

Why not torch's exporter: it gives several times the nodes for a frame whose arithmetic takes 0.1 ms, and a node costs
a microsecond or two whatever it does. Written out it is about 80: one GRU node per GRU, one product for all that a
query steers, skips worked out once for all queries. The parity check of the kind compares it with torch on every
export.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from genaudio_core.models.gru import GRU
from genaudio_core.models.stream_separator import FLOOR, KERNEL, Memory, State, StreamSeparator

OPSET = 18


class _Graph:
    """Collects nodes and weights; every method returns the name of its output."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def weight(self, array) -> str:
        array = array.detach().numpy() if hasattr(array, 'detach') else np.asarray(array)
        name = f'w{len(self.weights)}'
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def shape(self, *sizes: int) -> str:
        return self.weight(np.array(sizes, np.int64))

    def number(self, value: float) -> str:
        return self.weight(np.float32(value))

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], n_outputs: int, **attributes) -> list[str]:
        names = [f'v{len(self.nodes)}_{i}' for i in range(n_outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def name(self, value: str, output: str) -> str:
        """Call a value by the name of an output, wherever it is used; an Identity would be one more node."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [output if name == value else name for name in names]
        return output

    def reshape(self, x: str, *sizes: int) -> str:
        return self.op('Reshape', x, self.shape(*sizes))

    def gru(self, x: str, h: str, layer: GRU) -> str:
        """x (1, rows, in), h (1, rows, N) -> (1, rows, N)."""

        def order(w):  # torch has reset, update, new; onnx has update, reset, new
            r, z, n = w.detach().chunk(3)
            return np.concatenate([z, r, n])

        bias = np.concatenate([order(layer.bias_ih), order(layer.bias_hh)])[None]
        inputs = [
            x, self.weight(order(layer.weight_ih)[None]), self.weight(order(layer.weight_hh)[None]), self.weight(bias),
            '', h,
        ]  # fmt: skip
        name = f'v{len(self.nodes)}_h'
        node = helper.make_node('GRU', inputs, ['', name], hidden_size=layer.width, linear_before_reset=1)
        self.nodes.append(node)
        return name


def build(model: StreamSeparator) -> onnx.ModelProto:
    """Return the graph of one frame.

    Inputs: spectrum (2, 2, F) in planes (real and imaginary; left and right), query (Q, D), and the state of the frame
    before, by the names of `State`. Outputs: masks (Q, F), and the next state, as ``next_...``.
    """
    c, g = model.config, _Graph()
    first, second, third = c.widths
    lowest = c.bands // 8
    downs: Any = model.downs  # torch's types of module lists know only Module
    ups: Any = model.ups

    gather = g.weight(model.gather)  # both ways: bins to bands here, bands to bins at the end
    x, skips = g.name(_features(g, model, gather), 'next_past0'), []
    for i, down in enumerate(downs):
        both = g.op('Concat', f'past{i}', x, axis=2)
        y = g.op('Conv', both, g.weight(down.conv.weight), strides=[1, 2], pads=[0, KERNEL // 2] * 2)
        x = g.op('Relu', g.op('Add', y, g.weight(down.position)))  # (1, C, 1, K / 2)
        if i + 1 < len(downs):
            x = g.name(x, f'next_past{i + 1}')
        skips.append(x)

    x = _remember(g, model.trunk, g.reshape(x, 1, -1), 'trunk', (lowest, third))
    scale, shift, films = _steering(g, model)
    x = g.op('Add', g.op('Mul', g.reshape(x, 1, third, lowest), scale), shift)  # (Q, C, heights)
    x = _remember(g, model.asked, g.op('Relu', g.reshape(x, -1, third * lowest)), 'asked', (lowest, third))
    x = g.reshape(g.op('Relu', x), -1, third, lowest)
    for i, (up, (scale, shift)) in enumerate(zip(ups, films, strict=True)):
        y = _joined(g, up.conv, x, skips[1] if i else None)
        y = g.op('Relu', g.op('Add', g.op('Mul', y, scale), shift))
        x = _twice_as_high(g, y, (second, first)[i], lowest << i)
    logits = _twice_as_high(g, _joined(g, model.out, x, skips[0]), 1, lowest << 2)
    masks = g.op('Sigmoid', g.reshape(logits, -1, c.bands))
    g.name(g.op('Gemm', masks, gather, transB=1), 'masks')

    def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    shapes = model.initial_state(1, 1)
    states: dict[str, list[int | str]] = {
        name: ['queries', c.memory] if name == 'asked' else list(getattr(shapes, name).shape) for name in State._fields
    }
    graph = helper.make_graph(
        g.nodes, 'stream_separator',
        [
            info('spectrum', 2, 2, model.n_bins), info('query', 'queries', c.query_dim),
            *(info(name, *shape) for name, shape in states.items()),
        ],
        [
            info('masks', 'queries', model.n_bins),
            *(info(f'next_{name}', *shape) for name, shape in states.items()),
        ],
        list(g.weights.values()),
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)], producer_name='genaudio')
    proto.ir_version = 9  # onnxruntime 1.20 reads this
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _features(g: _Graph, model: StreamSeparator, gather: str) -> str:
    """The features (1, N_FEATURES, 1, K) of the spectrum; see `StreamSeparator.features`."""
    # left, right -> mid, side, left, right, scaled, as one product from the left
    mixing = np.array([[0.5, 0.5], [0.5, -0.5], [1, 0], [0, 1]], np.float32) * np.float32(model.scale)
    four = g.op('MatMul', g.weight(mixing), 'spectrum')  # (2, 4, F)
    real, imaginary = g.ops('Split', [g.op('Mul', four, four)], 2, axis=0, num_outputs=2)
    energy = g.op('MatMul', g.op('Add', real, imaginary), gather)  # (1, 4, K)
    mid_and_side, left, right = g.ops('Split', [energy, g.shape(2, 1, 1)], 3, axis=1)
    floor = g.number(FLOOR)
    levels = g.op('Mul', g.op('Log', g.op('Add', mid_and_side, floor)), g.number(1 / (2 * math.log(10))))
    levels = g.op('Add', levels, g.number(4.5 / 2))
    pan = g.op('Div', g.op('Sub', left, right), g.op('Add', g.op('Add', left, right), floor))
    return g.op('Unsqueeze', g.op('Concat', levels, pan, axis=1), g.shape(2))


def _remember(g: _Graph, memory: Memory, x: str, state: str, heights_and_channels: tuple[int, int]) -> str:
    """x (rows, C * heights) -> the same; torch has the channels innermost, here the heights are."""
    heights, channels = heights_and_channels
    units = memory.gru.width

    def turned(w):
        return w.detach().reshape(*w.shape[:-1], heights, channels).transpose(-1, -2).flatten(-2)

    heard = g.op('Relu', g.op('Gemm', x, g.weight(turned(memory.into.weight).t()), g.weight(memory.into.bias)))
    before = g.reshape(state, 1, -1, units)
    h = g.gru(g.op('Unsqueeze', heard, g.shape(0)), before, memory.gru)
    rows = g.reshape(h, -1, units)
    rows = g.name(rows, f'next_{state}')
    bias = g.op('Add', x, g.weight(turned(memory.out.bias)))
    return g.op('Gemm', rows, g.weight(turned(memory.out.weight.t())), bias)


def _steering(g: _Graph, model: StreamSeparator) -> tuple[str, str, list[tuple[str, str]]]:
    """Scale (Q, C, 1) and shift (Q, C, heights) of the lowest level, and scale and shift (Q, C, 1) of each `Up`.

    The one of 1 + scale is in the bias; shift and the offset of each height are one sum, as both are linear.
    """
    c = model.config
    third, lowest = c.widths[2], c.bands // 8
    ups: Any = model.ups
    told = g.op('Gemm', 'query', g.weight(model.tell.weight.t() * c.query_dim**0.5), g.weight(model.tell.bias))
    told = g.op('Relu', told)

    def halves(layer) -> list[tuple[np.ndarray, np.ndarray]]:
        """(weight, bias) of the scale, its one included, and of the shift."""
        (w1, w2), (b1, b2) = layer.weight.detach().chunk(2), layer.bias.detach().chunk(2)
        return [(w1.numpy(), (b1 + 1).numpy()), (w2.numpy(), b2.numpy())]

    scale, (shift_weight, shift_bias) = halves(model.film)
    offset = model.offset.weight.detach().numpy().reshape(lowest, third, -1).transpose(1, 0, 2)  # (C, heights, tell)
    whole = (shift_weight[:, None] + offset).reshape(third * lowest, -1), np.repeat(shift_bias, lowest)
    parts = [scale, whole, *(half for up in ups for half in halves(up.film))]
    weight, bias = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    rows = g.op('Gemm', told, g.weight(weight.T), g.weight(bias))
    split = g.ops('Split', [rows, g.shape(*(len(part[1]) for part in parts))], len(parts), axis=1)
    columns = [g.op('Unsqueeze', split[i], g.shape(2)) for i in (0, *range(2, len(parts)))]
    films = list(zip(columns[1::2], columns[2::2], strict=True))
    return columns[0], g.reshape(split[1], -1, third, lowest), films


def _joined(g: _Graph, layer: Any, x: str, skip: str | None) -> str:
    """x (Q, C, K) and a skip (1, C', 1, K) -> (Q, C'', K)."""
    bias = [] if layer.below.bias is None else [g.weight(layer.below.bias)]
    y = g.op('Conv', x, g.weight(layer.below.weight[:, :, 0]), *bias, pads=[1, 1])
    if skip is None:
        return y
    beside = g.op('Conv', g.op('Squeeze', skip, g.shape(2)), g.weight(layer.beside.weight[:, :, 0]), pads=[1, 1])
    return g.op('Add', y, beside)


def _twice_as_high(g: _Graph, x: str, channels: int, bands: int) -> str:
    """(Q, 2 C, K) -> (Q, C, 2 K); see `models.stream_separator.twice_as_high`."""
    x = g.op('Transpose', g.reshape(x, -1, 2, channels, bands), perm=[0, 2, 3, 1])
    return g.reshape(x, -1, channels, 2 * bands)
