"""The smallest model file."""

import numpy as np
from onnx import TensorProto, helper

from genaudio_core.inference.model_card import ModelCard

CARD = ModelCard(
    kind='decoder', name='täst', variant='int8', sample_rate=48000, latency=128, licence='CC BY 4.0',
    training_data=['Mutopia'], metrics={'nll': np.float32(2.5)}, details={'context': 1024},
)  # fmt: skip


def small_model(**metadata: str) -> bytes:
    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, [None])
    out = helper.make_tensor_value_info('y', TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node('Identity', ['x'], ['y'])], 'g', [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    return model.SerializeToString()
