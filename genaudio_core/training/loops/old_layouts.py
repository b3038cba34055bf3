"""Run folders of older versions, read as those of today.

What is saved today is a mapping: 'step', 'minutes', 'best', 'weights', 'optimizers' (a list), and for runs with one
'average'. Older versions had a layout for each trainer:

* ``last.pt`` or ``audio-last.pt`` with 'model', 'average', 'optimiser', 'step', and no ``config.json``
* ``last.pt`` with such a mapping for each of several networks (the baselines of the separator)
* ``last.optimizer`` whose 'weights' are named 'model.*' and 'average.*'
* ``last.optimizer`` without weights, which were in ``last.safetensors`` alone
"""

import math
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from genaudio_core.errors import GenaudioError

OLD_NAMES = ('last.pt', 'audio-last.pt')


def _old_file(folder: Path) -> Path | None:
    return next((folder / name for name in OLD_NAMES if (folder / name).exists()), None)


def old_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that the save of an older version tells."""
    path = _old_file(folder)
    if path is None:
        return {}
    state = torch.load(path, weights_only=True, map_location='cpu')
    return {'model': state['config']} if 'config' in state else dict(state.get('plan', {}))


def old_state(folder: Path, device: torch.device | str) -> dict[str, Any] | None:
    """Return the last save of a folder of any version, in the layout of today; None where there is none.

    Raises
    ------
    GenaudioError
        If weights and optimiser are not of the same step.
    """
    path = folder / 'last.optimizer'
    if not path.exists():
        old = _old_file(folder)
        return None if old is None else _of_one_file(torch.load(old, weights_only=True, map_location=device))
    state = {'minutes': 0.0, 'best': math.inf} | torch.load(path, weights_only=True, map_location=device)
    if 'weights' not in state:
        state['weights'] = _beside(folder, state['step'], device)
    if 'average' not in state and any(name.startswith('average.') for name in state['weights']):
        both = state['weights']
        for part, prefix in (('weights', 'model.'), ('average', 'average.')):
            state[part] = {name[len(prefix) :]: value for name, value in both.items() if name.startswith(prefix)}
    return state


def _beside(folder: Path, step: int, device: torch.device | str) -> dict[str, torch.Tensor]:
    path = folder / 'last.safetensors'
    with safe_open(path, 'pt') as file:
        saved = (file.metadata() or {}).get('step')
    weights = load_file(path, device=str(device))
    saved = saved or str(int(weights.pop('step', torch.tensor(-1))))
    if saved != str(step):
        raise GenaudioError(
            f'{folder} was cut off while saving: its weights are of step {saved}, its optimiser of '
            f'step {step}. Begin again from its best.safetensors (--start-from), elsewhere.'
        )
    return weights


def _of_one_file(old: dict[str, Any]) -> dict[str, Any]:
    networks = {way: old[way] for way in old.get('plan', {}).get('ways', ())}
    state = {'step': old['step'], 'minutes': old.get('minutes', old.get('spent', 0.0)), 'best': math.inf}
    if not networks:
        parts = old['optimiser']
        return state | {'weights': old['model'], 'average': old['average'],
                        'optimizers': parts if isinstance(parts, list) else [parts]}  # fmt: skip
    for new, name in (('weights', 'model'), ('average', 'average')):
        state[new] = {f'{way}.{key}': value for way, one in networks.items() for key, value in one[name].items()}
    return state | {'optimizers': [part for one in networks.values() for part in one['optimiser']]}
