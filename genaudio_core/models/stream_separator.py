"""The live separator: a small causal U-Net over log-frequency bands, told by query vectors what to keep.

Notable choices

* Spectra come from ``lowdelay.py``: 2048 samples of past, ``2 * hop`` samples of delay. The network sees one frame
  and its own state, nothing ahead.
* It works on the energies of 112 log-spaced bands, and its masks are real, one per band and for both channels. On
  four-part bands the best such mask reaches 11.5 dB, the best mask of all 1,025 bins 12.8: ten times as many cells
  (and complex ones twenty) for little. What is saved is trained longer.
* Three convolutions halve the bands and see two frames each; their skips carry to the mask what plays where.
* Long memory is one GRU over the whole lowest level, once without the query ("what is playing?") and once with it.
* The encoder runs once per frame, the decoder once per query. The query steers the lowest level and every level of
  the decoder (FiLM).
* There is no norm: BatchNorm took a third of a training step, and without it the network learns as well (docs/LOG.md).
* It is not told the sample rate. Training plays music up to 15% slower and faster, so 48 kHz sounds to it like music
  a semitone and a half lower.

Shapes: B batch, Q queries, T frames, K bands, F bins, C channels, D query dimension.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genaudio_core.lowdelay import amplitude_scale, windows
from genaudio_core.models.gru import GRU
from genaudio_core.spectrogram import bands_to_bins

N_FEATURES = 3  # per band: level of mid, level of side, pan
FLOOR = 1e-9  # energy, full scale 1: what is quieter is silence
MAX_PARAMETERS = 2_000_000
KERNEL = 5  # bands that a convolution on the way down sees


@dataclass(frozen=True)
class StreamSeparatorConfig:
    """Plain numbers that rebuild a network.

    `sample_rate` is the one it was trained at; it may run at others nearby.
    """

    sample_rate: int = 44100  # Hz
    hop: int = 256  # samples
    n_fft: int = 2048  # samples
    query_dim: int = 128
    bands: int = 112  # a multiple of 8
    base: float = 41.0  # of the frequency warp, see `spectrogram.bands_to_bins`
    widths: tuple[int, ...] = (32, 48, 64)  # channels of the levels
    memory: int = 192  # units of each GRU
    tell: int = 64  # width of what the decoder is told of the query

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class State(NamedTuple):
    """What the network remembers between frames; zeros at the start."""

    past0: Tensor  # (B, N_FEATURES, 1, K): the frame before, as each convolution on the way down saw it
    past1: Tensor  # (B, C0, 1, K / 2)
    past2: Tensor  # (B, C1, 1, K / 4)
    trunk: Tensor  # (B, memory)
    asked: Tensor  # (B, Q, memory)


class Down(nn.Module):
    """Two frames of n_in channels -> one of n_out channels and half the bands."""

    def __init__(self, n_in: int, n_out: int, bands: int):
        super().__init__()
        self.conv = nn.Conv2d(n_in, n_out, (2, KERNEL), (1, 2), (1, KERNEL // 2), bias=False)
        # The height of a band tells bass from treble, which a convolution alone cannot see.
        self.position = nn.Parameter(torch.zeros(n_out, 1, bands // 2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_in, T, K) -> (B, n_out, T + 1, K / 2): silence is before x, and after it, for speed; drop the last."""
        return F.relu(self.conv(x) + self.position)


class Memory(nn.Module):
    """A GRU over everything at the lowest level, added to what came in."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.into = nn.Linear(inputs, units)
        self.gru = GRU(units, units)
        self.out = nn.Linear(units, inputs)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Take x (T, rows, inputs) and h (rows, units); return the new ones."""
        y, h = self.gru(F.relu(self.into(x)), h)
        return x + self.out(y), h


class Joined(nn.Module):
    """A convolution over the bands of what comes from below and of the skip beside it.

    It is linear, so the skip's share is worked out once for all queries, and nothing has to be put side by side.
    """

    def __init__(self, n_in: int, n_skip: int, n_out: int, bias: bool = False):
        super().__init__()
        self.below = nn.Conv2d(n_in, n_out, (1, 3), 1, (0, 1), bias=bias)
        self.beside = nn.Conv2d(n_skip, n_out, (1, 3), 1, (0, 1), bias=False) if n_skip else None

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """x (B * Q, n_in, T, K) and skip (B, n_skip, T, K) -> (B * Q, n_out, T, K)."""
        y = self.below(x)
        if self.beside is None or skip is None:
            return y
        beside = self.beside(skip)
        return (y.unflatten(0, (len(skip), -1)) + beside[:, None]).flatten(0, 1)


