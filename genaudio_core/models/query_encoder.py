"""The two bundled query encoders in torch: words and sounds into one space of 128 numbers.

* `TextTable`: a row per hashed feature, summed and brought to length one. No order, no layers: with a few hundred
  phrases to learn from, anything deeper learns the phrases and forgets the typos.
* `AudioNet`: strided convolutions over log band energies, mean and maximum over time, one linear layer.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.models.clipsep_small import log_features


@dataclass(frozen=True)
class TextTableConfig:
    buckets: int = 16384
    dim: int = 128

    def to_dict(self) -> dict:
        return asdict(self)


class TextTable(nn.Module):
    """Feature numbers -> unit vectors."""

    def __init__(self, config: TextTableConfig | None = None):
        super().__init__()
        self.config = config or TextTableConfig()
        self.table = nn.EmbeddingBag(self.config.buckets, self.config.dim, mode='sum')
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, ids: Tensor, offsets: Tensor) -> Tensor:
        """Flat ids and where each phrase begins -> (n, dim)."""
        return F.normalize(self.table(ids, offsets), dim=-1)


class OnePhrase(nn.Module):
    """The exported form: the ids of one phrase (n,) -> (dim,). The table is int8 with one scale per row."""

    codes: Tensor
    scale: Tensor

    def __init__(self, table: TextTable):
        super().__init__()
        weight = table.table.weight.detach()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127
        self.register_buffer('codes', torch.round(weight / scale).to(torch.int8))
        self.register_buffer('scale', scale)

    def forward(self, ids: Tensor) -> Tensor:
        rows = self.codes[ids].to(torch.float32) * self.scale[ids]
        total = rows.sum(dim=0)
        return total / torch.sqrt((total * total).sum() + 1e-12)


@dataclass(frozen=True)
class AudioNetConfig:
    sample_rate: int = 44100  # Hz
    n_fft: int = 4096
    hop_length: int = 1024
    bands: int = 192
    base: float = 101.0
    frames: int = 64
    width: int = 16
    dim: int = 128

    def to_dict(self) -> dict:
        return asdict(self)


class AudioNet(nn.Module):
    """Band energies (B, 1, bands, frames) -> unit vectors (B, dim)."""

    def __init__(self, config: AudioNetConfig | None = None):
        super().__init__()
        self.config = config or AudioNetConfig()
        w = self.config.width
        widths = [1, w, 2 * w, 4 * w, 8 * w, 8 * w]
        self.position = nn.Parameter(torch.zeros(1, w, self.config.bands // 2, 1))
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths[1:])
        height = self.config.bands // 32
        self.head = nn.Linear(2 * height * widths[-1], self.config.dim)

    def forward(self, energy: Tensor) -> Tensor:
        x = log_features(energy)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = F.leaky_relu(norm(conv(x)), 0.1)
            if i == 0:
                x = x + self.position
        x = torch.cat([x.mean(dim=3), x.amax(dim=3)], dim=1).flatten(1)
        return F.normalize(self.head(F.dropout(x, 0.1, self.training)), dim=-1)
