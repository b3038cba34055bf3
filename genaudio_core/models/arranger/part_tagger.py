"""Our model of parts: which of the instruments that are named plays each note, told of the set of them.

Two readings in one network. The live one is causal: two LSTMs forwards over what is known when a key goes down. The
whole one adds two LSTMs backwards over lengths and what follows, and one both ways over all. A part is no class but a
vector, made of its instrument, its place among its like, its range and all the other parts; the score of a note on a
part is a product of both. So any set of instruments can be named, also one that no training piece has.
"""

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudio_core.music.part_features import MAX_RANK, N_CAUSAL, N_CODES, N_PART, N_PHASES, N_WHOLE

NEVER = -1e4  # of parts that are not there; finite, so that half precision holds it


@dataclass(frozen=True)
class PartTaggerConfig:
    """Everything that rebuilds a model."""

    network: str = 'parts'
    width: int = 128
    top: int = 64  # units of each direction of the last layer
    part: int = 48  # numbers of a part's vector
    dropout: float = 0.1

    def to_dict(self) -> dict:
        return asdict(self)


class LSTM(nn.Module):
    """One layer over (batch, time, inputs), whose product is normalised; half precision where it is asked for."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        bound = width**-0.5
        self.width = width
        self.weight_ih = nn.Parameter(torch.empty(4 * width, inputs).uniform_(-bound, bound))
        self.weight_hh = nn.Parameter(torch.empty(4 * width, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(4 * width))
        with torch.no_grad():
            self.bias[width : 2 * width] = 1.0  # a gate that keeps is easier to learn from
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return (batch, time, width) and the state after the last step, (1, batch, width) twice."""
        half = torch.is_autocast_enabled(x.device.type)
        kind = torch.bfloat16 if half else self.weight_ih.dtype
        zeros = x.new_zeros(1, x.shape[0], self.width)
        weights = [self.weight_ih, self.weight_hh, self.bias, torch.zeros_like(self.bias)]
        with torch.autocast(x.device.type, enabled=False):
            y, h, c = torch.lstm(
                x.to(kind), [s.to(kind) for s in state or (zeros, zeros)], [w.to(kind) for w in weights],
                True, 1, 0.0, self.training, False, True,
            )  # fmt: skip
        return self.norm(y.float()), (h, c)


def backwards(x: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence of x (batch, time, width) the other way round; what is behind its length stays at its place."""
    time = torch.arange(x.shape[1], device=x.device)[None]
    index = torch.where(time < lengths[:, None], lengths[:, None] - 1 - time, time)
    return x.gather(1, index[..., None].expand_as(x))


class PartTagger(nn.Module):
    """Scores of every note on every part, live and as a whole."""

    def __init__(self, config: PartTaggerConfig):
        super().__init__()
        self.config = config
        width, part = config.width, config.part
        self.instrument = nn.Embedding(N_CODES, part)
        self.rank = nn.Embedding(MAX_RANK * MAX_RANK, part)
        self.numbers = nn.Linear(N_PART, part)
        self.alone = nn.Sequential(nn.LayerNorm(part), nn.Linear(part, part), nn.GELU(), nn.Linear(part, part))
        self.among = nn.Sequential(nn.Linear(2 * part, 2 * part), nn.GELU(), nn.Linear(2 * part, part))
        self.pitch = nn.Embedding(128, part)
        self.asks = nn.Embedding(128, part)  # of a pitch, which parts have it
        self.phase = nn.Embedding(N_PHASES, 8)
        self.enter = nn.Linear(3 * part + 8 + N_CAUSAL, width)
        self.ahead = nn.ModuleList(LSTM(width, width) for _ in range(2))
        self.enter_back = nn.Linear(width + N_WHOLE, width)
        self.back = nn.ModuleList(LSTM(width, width) for _ in range(2))
        self.join = nn.Linear(2 * width + N_WHOLE, width)
        self.both = nn.ModuleList(LSTM(width, config.top) for _ in range(2))
        self.live_score = nn.Linear(width, part)
        self.whole_score = nn.Linear(width + 2 * config.top, part)
        self.drop = nn.Dropout(config.dropout)
        for table in (self.instrument, self.rank, self.pitch, self.asks, self.phase):
            nn.init.normal_(table.weight, std=0.1)

    def parts(self, instrument: Tensor, rank: Tensor, numbers: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors (batch, parts, part) of parts, and of their set (batch, part); `there` (batch, parts) bool."""
        one = self.alone(self.instrument(instrument) + self.rank(rank) + self.numbers(numbers))
        weight = there.float()[..., None]
        together = (one * weight).sum(1) / weight.sum(1).clamp(min=1)
        among = self.among(torch.cat((one, together[:, None].expand_as(one)), -1))
        return one + among, together

    def enters(self, b: dict[str, Tensor], parts: Tensor, together: Tensor) -> Tensor:
        """What the first layer reads, (batch, time, width)."""
        asked = self.asks(b['pitch']) @ parts.transpose(1, 2) / math.sqrt(self.config.part)
        likely = asked.masked_fill(~b['there'][:, None], NEVER).softmax(-1)
        inputs = (
            self.pitch(b['pitch']), likely @ parts, together[:, None].expand(-1, b['pitch'].shape[1], -1),
            self.phase(b['phase']), b['causal'],
        )  # fmt: skip
        return self.enter(torch.cat(inputs, -1))

    def score(self, hidden: Tensor, parts: Tensor, there: Tensor) -> Tensor:
        """Scores (batch, time, parts) of notes, given as vectors (batch, time, part)."""
        return (hidden @ parts.transpose(1, 2)).float().masked_fill(~there[:, None], NEVER)

    def forward(self, b: dict[str, Tensor], state: list[Tensor] | None = None) -> dict[str, Tensor | list[Tensor]]:
        """Scores of a batch.

        Parameters
        ----------
        b : dict
            ``pitch``, ``phase`` (batch, time); ``causal`` (batch, time, N_CAUSAL), ``whole`` (batch, time, N_WHOLE);
            ``instrument``, ``rank``, ``there`` (batch, parts); ``numbers`` (batch, parts, N_PART); ``length`` (batch,)
            notes that are no padding.
        state : list of 4 tensors (1, batch, width), optional
            Of the live reading, where it goes on.

        Returns
        -------
        dict
            ``live`` and ``whole`` (batch, time, parts), and ``state``.
        """
        parts, together = self.parts(b['instrument'], b['rank'], b['numbers'], b['there'])
        x = self.enters(b, parts, together)
        after: list[Tensor] = []
        first = x
        for i, layer in enumerate(self.ahead):
            y, last = layer(self.drop(x), None if state is None else (state[2 * i], state[2 * i + 1]))
            x = x + y
            after += last
        z = self.enter_back(torch.cat((first, b['whole']), -1))
        for layer in self.back:
            y, _ = layer(self.drop(backwards(z, b['length'])))
            z = z + backwards(y, b['length'])
        joined = F.gelu(self.join(torch.cat((x, z, b['whole']), -1)))
        forth, _ = self.both[0](self.drop(joined))
        back, _ = self.both[1](self.drop(backwards(joined, b['length'])))
        top = torch.cat((joined, forth, backwards(back, b['length'])), -1)
        return {
            'live': self.score(self.live_score(self.drop(x)), parts, b['there']),
            'whole': self.score(self.whole_score(self.drop(top)), parts, b['there']),
            'state': after,
        }
