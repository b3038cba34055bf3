"""Weights of the published arranger (ISMIR 2021), as Keras' ``save_weights`` wrote them (.hdf5).

A group's ``weight_names`` gives the order of the arrays, and the order is what counts: the numbers inside the names are
counters of the session that saved them.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import check_readable
from genaudio_core.models.arranger.published import EMBEDDING, N_DURATIONS, PublishedArranger, PublishedConfig

PARTS = {
    'bach': ('voices', 'voices', 'voices', 'voices'),
    'musicnet': ('violin', 'violin', 'viola', 'cello'),
    'nes': ('lead', 'lead', 'synth-bass'),
    'lmd': ('piano', 'electric-guitar', 'electric-bass', 'strings', 'brasses'),
}
"""What the classes of the published data sets are here, in their order (pulses are leads, a triangle a bass)."""
BY_NUMBER = {3: 'nes', 5: 'lmd'}  # classes -> data set, where a file's name does not say; four: quartets
ATTENTION = ('query', 'key', 'value', 'out', 'up', 'down')


def read_hdf5(path: Path) -> tuple[str, list[np.ndarray]]:
    """Name of the network in a file of Keras' weights ('lstm_arranger', ...), and its arrays in
    their order, of any shape.

    Raises
    ------
    GenaudioError
        If it is none, or h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise GenaudioError('Reading .hdf5 needs h5py: pip install "genaudio[train]".') from None
    check_readable(path, 'checkpoint')
    try:
        with h5py.File(path) as file:
            names = [_text(name) for name in np.asarray(file.attrs['layer_names'])]
            name = next(name for name in names if name.endswith('_arranger'))
            weights = [_text(weight) for weight in np.asarray(file[name].attrs['weight_names'])]
            arrays = [np.asarray(file[f'{name}/{weight}']) for weight in weights]
    except (OSError, KeyError, StopIteration, TypeError, AttributeError) as error:
        raise GenaudioError(f'{path} is not a file of weights of the published arranger ({error!r:.120}).') from None
    if not all(np.isfinite(array).all() for array in arrays):
        raise GenaudioError(f'{path} contains NaN or infinite weights.')
    return name, arrays


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def load_published_arranger(path: Path) -> PublishedArranger:
    """Build the model of a published file, in eval mode. Which data set it is of is read in its name, if it says.

    Raises
    ------
    GenaudioError
        If the file is not one.
    """
    name, arrays = read_hdf5(path)
    try:
        config = _config(path, name, arrays)
        model = PublishedArranger(config)
        _fill(model, arrays)
    except (ValueError, IndexError, RuntimeError, StopIteration) as error:
        raise GenaudioError(f'{path} is not a network of the published arranger: {one_line(error)}') from None
    return model.eval()


def _config(path: Path, name: str, arrays: list[np.ndarray]) -> PublishedConfig:
    shapes = [array.shape for array in arrays]
    leave = next(shape for shape in shapes if len(shape) == 2 and shape[0] == 128 and shape[1] < 16)
    parts = leave[1] - 1
    stem = path.stem.lower()
    data = next((data for data in PARTS if stem.startswith(data)), BY_NUMBER.get(parts, 'musicnet'))
    if len(PARTS[data]) != parts:
        raise ValueError(f'it has {parts} parts, and {data} has {len(PARTS[data])}')
    embedding = shapes[0] == (129, EMBEDDING)
    duration = (N_DURATIONS, EMBEDDING) in shapes
    first = next(i for i, shape in enumerate(shapes) if len(shape) == 2 and shape[1] in (128, 256, 512))
    inputs = shapes[first][0]
    if name == 'lstm_arranger':
        family = 'bilstm' if shapes[first][1] == 256 else 'lstm'
    else:  # a mask leaves no trace in the weights: the name says which it is
        family = 'transformer-causal' if 'lookahead' in stem else 'transformer'
    plain = EMBEDDING * (3 + duration) + 1 if embedding else None
    if plain is None:
        hints = inputs > 3
        duration = inputs - parts * hints == 3
    else:
        hints = inputs > plain
    config = PublishedConfig(family=family, parts=PARTS[data], embedding=embedding, duration=duration, hints=hints)
    if config.inputs != inputs:
        raise ValueError(f'its first layer reads {inputs} numbers, and such a network {config.inputs}')
    return config


def _fill(model: PublishedArranger, arrays: list[np.ndarray]) -> None:
    """Give the model the arrays, in the order of the file."""
    config, given = model.config, iter(arrays)
    state: dict[str, Tensor] = {}

    def take(name: str, turned: bool = False) -> None:
        array = next(given)
        state[name] = torch.from_numpy(np.ascontiguousarray(array.T if turned else array)).float()

    if config.embedding:
        for name in ('pitch', 'position', *(['duration'] if config.duration else [])):
            take(f'{name}.weight')
    if config.family.endswith('lstm'):
        for layer in range(3):
            for way in range(2 if config.family == 'bilstm' else 1):
                take(f'layers.{layer}.weight_ih.{way}', turned=True)
                take(f'layers.{layer}.weight_hh.{way}', turned=True)
                take(f'layers.{layer}.bias.{way}')
        for layer in range(3):
            take(f'norms.{layer}.weight')
            take(f'norms.{layer}.bias')
    else:
        take('enter.weight', turned=True)
        take('enter.bias')
        for layer in range(3):
            for name in ATTENTION:
                take(f'layers.{layer}.{name}.weight', turned=True)
                take(f'layers.{layer}.{name}.bias')
            for name in ('norm1', 'norm2'):
                take(f'layers.{layer}.{name}.weight')
                take(f'layers.{layer}.{name}.bias')
    take('leave.weight', turned=True)
    take('leave.bias')
    model.load_state_dict(state)
    rest = [array.shape for array in given]  # both frozen: the network computes them itself
    if rest and rest != [(4097, EMBEDDING), (129, 1)]:
        raise ValueError(f'arrays of shapes {rest} are left over')