class Up(nn.Module):
    """(rows, n_in, T, K) -> (rows, n_out, T, 2 K), steered by the query."""

    def __init__(self, n_in: int, n_skip: int, n_out: int, tell: int):
        super().__init__()
        self.conv = Joined(n_in, n_skip, 2 * n_out)
        self.film = nn.Linear(tell, 4 * n_out)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, skip: Tensor | None, told: Tensor) -> Tensor:
        """Take x, the skip beside it and told (rows, 1 or T, tell)."""
        scale, shift = self.film(told).transpose(1, 2)[..., None].chunk(2, 1)
        return twice_as_high(F.relu(torch.addcmul(shift, self.conv(x, skip), 1 + scale)))


def twice_as_high(x: Tensor) -> Tensor:
    """(rows, 2 C, T, K) -> (rows, C, T, 2 K): the first half of the channels are the even bands, the others the odd.

    With channels last in memory this moves nothing.
    """
    rows, channels, frames, bands = x.shape
    x = x.permute(0, 2, 3, 1).reshape(rows, frames, 2 * bands, channels // 2)
    return x.permute(0, 3, 1, 2)


class StreamSeparator(nn.Module):
    """Masks for the spectra of a stereo stream, one per query.

    Raises
    ------
    ValueError
        If the configuration makes no network, or one of more than two million parameters.
    """

    gather: Tensor

    def __init__(self, config: StreamSeparatorConfig | None = None):
        super().__init__()
        self.config = c = config or StreamSeparatorConfig()
        if c.bands % 8 or len(c.widths) != 3:
            raise ValueError(f'bands must be a multiple of 8, with three widths: {c.bands}, {c.widths}')
        self.n_bins = c.n_fft // 2 + 1
        self.scale = amplitude_scale(c.n_fft, c.hop)
        to_bins = torch.from_numpy(bands_to_bins(self.n_bins, c.bands, c.base).astype(np.float32))
        self.register_buffer('gather', to_bins, persistent=False)  # (F, K)
        first, second, third = c.widths
        self.downs = nn.ModuleList(
            Down(n_in, n_out, c.bands >> i)
            for i, (n_in, n_out) in enumerate(((N_FEATURES, first), (first, second), (second, third)))
        )
        lowest = third * c.bands // 8
        self.trunk = Memory(lowest, c.memory)
        self.tell = nn.Linear(c.query_dim, c.tell)
        self.film = nn.Linear(c.tell, 2 * third)
        self.offset = nn.Linear(c.tell, lowest, bias=False)  # the crude equaliser that every sound has
        self.asked = Memory(lowest, c.memory)
        self.ups = nn.ModuleList([Up(third, 0, second, c.tell), Up(second, second, first, c.tell)])
        self.out = Joined(first, first, 2, bias=True)
        n_parameters = sum(parameter.numel() for parameter in self.parameters())
        if n_parameters > MAX_PARAMETERS:
            raise ValueError(f'{n_parameters} parameters are too many to stay in a processor cache: {MAX_PARAMETERS}')

    def initial_state(self, batch: int, n_queries: int) -> State:
        """Return the state before the first frame."""
        c, like = self.config, self.tell.weight
        first, second, _ = c.widths
        return State(
            like.new_zeros(batch, N_FEATURES, 1, c.bands), like.new_zeros(batch, first, 1, c.bands // 2),
            like.new_zeros(batch, second, 1, c.bands // 4), like.new_zeros(batch, c.memory),
            like.new_zeros(batch, n_queries, c.memory),
        )  # fmt: skip

    @torch.no_grad()
    def features(self, spectra: Tensor) -> Tensor:
        """Spectra (B, 2, T, F), complex, left and right -> (B, N_FEATURES, T, K)."""
        spectra = spectra * self.scale
        left, right = spectra[:, 0], spectra[:, 1]

        def energy(x: Tensor) -> Tensor:
            return (x.real.square() + x.imag.square()) @ self.gather

        mid, side = energy(0.5 * (left + right)), energy(0.5 * (left - right))
        lefts, rights = energy(left), energy(right)
        pan = (lefts - rights) / (lefts + rights + FLOOR)
        # From -2.25 for silence to 2.25 for full scale.
        levels = (torch.log10(torch.stack([mid, side], 1) + FLOOR) + 4.5) / 2
        return torch.cat([levels, pan[:, None]], 1)

    def forward(self, features: Tensor, query: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return the masks of some frames and the state after them.

        Parameters
        ----------
        features
            (B, N_FEATURES, T, K), of `features`.
        query
            (B, Q, D) for all frames, or (B, T, Q, D) frame by frame (while it is being changed).
        state
            Of the frame before; None at the start.

        Returns
        -------
        masks
            (B, Q, T, K), 0 to 1.
        state
            For the next frames.
        """
        batch, _, frames, _ = features.shape
        query = query[:, None] if query.dim() == 3 else query
        n_queries = query.shape[2]
        rows = batch * n_queries
        x, skips, past = features, [], []
        pasts = state[:3] if state else (None, None, None)
        state = state or self.initial_state(batch, n_queries)
        for down, before in zip(self.downs, pasts, strict=True):
            past.append(x[:, :, frames - 1 : frames])
            if before is not None:
                x = down(torch.cat([before.to(x.dtype), x[:, :, :frames]], 2))[:, :, 1:]
            else:
                x = down(x)
            skips.append(x[:, :, :frames])
        x = skips[-1]
        _, channels, _, height = x.shape

        x, trunk = self.trunk(x.permute(2, 0, 3, 1).reshape(frames, batch, -1), state.trunk)  # (T, B, heights, C)
        told = F.relu(self.tell(query * query.shape[-1] ** 0.5))  # (B, 1 or T, Q, tell), of numbers of about one
        told = told.transpose(1, 2).flatten(0, 1)  # (rows, 1 or T, tell)
        scale, shift = self.film(told).transpose(0, 1)[:, :, None].chunk(2, -1)  # (1 or T, rows, 1, C)
        # (1 or T, rows, heights, C)
        shift = shift + self.offset(told).transpose(0, 1).unflatten(-1, (height, channels))
        x = x.unflatten(-1, (height, channels))[:, :, None]
        x = torch.addcmul(
            shift.unflatten(1, (batch, n_queries)), x, (1 + scale).unflatten(1, (batch, n_queries))
        ).reshape(frames, rows, height, channels)
        x, asked = self.asked(F.relu(x).flatten(2), state.asked.flatten(0, 1))
        x = F.relu(x).unflatten(-1, (height, channels)).permute(1, 3, 0, 2)  # (rows, C, T, heights), channels last

        for up, skip in zip(self.ups, (None, skips[1]), strict=True):
            x = up(x, skip, told)
        logits = twice_as_high(self.out(x, skips[0]))[:, 0]  # (rows, T, K)
        after = State(past[0], past[1], past[2], trunk, asked.unflatten(0, (batch, n_queries)))
        return torch.sigmoid(logits.float()).unflatten(0, (batch, n_queries)), after

    def spectra(self, audio: Tensor) -> Tensor:
        """(..., samples) -> low-delay spectra (..., T, F), complex; the first look back on `n_fft - hop` samples."""
        c = self.config
        analysis = torch.from_numpy(windows(c.n_fft, c.hop)[0]).to(audio)
        return torch.fft.rfft(audio.unfold(-1, c.n_fft, c.hop) * analysis)

    def separate(self, audio: Tensor, query: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Separate whole signals, bin by bin as the live engine does.

        Parameters
        ----------
        audio
            (B, 2, samples); samples must be whole hops. The first ``n_fft - hop`` samples are the past of the first
            frame and get no output of their own.
        query
            (B, Q, D).

        Returns
        -------
        audio
            (B, Q, 2, frames * hop): the samples before the newest hop of each frame, that is the input from
            ``n_fft - 2 * hop`` on. The first hop lacks its older half and must be left out of a loss.
        state
            After the last frame.
        """
        c = self.config
        synthesis = torch.from_numpy(windows(c.n_fft, c.hop)[1]).to(audio)
        spectra = self.spectra(audio)
        masks, after = self(self.features(spectra), query, state)
        masked = spectra[:, None] * (masks @ self.gather.T)[:, :, None]  # (B, Q, 2, T, F)
        pieces = torch.fft.irfft(masked, c.n_fft)[..., -2 * c.hop :] * synthesis[-2 * c.hop :]
        return overlapped(pieces, c.hop), after


def overlapped(pieces: Tensor, hop: int) -> Tensor:
    """Pieces (..., T, 2 hop), a hop apart -> (..., T * hop); the first hop lacks its older half."""
    older = F.pad(pieces[..., :-1, hop:], (0, 0, 1, 0))
    return (pieces[..., :hop] + older).flatten(-2)
