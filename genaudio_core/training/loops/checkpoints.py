"""Checkpoints: the weights of a network and what rebuilds it, in one safetensors file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, check_readable, no_checkpoint

Network = TypeVar('Network', bound=nn.Module)


def save_checkpoint(path: Path, model: nn.Module, config: dict, **info: object) -> None:
    """Weights and what rebuilds the model, in one safetensors file."""
    write_checkpoint(path, model.state_dict(), config, info)


def write_checkpoint(path: Path, weights: dict[str, Tensor], config: dict, info: dict) -> None:
    """The same for weights, of any shape, alone."""
    metadata = {'config': json.dumps(config), 'info': json.dumps(info, default=str)}
    with atomic_write(path) as temporary:
        save_file({name: weight.contiguous() for name, weight in weights.items()}, temporary, metadata)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict, dict]:
    """(weights, config, info) of a checkpoint of `save_checkpoint`.

    Raises
    ------
    GenaudioError
        If it is missing, damaged, no checkpoint of ours, or holds NaN or infinite weights.
    """
    metadata = _metadata(path)
    weights = load_file(path)
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise GenaudioError(f"{path} contains NaN or infinite weights ('{name}'): training diverged.")
    return weights, json.loads(metadata['config']), json.loads(metadata.get('info', '{}'))


# A key of a configuration -> the network that it is of, the first one that is there.
_TOLD_BY = {
    'tokenizer': 'a REMI+ or MMM baseline', 'encoding': 'a music model', 'network': 'an arranger', 'net': 'a denoiser',
    'buckets': 'the text encoder', 'fusion': "CLIPSep, as its authors' is", 'maps': 'an offline separator',
    'units': 'an offline separator', 'hop': 'a live separator', 'bins': 'a vocoder', 'shift': 'a prior',
    'frames': 'the audio encoder',
}  # fmt: skip


def not_of(path: Path, config: dict, what: str) -> GenaudioError:
    """Return the one line for a checkpoint that `what` cannot be rebuilt from: what it is, and what is wanted."""
    found = next((name for key, name in _TOLD_BY.items() if key in config), 'something unknown')
    if found == what:
        return GenaudioError(f'{path} is of {what}, but its weights do not fit its settings: it is damaged or too old.')
    return GenaudioError(f'{path} is not a checkpoint of {what}, but of {found}. Give one of {what}.')


def rebuild(path: Path, build: Callable[[dict], Network], what: str) -> tuple[Network, dict]:
    """Return the network of a checkpoint, in eval mode, and what is known about it.

    Parameters
    ----------
    build
        Makes the network of the checkpoint's configuration.
    what
        It is, for the one line that tells when the checkpoint is of something else.

    Raises
    ------
    GenaudioError
        If it is missing, damaged, or of another network.
    """
    weights, config, info = read_checkpoint(path)
    try:
        model = build(config)
        model.load_state_dict(weights)
    except (TypeError, ValueError, LookupError, AttributeError, RuntimeError) as error:
        raise not_of(path, config, what) from error
    return model.eval(), info


def initialise(model: nn.Module, path: Path, load: Callable[[Path], tuple[nn.Module, dict]]) -> None:
    """Give `model` the weights of a checkpoint of the same configuration (what is no weight may differ).

    Parameters
    ----------
    load
        Rebuilds the network of the checkpoint.

    Raises
    ------
    GenaudioError
        If they do not fit.
    """
    try:
        model.load_state_dict(load(path)[0].state_dict())
    except RuntimeError:
        why = f'{path} is a model of another size or layout; give the --config it was trained with.'
        raise GenaudioError(why) from None


def begin_with(model: nn.Module, path: Path, without: tuple[str, ...] = ()) -> None:
    """Load the weights of a checkpoint of like shape; what it lacks stays as it is, so that a network may grow.

    Parameters
    ----------
    without
        Tensors of the checkpoint that are no weights.

    Raises
    ------
    GenaudioError
        If shapes differ, or it has parts that the model lacks.
    """
    weights = {name: value for name, value in read_checkpoint(path)[0].items() if name not in without}
    own = model.state_dict()
    wrong = [name for name, value in weights.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise GenaudioError(f'{path} is of another shape: {wrong[0]} does not fit. Leave --start-from out.')
    model.load_state_dict(own | {name: value.float() for name, value in weights.items()})


def read_checkpoint_info(path: Path) -> dict:
    """The record of a checkpoint's making, without its weights.

    Raises
    ------
    GenaudioError
        As `read_checkpoint` does.
    """
    return json.loads(_metadata(path).get('info', '{}'))


def _metadata(path: Path) -> dict[str, str]:
    if not path.exists():
        raise no_checkpoint(path)
    check_readable(path, 'checkpoint')
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        if path.suffix.lower() in ('.hdf5', '.h5'):
            raise GenaudioError(
                f"{path} is a file of Keras' own, as the arranger's authors publish theirs. Convert it first: "
                f'genaudio-export import arranger {path}, and give the .safetensors that this writes.'
            ) from None
        if path.suffix.lower() in ('.pt', '.pth', '.ckpt', '.bin'):
            raise GenaudioError(
                f"{path} is a file of torch's own, as authors publish their models. Convert it first: genaudio-export "
                f'import mmt {path} (or clipsep), and give the .safetensors that this writes.'
            ) from None
        raise GenaudioError(f'{path} is not a safetensors checkpoint, or it is damaged ({error}).') from None
    if 'config' not in metadata:
        raise GenaudioError(f'{path} does not say how to rebuild its model; give best.safetensors of a run.')
    return metadata
