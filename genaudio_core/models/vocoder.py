"""From a log-mel spectrogram to a complex spectrum, after Vocos (Siuzdak, 2023): no upsampling, one row a frame.

* ConvNeXt blocks along time look at whole frames; the head gives every bin of a 2048-point transform a magnitude and
  a phase. An inverse transform, outside of the network, makes the sound, so the cost is that of the frames.
* Magnitudes are learnt as a correction of the mel interpolated between its bands: before the first step of training
  they are already those of `mel.bin_magnitudes`. Bins above the top band stay silent.
* Phases follow from overlapping frames having to agree. A network this small gets them roughly right; a few rounds of
  Griffin and Lim's iteration, started from its phases, do the rest (``synthesizer.py``).

Shapes: log mels (B, frames, bands) -> real and imaginary parts (B, frames, bins), bins up to the top band's end.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.sound.mel import BANDS, HIGH, HOP, N_FFT, SAMPLE_RATE, mel_filters


@dataclass(frozen=True)
class VocoderConfig:
    """Plain numbers that rebuild the model."""

    bands: int = BANDS
    n_fft: int = N_FFT
    hop_length: int = HOP
    bins: int = int(np.ceil(HIGH / SAMPLE_RATE * N_FFT)) + 1
    width: int = 144
    hidden: int = 432
    depth: int = 5
    floor: float = -9.21  # log mels below are raised to it

    def to_dict(self) -> dict:
        return asdict(self)


class _ConvNext(nn.Module):
    def __init__(self, width: int, hidden: int, depth: int):
        super().__init__()
        self.along = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((1, 1, width), 1 / depth))

    def forward(self, x: Tensor) -> Tensor:
        """(B, frames, width) -> the same."""
        y = self.norm(self.along(x.transpose(1, 2)).transpose(1, 2))
        return x + self.scale * self.down(F.gelu(self.up(y), approximate='tanh'))


class VocoderNetwork(nn.Module):
    """See the module's docstring."""

    spread: Tensor

    def __init__(self, config: VocoderConfig | None = None):
        super().__init__()
        self.config = config or VocoderConfig()
        c = self.config
        self.into = nn.Conv1d(c.bands, c.width, 7, padding=3)
        self.norm = nn.LayerNorm(c.width)
        self.blocks = nn.ModuleList(_ConvNext(c.width, c.hidden, c.depth) for _ in range(c.depth))
        self.last = nn.LayerNorm(c.width)
        self.heads = nn.ModuleDict({'linear': nn.Linear(c.width, 2 * c.bins)})
        head = self.heads['linear']
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            head.weight[: c.bins].zero_()
            head.bias.zero_()
        filters = mel_filters(c.n_fft // 2 + 1, c.bands)[:, : c.bins]
        places = filters / np.maximum(filters.max(axis=1, keepdims=True), 1e-9)
        spread = places / np.maximum(places.sum(axis=0), 1e-3)
        # Rounded to half precision, as the file stores it.
        self.register_buffer('spread', torch.from_numpy(spread.astype(np.float16).astype(np.float32)), persistent=False)

    def magnitude_and_phase(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Log mels (B, frames, bands) -> log magnitudes (full scale about 0) and phases, both (B, frames, bins)."""
        mel = mel.clamp_min(self.config.floor)
        x = (mel + 6.0) / 2.5  # roughly zero mean and unit spread
        x = self.norm(self.into(x.transpose(1, 2)).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        correction, phase = self.heads['linear'](self.last(x)).chunk(2, dim=-1)
        return mel @ self.spread + correction, phase

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        log_magnitude, phase = self.magnitude_and_phase(mel)
        magnitude = torch.exp(log_magnitude.clamp_max(3.0)) * (self.config.n_fft / 4)
        return magnitude * torch.cos(phase), magnitude * torch.sin(phase)
