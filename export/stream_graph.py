"""The graph of the live separator, written node by node.

Why not torch's exporter: it gives several times the nodes for a frame whose arithmetic takes 0.2 ms, and a node costs
a microsecond or two whatever it does. Written out, a block is one GRU node, one node for its attention (onnxruntime's
own, `com.microsoft.Attention`), and products that add what came in by themselves. The parity check of the kind compares
it with torch on every export.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from genaudio_core.models.dual_path import Across, Feed, Steer
from genaudio_core.models.gru import GRU
from genaudio_core.models.stream_separator import FLOOR, N_FEATURES, PLACE, State, StreamSeparator

OPSET = 18
OWN = 'com.microsoft'  # the domain of onnxruntime's own operators


class Graph:
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

    def gemm(self, x: str, layer: nn.Linear) -> str:
        """x (rows, in) -> (rows, out)."""
        return self.op('Gemm', x, self.weight(layer.weight.t()), self.weight(layer.bias))

    def norm(self, x: str, layer: nn.LayerNorm) -> str:
        return self.op('LayerNormalization', x, self.weight(layer.weight), self.weight(layer.bias), axis=-1,
                       epsilon=layer.eps)  # fmt: skip

    def gru(self, x: str, h: str, *layers: GRU) -> tuple[str, str]:
        """x (T, rows, in), h (directions, rows, N) -> (T, directions, rows, N) and the last states, shaped as h."""

        def order(w):  # torch has reset, update, new; onnx has update, reset, new
            r, z, n = w.detach().chunk(3)
            return np.concatenate([z, r, n])

        inputs = np.stack([order(layer.weight_ih) for layer in layers])
        recurrent = np.stack([order(layer.weight_hh) for layer in layers])
        biases = np.stack([np.concatenate([order(layer.bias_ih), order(layer.bias_hh)]) for layer in layers])
        every, last = self.ops(
            'GRU', [x, self.weight(inputs), self.weight(recurrent), self.weight(biases), '', h], 2,
            hidden_size=layers[0].width, direction='bidirectional' if len(layers) > 1 else 'forward',
            linear_before_reset=1,
        )  # fmt: skip
        return every, last

    def added(self, x: str, y: str, layer: nn.Linear) -> str:
        """x and a layer's view of y, of any shape, without a bias."""
        return self.op('Add', x, self.op('MatMul', y, self.weight(layer.weight.t())))

    def across(self, x: str, layer: Across) -> str:
        """x (rows, places, C) -> the same; see `Across`."""
        weight, bias = self.weight(layer.into.weight.t()), self.weight(layer.into.bias)
        y = self.op('Attention', self.norm(x, layer.norm), weight, bias, num_heads=layer.heads, domain=OWN)
        return self.added(x, y, layer.out)

    def feed(self, x: str, layer: Feed) -> str:
        """x (..., C) -> the same; see `Feed`."""
        y = self.op('MatMul', self.norm(x, layer.norm), self.weight(layer.into.weight.t()))
        return self.added(x, self.op('Relu', self.op('Add', y, self.weight(layer.into.bias))), layer.out)

    def steer(self, x: str, told: str, layer: Steer) -> str:
        """x (..., 1 or rows, places, C) and told (rows, 1, tell) -> (..., rows, places, C); see `Steer`."""
        (w1, w2), (b1, b2) = layer.film.weight.detach().chunk(2), layer.film.bias.detach().chunk(2)
        scale, shift = (
            self.op('Add', self.op('MatMul', told, self.weight(w.t())), self.weight(b))
            for w, b in ((w1, b1 + 1), (w2, b2))
        )
        return self.op('Add', self.op('Mul', x, scale), shift)

    def model(self, name: str, inputs: dict[str, Sequence[int | str]], outputs: dict[str, Sequence[int | str]]):
        """Return the checked graph; all that goes in and out is float32."""

        def infos(values: dict[str, Sequence[int | str]]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(k, TensorProto.FLOAT, list(shape)) for k, shape in values.items()]

        graph = helper.make_graph(self.nodes, name, infos(inputs), infos(outputs), list(self.weights.values()))
        proto = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', OPSET), helper.make_opsetid(OWN, 1)],
            producer_name='genaudio',
        )  # fmt: skip
        proto.ir_version = 9  # onnxruntime 1.20 reads this
        onnx.checker.check_model(proto)
        return proto


