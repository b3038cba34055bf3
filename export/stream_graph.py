"""The graph of the live separator, written node by node.

Why not torch's exporter: it gives 370 nodes for a frame whose arithmetic takes 0.1 ms, and a node costs a microsecond
or two whatever it does. Written out it is about 150: one GRU node per GRU, one product for all that a query steers,
biases inside products, and the mask's sigmoid and tangent as one tangent. The parity check of the kind compares it
with torch on every export.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from genaudio_core.models.gru import GRU
from genaudio_core.models.stream_separator import BAND_GROUPS, LOCAL, N_FEATURES, SLOW, Block, State, StreamSeparator

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

    def name(self, value: str, output: str) -> None:
        self.nodes.append(helper.make_node('Identity', [value], [output]))

    def linear(self, x: str, layer) -> str:
        """(..., in) -> (..., out)."""
        return self.op('Add', self.op('MatMul', x, self.weight(layer.weight.t())), self.weight(layer.bias))

    def norm(self, x: str, layer) -> str:
        weights = self.weight(layer.weight), self.weight(layer.bias)
        return self.op('LayerNormalization', x, *weights, axis=-1, epsilon=layer.eps)

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

    Inputs: spectrum (2, 2, F) in planes (real and imaginary; left and right), query (Q, D), trunk_bands (L, K, N),
    trunk_global (L, G), query_bands (L', Q, K, N), query_global (L', Q, G), levels (2, F) if the network weighs
    bins one by one. Outputs: masks (Q, M, 2, F), real and imaginary, and the next state, as ``next_...``.
    """
    c, g = model.config, _Graph()
    trunk: Any = model.trunk  # torch's types of module lists know only Module
    query_blocks: Any = model.query_blocks
    k, n, wide = model.n_bands, c.width, c.global_width
    x, lifted = _encode(g, model)
    alone = _local(g, model, lifted) if model.local is not None else None

    nexts: dict[str, list[str]] = {name: [] for name in State._fields if name != 'levels' or alone}
    for block, (bands, whole) in zip(trunk, _states(g, 'trunk', len(model.trunk)), strict=True):
        whole = g.op('Unsqueeze', whole, g.shape(0))
        x, bands, whole = _block(g, block, x, bands, whole, n_bands=k, width=n, one=True)
        nexts['trunk_bands'].append(bands)
        nexts['trunk_global'].append(g.op('Squeeze', whole, g.shape(0)))

    steering, offset = _steering(g, model)
    x = g.op('Add', x, offset)  # (1, K, N) + (Q, K, N)
    for i, (block, (bands, whole)) in enumerate(
        zip(query_blocks, _states(g, 'query', len(model.query_blocks)), strict=True)
    ):
        x = _steer(g, x, steering[i])
        bands = g.op('Reshape', bands, g.shape(1, -1, n))
        x, bands, whole = _block(g, block, x, bands, whole, n_bands=k, width=n, one=False)
        nexts['query_bands'].append(g.op('Reshape', bands, g.shape(1, -1, k, n)))
        nexts['query_global'].append(whole)
    g.name(_decode(g, model, _steer(g, x, steering[-1]), alone[0] if alone else None), 'masks')
    if alone:
        nexts['levels'].append(alone[1])
    for name, parts in nexts.items():
        value = parts[0] if len(parts) == 1 else g.op('Concat', *parts, axis=0)
        g.name(value, f'next_{name}')

    def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    states: dict[str, tuple[int | str, ...]] = {
        'trunk_bands': (c.trunk_blocks, k, n), 'trunk_global': (c.trunk_blocks, wide),
        'query_bands': (c.query_blocks, 'queries', k, n), 'query_global': (c.query_blocks, 'queries', wide),
    }  # fmt: skip
    if alone:
        states['levels'] = (len(SLOW), model.n_bins)
    graph = helper.make_graph(
        g.nodes, 'stream_separator',
        [
            info('spectrum', 2, 2, model.n_bins), info('query', 'queries', c.query_dim),
            *(info(name, *shape) for name, shape in states.items()),
        ],
        [
            info('masks', 'queries', model.n_masks, 2, model.n_bins),
            *(info(f'next_{name}', *shape) for name, shape in states.items()),
        ],
        list(g.weights.values()),
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid('', OPSET)], producer_name='genaudio')
    proto.ir_version = 9  # onnxruntime 1.20 reads this
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _states(g: _Graph, name: str, count: int) -> list[tuple[str, str]]:
    """Return the state of each block, its first axis of size one."""

    def parts(value: str) -> list[str]:
        return [value] if count == 1 else g.ops('Split', [value], count, axis=0, num_outputs=count)

    return list(zip(parts(f'{name}_bands'), parts(f'{name}_global'), strict=True))


