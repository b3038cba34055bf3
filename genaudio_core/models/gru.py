"""A GRU with torch's names and order of weights, which begins at a given state and may run both ways."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.models import fused


class GRU(nn.Module):
    """One layer; a call runs T frames."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        bound = width**-0.5
        self.width = width
        self.weight_ih = nn.Parameter(torch.empty(3 * width, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(3 * width, width).uniform_(-bound, bound))
        self.bias_ih = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound))
        self.bias_hh = nn.Parameter(torch.empty(3 * width).uniform_(-bound, bound))

    def forward(self, x: Tensor, h: Tensor, back: 'GRU | None' = None) -> tuple[Tensor, Tensor]:
        """Take x (T, rows, inputs) and h (rows, width); return (T, rows, width) and the last state.

        With `back`, which runs backwards from zeros, the output is (T, rows, 2 * width).
        """
        if back is None and fused.suits(x, self.width):
            given = F.linear(x, self.weight_ih, self.bias_ih)  # in half precision
            with torch.autocast(x.device.type, enabled=False):
                y = fused.scan(given, h, self.weight_hh, self.bias_hh)
            return y, y[-1].to(h.dtype)
        # Both ways only over short windows: there half precision is half as long again as fast (133 against 200 ms a
        # training step), and does no harm. A stream goes on for ever and adds up its rounding.
        half = back is not None and x.is_cuda and torch.is_autocast_enabled(x.device.type)
        kind = torch.bfloat16 if half else self.weight_ih.dtype
        weights, before = self._weights(), h[None]
        if back is not None:
            weights, before = weights + back._weights(), torch.stack([h, torch.zeros_like(h)])
        with torch.autocast(x.device.type, enabled=False):
            y, last = torch.gru(
                x.to(kind), before.to(kind), [weight.to(kind) for weight in weights], True, 1, 0.0, self.training,
                back is not None, False,
            )  # fmt: skip
        return y, last[0]

    def _weights(self) -> list[Tensor]:
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
