"""Checkpoints that their authors published, read as they are.

MMT (Dong et al.): a state dict of their wrapper around x-transformers 0.25.9, saved with ``torch.save``. The names
below are those of that release; a checkpoint with anything else in it is refused, not guessed at.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

from genaudio_core.errors import GenaudioError
from genaudio_core.models.mmt import MMT, MMTConfig
from genaudio_core.music.layouts import MMT as ENCODING

HEAD_DIM = 64  # x-transformers' default; the number of heads follows from the width of the queries
_PREFIX = re.compile(r'^(module\.)?(decoder\.)?net\.')
_NAMES = [
    (r'token_emb\.(\d+)\.emb\.weight', r'embed.\1.weight'),
    (r'pos_emb\.emb\.weight', 'position.weight'),
    (r'norm\.(weight|bias)', r'norm.\1'),
    (r'to_logits\.(\d+)\.(weight|bias)', r'heads.linear.\1.\2'),
]
# Layers alternate: attention at even numbers, feed-forward at odd ones.
_ATTENTION = [
    (r'0\.0\.(weight|bias)', r'norm1.\1'),
    (r'1\.to_([qkv])\.weight', r'attention.\1.weight'),
    (r'1\.to_out\.(weight|bias)', r'attention.out.\1'),
]
_FEED_FORWARD = [
    (r'0\.0\.(weight|bias)', r'norm2.\1'),
    (r'1\.net\.0\.0\.(weight|bias)', r'feed_forward.0.\1'),
    (r'1\.net\.3\.(weight|bias)', r'feed_forward.3.\1'),
]
_LAYER = re.compile(r'attn_layers\.layers\.(\d+)\.(.*)')


def read_pt(path: Path) -> dict[str, Tensor]:
    """Load a ``.pt`` file of tensors. Code in it is never run.

    Raises
    ------
    GenaudioError
        If it is missing, damaged, or holds anything but tensors by name.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise GenaudioError(f'The checkpoint {path} does not exist.') from None
    except Exception as error:  # zip, pickle and torch errors of many types
        line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise GenaudioError(f'{path} cannot be read as a checkpoint of weights: {line}') from None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise GenaudioError(f'{path} is not a state dict (tensors by name, as torch.save(model.state_dict()) gives).')
    return state


def load_published_mmt(path: Path) -> MMT:
    """Build the model of a published MMT checkpoint (APE, RPE or NPE), in eval mode.

    Raises
    ------
    GenaudioError
        If the file is not one.
    """
    state, rotary = {}, False
    for name, tensor in read_pt(path).items():
        inner = _PREFIX.sub('', name)
        if inner == 'attn_layers.rotary_pos_emb.inv_freq':
            rotary = True
            continue
        state[_translate(path, name, inner)] = tensor.float()
    try:
        config = _config(state, rotary)
        model = MMT(config)
        model.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()
        line = ' '.join(line)[:200]
        raise GenaudioError(f'{path} is not an MMT checkpoint of the published layout: {line}') from None
    return model.eval()


def _translate(path: Path, name: str, inner: str) -> str:
    layer = _LAYER.fullmatch(inner)
    if layer:
        number, rest = int(layer[1]), layer[2]
        for pattern, ours in _FEED_FORWARD if number % 2 else _ATTENTION:
            if re.fullmatch(pattern, rest):
                return f'layers.{number // 2}.' + re.sub(pattern, ours, rest)
    for pattern, ours in _NAMES:
        if re.fullmatch(pattern, inner):
            return re.sub(pattern, ours, inner)
    raise GenaudioError(
        f"{path} is not an MMT checkpoint of the published layout (x-transformers 0.25.9): it has '{name}'."
    )


def _config(state: dict[str, Tensor], rotary: bool) -> MMTConfig:
    if rotary and 'position.weight' in state:
        raise ValueError('it has both rotary and learned positions')
    sizes = tuple(state[f'embed.{i}.weight'].shape[0] for i in range(len(ENCODING.sizes)))
    if sizes != ENCODING.sizes:
        # E.g. trained with another max_beat or resolution: its codes would mean other music.
        raise ValueError(f'its fields have {sizes} classes, the published model has {ENCODING.sizes}')
    dim = state['embed.0.weight'].shape[1]
    layers = 1 + max(int(name.split('.')[1]) for name in state if name.startswith('layers.'))
    heads, rest = divmod(state['layers.0.attention.q.weight'].shape[0], HEAD_DIM)
    if rest:
        raise ValueError(f'its heads are not {HEAD_DIM} wide')
    learned = 'position.weight' in state
    context = state['position.weight'].shape[0] if learned else MMTConfig().context
    positions = 'learned' if learned else 'rotary' if rotary else 'none'
    return MMTConfig('mmt', dim, layers, heads, HEAD_DIM, positions, False, context, 0.0)
