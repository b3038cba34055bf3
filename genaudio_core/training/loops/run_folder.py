"""What every trainer shares: exact resumption, a time budget, a log, the learning-rate schedule, the optimiser.

A run is a folder: ``config.json``, ``log.csv``, ``last.safetensors`` with ``last.optimizer`` (to go on from) and
``best.safetensors`` (to export). Randomness depends only on (seed, step, rank), so that a run stopped and resumed
takes the very steps it would have taken.
"""

import contextlib
import csv
import json
import math
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import atomic_write, make_folder, no_checkpoint

Network = TypeVar('Network', bound=nn.Module)


def learning_rate(step: int, peak: float, warmup: int, decay_begin: int, decay_steps: int) -> float:
    """Linear warm-up, constant, then linear decay to a twentieth over `decay_steps` (warmup-stable-decay).

    The constant part can go on as long as there is time; the decay is begun when the run is to end.
    """
    rate = peak * min(1.0, (step + 1) / warmup)
    if step >= decay_begin:
        rate *= max(0.05, 1 - (step - decay_begin) / max(decay_steps, 1))
    return rate


def cosine(progress: float) -> float:
    """Share of the peak rate after `progress` (0..1) of the time planned; 3% at the end and beyond."""
    return max(0.03, 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


# Processors with matrix products of bfloat16, eight times as fast as those of float32 (Intel's AMX).
HALF = torch.cpu._is_amx_tile_supported()


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonalised updates for weight matrices (Jordan et al., 2024), in the gradients' precision.

    Weights with three axes are taken as a batch of matrices, those with four (convolutions) as one matrix per layer
    with a row per output channel. torch's own takes matrices only, and rounds to bfloat16 first, which CPUs without
    that type emulate slowly; hence ours, which rounds where the processor has products of bfloat16.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {'lr': lr, 'momentum': momentum, 'weight_decay': weight_decay})

    @torch.no_grad()
    def step(self, closure=None):  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = {}
            for parameter in group['params']:
                if parameter.grad is not None:
                    alike.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in alike.items():  # together: an accelerator spends its time on the many small steps
                updates = []
                for parameter in parameters:
                    state, grad = self.state[parameter], parameter.grad
                    assert grad is not None
                    if 'momentum' not in state:
                        state['momentum'] = torch.zeros_like(grad)
                    state['momentum'].lerp_(grad, 1 - group['momentum'])
                    update = grad.lerp(state['momentum'], group['momentum'])
                    updates.append(update.flatten(1) if len(shape) == 4 else update)
                # 0.2 sqrt(max) gives updates the size AdamW's have, so one learning rate serves both.
                scale = 0.2 * max(updates[0].shape[-2:]) ** 0.5
                for parameter, update in zip(parameters, orthogonal(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group['lr'] * group['weight_decay'])
                    parameter.add_(update.view(shape), alpha=-group['lr'] * scale)


def orthogonal(matrix: Tensor, iterations: int = 5) -> Tensor:
    """Roughly the nearest matrix (..., m, n) with all singular values one, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if matrix.is_cuda or HALF else matrix
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrix.dtype)


class Optimizers:
    """Muon for the matrices inside the network, AdamW for everything else, under one learning rate.

    `axes` are the numbers of axes of what counts as matrices (see `Muon`): 4 adds convolutions, 3 batches of matrices.
    """

    def __init__(
        self, model: nn.Module, *, weight_decay: float = 0.01, muon: bool = True, axes: tuple[int, ...] = (2,),
        betas: tuple[float, float] = (0.9, 0.95),
    ):  # fmt: skip
        embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        # Output layers behave like embeddings: one row per class.
        heads = {id(p) for name, p in model.named_parameters() if 'heads.linear' in name}
        matrices, others = [], []
        for parameter in model.parameters():
            inner = parameter.ndim in axes and parameter.shape[0] > 1 and id(parameter) not in embeddings | heads
            (matrices if inner and muon else others).append(parameter)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=0.0, betas=betas, weight_decay=0.0, fused=True)
        ]
        if matrices:
            self.parts.append(Muon(matrices, lr=0.0, weight_decay=weight_decay))

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group['lr'] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states: list[dict]) -> None:
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)

    def resume(self, states: object) -> None:
        """Load what a run saved; if that was another optimiser's, say so and begin its moments anew."""
        sizes = [[len(group['params']) for group in part.param_groups] for part in self.parts]
        if not isinstance(states, list) or [[len(g['params']) for g in s['param_groups']] for s in states] != sizes:
            notice('the optimiser is not the one from before: its moments start from zero')
            return
        self.load_state_dict(states)


class Budget:
    """The minutes that a loop may take, as a context manager; a run that is asked to end (SIGTERM) has none left."""

    def __init__(self, minutes: float):
        self.seconds, self._stopped = minutes * 60, False

    def __enter__(self) -> 'Budget':
        self._began = time.monotonic()
        self._before = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def _stop(self, *_: object) -> None:
        self._stopped = True  # finish the step, save, leave

    @property
    def spent(self) -> float:
        """Minutes since it began."""
        return (time.monotonic() - self._began) / 60

    def __bool__(self) -> bool:
        return not self._stopped and self.spent * 60 < self.seconds


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


def append_row(path: Path, row: dict) -> None:
    """Append a row to a table (.csv) whose columns are those of its first row."""
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, list(row), extrasaction='ignore')
        if new:
            writer.writeheader()
        writer.writerow({key: f'{value:.6g}' if isinstance(value, float) else value for key, value in row.items()})


