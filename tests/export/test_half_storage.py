"""Weights that float16 holds exactly take half the space, and nothing else changes."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from export.graphs.half_storage import store_halves


def network(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """y = x @ a @ b ..., in the order of `weights`."""
    nodes, last = [], 'x'
    for number, name in enumerate(weights):
        nodes.append(helper.make_node('MatMul', [last, name], [f'y{number}']))
        last = f'y{number}'
    graph = helper.make_graph(
        nodes, 'network',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, 64])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])
    return np.asarray(session.run(None, {'x': x})[0])


def test_the_result_is_the_same_to_the_bit_and_only_exact_weights_change():
    rng = np.random.default_rng(5)
    exact = rng.standard_normal((64, 64)).astype(np.float16).astype(np.float32)
    weights = {
        'exact': exact,
        'fine': rng.standard_normal((64, 64)).astype(np.float32),
        'large': np.where(np.eye(64) > 0, np.float32(131072), exact),  # beyond float16
    }
    model = network(weights)
    x = rng.standard_normal((1, 64)).astype(np.float32)
    before, size = run(model, x), model.ByteSize()
    store_halves(model)
    onnx.checker.check_model(model, full_check=True)
    kinds = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert kinds == {'exact/half': TensorProto.FLOAT16, 'fine': TensorProto.FLOAT, 'large': TensorProto.FLOAT}
    assert size - model.ByteSize() > 2 * exact.size - 300
    np.testing.assert_array_equal(run(model, x), before)


def test_small_weights_stay():
    model = network({'a': np.eye(64, dtype=np.float32)})
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(8, np.float32), 'small'))
    store_halves(model)
    assert [node.op_type for node in model.graph.node] == ['Cast', 'MatMul']
    assert {weight.name for weight in model.graph.initializer} == {'a/half', 'small'}
