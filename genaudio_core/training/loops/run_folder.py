"""The folder of a run, alike for every trainer.

* ``config.json``: the settings that must not change when it goes on
* ``log.csv``: a row for each validation
* ``last.optimizer``: all that it takes to go on
* ``last.safetensors``: the weights of it once more, for whoever wants to look at them
* ``best.safetensors``: the checkpoint to export (`checkpoints`)

Folders of older versions are read too (`old_layouts`).
"""

import contextlib
import csv
import json
import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import atomic_write, lock_of, make_folder
from genaudio_core.training.loops.old_layouts import old_settings, old_state

_DAMAGE = (RuntimeError, LookupError, TypeError, ValueError, AttributeError, EOFError, pickle.UnpicklingError)


@contextlib.contextmanager
def reading_run(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file of a run, or one of another kind of run, raises in the block into one line.

    Raises
    ------
    GenaudioError
        Instead of what torch, pickle and dictionaries raise.
    """
    try:
        yield
    except _DAMAGE as error:
        raise GenaudioError(
            f'{path} is damaged or belongs to another kind of run ({one_line(error)[:120]}). Give another folder '
            '(`out`); a run can begin with the weights of best.safetensors.'
        ) from error


class Run:
    """The folder of one training run; only the `main` one of several processes writes.

    A context manager that keeps others from training in it meanwhile: each would save over the other's steps. (Not on
    Windows, where nothing is locked.)

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings; when it is entered, if another process trains in it.
    """

    def __init__(self, folder: Path, settings: dict, *, main: bool = True):
        self.folder, self.main = folder, main
        self.best = math.inf  # lowest figure that weights were kept for
        path = folder / 'config.json'
        with reading_run(path):
            if path.exists():
                old = dict(json.loads(path.read_text()))
            else:  # an older version told less, or nothing
                old = settings | old_settings(folder)
        changed = sorted(key for key in settings if old.get(key) != settings[key])
        if changed:
            raise GenaudioError(
                f'{folder} is a run with other settings ({", ".join(changed)}). '
                'Give another --out, or the same settings to go on with it.'
            )
        if main and not path.exists():
            make_folder(folder)
            with atomic_write(path) as temporary:  # another process may be reading it
                temporary.write_text(json.dumps(settings, indent=1) + '\n')

    def __enter__(self) -> 'Run':
        self._held = contextlib.ExitStack()
        if self.main and os.name != 'nt' and not self._held.enter_context(lock_of(self.folder / 'config.json')):
            self._held.close()
            raise GenaudioError(
                f'Another process is training in {self.folder}. Wait for its end, or give another --out.'
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def log(self, row: dict) -> None:
        """Append a row to ``log.csv``, under the columns of its first row."""
        if not self.main:
            return
        path = self.folder / 'log.csv'
        columns = list(row)
        if path.exists():
            with path.open(newline='') as file:
                columns = next(csv.reader(file), columns)
        with path.open('a', newline='') as file:
            writer = csv.DictWriter(file, columns, extrasaction='ignore')
            if not file.tell():
                writer.writeheader()
            writer.writerow({key: f'{value:.6g}' if isinstance(value, float) else value for key, value in row.items()})

    def save(self, state: dict[str, Any]) -> None:
        """Save everything needed to go on, so that a crash in the middle leaves the save before.

        `state` holds 'step', the 'weights', and what else the loop wants back.
        """
        if not self.main:
            return
        weights: dict[str, Tensor] = state['weights']
        with atomic_write(self.folder / 'last.optimizer') as temporary:
            torch.save(state | {'best': self.best}, temporary)
        with atomic_write(self.folder / 'last.safetensors') as temporary:
            save_file({n: value.contiguous() for n, value in weights.items()}, temporary, {'step': str(state['step'])})

    def load(self, device: torch.device | str = 'cpu') -> dict[str, Any] | None:
        """Return the last save; None where there is none.

        Raises
        ------
        GenaudioError
            If it is damaged, or weights and optimiser are not of the same step (saves of older versions).
        """
        with reading_run(self.folder / 'last.optimizer'):
            state = old_state(self.folder, device)
            if state is not None:
                self.best = state['best']
            return state
