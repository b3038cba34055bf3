"""A larger network that begins by computing exactly what a smaller one does (Net2Net, Chen et al., ICLR 2016).

Wider: every unit is there several times. What reads the copies shares the old weight among them in random parts, so
that the sum stays and the copies learn different things; LayerNorm does not notice, since duplicates change no mean and
no variance. Heads of attention are copied whole, so that their angles stay. Deeper: new layers add nothing yet, because
their last projections are zero. Classes and fields that the smaller layout lacks begin near zero.
"""

import torch
from torch import Tensor

from genaudio_core.errors import GenaudioError
from genaudio_core.models.mmt import MMT, ChainedHeads, MMTConfig

UNSEEN = -4.0  # logit of a type of event that the smaller layout lacks: rare, yet quick to learn
SPREAD = 0.25  # standard deviation of the parts that a weight is shared in


def grow(small: MMT, config: MMTConfig) -> MMT:
    """Return a model of `config` that predicts, on events that `small` knows, what `small` does.

    Random parts come from torch's generator.

    Raises
    ------
    GenaudioError
        If it cannot: the width must be a multiple, the heads of the same size, the layout one that extends the other.
    """
    old, times = small.config, config.dim // small.config.dim
    same = ('head_dim', 'positions', 'chained')
    layout, fields = config.layout, old.layout.fields
    fits = (
        config.dim == times * old.dim and config.heads == times * old.heads and config.layers >= old.layers
        and all(getattr(config, name) == getattr(old, name) for name in same)
        and layout.fields[: len(fields)] == fields and old.chained
        and all(a >= b for a, b in zip(layout.sizes, old.layout.sizes, strict=False))
    )  # fmt: skip
    if not fits:
        raise GenaudioError(
            f'A model of {old.dim} x {old.layers} with {old.heads} heads ({old.encoding}) cannot grow into one of '
            f'{config.dim} x {config.layers} with {config.heads} ({config.encoding}): the width and the heads must be '
            'the same multiple, there must be as many layers or more, and the layout must extend the other.'
        )
    large = MMT(config)
    weights = dict(small.state_dict())
    # The layers that are there already, spread evenly among the new ones.
    places = [round((i + 1) * config.layers / old.layers) - 1 for i in range(old.layers)]
    own = large.state_dict()
    with torch.no_grad():
        for name, target in own.items():
            parts = name.split('.')
            if parts[0] == 'layers':
                if int(parts[1]) not in places:
                    if 'attention.out' in name or 'feed_forward.3' in name:
                        target.zero_()
                    continue
                name = '.'.join(['layers', str(places.index(int(parts[1]))), *parts[2:]])
            if name in weights:
                _widen(target, weights[name].float(), times, name)
            elif parts[0] == 'embed' or parts[:2] == ['heads', 'embed']:
                target.normal_(std=0.02)
                target[0] = 0.0  # undefined says nothing
        large.load_state_dict(own)
        heads = large.heads
        assert isinstance(heads, ChainedHeads)
        for index, size in enumerate(old.layout.sizes):
            if layout.sizes[index] > size:
                heads.linear[index].get_parameter('bias')[size:] = UNSEEN
    return large.eval()


def _widen(target: Tensor, source: Tensor, times: int, name: str) -> None:
    """Fill `target` with `source`, each unit `times` times; what is longer than that keeps small values."""
    is_table = 'embed' in name or name.startswith('phase') or name.startswith('heads.phase')
    output = name.startswith('heads.linear')
    if source.ndim == 1 and not output:  # biases, norms
        target.copy_(source.repeat(times))
    elif source.ndim == 1:
        target[: len(source)] = source
    elif is_table:
        target.normal_(std=0.02)
        target[: len(source)] = source.repeat(1, times)
    else:
        rows = source if output else source.repeat(times, 1)
        shares = 1 / times + SPREAD * torch.randn(times, *rows.shape) / times
        shares += (1 - shares.sum(dim=0)) / times
        if output:
            target.normal_(std=0.02)
        target[: len(rows)] = torch.cat([rows * share for share in shares], dim=1)
