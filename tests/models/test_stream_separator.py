import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from export.kinds import Options, ParityError
from export.kinds.stream_separator import StreamSeparatorKind
from genaudio_core.inference.model_card import write_model
from genaudio_core.models.gru import GRU
from genaudio_core.models.stream_separator import N_FEATURES, StreamSeparator, StreamSeparatorConfig


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(1)
    model = StreamSeparator().eval()
    for steer in (model.steer, model.steer_out):  # a new network begins as if there were no query here
        torch.nn.init.normal_(steer.film.weight, std=0.1)
    return model


def inputs(frames=12, batch=1, queries=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, N_FEATURES, frames, 112, generator=generator)
    return features, F.normalize(torch.randn(batch, queries, 128, generator=generator), dim=-1)


def test_gru_is_torchs_forwards_and_backwards():
    torch.manual_seed(0)
    ours, theirs = GRU(5, 7).double(), nn.GRU(5, 7).double()
    for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'):
        getattr(theirs, f'{name}_l0').data = getattr(ours, name).data
    x = torch.randn(9, 3, 5, dtype=torch.double, requires_grad=True)
    h = torch.randn(3, 7, dtype=torch.double, requires_grad=True)
    weights = torch.randn(9, 3, 7, dtype=torch.double)
    grads = []
    for gru, state in ((ours, h), (theirs, h[None])):
        y, last = gru(x, state)
        loss = (y * weights).sum() + last.square().sum()
        grads.append(torch.autograd.grad(loss, [x, h, *gru.parameters()]))
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b)


def test_gru_runs_backwards_too():
    torch.manual_seed(0)
    ahead, back, theirs = GRU(5, 7).double(), GRU(5, 7).double(), nn.GRU(5, 7, bidirectional=True).double()
    for name in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'):
        getattr(theirs, f'{name}_l0').data = getattr(ahead, name).data
        getattr(theirs, f'{name}_l0_reverse').data = getattr(back, name).data
    x = torch.randn(9, 3, 5, dtype=torch.double)
    torch.testing.assert_close(ahead(x, torch.zeros(3, 7, dtype=torch.double), back)[0], theirs(x)[0])


def test_it_is_small(model):
    assert sum(p.numel() for p in model.parameters()) <= 2_000_000


def test_frame_by_frame_equals_the_whole(model):
    features, query = inputs(batch=2, queries=3)
    with torch.no_grad():
        whole, end = model(features, query)
        state, parts = None, []
        for size in (1, 1, 4, 1, 5):
            at = sum(p.shape[2] for p in parts)
            masks, state = model(features[:, :, at : at + size], query, state)
            parts.append(masks)
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=0)
    for a, b in zip(state, end, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_future_does_not_matter(model):
    features, query = inputs()
    features.requires_grad_()
    masks, _ = model(features, query)
    (grad,) = torch.autograd.grad(masks[:, :, 5].sum(), features)
    assert not grad[:, :, 6:].any() and grad[:, :, :6].abs().sum() > 0


def test_queries_do_not_hear_each_other(model):
    features, query = inputs(queries=3)
    with torch.no_grad():
        together, _ = model(features, query)
        alone, _ = model(features, query[:, 1:2])
    torch.testing.assert_close(together[:, 1:2], alone, atol=1e-5, rtol=0)


def test_the_query_matters(model):
    features, query = inputs(queries=1)
    with torch.no_grad():
        a, _ = model(features, query)
        b, _ = model(features, -query)
    assert (a - b).abs().max() > 1e-2


def test_a_query_that_changes_frame_by_frame(model):
    features, query = inputs()
    changing = torch.stack([query] * 6 + [-query] * 6, 1)  # (B, T, Q, D)
    with torch.no_grad():
        masks, _ = model(features, changing)
        same, _ = model(features, query)
    torch.testing.assert_close(masks[:, :, :6], same[:, :, :6], atol=1e-5, rtol=0)
    assert (masks - same)[:, :, 6:].abs().max() > 1e-2


def test_masks_are_bounded_whatever_comes(model):
    with torch.no_grad():
        for level in (0.0, 1e-12, 1.0, 1e6):
            features = model.features(torch.complex(*torch.randn(2, 1, 2, 12, 1025)) * level)
            masks, _ = model(features, inputs()[1] * 1e3)
            assert torch.isfinite(masks).all() and masks.min() >= 0 and masks.max() <= 1


def test_features_hear_level_and_place():
    model = StreamSeparator()
    spectra = torch.zeros(1, 2, 3, 1025, dtype=torch.complex64)
    spectra[0, 0, 1, 300] = 1 / model.scale  # a full-scale sine on the left, in one frame
    level, side, pan = model.features(spectra)[0]
    band = int(model.gather[300].argmax())
    assert level[0].max() == side[0].max() == pytest.approx(-4.5 / 2)
    assert level[1, band] > 1.5 and side[1, band] == pytest.approx(float(level[1, band]), abs=1e-4)
    assert pan[1, band] == pytest.approx(1, abs=1e-3) and pan[0, band] == 0


def test_state_has_the_shapes_it_says(model):
    features, query = inputs(frames=1, batch=3, queries=4)
    with torch.no_grad():
        _, state = model(features, query)
    assert [a.shape for a in state] == [a.shape for a in model.initial_state(3, 4)]


def test_separate_is_aligned_with_its_input():
    """With masks of one, what comes out is what went in, at the place that the docstring says."""
    model = StreamSeparator()
    c = model.config
    audio = torch.randn(1, 2, c.n_fft - c.hop + 6 * c.hop)
    with torch.no_grad():
        for parameter in (*model.out.parameters(), *model.lean.parameters()):
            parameter.zero_()
        model.lean.bias.fill_(30.0)
        out, _ = model.separate(audio, torch.zeros(1, 1, 128))
    start = c.n_fft - 2 * c.hop
    torch.testing.assert_close(
        out[0, 0, :, c.hop :], audio[0, :, start + c.hop : start + 6 * c.hop], atol=1e-4, rtol=1e-4
    )


def test_too_many_parameters_are_refused():
    with pytest.raises(ValueError, match='too many to stay in a processor cache'):
        StreamSeparator(StreamSeparatorConfig(width=256))
    with pytest.raises(ValueError, match='multiple of 4'):
        StreamSeparator(StreamSeparatorConfig(bands=102))


def test_the_export_is_checked_and_a_wrong_graph_is_caught(model, tmp_path):
    kind, source = StreamSeparatorKind(), (model, {'drums': np.ones(128, np.float32)})
    path = tmp_path / 'm.onnx'
    write_model(path, kind.build(source, Options()), kind.card(source, Options()))
    assert kind.check(source, path, Options())['parity'] < 1e-4
    with torch.no_grad():
        model.lean.bias.add_(0.1)
    try:
        with pytest.raises(ParityError, match='stray from torch'):
            kind.check(source, path, Options())
    finally:
        with torch.no_grad():
            model.lean.bias.sub_(0.1)
