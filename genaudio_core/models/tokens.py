"""A decoder over a flat sequence of tokens: the baselines of the MMT paper, with the layers of the music model.

The size is that of the published baselines: with their vocabularies of 1,264 (REMI+) and 372 (MMM) words this has
20,726,000 and 19,811,700 parameters.
"""

import math
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudio_core.models.mmt import Layer, MMTConfig


@dataclass(frozen=True)
class TokenConfig:
    """Everything that rebuilds a baseline; `tokenizer` names its words (training/scores/tokenizers.py)."""

    tokenizer: str = 'remi'
    vocabulary: int = 1264  # words
    dim: int = 512
    layers: int = 6
    heads: int = 8
    head_dim: int = 64
    context: int = 1024  # tokens
    dropout: float = 0.2
    kind: str = field(default='tokens', init=False)  # so that a checkpoint is told apart from the music model's

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, config: dict) -> 'TokenConfig':
        """Inverse of `to_dict`.

        Raises
        ------
        TypeError
            If it is the configuration of something else.
        """
        config = dict(config)
        if config.pop('kind', None) != 'tokens':
            raise TypeError('not a token model')
        return cls(**config)


class _Heads(nn.Module):
    def __init__(self, dim: int, vocabulary: int):
        super().__init__()
        self.linear = nn.Linear(dim, vocabulary)


class TokenModel(nn.Module):
    """Call it with tokens (batch, time); it returns logits (batch, time, vocabulary) of the next token."""

    def __init__(self, config: TokenConfig):
        super().__init__()
        self.config = config
        layer = MMTConfig(
            dim=config.dim, heads=config.heads, head_dim=config.head_dim, dropout=config.dropout, positions='learned'
        )
        self.embed = nn.Embedding(config.vocabulary, config.dim)
        nn.init.kaiming_normal_(self.embed.weight)
        self.position = nn.Embedding(config.context, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(layer) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.heads = _Heads(config.dim, config.vocabulary)  # named as the music model's, for the optimiser

    def forward(self, tokens: Tensor, cache: list | None = None) -> Tensor:
        """Logits; `cache` as in `MMT.forward`: empty at first, replaced in place."""
        past = cache[0][0].shape[2] if cache else 0
        index = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        x = self.dropout(self.embed(tokens) + self.position(index) * self.config.dim**-0.5)
        for i, layer in enumerate(self.layers):
            x, state = layer(x, None, cache[i] if past and cache else None)
            if cache is not None:
                cache[i : i + 1] = [state]
        return self.heads.linear(self.norm(x))

    def loss(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of nats over tokens (batch, time + 1), and how many counted; -1 is padding."""
        logits = self(tokens[:, :-1].clamp(min=0))
        target = tokens[:, 1:]
        total = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1, reduction='sum')
        return total, (target >= 0).sum()

    @torch.no_grad()
    def sample(
        self, start: list[int], end: int, seed: int, *, top_k_share: float = 0.1, temperature: float = 1.0
    ) -> list[int]:
        """Tokens after `start` until the token `end` or the context is full; top-k as published (a tenth)."""
        generator = torch.Generator().manual_seed(seed)
        keep = max(math.ceil(self.config.vocabulary * top_k_share), 1)
        cache: list = []
        found, tokens = list(start), torch.tensor([start])
        while len(found) < self.config.context:
            logits = self(tokens, cache)[0, -1].float()
            best, index = logits.topk(keep)
            drawn = torch.multinomial((best / temperature).softmax(-1), 1, generator=generator)
            token = int(index[drawn])
            if token == end:
                break
            found.append(token)
            tokens = torch.tensor([[token]])
        return found
