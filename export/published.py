"""Checkpoints that their authors published, read as they are.

MMT (Dong et al.): a state dict of their wrapper around x-transformers 0.25.9, saved with ``torch.save``. The names
below are those of that release; a checkpoint with anything else in it is refused, not guessed at.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_readable
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
    """Load a ``.pt`` file of tensors of any shape. Code in it is never run.

    Raises
    ------
    GenaudioError
        If it is missing, damaged, or holds anything but tensors by name.
    """
    check_readable(path, 'checkpoint')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # zip, pickle and torch errors of many types
        line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise GenaudioError(f'{path} cannot be read as a checkpoint of weights: {line}') from None
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise GenaudioError(f'{path} is not a state dict (tensors by name, as torch.save(model.state_dict()) gives).')
    return state


def load_published_mmt(path: Path) -> MMT:
    """Build the model of a published MMT checkpoint (APE, RPE or NPE), in eval mode.

    The shapes of the weights say what the network is. What they cannot say, how long its sequences were where positions
    are not learned, is read from the ``train-args.json`` that train.py wrote beside the checkpoint or a folder above.

    Raises
    ------
    GenaudioError
        If the file is not one, or there is a train-args.json of another network.
    """
    state, rotary = {}, False
    for name, tensor in read_pt(path).items():
        inner = _PREFIX.sub('', name)
        if inner == 'attn_layers.rotary_pos_emb.inv_freq':
            rotary = True
            continue
        state[_translate(path, name, inner)] = tensor.float()
    asked = train_args(path)
    try:
        config = _config(state, rotary, int(asked.get('max_seq_len') or MMTConfig().context))
        model = MMT(config)
        model.load_state_dict(state)
    except (KeyError, ValueError, RuntimeError) as error:
        line = str(error).splitlines()
        line = ' '.join(line)[:200]
        raise GenaudioError(f'{path} is not an MMT checkpoint of the published layout: {line}') from None
    found = {
        'dim': config.dim, 'layers': config.layers, 'heads': config.heads, 'abs_pos_emb': config.positions == 'learned',
        'rel_pos_emb': config.positions == 'rotary',
    }  # fmt: skip
    for name, value in found.items():
        if name in asked and asked[name] != value:
            raise GenaudioError(
                f'{path} and its train-args.json do not belong together: {name} is {asked[name]} there, and {value} in '
                'the weights.'
            )
    return model.eval()


def train_args(checkpoint: Path) -> dict[str, Any]:
    """Return what the ``train-args.json`` of a run of MMT's train.py says; empty where there is none.

    Raises
    ------
    GenaudioError
        If it is there and cannot be read.
    """
    for folder in list(checkpoint.absolute().parents)[:2]:  # the run's, or its folder 'checkpoints'
        path = folder / 'train-args.json'
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_text(encoding='utf-8'))
            if not isinstance(found, dict) or not isinstance(found.get('max_seq_len', 1), int):
                raise ValueError('it contains no arguments')
        except (OSError, ValueError) as error:
            raise GenaudioError(f'{path} cannot be read: {error}. Repair it, or remove it.') from None
        return found
    return {}


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


def _config(state: dict[str, Tensor], rotary: bool, context: int) -> MMTConfig:
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
    context = state['position.weight'].shape[0] if learned else context
    positions = 'learned' if learned else 'rotary' if rotary else 'none'
    return MMTConfig('mmt', dim, layers, heads, HEAD_DIM, positions, False, context, 0.0)
