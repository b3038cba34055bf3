"""The bundled offline separator: a dual-path network over log-frequency bands, steered by the query.

Where CLIPSep draws K maps with a U-Net and mixes them by the query (late fusion), this one carries the query into every
block after the first two (FiLM), and looks along time and across bands by turns (``dual_path.py``) instead of through
convolutions. Like CLIPSep-small (``models/clipsep_small.py``), whose U-Net the comparisons with NIT and the baselines
are made with, it works on band energies and makes one mask per band, and so it sounds through the same engine.

Shapes: energies (B, 1, bands, frames) in, query (B, N, D) in, masks (B, N, bands, frames) out, any number of frames.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.models.clipsep_small import log_features
from genaudio_core.models.dual_path import Block, Steer

PLACE = 4  # bands that make a place
CONTEXT = 2  # bands to either side that a place sees beside its own


@dataclass(frozen=True)
class BandConfig:
    """Plain numbers that rebuild the model; they travel in the checkpoint and the card."""

    sample_rate: int = 44100  # Hz
    n_fft: int = 4096
    hop_length: int = 1024
    bands: int = 192  # a multiple of 4
    base: float = 101.0  # of the frequency warp
    width: int = 96  # channels at a place
    units: int = 96  # of the GRUs, each way
    heads: int = 6
    hidden: int = 192  # of the layers after the attention
    trunk: int = 2  # blocks before the query is told
    asked: int = 4  # blocks after it
    tell: int = 64  # width of what the network is told of the query
    query_dim: int = 128
    mask_power: float = 1.0  # of masks when sounds are made, not in training; see `genaudio-train calibrate`

    def to_dict(self) -> dict:
        return asdict(self)


class BandSeparator(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: BandConfig | None = None):
        super().__init__()
        self.config = c = config or BandConfig()
        self.places = c.bands // PLACE

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(Block(c.width, c.units, c.heads, c.hidden, both=True) for _ in range(count))

        # What enters and leaves has weights of its own at every place: bass bands are wide, treble bands narrow.
        seen = PLACE + 2 * CONTEXT
        self.into = nn.Parameter(torch.randn(self.places, seen, c.width) / seen**0.5)
        self.position = nn.Parameter(0.1 * torch.randn(1, self.places, c.width))
        self.trunk = blocks(c.trunk)
        self.tell = nn.Linear(c.query_dim, c.tell)
        self.steers = nn.ModuleList(Steer(c.tell, c.width) for _ in range(c.asked + 1))
        self.asked = blocks(c.asked)
        self.norm = nn.LayerNorm(c.width)
        self.last = nn.Linear(c.width, c.hidden)
        self.out = nn.Parameter(0.1 * torch.randn(self.places, c.hidden, PLACE) / c.hidden**0.5)
        self.lean = nn.Linear(c.tell, c.bands)  # the crude equaliser that every sound has

    def forward(self, energy: Tensor, query: Tensor) -> Tensor:
        """Energies (B, 1, bands, frames) and queries (B, N, query_dim) -> masks (B, N, bands, frames) in 0..1."""
        n_queries = query.shape[1]
        x = F.pad(log_features(energy)[:, 0].transpose(1, 2), (CONTEXT, CONTEXT))
        x = x.unfold(-1, PLACE + 2 * CONTEXT, PLACE)  # (B, T, places, seen)
        x = torch.einsum('btks,ksc->btkc', x, self.into) + self.position
        for block in self.trunk:
            x, _ = block(x)
        told = F.relu(self.tell(query * query.shape[-1] ** 0.5)).flatten(0, 1)[:, None]  # (rows, 1, tell)
        x = x[:, None].expand(-1, n_queries, -1, -1, -1).flatten(0, 1)  # from here on a row for each query
        for steer, block in zip(self.steers, self.asked, strict=False):
            x, _ = block(steer(x, told))
        x = F.relu(self.last(self.steers[-1](self.norm(x), told)))
        logits = torch.einsum('btkh,khp->btkp', x, self.out).flatten(2).float() + self.lean(told)  # (rows, T, bands)
        return torch.sigmoid(logits).transpose(1, 2).unflatten(0, (-1, n_queries))
