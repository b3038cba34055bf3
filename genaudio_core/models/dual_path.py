"""What both band separators are made of: blocks that look along time, then across bands.

After the dual-path networks of Luo and Yu (2023, Band-Split RNN) and Lu et al. (2024, BS-RoFormer): a spectrum is cut
into places, and every block runs one GRU along time, with the same weights at every place, and one attention across
the places of a frame. Weights are few and used often, so they stay in the processor's fastest cache, and what is
learned of an instrument at one pitch holds at the others.

Shapes: B rows (mixtures, or mixtures times queries), T frames, K places, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.models import fused
from genaudio_core.models.gru import GRU


class Along(nn.Module):
    """A GRU along time at every place, added to what came in; with `both`, another one backwards."""

    def __init__(self, width: int, units: int, both: bool):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.gru = GRU(width, units)
        self.back = GRU(width, units) if both else None
        self.out = nn.Linear(units * (2 if both else 1), width, bias=False)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take x (B, T, K, C) and the state (B, K, units) before it; return the new ones."""
        batch, _, places, _ = x.shape
        y = self.norm(x).transpose(0, 1).flatten(1, 2)  # (T, B * K, C)
        before = y.new_zeros(y.shape[1], self.gru.width) if h is None else h.flatten(0, 1)
        if self.back is None:
            y, last = self.gru(y, before)
        else:
            y, last = self.gru(y, before, self.back)
        y = self.out(y).unflatten(1, (batch, places)).transpose(0, 1)
        return x + y, last.unflatten(0, (batch, places))


class Across(nn.Module):
    """Attention among the places of a frame, added to what came in."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, K, C) -> the same shape."""
        parts = self.into(self.norm(x))
        if fused.suits(x, parts.shape[-1] // (3 * self.heads)) and x.shape[2] <= fused.MAX_PLACES:
            return x + self.out(fused.attend(parts.flatten(0, 1), self.heads)).view_as(x)
        parts = parts.unflatten(-1, (3, self.heads, -1))  # (B, T, K, 3, heads, C / heads)
        query, key, value = parts.flatten(0, 1).permute(2, 0, 3, 1, 4)
        y = attend(query, key, value)  # (B * T, heads, K, C / heads)
        return x + self.out(y.transpose(1, 2).flatten(2)).view_as(x)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over (rows, heads, K, d). On a processor torch's own spends most of a training step going back."""
    if query.is_cuda:
        return F.scaled_dot_product_attention(query, key, value)
    rows = query.shape[:2]
    query, key, value = (part.flatten(0, 1) for part in (query * query.shape[-1] ** -0.5, key, value))
    return (torch.bmm(query, key.mT).softmax(-1) @ value).unflatten(0, rows)


class Feed(nn.Module):
    """Two layers at every place and frame, added to what came in."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.relu(self.into(self.norm(x))))


class Block(nn.Module):
    """Along time, across bands, and (with `hidden`) each place for itself."""

    def __init__(self, width: int, units: int, heads: int, hidden: int = 0, both: bool = False):
        super().__init__()
        self.along = Along(width, units, both)
        self.across = Across(width, heads)
        self.feed = Feed(width, hidden) if hidden else None

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Take x (B, T, K, C) and a state (B, K, units); return the new ones."""
        x, last = self.along(x, h)
        x = self.across(x)
        return (x if self.feed is None else self.feed(x)), last


class Steer(nn.Module):
    """What a query does to every channel: scale and shift (FiLM). It begins as if there were no query."""

    def __init__(self, tell: int, width: int):
        super().__init__()
        self.film = nn.Linear(tell, 2 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """Take x (B, T, K, C) and told (B, 1 or T, tell)."""
        scale, shift = self.film(told)[:, :, None].chunk(2, -1)
        return torch.addcmul(shift, x, 1 + scale)
