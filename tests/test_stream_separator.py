import numpy as np
import pytest
import torch
from torch import nn

from export.kinds import Options, ParityError
from export.kinds.stream_separator import StreamSeparatorKind
from genaudio_core.model_card import write_model
from genaudio_core.models.gru import GRU
from genaudio_core.models.stream_separator import StreamSeparator, StreamSeparatorConfig


@pytest.fixture(scope='module', params=['shared', 'mid_side', 'local'])
def model(request):
    torch.manual_seed(1)
    local = request.param == 'local'
    model = StreamSeparator(StreamSeparatorConfig(stereo='shared' if local else request.param, local=local)).eval()
    if model.local is not None:
        torch.nn.init.normal_(model.local.weight, std=0.1)
        torch.nn.init.normal_(model.local.bias, std=0.1)
    return model


def inputs(frames=12, batch=1, queries=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spectra = torch.randn(batch, frames, 2, 1025, 2, generator=generator) * 30
    return spectra, torch.randn(batch, queries, 128, generator=generator)


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


def test_it_is_small(model):
    assert sum(p.numel() for p in model.parameters()) <= 2_000_000


def test_frame_by_frame_equals_the_whole(model):
    spectra, query = inputs(batch=2, queries=3)
    with torch.no_grad():
        whole, end = model(spectra, query)
        state, parts = None, []
        for size in (1, 1, 4, 1, 5):
            at = sum(p.shape[1] for p in parts)
            masks, state = model(spectra[:, at : at + size], query, state)
            parts.append(masks)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)
    for a, b in zip(state, end, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_the_future_does_not_matter(model):
    spectra, query = inputs()
    spectra.requires_grad_()
    masks, _ = model(spectra, query)
    (grad,) = torch.autograd.grad(masks[:, 5].sum(), spectra)
    assert not grad[:, 6:].any() and grad[:, :6].abs().sum() > 0


def test_queries_do_not_hear_each_other(model):
    spectra, query = inputs(queries=3)
    with torch.no_grad():
        together, _ = model(spectra, query)
        alone, _ = model(spectra, query[:, 1:2])
    torch.testing.assert_close(together[:, :, 1:2], alone, atol=1e-5, rtol=0)


def test_the_query_matters(model):
    spectra, query = inputs(queries=1)
    with torch.no_grad():
        a, _ = model(spectra, query)
        b, _ = model(spectra, -query)
    assert (a - b).abs().max() > 1e-2


def test_masks_are_bounded_whatever_comes(model):
    spectra, query = inputs()
    with torch.no_grad():
        masks, _ = model(spectra * 1e6, query * 1e3)
    assert torch.isfinite(masks).all() and masks.abs().max() <= 1.1


def test_state_has_the_shapes_it_says(model):
    c = model.config
    spectra, query = inputs(frames=1, batch=3, queries=4)
    with torch.no_grad():
        _, state = model(spectra, query)
    assert state.trunk_bands.shape == (c.trunk_blocks, 3, model.n_bands, c.width)
    assert state.trunk_global.shape == (c.trunk_blocks, 3, c.global_width)
    assert state.query_bands.shape == (c.query_blocks, 3, 4, model.n_bands, c.width)
    assert state.query_global.shape == (c.query_blocks, 3, 4, c.global_width)
    assert [a.shape for a in state] == [a.shape for a in model.initial_state(3, 4)]


def test_separate_is_aligned_with_its_input(model):
    """With masks of one, what comes out is what went in, at the place that the docstring says."""
    c = model.config
    audio = torch.randn(1, 2, c.n_fft - c.hop + 6 * c.hop)
    with torch.no_grad():
        for bias in model.decode_bias:
            real_and_imaginary = bias.view(bias.shape[0], 1, -1, 2)
            real_and_imaginary[..., 0], real_and_imaginary[..., 1] = np.log(1.1 / 0.1), 0.0
        weights = [*model.decode, *([] if model.local is None else model.local.parameters())]
        saved = [w.clone() for w in weights]
        for weight in weights:
            weight.zero_()
        out, _ = model.separate(audio, torch.zeros(1, 1, 128))
        for weight, before in zip(weights, saved, strict=True):
            weight.copy_(before)
        for bias in model.decode_bias:
            bias.zero_()
    start = c.n_fft - 2 * c.hop
    torch.testing.assert_close(
        out[0, 0, :, c.hop :], audio[0, :, start + c.hop : start + 6 * c.hop], atol=1e-4, rtol=1e-4
    )


def test_too_many_parameters_are_refused():
    with pytest.raises(ValueError, match='too many to stay in a processor cache'):
        StreamSeparator(StreamSeparatorConfig(width=96, global_width=512, trunk_blocks=4))


def test_the_export_is_checked_and_a_wrong_graph_is_caught(model, tmp_path):
    kind, source = StreamSeparatorKind(), (model, {'drums': np.ones(128, np.float32)})
    path = tmp_path / 'm.onnx'
    write_model(path, kind.build(source, Options()), kind.card(source, Options()))
    assert kind.check(source, path, Options())['parity'] < 1e-4
    with torch.no_grad():
        model.film[0].bias.add_(0.1)
    try:
        with pytest.raises(ParityError, match='stray from torch'):
            kind.check(source, path, Options())
    finally:
        with torch.no_grad():
            model.film[0].bias.sub_(0.1)


def test_bins_weighed_one_by_one_begin_as_if_they_were_not(tmp_path):
    """A network grows: new parts are silent at first, and what they see does not depend on how frames are cut."""
    torch.manual_seed(9)
    plain = StreamSeparator(StreamSeparatorConfig(width=8, global_width=8)).eval()
    grown = StreamSeparator(StreamSeparatorConfig(width=8, global_width=8, local=True)).eval()
    grown.load_state_dict(plain.state_dict(), strict=False)
    spectra, query = torch.randn(2, 12, 2, plain.n_bins, 2), torch.randn(2, 3, 128)
    with torch.inference_mode():
        assert torch.allclose(grown(spectra, query)[0], plain(spectra, query)[0], atol=1e-6)
        for parameter in grown.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
        whole, _ = grown(spectra, query)
        first, state = grown(spectra[:, :5], query)
        rest, _ = grown(spectra[:, 5:], query, state)
    assert torch.allclose(torch.cat([first, rest], 1), whole, atol=1e-4)
    assert not torch.allclose(whole, plain(spectra, query)[0], atol=1e-2)


def test_only_one_mask_can_weigh_bins_one_by_one():
    with pytest.raises(ValueError, match='shared'):
        StreamSeparator(StreamSeparatorConfig(local=True, stereo='mid_side'))
