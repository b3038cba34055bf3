import onnxruntime
import pytest
from small_model import small_model

from genaudio_core.errors import GenaudioError
from genaudio_core.inference import session
from genaudio_core.inference.model_card import ModelCard, write_model
from genaudio_core.inference.session import available_providers, choose_providers, load_model

CPU_CARD, CUDA_CARD = ModelCard(kind='test'), ModelCard(kind='test', target='cuda')


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / 'm.onnx', small_model(), CPU_CARD)
    return tmp_path / 'm.onnx'


def test_loads_on_the_cpu_and_says_so(path):
    told = []
    model = load_model(path, 'test', on_notice=told.append)
    assert (model.provider, model.device, told) == ('cpu', 'cpu', [])
    options = model.session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'


def test_auto_takes_what_the_file_was_made_for():
    available = ['cuda', 'directml', 'cpu']
    assert choose_providers('auto', CPU_CARD, available) == (['cpu'], '')
    assert choose_providers('auto', CUDA_CARD, available) == (available, '')
    assert choose_providers('cuda', CPU_CARD, available) == (['cuda', 'cpu'], '')


def test_a_provider_that_is_not_here_is_told(path):
    missing = next(name for name in ('coreml', 'directml') if name not in available_providers())
    told = []
    assert load_model(path, provider=missing, on_notice=told.append).provider == 'cpu'
    assert len(told) == 1 and missing in told[0] and 'using cpu' in told[0]


def test_unknown_provider():
    with pytest.raises(GenaudioError, match=r"'cudaa'.*'cuda'"):
        choose_providers('cudaa', CPU_CARD, ['cpu'])


@pytest.mark.parametrize('how', ['raises', 'is quietly left out'])
def test_a_provider_that_does_not_start_is_told(path, monkeypatch, how):
    monkeypatch.setattr(session, 'available_providers', lambda: ['coreml', 'cpu'])
    real = session._start

    def start(data, provider, options):
        if provider == 'coreml' and how == 'raises':
            raise RuntimeError('no such\n device')
        return real(data, 'cpu', options)

    monkeypatch.setattr(session, '_start', start)
    told = []
    model = load_model(path, provider='coreml', on_notice=told.append)
    assert model.provider == 'cpu'
    assert len(told) == 1 and told[0].startswith('coreml did not start') and '\n' not in told[0]
    assert model.notices == tuple(told)


def test_a_graph_that_no_runtime_can_run(tmp_path):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, [None])
    out = helper.make_tensor_value_info('y', TensorProto.FLOAT, [None])
    node = helper.make_node('NoSuchOperator', ['x'], ['y'], domain='nobody')
    graph = helper.make_graph([node], 'g', [value], [out])
    domains = [helper.make_opsetid('', 18), helper.make_opsetid('nobody', 1)]
    raw = helper.make_model(graph, opset_imports=domains, ir_version=10)
    write_model(tmp_path / 'm.onnx', raw.SerializeToString(), CPU_CARD)
    with pytest.raises(GenaudioError, match='cannot be run by onnxruntime'):
        load_model(tmp_path / 'm.onnx')


@pytest.mark.parametrize(('opset', 'ir'), [(99, 10), (18, 99)])
def test_a_graph_of_a_format_that_is_newer_than_the_runtime_is_one_line(tmp_path, opset, ir):
    import onnx

    model = onnx.load_model_from_string(small_model())
    model.opset_import[0].version, model.ir_version = opset, ir
    write_model(tmp_path / 'm.onnx', model.SerializeToString(), CPU_CARD)
    with pytest.raises(GenaudioError, match='onnxruntime') as caught:
        load_model(tmp_path / 'm.onnx')
    assert '\n' not in str(caught.value)


def test_a_runtime_too_old(tmp_path, monkeypatch):
    card = ModelCard(kind='test', details={'needs_onnxruntime': '1.27'})
    write_model(tmp_path / 'm.onnx', small_model(), card)
    monkeypatch.setattr(onnxruntime, '__version__', '1.9.2')
    with pytest.raises(GenaudioError, match=r'needs onnxruntime 1\.27 or newer, and 1\.9\.2'):
        load_model(tmp_path / 'm.onnx')
    monkeypatch.setattr(onnxruntime, '__version__', '1.27.0rc1')
    assert load_model(tmp_path / 'm.onnx').provider == 'cpu'