def _encode(g: _Graph, model: StreamSeparator) -> tuple[str, tuple[str, str, str]]:
    """The bands (1, K, N) of the spectrum, and level, side level and pan (1, F); see `StreamSeparator._features`.

    Everything is kept in planes, bins last: products with a broadcast inner axis of two are ten times slower.
    """
    f, n = model.n_bins, model.config.width
    # left, right -> mid, side, left, right, scaled, as one product from the left
    mixing = np.array([[0.5, 0.5], [0.5, -0.5], [1, 0], [0, 1]], np.float32) * np.float32(1e3 * model.scale)
    four = g.op('MatMul', g.weight(mixing), 'spectrum')  # (2, 4, F)
    power = g.op('ReduceSum', g.op('Mul', four, four), g.shape(0), keepdims=0)  # (4, F)
    power = g.op('Add', power, g.weight(np.full((4, f), 1e-4, np.float32)))
    root = g.op('Sqrt', power)
    lifted = g.op('Mul', g.op('Sqrt', g.op('Sqrt', root)), g.number(1e-3**0.25))  # (4, F)
    mid_and_side, left, right = g.ops('Split', [lifted, g.shape(2, 1, 1)], 3, axis=0)
    mid, _ = g.ops('Split', [four, g.shape(1, 3)], 2, axis=1)
    ratio, _ = g.ops('Split', [g.op('Div', lifted, root), g.shape(1, 3)], 2, axis=0)
    direction = g.op('Reshape', g.op('Mul', mid, ratio), g.shape(2, f))
    pan = g.op('Sub', left, right)
    features = g.op('Concat', mid_and_side, pan, direction, axis=0)  # (5, F)
    groups = g.ops('Split', [features, g.shape(*(k * bins for k, bins in BAND_GROUPS))], len(BAND_GROUPS), axis=1)
    encoded = []
    for part, (count, bins), weight in zip(groups, BAND_GROUPS, model.encode, strict=True):
        part = g.op('Reshape', part, g.shape(N_FEATURES, count, bins))
        part = g.op('Reshape', g.op('Transpose', part, perm=[1, 0, 2]), g.shape(count, 1, N_FEATURES * bins))
        w = weight.detach().numpy().reshape(count, bins, N_FEATURES, n).swapaxes(1, 2).reshape(count, -1, n)
        encoded.append(g.op('MatMul', part, g.weight(w)))
    x = g.op('Reshape', g.op('Concat', *encoded, axis=0), g.shape(1, model.n_bands, n))
    level, side = g.ops('Split', [mid_and_side, g.shape(1, 1)], 2, axis=0)
    return g.op('Add', x, g.weight(model.encode_bias)), (level, side, pan)


