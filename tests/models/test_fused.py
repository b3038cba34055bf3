"""The kernels for graphics cards against what they stand for; without a card Triton's interpreter runs them."""

import os

import pytest
import torch
from torch.nn import functional as F

if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'
pytest.importorskip('triton', reason='Triton comes with torch for CUDA')

from genaudio_core.models import fused

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
HALF = torch.bfloat16 if torch.cuda.is_available() else torch.float16  # the interpreter has no bfloat16


def draw(*shape: int, seed: int) -> torch.Tensor:
    # Numbers that bfloat16 holds, so that both sides begin with the same.
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float().to(DEVICE)


def close(ours: torch.Tensor, theirs: torch.Tensor, most: float) -> None:
    assert ours.shape == theirs.shape
    assert (ours.float() - theirs).norm() / theirs.norm() < most


@pytest.mark.parametrize(('kind', 'most'), [(torch.float32, 2e-3), (HALF, 2e-2)])
@pytest.mark.parametrize('rows', [16, 21])
def test_scan_and_its_gradients(kind: torch.dtype, most: float, rows: int):
    frames, width = 9, 32
    given, h = draw(frames, rows, 3 * width, seed=1), draw(rows, width, seed=2)
    weight, bias = draw(3 * width, width, seed=3) / 4, draw(3 * width, seed=4) / 4
    back = draw(frames, rows, width, seed=5)
    ours = [x.to(kind if i == 0 else torch.float32).requires_grad_() for i, x in enumerate((given, h, weight, bias))]
    theirs = [x.detach().cpu().clone().requires_grad_() for x in (given, h, weight, bias)]
    y = fused.scan(*ours)
    x, state, weight_hh, bias_hh = theirs
    as_given = torch.eye(3 * width), weight_hh, torch.zeros(3 * width), bias_hh  # the input's share of the gates is x
    z = torch.gru(x, state[None], as_given, True, 1, 0.0, True, False, False)[0]
    assert y.dtype == kind
    y.backward(back.to(kind))
    z.backward(back.cpu())
    close(y.cpu(), z, most)
    for x, wanted in zip(ours, theirs, strict=True):
        assert x.grad is not None
        assert wanted.grad is not None
        close(x.grad.cpu(), wanted.grad, most)


@pytest.mark.parametrize(('kind', 'most'), [(torch.float32, 2e-3), (HALF, 2e-2)])
@pytest.mark.parametrize('places', [28, 5])
def test_attention_and_its_gradients(kind: torch.dtype, most: float, places: int):
    frames, width, heads = 3, 64, 4
    parts, back = draw(frames, places, 3 * width, seed=1), draw(frames, places, width, seed=2)
    ours, theirs = parts.to(kind).requires_grad_(), parts.detach().cpu().clone().requires_grad_()
    y = fused.attend(ours, heads)
    query, key, value = theirs.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    z = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    y.backward(back.to(kind))
    z.backward(back.cpu())
    close(y.cpu(), z, most)
    assert ours.grad is not None
    assert theirs.grad is not None
    close(ours.grad.cpu(), theirs.grad, most)
