"""Graphs written node by node, for networks whose arithmetic takes less time than the nodes of torch's exporter do.

torch's exporter gives several times the nodes for a frame whose arithmetic takes 0.2 ms, and a node costs a microsecond
or two whatever it does; a GRU along time it unrolls. The parity check of each kind compares what is written here with
torch on every export.
"""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from genaudio_core.models.dual_path import Across, Feed, Steer
from genaudio_core.models.gru import GRU

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

    def gru_frame(self, x: str, h: str, layer: GRU) -> str:
        """One frame: x and h (rows, N) -> the next h.

        onnxruntime's GRU node takes a third longer for a single frame. What x and h give to the gates is added up by
        the second product; their shares of the candidate stay apart, since only one of them is reset.
        """
        n = layer.width
        from_x, from_h = layer.weight_ih.detach().t(), layer.weight_hh.detach().t()
        bias_x, bias_h = layer.bias_ih.detach(), layer.bias_hh.detach()

        def product(y: str, weight: Tensor, added: str) -> str:
            return self.op('Gemm', y, self.weight(weight), added)

        gates = product(x, from_x[:, : 2 * n], self.weight(bias_x[: 2 * n] + bias_h[: 2 * n]))
        gates = self.op('Sigmoid', product(h, from_h[:, : 2 * n], gates))
        reset, update = self.ops('Split', [gates], 2, axis=1, num_outputs=2)
        of_x = product(x, from_x[:, 2 * n :], self.weight(bias_x[2 * n :]))
        of_h = product(h, from_h[:, 2 * n :], self.weight(bias_h[2 * n :]))
        candidate = self.op('Tanh', self.op('Add', of_x, self.op('Mul', reset, of_h)))
        return self.op('Add', candidate, self.op('Mul', update, self.op('Sub', h, candidate)))

    def added(self, x: str, y: str, layer: nn.Linear) -> str:
        """x and a layer's view of y, of any shape, without a bias."""
        return self.op('Add', x, self.op('MatMul', y, self.weight(layer.weight.t())))

    def across(self, x: str, layer: Across) -> str:
        """x (rows, places, C) -> the same; see `Across`."""
        return self.added(x, self.attention(self.norm(x, layer.norm), layer), layer.out)

    def attention(self, x: str, layer: Across) -> str:
        """x (rows, places, C), normed -> what the places hear of each other, before `layer.out`."""
        weight, bias = self.weight(layer.into.weight.t()), self.weight(layer.into.bias)
        return self.op('Attention', x, weight, bias, num_heads=layer.heads, domain=OWN)

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
