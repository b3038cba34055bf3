"""The live separator: a small causal dual-path network over log-frequency bands, told by query vectors what to keep.

Notable choices

* Spectra come from ``low_delay_stft.py``: 2048 samples of past, ``2 * hop`` samples of delay. The network sees one
  frame and its own state, nothing ahead.
* It works on the energies of 112 log-spaced bands, and its masks are real, one per band and for both channels. On
  four-part bands the best such mask reaches 11.5 dB, the best mask of all 1,025 bins 12.8: ten times as many cells
  (and complex ones twenty) for little. What is saved is trained longer.
* Four bands make a place. Blocks (``dual_path.py``) remember at every place by one and the same GRU, and let the
  places of a frame attend to each other. The U-Net with two large GRUs that was here before had five times the
  weights, fell out of the processor's cache, and separated worse (docs/LOG.md).
* The trunk runs once per frame, what comes after it once per query. The query steers the channels (FiLM) where it
  enters and before the masks, and leans on every band.
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

from genaudio_core.models.dual_path import Block, Steer
from genaudio_core.sound.low_delay_stft import amplitude_scale, windows
from genaudio_core.sound.spectrogram import bands_to_bins

N_FEATURES = 3  # per band: level of mid, level of side, pan
FLOOR = 1e-9  # energy, full scale 1: what is quieter is silence
MAX_PARAMETERS = 2_000_000
PLACE = 4  # bands that make a place


@dataclass(frozen=True)
class StreamSeparatorConfig:
    """Plain numbers that rebuild a network.

    `sample_rate` is the one it was trained at; it may run at others nearby.
    """

    sample_rate: int = 44100  # Hz
    hop: int = 256  # samples
    n_fft: int = 2048  # samples
    query_dim: int = 128
    bands: int = 112  # a multiple of 4
    base: float = 41.0  # of the frequency warp, see `spectrogram.bands_to_bins`
    width: int = 64  # channels at a place
    heads: int = 4  # of the attention across bands
    trunk: int = 4  # blocks before the query is told
    asked: int = 1  # blocks after it
    hidden: int = 128  # of the layer before the masks
    tell: int = 64  # width of what the network is told of the query
    backwards: bool = False  # it was trained on sounds from their end to their beginning

    def as_dict(self) -> dict[str, Any]:
        told = asdict(self)
        if not self.backwards:  # as runs and files tell it that knew of no other way
            del told['backwards']
        return told


class State(NamedTuple):
    """What the network remembers between frames; zeros at the start."""

    trunk: Tensor  # (blocks, B, places, width)
    asked: Tensor  # (blocks, B, Q, places, width)


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
        if c.bands % PLACE or c.width % c.heads:
            raise ValueError(f'bands must be a multiple of {PLACE}, width one of heads: {c}')
        self.n_bins = c.n_fft // 2 + 1
        self.scale = amplitude_scale(c.n_fft, c.hop)
        to_bins = torch.from_numpy(bands_to_bins(self.n_bins, c.bands, c.base).astype(np.float32))
        self.register_buffer('gather', to_bins, persistent=False)  # (F, K)
        self.places = c.bands // PLACE
        self.into = nn.Linear(N_FEATURES * PLACE, c.width)
        # The height of a band tells bass from treble, which shared weights cannot see.
        self.position = nn.Parameter(0.1 * torch.randn(1, self.places, c.width))
        self.trunk = nn.ModuleList(Block(c.width, c.width, c.heads) for _ in range(c.trunk))
        self.tell = nn.Linear(c.query_dim, c.tell)
        self.steer = Steer(c.tell, c.width)
        self.asked = nn.ModuleList(Block(c.width, c.width, c.heads) for _ in range(c.asked))
        self.norm = nn.LayerNorm(c.width)
        self.steer_out = Steer(c.tell, c.width)
        self.last = nn.Linear(c.width, c.hidden)
        self.out = nn.Linear(c.hidden, PLACE)
        self.lean = nn.Linear(c.tell, c.bands)  # the crude equaliser that every sound has
        n_parameters = sum(parameter.numel() for parameter in self.parameters())
        if n_parameters > MAX_PARAMETERS:
            raise ValueError(f'{n_parameters} parameters are too many to stay in a processor cache: {MAX_PARAMETERS}')

    def initial_state(self, batch: int, n_queries: int) -> State:
        """Return the state before the first frame."""
        c, like = self.config, self.tell.weight
        return State(
            like.new_zeros(c.trunk, batch, self.places, c.width),
            like.new_zeros(c.asked, batch, n_queries, self.places, c.width),
        )

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
        batch = features.shape[0]
        query = query[:, None] if query.dim() == 3 else query
        n_queries = query.shape[2]
        state = state or self.initial_state(batch, n_queries)
        x = features.unflatten(-1, (self.places, PLACE)).permute(0, 2, 3, 1, 4).flatten(3)  # (B, T, places, 12)
        x = self.into(x) + self.position
        trunk, asked = [], []
        for block, h in zip(self.trunk, state.trunk, strict=True):
            x, h = block(x, h)
            trunk.append(h)
        told = F.relu(self.tell(query * query.shape[-1] ** 0.5))  # (B, 1 or T, Q, tell), of numbers of about one
        told = told.transpose(1, 2).flatten(0, 1)  # (rows, 1 or T, tell)
        x = x[:, None].expand(-1, n_queries, -1, -1, -1).flatten(0, 1)  # from here on a row for each query
        x = self.steer(x, told)
        for block, h in zip(self.asked, state.asked, strict=True):
            x, h = block(x, h.flatten(0, 1))
            asked.append(h.unflatten(0, (batch, n_queries)))
        x = self.out(F.relu(self.last(self.steer_out(self.norm(x), told))))  # (rows, T, places, PLACE)
        logits = x.flatten(2).float() + self.lean(told)
        return torch.sigmoid(logits).unflatten(0, (batch, n_queries)), State(torch.stack(trunk), torch.stack(asked))

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
