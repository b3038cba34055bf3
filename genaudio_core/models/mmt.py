"""The Multitrack Music Transformer (Dong et al., ICASSP 2023), as published and as it plays live.

Notable choices
---------------
* Published configuration `PUBLISHED`: the sum of six field embeddings and a learned position, six pre-norm layers,
  six independent heads; 19,944,950 parameters. ``positions='rotary'`` and ``'none'`` are the paper's RPE and NPE.
* Live configuration `BUNDLED`: the fields of an event are predicted one after another (``chained``): each head sees
  the hidden state and the fields already chosen for this event, so that pitch knows its instrument and its beat.
* ``positions='musical'``: half of each head's dimensions rotate by the index of the event, half by its onset in
  steps. Attention then sees "four beats ago" directly, nothing depends on where in a session we are, and the
  place in the bar is an embedding of its own.
"""

from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genaudio_core.music.layouts import ENCODINGS, N_PHASES, Encoding

POSITIONS = ('learned', 'rotary', 'none', 'musical')


@dataclass(frozen=True)
class MMTConfig:
    """Everything that rebuilds a model; it travels in the checkpoint and in the model card."""

    encoding: str = 'mmt'  # name in events.ENCODINGS
    dim: int = 512
    layers: int = 6
    heads: int = 8
    head_dim: int = 64
    positions: str = 'learned'
    chained: bool = False  # fields predicted one after another
    context: int = 1024  # events; the length of the learned position table
    dropout: float = 0.2

    def __post_init__(self):
        if self.positions not in POSITIONS:
            raise ValueError(f'positions must be one of {POSITIONS}, not {self.positions!r}')
        if self.encoding not in ENCODINGS:
            raise ValueError(f'encoding must be one of {tuple(ENCODINGS)}, not {self.encoding!r}')

    @property
    def layout(self) -> Encoding:
        return ENCODINGS[self.encoding]

    def to_dict(self) -> dict:
        return asdict(self)


PUBLISHED = MMTConfig()
BUNDLED = MMTConfig('live', dim=128, layers=6, heads=4, head_dim=32, positions='musical', chained=True, dropout=0.0)
TINY = replace(BUNDLED, dim=32, layers=2, heads=2, head_dim=16)  # for tests
# The live model twice as wide, so that it can grow out of it (growing.py), and told of chords and parts.
DESCRIBED_MODEL = replace(BUNDLED, encoding='described', dim=256, heads=8)
CONFIGS = {
    'published': PUBLISHED,
    'published-rotary': replace(PUBLISHED, positions='rotary'),
    'published-none': replace(PUBLISHED, positions='none'),
    'live': BUNDLED,
    'live-independent': replace(BUNDLED, chained=False),
    'live-medium': replace(BUNDLED, dim=256, head_dim=64),
    'live-large': replace(BUNDLED, dim=512, heads=8, head_dim=64, dropout=0.1),
    'described': DESCRIBED_MODEL,
    'described-deep': replace(DESCRIBED_MODEL, layers=8),
    'described-wide': replace(DESCRIBED_MODEL, dim=384, heads=12),
    'tiny': TINY,
    'tiny-described': replace(TINY, encoding='described'),
}


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate pairs (i, i + d/2) of the last axis of `x` (..., time, d) by `angle` (..., time, d/2)."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def frequencies(dims: int) -> Tensor:
    """Angles per unit of position, (dims/2,), as in RoFormer (Su et al., 2021)."""
    return 10000.0 ** (-torch.arange(0, dims, 2).float() / dims)


class Attention(nn.Module):
    """Causal self-attention; q, k, v without bias as in x-transformers."""

    def __init__(self, config: MMTConfig):
        super().__init__()
        inner = config.heads * config.head_dim
        self.heads, self.positions, self.dropout = config.heads, config.positions, config.dropout
        self.q = nn.Linear(config.dim, inner, bias=False)
        self.k = nn.Linear(config.dim, inner, bias=False)
        self.v = nn.Linear(config.dim, inner, bias=False)
        self.out = nn.Linear(inner, config.dim)

    def forward(
        self, x: Tensor, angle: Tensor | None, cache: tuple[Tensor, Tensor] | None, weights: list[Tensor] | None,
        real: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # fmt: skip
        batch, time, _ = x.shape
        q, k, v = (f(x).view(batch, time, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v))
        if angle is not None:
            turned = 2 * angle.shape[-1]
            q, k = (torch.cat((rotate(t[..., :turned], angle), t[..., turned:]), -1) for t in (q, k))
            if self.positions == 'rotary':  # x-transformers 0.25.9 turns the values too
                v = torch.cat((rotate(v[..., :turned], angle), v[..., turned:]), -1)
        if cache is not None:
            k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        dropout = self.dropout if self.training else 0.0
        if real is not None:
            even = q * real[:, None, :, None]  # the queries of padding find all keys alike
            y = F.scaled_dot_product_attention(even, k, v, attn_mask=published_mask(real), dropout_p=dropout)
        elif cache is None and weights is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        else:
            past = k.shape[2] - time
            mask = torch.ones(time, k.shape[2], dtype=torch.bool, device=x.device).tril(past)
            if weights is not None:  # the attention study wants to see them
                scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
                weights.append(scores.masked_fill(~mask, -torch.inf).softmax(-1))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(batch, time, -1)), (k, v)


