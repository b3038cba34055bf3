import numpy as np
import onnx
import pytest
import torch
from small_decoders import CONFIGS, checkpoint, decoder, events, file, model, torch_hidden

from export.graphs import quantize
from export.graphs.decoder_graph import OPSET, build, cache_scales
from export.graphs.graph import all_graphs
from export.graphs.quantize import BLOCK, quantise_blocks, quantise_weights
from export.job import export
from export.kinds import Options, ParityError
from export.kinds.decoder import DecoderKind, parity
from export.manifest import Job
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder, nll
from genaudio_core.inference.model_card import ModelCard, read_card, read_model, write_model
from genaudio_core.music.layouts import find_encoding

NAMES = tuple(CONFIGS)
FIELDS = CONFIGS['live'].layout.fields


@pytest.mark.parametrize('name', NAMES)
def test_card_rebuilds_the_model(name):
    card = read_card(file(name), 'decoder')
    assert find_encoding(card.layout) is CONFIGS[name].layout
    assert card.vocabulary == CONFIGS[name].layout.fingerprint
    assert card.details['config'] == CONFIGS[name].to_dict()
    assert card.metrics['parity'] < 1e-5
    assert card.licence == 'MIT' and card.tools['torch'] and card.source_hash


def test_the_opset_is_pinned_and_no_path_of_this_machine_is_inside():
    proto = onnx.load(file('live'))
    assert {o.domain: o.version for o in proto.opset_import}[''] == OPSET
    assert b'/work' not in file('live').read_bytes() and b'site-packages' not in file('live').read_bytes()
    onnx.checker.check_model(proto)


def test_parity_would_notice_other_weights():
    torch.manual_seed(9)
    other = DecoderKind().load(checkpoint('live'))
    with torch.no_grad():
        other.layers[1].attention.out.bias[3] += 0.01  # of one channel: a shift of all is normed away
    assert parity(other, decoder('live'), np.random.default_rng(0)) > 1e-4
    assert parity(model('live'), decoder('live'), np.random.default_rng(0)) < 1e-5


def test_a_head_that_strays_is_noticed():
    other = DecoderKind().load(checkpoint('live'))
    with torch.no_grad():
        other.heads.linear[7].bias[3] += 0.01
    assert parity(other, decoder('live'), np.random.default_rng(0)) > 1e-4


def test_a_model_that_strays_is_not_written(tmp_path, monkeypatch):
    from export.kinds import decoder as kind

    def stray(*args, **kwargs):
        raise ParityError('strays from torch by 1')

    monkeypatch.setattr(kind, 'parity', stray)
    monkeypatch.setattr(kind.DecoderKind, 'build', lambda *args: read_model(file('live')).data)
    job = Job('live', 'decoder', checkpoint('live'), tmp_path / 'live.onnx')
    with pytest.raises(ParityError, match='strays'):
        export(job, 'hash')
    assert list(tmp_path.iterdir()) == []  # nor anything half-written


def windows(name: str) -> list[np.ndarray]:
    return [events(name, 140, seed=100 + i) for i in range(4)]


