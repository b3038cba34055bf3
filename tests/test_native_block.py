"""The compiled block against torch's operators; skipped where the processor or a compiler is missing."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.models import native
from genaudio_core.models.dual_path import Block

if native.library() is None:
    pytest.skip('needs a processor with AMX and a C++ compiler', allow_module_level=True)


def made(seed=0, **options):
    torch.manual_seed(seed)
    block = Block(64, 64, 4, **options)
    for weight in block.parameters():
        if weight.dim() == 1:  # norms and biases begin at one and zero, where mistakes do not show
            weight.data += 0.2 * torch.randn_like(weight)
    return block


def through(block, x, h, weights, half):
    x = x.clone().requires_grad_()
    block.zero_grad()
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        y, last = block(x, h)
    (y * weights).sum().backward()
    return y.detach(), last.detach(), x.grad, [p.grad.clone() for p in block.parameters()]


@given(st.integers(1, 3), st.integers(2, 11), st.integers(1, 32), st.booleans(), st.sampled_from([1, 2]))
def test_it_is_torchs_block_forwards_and_backwards(rows, frames, places, begun, threads):
    block, before = made(), torch.get_num_threads()
    generator = torch.Generator().manual_seed(rows * frames + places)
    x, weights = torch.randn(2, rows, frames, places, 64, generator=generator)
    h = torch.randn(rows, places, 64, generator=generator) if begun else None
    torch.set_num_threads(threads)
    try:
        assert native.library() and not native.suits(x, 64, 64, 4)  # nothing to learn, full precision: torch
        y, last, dx, grads = through(block, x, h, weights, True)
    finally:
        torch.set_num_threads(before)
    expected = through(block, x, h, weights, False)
    for mine, theirs in zip((y, last, dx, *grads), (*expected[:3], *expected[3]), strict=True):
        far = (mine - theirs).norm() / (theirs.norm() + 1e-6)
        assert far < 0.02, (mine.shape, far)  # bfloat16 has eight bits


def test_a_block_of_another_make_is_torchs():
    x = torch.randn(1, 4, 28, 64, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        assert native.suits(x, 64, 64, 4)
        assert not native.suits(x, 64, 128, 4) and not native.suits(x[:, :1], 64, 64, 4)
        assert not native.suits(x.detach(), 64, 64, 4)
        assert not native.suits(torch.randn(1, 4, 33, 64, requires_grad=True), 64, 64, 4)
        y, _ = made(hidden=96, both=True)(x)  # runs, by torch
        assert y.shape == x.shape
