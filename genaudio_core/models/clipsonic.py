"""CLIPSonic: a diffusion model paints the log-mel spectrogram of what a query vector asks for.

What is kept of the paper (Dong et al., 2023): conditional diffusion on mel spectrograms, trained on the embedding of
one modality (theirs: a frame of the video through CLIP; ours: the sound itself through the query-audio encoder), asked
through another, with classifier-free guidance, and a small diffusion prior from text embeddings to the embeddings it
was trained on.

What differs in `Denoiser`, the bundled model, and why:

* Patches of 4 frames by all bands (``mel_patches.py``) are the tokens of a small transformer: 44 tokens for 2 seconds.
  A two-dimensional U-Net costs some thirty times as much for a picture of this size.
* A *kind* tells the model where its query comes from: `NOTHING` (guidance), `HEARD` (an audio embedding) or `WORDS`
  (the text vector of the label). The paper has only the second; its ZS row is a text vector that claims to be heard.
* Feed-forward layers see two tokens on each side. Without that, steady sounds flickered for a long time: tokens
  agree on their loudness only once attention has learnt to look at the neighbours.
* Blocks are joined by long skips (U-ViT, Bao et al., 2023); the time and the query scale and shift every layer norm
  through one shared projection (PixArt's adaLN-single) and are also tokens of their own.

`MelUNet` is the mel U-Net of the paper's family, for machines that can train it. The paper's numeric settings could not
be verified here; its widths are a guess of ours, not the authors'.

Shapes: rows x (B, n, size), times t (B,) in 0..1, query (B, 128), kind (B,) int64, start (B,) int64 -> v (B, n, size).
"""

import math
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REACH = 5  # tokens that a feed-forward layer sees: two on each side
NOTHING, HEARD, WORDS = 0, 1, 2
"""What a query is; see the module's docstring."""


@dataclass(frozen=True)
class DenoiserConfig:
    """Plain numbers that rebuild the model; they travel in the checkpoint and the card."""

    net: str = 'transformer'  # or 'unet'
    tokens: int = 44
    width: int = 208
    depth: int = 6
    heads: int = 4
    hidden: float = 2.5  # of the feed-forward layers, in widths
    query_dim: int = 128
    along: bool = True  # feed-forward layers also see the neighbours in time
    shift: float = 2.0  # of the noise schedule; see genaudio_core/synthesis/diffusion.py
    codec: dict = field(default_factory=dict)  # PatchCodec.to_dict()

    @property
    def size(self) -> int:
        return len(self.codec['coefficients'])

    def to_dict(self) -> dict:
        return asdict(self)


