"""What is no model, or a broken one, is one line at once, and nothing that is read is ever written over."""

import numpy as np
import onnx
import pytest
import small_decoders
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from genaudio_core.commands.cli import main
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.errors import GenaudioError
from genaudio_core.files import read_arrays
from genaudio_core.inference.model_card import nan_weight, read_card, write_model


def with_weight(spoil) -> tuple[bytes, str]:
    """The small live decoder with one of its weights put through `spoil`, and the name of that weight."""
    model = onnx.load(small_decoders.file('live'))
    weight = max(model.graph.initializer, key=lambda one: one.ByteSize())
    weight.CopyFrom(numpy_helper.from_array(spoil(numpy_helper.to_array(weight).copy()), weight.name))
    return model.SerializeToString(), weight.name


def one_nan(values: np.ndarray) -> np.ndarray:
    values.flat[values.size // 2] = np.nan
    return values


def test_a_model_with_a_weight_that_is_no_number_is_refused_when_it_is_loaded(tmp_path):
    data, name = with_weight(one_nan)
    path = tmp_path / 'spoilt.onnx'
    write_model(path, data, read_card(small_decoders.file('live')))
    with pytest.raises(GenaudioError, match='are not numbers') as error:
        Decoder.load(path)
    assert name in str(error.value)


@pytest.mark.parametrize('kind', ['<f2', '<f4', '<f8'])
@pytest.mark.parametrize('raw', [True, False])
def test_nan_is_seen_in_every_way_to_store_a_number(kind, raw):
    values = np.array([1.0, np.nan, np.inf], kind)
    tensor = numpy_helper.from_array(values, 'weight')
    if not raw and kind != '<f2':  # halves are always stored as bytes by us
        tensor.ClearField('raw_data')
        (tensor.float_data if kind == '<f4' else tensor.double_data).extend(values.tolist())
    model = onnx.helper.make_model(onnx.helper.make_graph([], 'weights', [], [], [tensor]))
    assert nan_weight(model.SerializeToString()) == 'weight'
    tensor.CopyFrom(numpy_helper.from_array(np.array([1.0, np.inf], kind), 'weight'))
    whole = onnx.helper.make_tensor('count', TensorProto.INT64, [1], [-1])
    model = onnx.helper.make_model(onnx.helper.make_graph([], 'weights', [], [], [tensor, whole]))
    assert nan_weight(model.SerializeToString()) == ''


@pytest.mark.parametrize(
    'words',
    [
        ['evaluate', 'live', '--data', 'DATA', '--out', 'DATA'],
        ['evaluate', 'DATA', '--data', 'other.safetensors', '--out', 'DATA'],
        ['prepare', 'DATA', '-o', 'DATA'],
        ['prepare', 'DATA', '-o', 'new.safetensors', '--report', 'DATA'],
        ['release', 'DATA', '-o', 'DATA'],
    ],
)
def test_no_command_for_models_writes_over_what_it_reads(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / 'data.safetensors'
    data.write_bytes(b'mine')
    assert main([str(data) if word == 'DATA' else word for word in words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith('error: ') and str(data) in told[0]
    assert data.read_bytes() == b'mine'
    assert [one.name for one in tmp_path.iterdir()] == ['data.safetensors']


@given(st.data())
def test_arrays_from_a_damaged_file_are_whole_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.mktemp('arrays') / 'space.npz'
    np.savez(path, a=np.arange(50.0), b=np.eye(4))
    raw = bytearray(path.read_bytes())
    cut = data.draw(st.integers(0, len(raw)))
    for _ in range(data.draw(st.integers(0, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[:cut])
    try:
        arrays = read_arrays(path, 'query space')
    except GenaudioError as error:
        assert '\n' not in str(error) and str(path) in str(error)
    else:
        assert all(isinstance(each, np.ndarray) for each in arrays.values())