def published_mask(real: Tensor) -> Tensor:
    """Which keys each query sees, (batch, 1, time, time) bool, where `real` (batch, time) is no padding.

    As x-transformers 0.25.9 has it: a real event sees the real ones up to itself. A row of padding is forbidden every
    key alike, and a softmax of equal values is even: over the past, the future and the padding.
    """
    time = real.shape[1]
    causal = torch.ones(time, time, dtype=torch.bool, device=real.device).tril()
    return ((causal & real[:, None, :]) | ~real[:, :, None])[:, None]


class Layer(nn.Module):
    """Pre-norm attention and feed-forward (x4, GELU)."""

    def __init__(self, config: MMTConfig):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.attention = Attention(config)
        self.feed_forward = nn.Sequential(
            nn.Linear(config.dim, 4 * config.dim),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(4 * config.dim, config.dim),
        )

    def forward(self, x: Tensor, angle: Tensor | None, cache=None, weights=None, real=None) -> tuple[Tensor, tuple]:
        y, cache = self.attention(self.norm1(x), angle, cache, weights, real)
        x = x + y
        return x + self.feed_forward(self.norm2(x)), cache


class IndependentHeads(nn.Module):
    """One linear map per field: fields are independent given the past (as published)."""

    def __init__(self, config: MMTConfig):
        super().__init__()
        self.fields = config.layout.fields
        self.linear = nn.ModuleList(nn.Linear(config.dim, size) for size in config.layout.sizes)

    def logits(self, field: str, hidden: Tensor, chosen: Tensor | None = None, phase: Tensor | None = None) -> Tensor:
        return self.linear[self.fields.index(field)](hidden)


class ChainedHeads(nn.Module):
    """Field by field, each seeing those already chosen for this event (in the encoding's order).

    ``logits_k = W_k (x + MLP_k(norm(x)))`` with ``x = hidden + sum of embeddings of the fields before k``. Once
    the time of the event is chosen, its place in the bar is added as well: a downbeat asks for other pitches.
    """

    def __init__(self, config: MMTConfig):
        super().__init__()
        layout, dim = config.layout, config.dim
        self.fields, self.order = layout.fields, layout.order
        self.embed = nn.ModuleList(nn.Embedding(size, dim) for size in layout.sizes)
        self.phase = nn.Embedding(N_PHASES, dim)
        self.norm = nn.ModuleList(nn.LayerNorm(dim) for _ in layout.fields)
        self.mlp = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim, bias=False)) for _ in layout.fields
        )
        self.linear = nn.ModuleList(nn.Linear(dim, size) for size in layout.sizes)
        for table in (*self.embed, self.phase):
            nn.init.normal_(table.get_parameter('weight'), std=0.02)

    def logits(self, field: str, hidden: Tensor, chosen: Tensor | None = None, phase: Tensor | None = None) -> Tensor:
        """Logits (..., size) of `field` from hidden (..., dim), chosen (..., fields) and phase (...)."""
        x = hidden
        for before in self.order[: self.order.index(field)]:
            assert chosen is not None and phase is not None
            x = self.choose(before, x, chosen, phase)
        return self.read(field, x)

    def choose(self, field: str, x: Tensor, chosen: Tensor, phase: Tensor) -> Tensor:
        """Add to `x` (..., dim) that `field` is chosen."""
        x = x + self.embed[self.fields.index(field)](chosen[..., self.fields.index(field)])
        return x + self.phase(phase) if field == 'position' else x

    def read(self, field: str, x: Tensor) -> Tensor:
        """Logits of `field` from a hidden state to which all fields before it were added (`choose`)."""
        i = self.fields.index(field)
        return self.linear[i](x + self.mlp[i](self.norm[i](x)))


