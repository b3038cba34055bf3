"""The graph of the live separator, written node by node.

Why not torch's exporter: it gives 370 nodes for a frame whose arithmetic takes 0.1 ms, and a node costs a microsecond
or two whatever it does. Written out it is about 150: one GRU node per GRU, one product for all that a query steers,
biases and what a product is added to inside of it (Gemm, on two axes: the runtime would wrap three in reshapes), and
the mask's sigmoid and tangent as one tangent. The parity check of the kind compares it with torch on every export.
"""

from collections.abc import Callable, Sequence
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

    def linear(self, x: str, layer, *, plus: str | None = None, bias=None) -> str:
        """(rows, in) -> (rows, out), with the layer's bias or another one, or `plus` (rows, out) in its place."""
        bias = layer.bias if bias is None else bias
        return self.op('Gemm', x, self.weight(layer.weight.t()), plus or self.weight(bias))

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
        x, bands, whole = _block(g, block, x, bands, whole, n_bands=k, one=True)
        nexts['trunk_bands'].append(bands)
        nexts['trunk_global'].append(g.op('Squeeze', whole, g.shape(0)))

    steering, offset = _steering(g, model)
    x = g.op('Add', x, offset)  # (K, N) + (Q, K, N)
    for i, (block, (bands, whole)) in enumerate(
        zip(query_blocks, _states(g, 'query', len(model.query_blocks)), strict=True)
    ):
        if i:
            x = g.op('Reshape', x, g.shape(-1, k, n))
        x = g.op('Reshape', _steer(g, x, steering[i]), g.shape(-1, n))
        bands = g.op('Reshape', bands, g.shape(1, -1, n))
        x, bands, whole = _block(g, block, x, bands, whole, n_bands=k, one=False)
        nexts['query_bands'].append(g.op('Reshape', bands, g.shape(1, -1, k, n)))
        nexts['query_global'].append(whole)
    x = g.op('Reshape', x, g.shape(-1, k, n)) if len(query_blocks) else x
    x = g.op('Reshape', _steer(g, x, steering[-1]), g.shape(-1, n))
    g.name(_decode(g, model, x, alone[0] if alone else None), 'masks')
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
    """The bands (K, N) of the spectrum, and level, side level and pan (1, F); see `StreamSeparator._features`.

    Everything is kept in planes, bins last: products with a broadcast inner axis of two are ten times slower.
    """
    f, n = model.n_bins, model.config.width
    # left, right -> mid, side, left, right, scaled, as one product from the left
    mixing = np.array([[0.5, 0.5], [0.5, -0.5], [1, 0], [0, 1]], np.float32) * np.float32(1e3 * model.scale)
    four = g.op('MatMul', g.weight(mixing), 'spectrum')  # (2, 4, F)
    real, imaginary = g.ops('Split', [g.op('Mul', four, four)], 2, axis=0, num_outputs=2)
    power = g.op('Add', g.op('Add', real, imaginary), g.weight(np.full((1, 4, f), 1e-4, np.float32)))
    power = g.op('Reshape', power, g.shape(4, f))
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
    x = g.op('Reshape', g.op('Concat', *encoded, axis=0), g.shape(model.n_bands, n))
    level, side = g.ops('Split', [mid_and_side, g.shape(1, 1)], 2, axis=0)
    return g.op('Add', x, g.weight(model.encode_bias)), (level, side, pan)


