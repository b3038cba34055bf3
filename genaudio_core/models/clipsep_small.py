"""CLIPSep-small: CLIPSep's idea at a fiftieth of its cost: what training on a processor, NIT and the baselines use.

The bundled weights were of it until the band separator (``band_separator.py``) passed it.

What is kept: one U-Net looks at the mixture without knowing the query and draws K maps; the query chooses among
them, mask = sigmoid(sum_k q_k scale_k map_k + bias) with q = sigmoid(linear(query)). So many queries cost one pass.

What differs, and why:

* 44.1 kHz instead of 16: musicians do not want the treble cut off. Windows of 4096 samples, 1024 apart, resolve
  close partials (an ideal mask reaches 17 dB on our pairs of instruments, 16.6 at 2048/512) and halve the frames.
* 192 bands instead of 256 sampled bins, base 101 instead of 21 (finer in the bass); see ``spectrogram.py``.
* The last layer is one transposed convolution, not interpolation and 3x3: it was a third of the cost.
* With `film`, the query also steers every level of the decoder (scale and shift per channel; the paper's middle fusion
  goes half as far). The encoder still runs once for all queries, the decoder once for each: late fusion alone has to
  draw every sound that could be asked for in the same K maps, and a small network has no room for that.
* The loss is the error of the masked mixture in decibels, not the cross entropy of a binary mask: it is what the
  evaluation measures, and it needs no threshold.

Shapes: energies (B, 1, bands, frames) in, query (B, N, 128) in, masks (B, N, bands, frames) out. Frames must be a
multiple of 64; `pad_frames` says how many to add.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class SmallConfig:
    """Plain numbers that rebuild the model; they travel in the checkpoint and the card."""

    sample_rate: int = 44100  # Hz
    n_fft: int = 4096
    hop_length: int = 1024
    bands: int = 192
    base: float = 101.0  # of the frequency warp
    width: int = 16  # channels of the outermost level
    levels: int = 6
    max_width: int = 160
    maps: int = 32
    query_dim: int = 128
    noise_heads: int = 0  # 2 trains noise-invariantly (NIT)
    film: int = 0  # width of what the decoder is told of the query; 0: nothing, late fusion alone
    mask_power: float = 1.0  # of masks when sounds are made, not in training; see `genaudio-train calibrate`

    def to_dict(self) -> dict:
        return asdict(self)


def log_features(energy: Tensor) -> Tensor:
    """Band energies (B, 1, bands, frames) -> log energies at zero mean and a fixed scale, whatever the level."""
    mean = energy.mean(dim=(2, 3), keepdim=True)
    x = torch.log(energy + 1e-6 * mean + 1e-12)
    return (x - x.mean(dim=(2, 3), keepdim=True)) / 3.0


class _Down(nn.Module):
    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.2)


class _Up(nn.Module):
    def __init__(self, n_in: int, n_out: int, film: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(n_out)
        self.film = nn.Linear(film, 2 * n_out) if film else None
        if self.film is not None:  # begins as if there were no query
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        # The convolution comes first, at the low resolution: a quarter of the cost of doing it after.
        x = self.norm(self.conv(x))
        if self.film is not None and told is not None:
            scale, shift = self.film(told)[:, :, None, None].chunk(2, 1)
            x = x * (1 + scale) + shift
        return F.interpolate(F.relu(x), scale_factor=2.0, mode='bilinear', align_corners=False)


class SmallUNet(nn.Module):
    """(B, 1, bands, frames) -> (B, C, bands / 2, frames / 2); told of N queries (B, N, film): (B * N, C, ...)."""

    def __init__(self, config: SmallConfig):
        super().__init__()
        widths = [min(config.width * 2**i, config.max_width) for i in range(config.levels)]
        # The height of a band tells bass from treble, which a convolution alone cannot see.
        self.position = nn.Parameter(torch.zeros(1, config.width, config.bands // 2, 1))
        self.downs = nn.ModuleList(_Down(1 if i == 0 else widths[i - 1], widths[i]) for i in range(config.levels))
        self.ups = nn.ModuleList(
            _Up(widths[i] * (1 if i == config.levels - 1 else 2), widths[i - 1], config.film)
            for i in range(config.levels - 1, 0, -1)
        )
        self.out = nn.ConvTranspose2d(widths[0] * 2, config.maps, 4, 2, 1)  # see `CLIPSepSmall.combine`

    def forward(self, x: Tensor, told: Tensor | None = None) -> Tensor:
        skips = []
        for i, down in enumerate(self.downs):
            x = down(x)
            if i == 0:
                x = x + self.position
            skips.append(x)
        if told is not None:  # from here on a row for each query
            skips = [skip[:, None].expand(-1, told.shape[1], -1, -1, -1).flatten(0, 1) for skip in skips]
            told = told.flatten(0, 1)
        x = skips.pop()
        for up in self.ups:
            x = torch.cat([up(x, told), skips.pop()], dim=1)
        return x


class CLIPSepSmall(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: SmallConfig | None = None):
        super().__init__()
        self.config = config or SmallConfig()
        c = self.config
        self.unet = SmallUNet(c)
        self.query = nn.Linear(c.query_dim, c.maps)
        self.scale = nn.Parameter(torch.full((c.maps,), 4.0 / c.maps**0.5))
        self.bias = nn.Parameter(torch.zeros(1))
        self.noise = nn.ModuleList(nn.Linear(c.maps, c.maps) for _ in range(c.noise_heads))
        self.tell = nn.Linear(c.query_dim, c.film) if c.film else None
        nn.init.normal_(self.query.weight, std=1.0)

    def _unmapped(self, energy: Tensor, query: Tensor) -> Tensor:
        """(B, 1, bands, frames), queries (B, N, query_dim) -> what maps are made of, (B, N, C, ...), or one for all."""
        x = log_features(energy)
        if self.tell is None:
            return self.unet(x)[:, None]
        return self.unet(x, F.relu(self.tell(query * query.shape[-1] ** 0.5))).unflatten(0, (-1, query.shape[1]))

    def combine(self, x: Tensor, choice: Tensor) -> Tensor:
        """Mask logits (B, N, bands, frames) of choices (B, N, maps) in 0..1: sum_k choice_k scale_k map_k + bias.

        Maps are linear in `x`, so kernels are summed instead of maps: the last layer, which was most of the network's
        arithmetic, then has one channel per query, not K.
        """
        batch, n, _ = choice.shape
        weight = choice * self.scale
        kernel = torch.einsum('bnk,ikyx->bnyxi', weight, self.unet.out.weight).flatten(2, 3)  # (B, N, 16, C)
        assert self.unet.out.bias is not None
        bias = weight @ self.unet.out.bias + self.bias
        height, width = x.shape[3:]
        if self.tell is None:  # one picture for all queries of a mixture
            taps = torch.matmul(kernel.flatten(1, 2), x[:, 0].flatten(2))
        else:
            taps = torch.matmul(kernel, x.flatten(3))
        taps = taps.reshape(batch * n, 16, height * width)
        logits = F.fold(taps, (2 * height, 2 * width), kernel_size=4, stride=2, padding=1)
        return logits.reshape(batch, n, 2 * height, 2 * width) + bias[:, :, None, None]

    def forward(self, energy: Tensor, query: Tensor) -> Tensor:
        """Energies (B, 1, bands, frames) and queries (B, N, query_dim) -> masks (B, N, bands, frames) in 0..1."""
        return torch.sigmoid(self.combine(self._unmapped(energy, query), torch.sigmoid(self.query(query))))

    def noise_masks(self, energy: Tensor, query: Tensor) -> Tensor:
        """Noise masks (B, noise_heads, bands, frames), from the mean of the queries (B, N, query_dim)."""
        mean = self.query(query).mean(dim=1)
        choice = torch.stack([torch.sigmoid(head(mean)) for head in self.noise], dim=1)
        return torch.sigmoid(self.combine(self._unmapped(energy, query.mean(dim=1, keepdim=True)), choice))


def pad_frames(frames: int, levels: int) -> int:
    """Frames to add so that every level halves evenly."""
    return -frames % 2**levels


def count_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
