"""The two slow parts of a block of `dual_path.py` as Triton kernels, for training on NVIDIA cards.

cuDNN runs a small GRU as some two kernels for each frame, and torch's attention is made for longer rows than the places
of a frame: a card waits for its next kernel most of the time. Here a group of rows goes through all frames in one
kernel, with the weights in registers, and a frame's attention is one tile. Products are in bfloat16, states and sums in
float32. Exports, evaluations and streams do not come here.

Shapes: T frames, R rows, N units, K places, H heads, d = N / H.
"""

import functools
from typing import Any

import torch
from torch import Tensor

ROWS = 16  # that a program of the GRU carries through time: the fewest that the products take
MAX_PLACES = 64


@functools.cache
def kernels() -> Any:
    """Return the module of the kernels, or None without Triton (which comes with torch for CUDA)."""
    try:
        from genaudio_core.models import fused_kernels
    except ImportError:
        return None
    return fused_kernels


def suits(x: Tensor, width: int) -> bool:
    """Whether these kernels take x: on a card, in training, in half precision, a power of two wide."""
    kind = x.device.type
    return (
        kind == 'cuda' and torch.is_grad_enabled() and torch.is_autocast_enabled(kind)
        and torch.get_autocast_dtype(kind) == torch.bfloat16
        and 16 <= width <= 128 and width & (width - 1) == 0 and kernels() is not None
    )  # fmt: skip


class _Scan(torch.autograd.Function):
    """`given` (T, R, 3N), torch's order r, z, n, and a state (R, N) -> the states (T, R, N), in `given`'s precision."""

    @staticmethod
    def forward(ctx, given: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        frames, rows, width = given.shape[0], *h.shape
        given, h, weight = given.contiguous(), h.contiguous(), weight.to(given.dtype).contiguous()
        hidden = given.new_empty(frames + 1, rows, width)
        hidden[0] = h
        kept = given.new_empty(frames, rows, 4 * width)  # reset, update, candidate, and the state's share of it
        kernels().gru_forward[(-(-rows // ROWS),)](given, h, weight, bias, hidden, kept, frames, rows, width, ROWS)
        ctx.save_for_backward(hidden, kept, weight)
        return hidden[1:]

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden, kept, weight = ctx.saved_tensors
        frames, rows, width = kept.shape[0], *hidden.shape[1:]
        grad = grads[0].contiguous()
        back = torch.empty_like(kept)  # of the gates and the candidate as given, and of the state's share of it
        first = torch.empty(rows, width, dtype=torch.float32, device=kept.device)
        kernels().gru_backward[(-(-rows // ROWS),)](grad, weight, hidden, kept, back, first, frames, rows, width, ROWS)
        flat = back.view(-1, 4 * width)
        to_weight = (flat.mT @ hidden[:-1].reshape(-1, width)).float()
        to_bias = flat.sum(0, dtype=torch.float32)

        def of_state(x: Tensor) -> Tensor:
            return torch.cat([x[: 2 * width], x[3 * width :]])

        return back[..., : 3 * width], first, of_state(to_weight), of_state(to_bias)


def scan(given: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Run a GRU from state h (R, N), given the input's share of its gates (T, R, 3N); return the states (T, R, N)."""
    return _Scan.apply(given, h, weight, bias)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parts: Tensor, heads: int) -> Tensor:
        frames, places, width = parts.shape[0], parts.shape[1], parts.shape[2] // 3
        parts = parts.contiguous()
        out = parts.new_empty(frames, places, width)
        tile = max(16, 1 << (places - 1).bit_length())
        kernels().attention_forward[(frames * heads,)](parts, out, places, heads, width // heads, tile, num_warps=1)
        ctx.save_for_backward(parts)
        ctx.heads, ctx.tile = heads, tile
        return out

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        (parts,) = ctx.saved_tensors
        frames, places, width = parts.shape[0], parts.shape[1], parts.shape[2] // 3
        back = torch.empty_like(parts)
        kernels().attention_backward[(frames * ctx.heads,)](
            parts, grads[0].to(parts.dtype).contiguous(), back, places, ctx.heads, width // ctx.heads, ctx.tile,
            num_warps=1,
        )  # fmt: skip
        return back, None


def attend(parts: Tensor, heads: int) -> Tensor:
    """Attention among the places of each frame: query, key and value (T, K, 3N) -> (T, K, N)."""
    return _Attend.apply(parts, heads)