def _local(g: _Graph, model: StreamSeparator, lifted: tuple[str, str, str]) -> tuple[str, str]:
    """Features of single bins (LOCAL, F) and the next slow means (2, F); see `StreamSeparator._local_features`."""
    level, side, pan = lifted
    # Sums over 5 and 33 neighbours as one convolution; at the ends fewer are there to divide by.
    f, sizes = model.n_bins, (5, 33)
    kernel = np.zeros((2, 1, max(sizes)), np.float32)
    counts = np.zeros((2, f), np.float32)
    for row, size in enumerate(sizes):
        side_bins = (max(sizes) - size) // 2
        kernel[row, 0, side_bins : side_bins + size] = 1.0
        counts[row] = np.convolve(np.ones(f), np.ones(size), 'same')
    pads = [max(sizes) // 2] * 2
    sums = g.op('Conv', g.op('Unsqueeze', level, g.shape(0)), g.weight(kernel), pads=pads)  # (1, 2, F)
    means = g.op('Mul', g.op('Reshape', sums, g.shape(2, f)), g.weight(1 / counts))
    over = g.op('Sub', level, g.op('Concat', means, 'levels', axis=0))  # (4, F), over neighbours and over the past
    neighbours, past = g.ops('Split', [over, g.shape(2, len(SLOW))], 2, axis=0)
    levels = g.op('Add', 'levels', g.op('Mul', past, g.weight(np.array(model.slow, np.float32)[:, None])))
    found = g.op('Concat', level, neighbours, pan, g.op('Mul', pan, pan), side, past, axis=0)
    return g.op('Mul', found, g.weight(np.array([1, 8, 8, 4, 16, 4, 4, 4], np.float32)[:, None])), levels


def _block(
    g: _Graph, block: Block, x: str, bands: str, whole: str, *, n_bands: int, one: bool
) -> tuple[str, str, str]:
    """x is (rows * K, N), with `one` row or Q; bands (1, rows * K, N); whole (1, rows, G)."""
    width = block.time_out.out_features
    flat = g.shape(-1, width)
    bands = g.gru(g.op('Unsqueeze', g.norm(x, block.time_norm), g.shape(0)), bands, block.time)
    x = g.op('Add', x, g.linear(g.op('Squeeze', bands, g.shape(0)), block.time_out))

    y = g.norm(x, block.feed_norm)
    x = g.linear(g.op('Relu', g.linear(y, block.feed_in)), block.feed_out, plus=x)
    # Three biases are added at once; what the global layer must not yet hear of the last one is taken from its own.
    biases = block.band_out.bias[:, None] + block.feed_out.bias + block.widen.bias  # (K, N)
    heard_bias = block.to_global.bias - block.to_global.weight @ block.widen.bias
    if one:
        mixed = g.op('Relu', g.op('Gemm', g.weight(block.band_in.weight), y, g.weight(block.band_in.bias[:, None])))
        x = g.op('Gemm', g.weight(block.band_out.weight), mixed, x)
        x = g.op('Add', x, g.weight(biases))
    else:
        rows = g.shape(-1, n_bands, width)
        mixed = g.op('MatMul', g.weight(block.band_in.weight), g.op('Reshape', y, rows))
        mixed = g.op('Relu', g.op('Add', mixed, g.weight(block.band_in.bias[:, None])))
        mixed = g.op('Add', g.op('MatMul', g.weight(block.band_out.weight), mixed), g.weight(biases))
        x = g.op('Add', x, g.op('Reshape', mixed, flat))

    heard = g.op('Reshape', g.linear(x, block.to_global, bias=heard_bias), g.shape(1, -1, n_bands * block.narrow))
    whole = g.gru(heard, whole, block.whole)
    y = g.op('Tanh', g.linear(g.op('Squeeze', whole, g.shape(0)), block.from_global))
    return g.linear(g.op('Reshape', y, g.shape(-1, block.narrow)), block.widen, plus=x), bands, whole


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
    """Masks (Q, M, 2, F) of x (Q * K, N) and the features of single bins (LOCAL, F)."""
    n_masks, k = model.n_masks, model.n_bands
    sizes = g.shape(*(count for count, _ in BAND_GROUPS))

    def by_group(rows: str, width: int) -> list[str]:
        """(Q * K, width) -> (bands, Q, width) for each group."""
        rows = g.op('Transpose', g.op('Reshape', rows, g.shape(-1, k, width)), perm=[1, 0, 2])
        return g.ops('Split', [rows, sizes], len(BAND_GROUPS), axis=0)

    wide = g.op('Relu', g.linear(x, model.decode_in))
    groups = by_group(wide, model.decode_in.out_features)
    added = _weigh(g, model, wide, alone, by_group) if alone is not None else [None] * len(groups)
    made = []
    for part, (count, bins), weight, bias, more in zip(
        groups, BAND_GROUPS, model.decode, model.decode_bias, added, strict=True
    ):

        def planes(w, count=count, bins=bins):
            # 1.2 * sigmoid(a) - 0.1 is 0.6 * tanh(a / 2) + 0.5: the half goes into the weights.
            w = w.detach().numpy().reshape(count, -1, bins, n_masks, 2) * np.array([0.5, 1.0], np.float32)
            return w.transpose(0, 1, 3, 4, 2).reshape(count, w.shape[1], -1)

        part = g.op('Add', g.op('MatMul', part, g.weight(planes(weight))), g.weight(planes(bias)))
        part = g.op('Reshape', part, g.shape(count, -1, bins))  # (bands, Q * M * 2, bins)
        part = g.op('Transpose', g.op('Add', part, more) if more else part, perm=[1, 0, 2])
        made.append(g.op('Reshape', part, g.shape(-1, n_masks, 2, count * bins)))
    mask = g.op('Tanh', g.op('Concat', *made, axis=3))
    mask = g.op('Mul', mask, g.weight(np.array([[0.6], [0.5]], np.float32)))
    return g.op('Add', mask, g.weight(np.array([[0.5], [0.0]], np.float32)))


def _weigh(g: _Graph, model: StreamSeparator, wide: str, alone: str, by_group: Callable[..., list[str]]) -> list[str]:
    """What single bins add to the masks before the tangent, (bands, Q * 2, bins) for each group."""
    layer: Any = model.local
    halves = np.array([[[0.5]], [[1.0]]], np.float32)  # as in `planes`
    weight = (layer.weight.detach().numpy().reshape(2, LOCAL, -1) * halves).reshape(2 * LOCAL, -1).T
    bias = (layer.bias.detach().numpy().reshape(2, LOCAL, 1) * halves).reshape(-1)
    wanted = by_group(g.op('Gemm', wide, g.weight(weight), g.weight(bias)), 2 * LOCAL)
    seen = g.ops('Split', [alone, g.shape(*(count * bins for count, bins in BAND_GROUPS))], len(BAND_GROUPS), axis=1)
    added = []
    for part, bits, (count, bins) in zip(wanted, seen, BAND_GROUPS, strict=True):
        bits = g.op('Transpose', g.op('Reshape', bits, g.shape(LOCAL, count, bins)), perm=[1, 0, 2])
        added.append(g.op('MatMul', g.op('Reshape', part, g.shape(count, -1, LOCAL)), bits))
    return added
