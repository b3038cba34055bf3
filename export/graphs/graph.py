"""What every kind of model needs to become a graph: torch's exporter, and small surgery on what it gives."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn


def torch_to_onnx(
    module: nn.Module,
    inputs: dict[str, Any],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: dict[str, Any],
    opset: int,
) -> onnx.ModelProto:
    """Run ``torch.onnx.export(dynamo=True)`` quietly; `inputs` are the keyword arguments of ``forward``."""
    chatter = io.StringIO()
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(chatter), torch.no_grad():
            warnings.simplefilter('ignore')  # torch's exporter warns of its own deprecations
            program = torch.onnx.export(
                module, (), kwargs=inputs, input_names=list(input_names), output_names=list(output_names),
                dynamic_shapes=dynamic_shapes, opset_version=opset, dynamo=True, verbose=False,
            )  # fmt: skip
    finally:
        logger.setLevel(level)
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # stack traces of this machine do not belong into a file for others
        del node.metadata_props[:]
        node.doc_string = ''
    del proto.graph.value_info[:]
    return proto


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return helper.make_node('Constant', [], [name], value=numpy_helper.from_array(array, name))


def subgraph(
    name: str, graph: onnx.GraphProto, outputs: Sequence[str], prefix: str, extra: Sequence[onnx.NodeProto]
) -> onnx.GraphProto:
    """The nodes of `graph` that `outputs` depend on, as a branch. Inputs and weights stay in the outer graph.

    Values made in the branch get `prefix`, so that no name occurs twice in a file.
    """
    maker = {out: node for node in graph.node for out in node.output if out}
    needed: set[int] = set()
    stack = [maker[out] for out in outputs]
    while stack:
        node = stack.pop()
        if id(node) in needed:
            continue
        needed.add(id(node))
        stack += [maker[i] for i in node.input if i in maker]
    nodes = []
    for node in graph.node:
        if id(node) in needed:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [prefix + i if i in maker else i for i in node.input]
            copy.output[:] = [prefix + o if o else o for o in node.output]
            if node.name:
                copy.name = prefix + node.name
            nodes.append(copy)
    return helper.make_graph([*nodes, *extra], name, [], [])


def all_graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """`graph` and the graphs nested in it."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += all_graphs(attribute.g)
    return found


def fold_transposes(graph: onnx.GraphProto) -> None:
    """Store transposed weights transposed: a quantiser looks for weights that are multiplied as they are."""
    weights = {w.name: w for w in graph.initializer}
    for node in list(graph.node):
        if node.op_type == 'Transpose' and node.input[0] in weights:
            array = numpy_helper.to_array(weights[node.input[0]])
            axes = next((list(a.ints) for a in node.attribute if a.name == 'perm'), None)
            folded = np.ascontiguousarray(array.transpose(axes))
            graph.initializer.append(numpy_helper.from_array(folded, node.output[0]))
            graph.node.remove(node)


def prune(model: onnx.ModelProto) -> None:
    """Drop weights that nothing uses."""
    used: set[str] = set()
    for graph in all_graphs(model.graph):
        used.update(name for node in graph.node for name in node.input)
        used.update(out.name for out in graph.output)
    keep = [w for w in model.graph.initializer if w.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(keep)
