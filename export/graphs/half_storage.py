"""Weights of 16 bits are stored as such, in half the space; the graph computes in float32 all the same."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 1024  # values; below it a node costs more than it saves


def store_halves(model: onnx.ModelProto) -> None:
    """Store every weight of the outer graph that float16 holds exactly as float16, with a cast to float32 behind it.

    A checkpoint that `release` packed has only such weights. onnxruntime folds the casts when it loads the file, so
    neither a value nor the time of a step changes.
    """
    graph = model.graph
    casts: list[onnx.NodeProto] = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(weight)
        if values.size < SMALLEST:
            continue
        with np.errstate(over='ignore'):  # what is too large for float16 stays as it is
            halves = values.astype(np.float16)
        if not np.array_equal(halves.astype(np.float32), values):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(halves, f'{name}/half'))
        casts.append(helper.make_node('Cast', [weight.name], [name], name=f'{name}/cast', to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