def build(model: StreamSeparator) -> onnx.ModelProto:
    """Return the graph of one frame.

    Inputs: spectrum (2, 2, F) in planes (real and imaginary; left and right), query (Q, D), and the state of the frame
    before, by the names of `State`. Outputs: masks (Q, F), and the next state, as ``next_...``.
    """
    c, g, places = model.config, Graph(), model.places
    gather = g.weight(model.gather)  # both ways: bins to bands here, bands to bins at the end
    x = g.reshape(_features(g, model, gather), N_FEATURES, places, PLACE)
    x = g.reshape(g.op('Transpose', x, perm=[1, 0, 2]), 1, places, N_FEATURES * PLACE)
    x = g.op('Add', g.op('MatMul', x, g.weight(model.into.weight.t())), g.weight(model.position + model.into.bias))
    x = _blocks(g, x, model.trunk, 'trunk', [c.trunk, places, c.width])

    told = g.op('Gemm', 'query', g.weight(model.tell.weight.t() * c.query_dim**0.5), g.weight(model.tell.bias))
    told = g.op('Relu', told)
    lean = g.gemm(told, model.lean)
    told = g.op('Unsqueeze', told, g.shape(1))
    x = g.steer(x, told, model.steer)  # (Q, places, C)
    x = _blocks(g, x, model.asked, 'asked', [c.asked, -1, places, c.width])
    x = g.steer(g.norm(x, model.norm), told, model.steer_out)
    x = g.op('Relu', g.gemm(g.reshape(x, -1, c.width), model.last))
    masks = g.op('Sigmoid', g.op('Add', g.reshape(g.gemm(x, model.out), -1, c.bands), lean))
    g.name(g.op('Gemm', masks, gather, transB=1), 'masks')

    states: dict[str, list[int | str]] = {
        'trunk': [c.trunk, places, c.width], 'asked': [c.asked, 'queries', places, c.width],
    }  # fmt: skip
    assert tuple(states) == State._fields
    inputs = {'spectrum': [2, 2, model.n_bins], 'query': ['queries', c.query_dim], **states}
    outputs = {'masks': ['queries', model.n_bins], **{f'next_{name}': shape for name, shape in states.items()}}
    return g.model('stream_separator', inputs, outputs)


def _blocks(g: Graph, x: str, blocks: Any, state: str, shape: Sequence[int]) -> str:
    """x (rows, places, C) through blocks whose state is an input of the graph, of `shape`."""
    count, one_row = len(blocks), len(shape) == 3
    before = state if one_row else g.reshape(state, count, -1, shape[-1])
    each = [before] if count == 1 else g.ops('Split', [before], count, axis=0, num_outputs=count)
    after = []
    for block, h in zip(blocks, each, strict=True):
        y = g.norm(x, block.along.norm)
        _, h = g.gru(y if one_row else g.reshape(y, 1, -1, shape[-1]), h, block.along.gru)
        after.append(h)
        x = g.across(g.added(x, h if one_row else g.reshape(h, *shape[1:]), block.along.out), block.across)
    joined = after[0] if count == 1 else g.op('Concat', *after, axis=0)
    g.name(joined if one_row else g.reshape(joined, *shape), f'next_{state}')
    return x


def _features(g: Graph, model: StreamSeparator, gather: str) -> str:
    """The features (1, N_FEATURES, K) of the spectrum; see `StreamSeparator.features`."""
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
    return g.op('Concat', levels, pan, axis=1)