def _local(g: _Graph, model: StreamSeparator, lifted: tuple[str, str, str]) -> tuple[str, str]:
    """Features of single bins (LOCAL, F) and the next slow means (2, F); see `StreamSeparator._local_features`."""
    level, side, pan = lifted
    picture = g.op('Unsqueeze', level, g.shape(0))  # (1, 1, F)
    around = [
        g.op('Squeeze', g.op('AveragePool', picture, kernel_shape=[n], pads=[n // 2, n // 2], count_include_pad=0),
             g.shape(0))
        for n in (5, 33)
    ]  # fmt: skip
    over = g.op('Sub', level, g.op('Concat', *around, 'levels', axis=0))  # (4, F), over neighbours and over the past
    neighbours, past = g.ops('Split', [over, g.shape(2, len(SLOW))], 2, axis=0)
    levels = g.op('Add', 'levels', g.op('Mul', past, g.weight(np.array(model.slow, np.float32)[:, None])))
    found = g.op('Concat', level, neighbours, pan, g.op('Mul', pan, pan), side, past, axis=0)
    return g.op('Mul', found, g.weight(np.array([1, 8, 8, 4, 16, 4, 4, 4], np.float32)[:, None])), levels


def _block(
    g: _Graph, block: Block, x: str, bands: str, whole: str, *, n_bands: int, width: int, one: bool
) -> tuple[str, str, str]:
    """x is (rows, K, N), with `one` row or Q; bands (1, rows * K, N); whole (1, rows, G)."""
    y = g.norm(x, block.time_norm)
    bands = g.gru(y if one else g.op('Reshape', y, g.shape(1, -1, width)), bands, block.time)
    y = bands if one else g.op('Reshape', bands, g.shape(-1, n_bands, width))
    x = g.op('Add', x, g.linear(y, block.time_out))

    y = g.norm(x, block.feed_norm)
    mixed = g.op('MatMul', g.weight(block.band_in.weight), y)
    mixed = g.op('Relu', g.op('Add', mixed, g.weight(block.band_in.bias[:, None])))
    mixed = g.op('MatMul', g.weight(block.band_out.weight), mixed)
    fed = g.op('MatMul', g.op('Relu', g.linear(y, block.feed_in)), g.weight(block.feed_out.weight.t()))
    both = block.band_out.bias[:, None] + block.feed_out.bias  # (K, N)
    x = g.op('Add', g.op('Add', x, g.op('Add', mixed, fed)), g.weight(both))

    heard = g.op('Reshape', g.linear(x, block.to_global), g.shape(1, -1, n_bands * block.narrow))
    whole = g.gru(heard, whole, block.whole)
    y = g.op('Tanh', g.linear(whole, block.from_global))
    y = g.linear(g.op('Reshape', y, g.shape(-1, n_bands, block.narrow)), block.widen)
    return g.op('Add', x, y), bands, whole


def _steering(g: _Graph, model: StreamSeparator) -> tuple[list[tuple[str, str]], str]:
    """Scale (its one included) and shift (Q, 1, N) per FiLM, and the offset per band (Q, K, N)."""
    n, k = model.config.width, model.n_bands
    films: Any = model.film
    told = g.op('Relu', g.linear('query', model.query_in))
    weight = np.concatenate([layer.weight.detach().numpy() for layer in (model.band_offset, *films)])
    bias = np.concatenate([model.band_offset.bias.detach().numpy()] + [
        layer.bias.detach().numpy() + np.repeat([1.0, 0.0], n).astype(np.float32) for layer in films
    ])  # fmt: skip
    rows = g.op('Gemm', told, g.weight(weight.T), g.weight(bias))
    rows = g.op('Reshape', rows, g.shape(0, -1, n))  # (Q, K + 2 * films, N)
    parts = g.ops('Split', [rows, g.shape(k, *[1] * (2 * len(model.film)))], 1 + 2 * len(model.film), axis=1)
    return list(zip(parts[1::2], parts[2::2], strict=True)), parts[0]


def _steer(g: _Graph, x: str, film: tuple[str, str]) -> str:
    return g.op('Add', g.op('Mul', x, film[0]), film[1])


def _decode(g: _Graph, model: StreamSeparator, x: str, alone: str | None) -> str:
    """Masks (Q, M, 2, F) of x (Q, K, N) and the features of single bins (LOCAL, F)."""
    n_masks = model.n_masks
    wide = g.op('Relu', g.linear(x, model.decode_in))
    hidden = g.op('Transpose', wide, perm=[1, 0, 2])
    groups = g.ops('Split', [hidden, g.shape(*(count for count, _ in BAND_GROUPS))], len(BAND_GROUPS), axis=0)
    made = []
    for part, (count, bins), weight, bias in zip(groups, BAND_GROUPS, model.decode, model.decode_bias, strict=True):

        def planes(w, count=count, bins=bins):
            # 1.2 * sigmoid(a) - 0.1 is 0.6 * tanh(a / 2) + 0.5: the half goes into the weights.
            w = w.detach().numpy().reshape(count, -1, bins, n_masks, 2) * np.array([0.5, 1.0], np.float32)
            return w.transpose(0, 1, 3, 4, 2).reshape(count, w.shape[1], -1)

        part = g.op('Add', g.op('MatMul', part, g.weight(planes(weight))), g.weight(planes(bias)))
        part = g.op('Reshape', part, g.shape(count, -1, n_masks * 2, bins))
        part = g.op('Transpose', part, perm=[1, 2, 0, 3])
        made.append(g.op('Reshape', part, g.shape(0, n_masks, 2, count * bins)))
    mask = g.op('Concat', *made, axis=3)
    if alone is not None:
        layer: Any = model.local
        halves = np.array([[[0.5]], [[1.0]]], np.float32)  # as above
        weight = g.weight((layer.weight.detach().numpy().reshape(2, LOCAL, -1) * halves).reshape(2 * LOCAL, -1).T)
        bias = g.weight((layer.bias.detach().numpy().reshape(2, LOCAL, 1) * halves).reshape(-1))
        weigh = g.op('Transpose', g.op('Add', g.op('MatMul', wide, weight), bias), perm=[0, 2, 1])  # (Q, 2 LOCAL, K)
        band_of_bin = np.repeat(np.arange(model.n_bands), [bins for count, bins in BAND_GROUPS for _ in range(count)])
        weigh = g.op('Gather', weigh, g.weight(band_of_bin), axis=2)
        weigh = g.op('Reshape', weigh, g.shape(-1, 1, 2, LOCAL, model.n_bins))
        mask = g.op('Add', mask, g.op('ReduceSum', g.op('Mul', weigh, alone), g.shape(3), keepdims=0))
    mask = g.op('Tanh', mask)
    mask = g.op('Mul', mask, g.weight(np.array([[0.6], [0.5]], np.float32)))
    return g.op('Add', mask, g.weight(np.array([[0.5], [0.0]], np.float32)))