class MMT(nn.Module):
    """Decoder over event arrays.

    Call it with events (batch, time, fields), and for ``positions='musical'`` also `step` and `phase`
    (batch, time) from ``events.timeline``; it returns the hidden states (batch, time, dim) from which
    ``heads.logits`` predicts the next event.
    """

    frequency: Tensor

    def __init__(self, config: MMTConfig = PUBLISHED):
        super().__init__()
        self.config, dim = config, config.dim
        self.embed = nn.ModuleList(nn.Embedding(size, dim) for size in config.layout.sizes)
        std = dim**-0.5 if config.positions == 'musical' else None
        for table in self.embed:
            if std is None:
                nn.init.kaiming_normal_(table.get_parameter('weight'))  # as published
            else:
                nn.init.normal_(table.get_parameter('weight'), std=std)
        if config.positions == 'learned':
            self.position = nn.Embedding(config.context, dim)
        elif config.positions == 'musical':
            self.phase = nn.Embedding(N_PHASES, dim)
            nn.init.normal_(self.phase.weight, std=dim**-0.5)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.heads = ChainedHeads(config) if config.chained else IndependentHeads(config)
        # x-transformers turns max(head_dim / 2, 32) dimensions; musical positions use half the head for each clock.
        turned = {'rotary': min(max(config.head_dim // 2, 32), config.head_dim), 'musical': config.head_dim // 2}
        self.register_buffer('frequency', frequencies(turned.get(config.positions, 2)), persistent=False)

    def angles(self, index: Tensor, step: Tensor | None) -> Tensor | None:
        """Rotation angles (batch or 1, 1, time, turned/2) for event indices (time,) and onsets (batch, time)."""
        if self.config.positions == 'rotary':
            return index[None, None, :, None] * self.frequency
        if self.config.positions != 'musical':
            return None
        if step is None:
            raise ValueError("positions='musical' needs the onsets: pass step from events.timeline")
        by_index = (index[None, :, None] * self.frequency).expand(step.shape[0], -1, -1)
        by_step = step[..., None] * self.frequency
        # (i, i + d/2) are turned together, so each clock takes every second quarter of the head.
        return torch.cat((by_index, by_step), dim=-1)[:, None]

    def embedding(self, events: Tensor, phase: Tensor | None, index: Tensor) -> Tensor:
        """Sum of the field embeddings (and of position or phase), (batch, time, dim)."""
        x = self.embed[0](events[..., 0])
        for i in range(1, len(self.embed)):
            x = x + self.embed[i](events[..., i])
        if self.config.positions == 'learned':
            x = x + self.position(index) * self.config.dim**-0.5
        elif self.config.positions == 'musical':
            if phase is None:
                raise ValueError("positions='musical' needs the place in the bar: pass phase from events.timeline")
            x = x + self.phase(phase)
        return self.dropout(x)

    def forward(
        self,
        events: Tensor,
        step: Tensor | None = None,
        phase: Tensor | None = None,
        cache: list | None = None,
        weights: list[Tensor] | None = None,
        real: Tensor | None = None,
    ) -> Tensor:
        """Hidden states (batch, time, dim).

        Parameters
        ----------
        cache : list, optional
            Keys and values of the events before, one pair per layer; empty at first. It is replaced in place.
        weights : list, optional
            Receives the attention weights (batch, heads, time, time) of each layer.
        real : (batch, time) bool, optional
            Where the events are no padding: as in the published training, padding is masked as it was there. Not with
            `cache` or `weights`. Without it padding comes last, and what is no padding does not see it.
        """
        past = cache[0][0].shape[2] if cache else 0
        index = torch.arange(past, past + events.shape[1], device=events.device)
        x = self.embedding(events, phase, index)
        angle = self.angles(index, step)
        for i, layer in enumerate(self.layers):
            x, state = layer(x, angle, cache[i] if past and cache else None, weights, real)
            if cache is not None:
                cache[i : i + 1] = [state]
        return self.norm(x)

    def field_losses(
        self,
        hidden: Tensor,
        target: Tensor,
        target_phase: Tensor | None = None,
        *,
        as_published: bool = False,
        where: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of every field of the next event.

        Parameters
        ----------
        hidden : (batch, time, dim) from `forward` on the events before
        target : (batch, time, fields) the next events; type -1 marks padding
        target_phase : (batch, time) place in the bar of the next events (chained heads)
        as_published : bool
            Count padding and the undefined fields of non-note events too, as the published code does; only then
            do losses compare with published ones (at the published batching).
        where : (batch, time) bool, optional
            Count these next events only.

        Returns
        -------
        losses, counts : (fields,)
            Sums of nats, and of the positions counted. A field counts where it is defined: type everywhere, the
            others where their code is not 0.
        """
        fields = self.config.layout.fields
        real = target[..., 0] >= 0
        if where is not None:
            real = real & where
        target = target.clamp(min=0)
        if as_published:
            counted = torch.ones_like(target, dtype=torch.bool)
        else:
            counted = (target > 0) & real[..., None]
            counted[..., 0] = real
        losses, counts = [hidden.new_zeros(())] * len(fields), [real.sum()] * len(fields)
        # In the order of choosing, so that what was chosen before is added up once and not once for each field.
        order = self.heads.order if isinstance(self.heads, ChainedHeads) else fields
        rows, x = (target, hidden) if as_published else (target[real], hidden[real])
        counted = counted if as_published else counted[real]
        phase = target_phase if as_published or target_phase is None else target_phase[real]
        for field in order:
            i = fields.index(field)
            use = counted[..., i]
            if isinstance(self.heads, ChainedHeads):
                assert phase is not None
                logits = self.heads.read(field, x[use])
                x = self.heads.choose(field, x, rows, phase)
            else:
                logits = self.heads.logits(field, x[use])
            losses[i] = F.cross_entropy(logits, rows[use][..., i], reduction='sum')
            counts[i] = use.sum()
        return torch.stack(losses), torch.stack(counts)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