def waves(t: Tensor, width: int) -> Tensor:
    """Times (B,) in 0..1 -> sines and cosines (B, width)."""
    frequency = torch.exp(torch.linspace(0.0, math.log(1000.0), width // 2, device=t.device))
    angle = t[:, None] * frequency[None]
    return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


class Condition(nn.Module):
    """Time, query, its kind and whether a sound begins -> one vector (B, width)."""

    def __init__(self, width: int, query_dim: int):
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.query = nn.Linear(query_dim, width)
        self.kind = nn.Embedding(3, width)
        self.start = nn.Embedding(2, width)

    def forward(self, t: Tensor, query: Tensor, kind: Tensor, start: Tensor) -> Tensor:
        known = (kind > 0).to(query.dtype)[:, None]
        # Unit vectors of 128 numbers are small numbers; a layer wants them of size one.
        asked = self.query(query * (known * query.shape[1] ** 0.5))
        return F.silu(self.time(waves(t, self.width)) + asked + self.kind(kind) + self.start(start))


class MelBlock(nn.Module):
    """Attention and feed-forward, each under a norm that the condition scales, shifts and gates."""

    def __init__(self, config: DenoiserConfig, skip: bool):
        super().__init__()
        width, hidden = config.width, int(config.width * config.hidden)
        self.heads = config.heads
        self.join = nn.Linear(2 * width, width) if skip else None
        self.table = nn.Parameter(torch.zeros(1, 6, width))
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.along = nn.Parameter(torch.zeros(REACH, 1, width)) if config.along else None

    def beside(self, x: Tensor) -> Tensor:
        """x (B, n, width) and a weighted sum of its neighbours in time."""
        if self.along is None:
            return x
        n, padded = x.shape[1], F.pad(x, (0, 0, REACH // 2, REACH // 2))
        for i in range(REACH):
            x = x + self.along[i] * padded[:, i : i + n]
        return x

    def forward(self, x: Tensor, shared: Tensor, skip: Tensor | None) -> Tensor:
        """x (B, n, width), shared (B, 6, width) -> (B, n, width)."""
        if self.join is not None and skip is not None:
            x = self.join(torch.cat([x, skip], dim=-1))
        batch, n, width = x.shape
        scale, shift, gate, scale2, shift2, gate2 = (shared + self.table).unsqueeze(2).unbind(dim=1)
        normed = F.layer_norm(x, (width,)) * (1 + scale) + shift
        q, k, v = self.qkv(normed).reshape(batch, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, n, width)
        x = x + gate * self.mix(attended)
        normed = F.layer_norm(x, (width,)) * (1 + scale2) + shift2
        return x + gate2 * self.down(F.gelu(self.up(self.beside(normed)), approximate='tanh'))


class Denoiser(nn.Module):
    """The transformer; see the module's docstring."""

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.into = nn.Linear(config.size, width)
        self.place = nn.Parameter(torch.randn(1, config.tokens, width) * 0.02)
        self.condition = Condition(width, config.query_dim)
        self.shared = nn.Linear(width, 6 * width)
        self.token = nn.Linear(width, width)
        half = config.depth // 2
        self.blocks = nn.ModuleList(MelBlock(config, skip=i >= config.depth - half) for i in range(config.depth))
        self.last = nn.Linear(width, 2 * width)
        # 'heads.linear': the optimiser treats output layers like embeddings (training/loops/optimizers.py).
        self.heads = nn.ModuleDict({'linear': nn.Linear(width, config.size)})
        for layer in (self.shared, self.last, self.heads['linear']):
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():  # gates open a little, so that the blocks learn from the first step on
            self.shared.bias.reshape(6, width)[[2, 5]] = 0.2

    def forward(self, x: Tensor, t: Tensor, query: Tensor, kind: Tensor, start: Tensor) -> Tensor:
        condition = self.condition(t, query, kind, start)
        shared = self.shared(condition).reshape(-1, 6, self.config.width)
        x = torch.cat([self.token(condition)[:, None], self.into(x) + self.place], dim=1)
        half = self.config.depth // 2
        kept: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            x = block(x, shared, kept.pop() if i >= self.config.depth - half else None)
            if i < half:
                kept.append(x)
        scale, shift = self.last(condition).unsqueeze(1).chunk(2, dim=-1)
        x = F.layer_norm(x[:, 1:], (self.config.width,)) * (1 + scale) + shift
        return self.heads['linear'](x)


class _Res(nn.Module):
    def __init__(self, n_in: int, n_out: int, condition: int):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, n_in), nn.GroupNorm(8, n_out)
        self.conv1, self.conv2 = nn.Conv2d(n_in, n_out, 3, padding=1), nn.Conv2d(n_out, n_out, 3, padding=1)
        self.film = nn.Linear(condition, 2 * n_out)
        self.pass_on = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        y = self.conv1(F.silu(self.norm1(x)))
        return self.pass_on(x) + self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))


class MelUNet(nn.Module):
    """The mel U-Net: rows are single frames (a codec of one frame and all bands), `tokens` frames of them."""

    LEVELS = (1, 2, 4)  # widths of the levels, in units of the outermost

    def __init__(self, config: DenoiserConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.condition = Condition(4 * width, config.query_dim)
        self.into = nn.Conv2d(1, width, 3, padding=1)
        widths = [width * level for level in self.LEVELS]
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        before = width
        for w in widths:
            self.downs.append(_Res(before, w, 4 * width))
            before = w
        self.middle = _Res(before, before, 4 * width)
        for w in reversed(widths):
            self.ups.append(_Res(before + w, w, 4 * width))
            before = w
        self.out = nn.Conv2d(before, 1, 3, padding=1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, t: Tensor, query: Tensor, kind: Tensor, start: Tensor) -> Tensor:
        condition = self.condition(t, query, kind, start)
        x = self.into(x[:, None])
        kept = []
        for down in self.downs:
            x = down(x, condition)
            kept.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.middle(x, condition)
        for up in self.ups:
            x = F.interpolate(x, scale_factor=2.0, mode='nearest')
            x = up(torch.cat([x, kept.pop()], dim=1), condition)
        return self.out(x)[:, 0]


def make_denoiser(config: DenoiserConfig) -> 'Denoiser | MelUNet':
    """Return the network that `config` names, untrained."""
    if config.net not in ('transformer', 'unet'):
        raise ValueError(f"net must be 'transformer' or 'unet', not {config.net!r}")
    return MelUNet(config) if config.net == 'unet' else Denoiser(config)


@dataclass(frozen=True)
class PriorConfig:
    dim: int = 128
    width: int = 256
    depth: int = 2
    shift: float = 1.0

    def to_dict(self) -> dict:
        return asdict(self)


class PriorNetwork(nn.Module):
    """A noisy audio embedding z (B, dim), time t (B,) and a text embedding (B, dim) -> v (B, dim).

    Embeddings are handled at variance one: unit vectors times the root of `dim`. The text is never left out, so there
    is no guidance here; DALL-E 2's prior is a transformer, for 128 numbers a residual perceptron does.
    """

    def __init__(self, config: PriorConfig | None = None):
        super().__init__()
        self.config = config or PriorConfig()
        c = self.config
        self.into = nn.Linear(c.dim, c.width)
        self.text = nn.Linear(c.dim, c.width)
        self.time = nn.Linear(c.width, c.width)
        self.ups = nn.ModuleList(nn.Linear(2 * c.width, c.width) for _ in range(c.depth))
        self.downs = nn.ModuleList(nn.Linear(c.width, c.width) for _ in range(c.depth))
        self.heads = nn.ModuleDict({'linear': nn.Linear(c.width, c.dim)})

    def forward(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        condition = F.silu(self.text(text) + self.time(waves(t, self.config.width)))
        x = self.into(z)
        for up, down in zip(self.ups, self.downs, strict=True):
            normed = F.layer_norm(x, (self.config.width,))
            x = x + down(F.silu(up(torch.cat([normed, condition], dim=1))))
        return self.heads['linear'](F.layer_norm(x, (self.config.width,)))