class Run:
    """The folder of one training run.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings.
    """

    def __init__(self, folder: Path, config: dict, *, minutes: float | None = None, main: bool = True):
        self.folder, self.main = folder, main
        self.deadline = time.monotonic() + minutes * 60 if minutes else float('inf')
        self.stopped = False
        self.best = float('inf')
        path = folder / 'config.json'
        if path.exists():
            with reading_run(path):
                old = dict(json.loads(path.read_text()))
            changed = sorted(key for key in config if old.get(key) != config[key])
            if changed:
                raise GenaudioError(
                    f'{folder} is a run with other settings ({", ".join(changed)}). '
                    'Give another --out, or the same settings to go on with it.'
                )
        elif main:
            make_folder(folder)
            with atomic_write(path) as temporary:  # another process may be reading it
                temporary.write_text(json.dumps(config, indent=1) + '\n')
        if main:
            signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_) -> None:
        self.stopped = True  # finish the step, save, leave

    @property
    def time_is_up(self) -> bool:
        return self.stopped or time.monotonic() >= self.deadline

    def log(self, row: dict) -> None:
        """Append a row to ``log.csv``; see `append_row`."""
        if self.main:
            append_row(self.folder / 'log.csv', row)

    def save(self, model: nn.Module, optimizers: Optimizers, step: int, **extra: float) -> None:
        """Save everything needed to go on, so that a crash in the middle leaves the save before.

        All of it is in one file, ``last.optimizer``; ``last.safetensors`` has the weights once more, for whoever wants
        to look at them.
        """
        if not self.main:
            return
        weights = model.state_dict()
        with atomic_write(self.folder / 'last.optimizer') as temporary:
            state = {'step': step, 'optimizers': optimizers.state_dict(), 'best': self.best, 'weights': weights} | extra
            torch.save(state, temporary)
        with atomic_write(self.folder / 'last.safetensors') as temporary:
            save_file({name: value.contiguous() for name, value in weights.items()}, temporary, {'step': str(step)})

    def load(self, model: nn.Module, optimizers: Optimizers) -> int:
        """Load the last save, if there is one; return the step to go on with.

        Raises
        ------
        GenaudioError
            If weights and optimiser are not of the same step (saves of older versions, which were two files).
        """
        path = self.folder / 'last.optimizer'
        if not path.exists():
            return 0
        with reading_run(path):
            state = torch.load(path, weights_only=True)
            weights = state.get('weights')
            if weights is None:
                weights_path = self.folder / 'last.safetensors'
                weights = load_file(weights_path)
                with safe_open(weights_path, 'pt') as file:
                    saved = (file.metadata() or {}).get('step')
                if saved != str(state['step']):
                    raise GenaudioError(
                        f'{self.folder} was cut off while saving: its weights are of step {saved}, its optimiser of '
                        f'step {state["step"]}. Begin again from its best.safetensors (--start-from), elsewhere.'
                    )
            model.load_state_dict(weights)
            optimizers.load_state_dict(state['optimizers'])
            self.best = state['best']
            return state['step']

    def save_best(self, model: nn.Module, loss: float, config: dict, **info: object) -> bool:
        """Keep the weights if `loss` is the lowest so far; return whether it was."""
        if not (loss < self.best and self.main):  # NaN is no lowest
            return False
        self.best = loss
        save_checkpoint(self.folder / 'best.safetensors', model, config, loss=loss, **info)
        return True


def save_checkpoint(path: Path, model: nn.Module, config: dict, **info: object) -> None:
    """Weights and what rebuilds the model, in one safetensors file."""
    write_checkpoint(path, model.state_dict(), config, info)


def write_checkpoint(path: Path, weights: dict[str, Tensor], config: dict, info: dict) -> None:
    """The same for weights alone."""
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
    except (TypeError, ValueError, KeyError, RuntimeError) as error:
        line = str(error).splitlines()[0]
        raise GenaudioError(f'{path} is not a checkpoint of {what} ({line}).') from error
    return model.eval(), info


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
    """What a checkpoint says on its making, without its weights.

    Raises
    ------
    GenaudioError
        As `read_checkpoint` does.
    """
    return json.loads(_metadata(path).get('info', '{}'))


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError

    if not path.exists():
        raise no_checkpoint(path)
    try:
        with safe_open(path, 'pt') as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        if path.suffix.lower() in ('.pt', '.pth', '.ckpt', '.bin'):
            raise GenaudioError(
                f"{path} is a file of torch's own, as authors publish their models. Convert it first: genaudio-export "
                f'import mmt {path} (or clipsep), and give the .safetensors that this writes.'
            ) from None
        raise GenaudioError(f'{path} is not a safetensors checkpoint, or it is damaged ({error}).') from None
    if 'config' not in metadata:
        raise GenaudioError(f'{path} does not say how to rebuild its model; give best.safetensors of a run.')
    return metadata


def a_device(name: str) -> str:
    """An argparse type: the name of a device that torch can compute on here, such as 'cpu', 'cuda' or 'cuda:1'.

    Raises
    ------
    GenaudioError
        If it is not such a name, or this machine has no such device.
    """
    try:
        found = torch.device(name)
    except RuntimeError:
        raise GenaudioError(f'`device` must be cpu or cuda, not {name}.') from None
    if found.type not in ('cpu', 'cuda'):
        raise GenaudioError(f'`device` must be cpu or cuda, not {name}.')
    if found.type == 'cuda' and (found.index or 0) >= torch.cuda.device_count():
        raise GenaudioError(f'This machine has no {name} that torch can use: leave `device` out.')
    return name


def limit_threads(threads: int | None) -> None:
    """Use `threads` CPU threads (default: what the environment says)."""
    if threads:
        torch.set_num_threads(threads)
    elif 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)