@pytest.mark.parametrize('name', ['live', pytest.param('mmt', marks=pytest.mark.slow)])
def test_int8_costs_little_and_is_exact_about_rewinds(name, tmp_path, monkeypatch):
    from export.kinds.decoder import _tensors

    batches = [_tensors(window, CONFIGS[name].layout) for window in windows(name)]
    proto = build(model(name), cache_scales=cache_scales(model(name), batches))
    monkeypatch.setattr(quantize, 'SMALLEST', 512)  # so small a model has no large matrices
    assert quantise_weights(proto, branch='step') == 5 * len(model(name).layers)
    kinds = [node.op_type for graph in all_graphs(proto.graph) for node in graph.node]
    assert kinds.count('MatMulNBits') == 5 * len(model(name).layers)
    path = tmp_path / 'int8.onnx'
    write_model(path, proto.SerializeToString(), DecoderKind().card(model(name), Options('int8')))
    quantised = Decoder.load(path, provider='cpu')
    assert quantised.cache_dtype == np.int8
    fresh = [events(name, 150, seed=7)]
    assert abs(nll(quantised, fresh)['nll'] - nll(decoder(name), fresh)['nll']) < 0.2  # of about 25 nats
    rows = events(name, 80, seed=8)
    straight, crooked = Continuer(quantised), Continuer(quantised)
    for row in rows:
        straight.feed(row)
    for row in rows[:50]:
        crooked.feed(row)
    crooked.rewind(20)
    for row in rows[20:]:
        crooked.feed(row)
    np.testing.assert_array_equal(straight.hidden, crooked.hidden)
    expected = torch_hidden(name, rows)[-1]
    assert np.abs(straight.hidden[0] - expected).max() < 0.2 * np.abs(expected).max()


def test_int8_weights_alone_keep_the_cache_and_are_judged_by_pieces_of_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(quantize, 'SMALLEST', 512)
    job = Job('live', 'decoder', checkpoint('live'), tmp_path / 'live.onnx', variant='int8', options={'cache': 'fp32'})
    export(job, 'hash')
    card = read_card(job.output, 'decoder')
    kinds = [node.op_type for graph in all_graphs(onnx.load(job.output).graph) for node in graph.node]
    assert kinds.count('MatMulNBits') == 5 * len(model('live').layers)
    assert Decoder.load(job.output, provider='cpu').cache_dtype == np.float32
    assert card.metrics['held_out'] == 'written pieces' and card.metrics['events'] > 1000
    assert card.details['needs_onnxruntime'] == read_card(file('live'), 'decoder').details['needs_onnxruntime']


def test_int8_weights_that_cost_too_much_are_not_written(tmp_path, monkeypatch):
    from export.kinds import decoder as kind

    monkeypatch.setattr(kind.DecoderKind, 'build', lambda *args: read_model(file('live')).data)
    monkeypatch.setattr(kind, 'nll', lambda decoder, windows: {'nll': 99.0, 'events': 1, **dict.fromkeys(FIELDS, 0.0)})
    job = Job('live', 'decoder', checkpoint('live'), tmp_path / 'live.onnx', variant='int8', options={'cache': 'fp32'})
    with pytest.raises(ParityError, match='int8 costs'):
        export(job, 'hash')
    assert list(tmp_path.iterdir()) == []


def test_half_precision_means_the_same(tmp_path):
    proto = build(model('live'), half=True)
    path = tmp_path / 'half.onnx'
    card = DecoderKind().card(model('live'), Options('fp16'))
    write_model(path, proto.SerializeToString(), ModelCard(**{**card.__dict__, 'variant': 'fp16'}))
    assert parity(model('live'), Decoder.load(path, provider='cpu'), np.random.default_rng(0), n=40) < 2e-2
    assert path.stat().st_size < 0.7 * file('live').stat().st_size


def test_blocks_are_quantised_to_half_a_step():
    matrix = np.random.default_rng(0).standard_normal((2 * BLOCK, 5)).astype(np.float32)
    matrix[:, 3] = 0
    values, scales = quantise_blocks(matrix)
    back = ((values.astype(np.float32) - 128) * scales[..., None]).reshape(5, -1).T
    assert values.shape == (5, 2, BLOCK) and values.dtype == np.uint8
    assert (np.abs(back - matrix) <= np.repeat(scales, BLOCK, axis=1).T / 2 + 1e-7).all()
    assert not back[:, 3].any()


def test_int8_without_music_to_judge_it_by(tmp_path):
    from genaudio_core.errors import GenaudioError

    with pytest.raises(GenaudioError, match='held_out'):
        export(Job('live', 'decoder', checkpoint('live'), tmp_path / 'x.onnx', variant='int8'), 'hash')
