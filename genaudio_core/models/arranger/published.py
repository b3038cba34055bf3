"""The networks of "Towards automatic instrumentation by learning to separate parts in symbolic multitrack music".

Dong, Donahue, Berg-Kirkpatrick and McAuley, ISMIR 2021, as published: LSTM (live), BiLSTM (whole), Transformer encoder
(whole) and decoder (live, with a causal mask). Notes go in in the order of time, pitch, length; each gets K + 1 scores,
of which the first is that of padding. Times are steps, 24 to the quarter note.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 24  # to the quarter note
N_PITCHES, N_BEATS, N_DURATIONS = 129, 4097, 193
EMBEDDING = 16
FAMILIES = ('lstm', 'bilstm', 'transformer', 'transformer-causal')


@dataclass(frozen=True)
class PublishedConfig:
    """Everything that rebuilds a model; the defaults are the paper's."""

    network: str = 'published'
    family: str = 'lstm'
    parts: tuple[str, ...] = ('violin', 'violin', 'viola', 'cello')  # names of the classes 1..K
    embedding: bool = True  # pitch, place in the beat and beat as vectors; else as plain numbers
    duration: bool = False
    hints: bool = False  # when each part comes in
    dropout: float = 0.2

    def __post_init__(self):
        if self.family not in FAMILIES:
            raise ValueError(f'family must be one of {FAMILIES}, not {self.family!r}')
        object.__setattr__(self, 'parts', tuple(self.parts))

    @property
    def is_live(self) -> bool:
        """Whether a note is judged by what came before it alone."""
        return self.family in ('lstm', 'transformer-causal')

    @property
    def inputs(self) -> int:
        """Numbers a note."""
        plain = EMBEDDING * (3 + self.duration) + 1 if self.embedding else 2 + self.duration
        return plain + len(self.parts) * self.hints

    def to_dict(self) -> dict:
        return {**asdict(self), 'parts': list(self.parts)}


CONFIGS = {
    'lstm': PublishedConfig(),
    'bilstm': PublishedConfig(family='bilstm', duration=True),
    'transformer': PublishedConfig(family='transformer', duration=True),
    'transformer-causal': PublishedConfig(family='transformer-causal'),
}
"""The configurations that the paper's tables are of: lengths only where the whole piece is known."""


def sinusoid(rows: int, width: int) -> Tensor:
    """A table (rows, width): columns 2i and 2i + 1 are sine and cosine of row / 10000^(2i / width)."""
    angle = torch.arange(rows)[:, None].double() / 10000 ** (torch.arange(0, width, 2).double() / width)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1).float()


class LSTM(nn.Module):
    """One layer, forwards or both ways, with Keras' one bias."""

    def __init__(self, inputs: int, width: int, both: bool):
        super().__init__()
        self.width = width
        self.weight_ih, self.weight_hh, self.bias = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for _ in range(1 + both):
            self.weight_ih.append(nn.init.xavier_uniform_(torch.empty(4 * width, inputs)))
            self.weight_hh.append(nn.init.orthogonal_(torch.empty(4 * width, width)))
            bias = torch.zeros(4 * width)
            bias[width : 2 * width] = 1.0
            self.bias.append(bias)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, time, inputs) -> (batch, time, width), or twice the width both ways."""
        ways = len(self.bias)
        zeros = x.new_zeros(ways, x.shape[0], self.width)
        weights = []
        for ih, hh, bias in zip(self.weight_ih, self.weight_hh, self.bias, strict=True):
            weights += [ih, hh, bias, torch.zeros_like(bias)]
        return torch.lstm(x, (zeros, zeros), weights, True, 1, 0.0, self.training, ways == 2, True)[0]


class Block(nn.Module):
    """Attention and feed-forward, each normalised after it is added."""

    def __init__(self, dropout: float, width: int = 128, heads: int = 8, inner: int = 256):
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        """x (batch, time, width), `allowed` (batch or 1, 1, time or 1, time) -> x."""
        batch, time, width = x.shape
        q, k, v = (
            layer(x).view(batch, time, self.heads, -1).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        weight = (q @ k.transpose(-1, -2) / (width // self.heads) ** 0.5).masked_fill(~allowed, -1e9).softmax(-1)
        x = self.norm1(x + self.drop(self.out((weight @ v).transpose(1, 2).reshape(batch, time, width))))
        return self.norm2(x + self.drop(self.down(F.relu(self.up(x)))))


class PublishedArranger(nn.Module):
    """A published network."""

    def __init__(self, config: PublishedConfig):
        super().__init__()
        self.config = config
        if config.embedding:
            self.pitch = nn.Embedding(N_PITCHES, EMBEDDING)
            self.position = nn.Embedding(STEPS, EMBEDDING)
            self.duration = nn.Embedding(N_DURATIONS, EMBEDDING) if config.duration else None
            for table in filter(None, (self.pitch, self.position, self.duration)):
                nn.init.uniform_(table.weight, -0.05, 0.05)
        both, self.drop = config.family == 'bilstm', nn.Dropout(config.dropout)
        if config.family.endswith('lstm'):
            sizes = (config.inputs, 128, 128)
            self.layers = nn.ModuleList(LSTM(size, 64 if both else 128, both) for size in sizes)
            self.norms = nn.ModuleList(nn.LayerNorm(128, eps=1e-3) for _ in sizes)
        else:
            self.enter = nn.Linear(config.inputs, 128)
            self.layers = nn.ModuleList(Block(config.dropout) for _ in range(3))
        self.leave = nn.Linear(128, len(config.parts) + 1)

    def inputs(self, time: Tensor, pitch: Tensor, duration: Tensor, hint: Tensor) -> Tensor:
        """What the first layer reads, (batch, time, inputs), of arrays (batch, time); hints (batch, time, K)."""
        config = self.config
        if config.embedding:
            frequency = torch.where(pitch > 0, torch.exp2((pitch.float() - 128) / 12), 0.0)
            table = sinusoid(N_BEATS, EMBEDDING).to(self.leave.weight.device)
            found = [self.pitch(pitch), self.position(time % STEPS)]
            found.append(F.embedding(torch.div(time, STEPS, rounding_mode='floor').clamp(max=N_BEATS - 1), table))
            if self.duration is not None:
                found.append(self.duration(duration.clamp(max=N_DURATIONS - 1)))
            found.append(frequency[..., None])
        else:
            found = [pitch[..., None].float(), time[..., None].float()]
            if config.duration:
                found.append(duration[..., None].float())
        if config.hints:
            found.append(hint.float())
        return torch.cat(found, -1)

    def forward(self, time: Tensor, pitch: Tensor, duration: Tensor, hint: Tensor) -> Tensor:
        """Scores (batch, time, K + 1) of sorted notes.

        Parameters
        ----------
        time, duration : (batch, time) int64
            Steps, 24 to the quarter note.
        pitch : (batch, time) int64
            MIDI note + 1; 0 is padding, at the end.
        hint : (batch, time, K)
            For each part -1 before its first note, 0 at it, 1 after it; 0 for one that never plays.
        """
        x = self.inputs(time, pitch, duration, hint)
        if self.config.family.endswith('lstm'):
            for layer, norm in zip(self.layers, self.norms, strict=True):
                x = self.drop(norm(layer(x)))
            return self.leave(x)
        n = x.shape[1]
        allowed = (pitch > 0)[:, None, None]
        if self.config.family == 'transformer-causal':
            allowed = allowed & torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        x = self.drop(self.enter(x) + sinusoid(n, 128).to(x.device))
        for block in self.layers:
            x = block(x, allowed)
        return self.leave(x)
