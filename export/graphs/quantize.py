"""int8 weights for decoders on the CPU.

Every weight matrix becomes a ``com.microsoft.MatMulNBits``: 8 bits, a scale for each 32 weights of each output channel
(finer than per-channel), activations quantised on the fly row by row. Measured against ``DynamicQuantizeMatMul``
(one scale for each channel, one for all activations) it is as fast for a step and half as wrong, and what a row gives
does not depend on the rows beside it: takes do not disturb each other, and a prefill in chunks equals one in a piece.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graphs.graph import all_graphs, prune

BLOCK = 32  # weights that share a scale
SMALLEST = 4096  # weights; below this nothing is gained
ACCURACY_INT8 = 4  # MatMulNBits computes in int8; the default (0) dequantises at every call, forty times slower


def quantise_weights(model: onnx.ModelProto, branch: str | None = None) -> int:
    """Quantise the weight matrices of a graph in place; return how many multiplications that was.

    Parameters
    ----------
    branch : str, optional
        Only those in the nested graph of this name. (The heads of a decoder are small: quantised, each takes four
        times as long as in float, and they are what accuracy hangs on.)
    """
    weights = {w.name: w for w in model.graph.initializer}
    made: dict[str, tuple[str, str]] = {}
    count = 0
    for graph in all_graphs(model.graph):
        if branch is not None and graph.name != branch:
            continue
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        shown = {out.name for out in graph.output}
        dropped = []
        for node in graph.node:
            if node.op_type != 'MatMul' or node.input[1] not in weights:
                continue
            weight = weights[node.input[1]]
            if len(weight.dims) != 2 or weight.dims[0] % BLOCK or np.prod(weight.dims) < SMALLEST:
                continue
            if weight.name not in made:
                made[weight.name] = _store(model.graph, weight)
            inputs = [node.input[0], *made[weight.name]]
            output = node.output[0]
            after = readers.get(output, [])
            if output not in shown and len(after) == 1 and after[0].op_type == 'Add':
                bias = next((i for i in after[0].input if i in weights and len(weights[i].dims) == 1), None)
                if bias is not None:
                    inputs += ['', '', bias]
                    output = after[0].output[0]
                    dropped.append(after[0])
            quantised = helper.make_node(
                'MatMulNBits', inputs, [output], node.name, domain='com.microsoft', K=weight.dims[0],
                N=weight.dims[1], bits=8, block_size=BLOCK, accuracy_level=ACCURACY_INT8,
            )  # fmt: skip
            node.CopyFrom(quantised)
            count += 1
        for node in dropped:
            graph.node.remove(node)
    if count and all(opset.domain != 'com.microsoft' for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid('com.microsoft', 1))
    prune(model)
    return count


def _store(graph: onnx.GraphProto, weight: onnx.TensorProto) -> tuple[str, str]:
    """Add the quantised form of `weight` (k, n) to the graph; return the names of values and scales."""
    matrix = numpy_helper.to_array(weight).astype(np.float32)
    values, scales = quantise_blocks(matrix)
    names = f'{weight.name}.int8', f'{weight.name}.scales'
    graph.initializer.append(numpy_helper.from_array(values, names[0]))
    graph.initializer.append(numpy_helper.from_array(scales, names[1]))
    return names


def quantise_blocks(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric 8-bit blocks of a matrix (k, n) that x is multiplied with from the left.

    Returns
    -------
    values : (n, k / BLOCK, BLOCK) uint8, zero point 128
    scales : (n, k / BLOCK) float32
    """
    k, n = matrix.shape
    blocks = matrix.T.reshape(n, k // BLOCK, BLOCK)
    largest = np.abs(blocks).max(axis=-1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    values = np.rint(blocks / scales[..., None]) + 128
    return np.clip(values, 0, 255).astype(np.uint8), scales
