"""The one training loop: steps, the learning rate, averages of weights, validation, saves, and going on exactly.

Randomness comes from the number of a step (and the seed and the rank) alone, so that a run that was stopped takes the
very steps it would have taken. With Fabric several processes train together: rank 0 validates, logs and saves, and all
stop together.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from genaudio_core.command_line import notice
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.checkpoints import write_checkpoint
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.loops.run_folder import Run, reading_run
from genaudio_core.training.loops.time_limit import LATE, TimeLimit

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAVE_S = 120.0  # between two saves, whether or not there is a validation
Loss = tuple[Tensor, int | Tensor, Mapping[str, float | Tensor]]


@dataclass
class Trainee:
    """A network and its loss, as the loop needs them."""

    model: nn.Module  # whose weights are trained and saved
    config: dict  # rebuilds it from its checkpoint
    settings: dict  # what must not change when the run goes on
    batch: Callable[[int, int], Any]  # (step, rank) -> batch
    loss: Callable[[Any], Loss]  # batch -> loss, how many things it is the mean of, figures to log beside it
    validate: Callable[[nn.Module], dict[str, float]]  # the network as it is to be used -> figures
    rate: Callable[[int, float], float]  # (step, share of the planned minutes that is over) -> learning rate
    optimizers: Optimizers
    total_minutes: float | None = None  # that are planned, of all calls; None: this is the last one
    watch: str = 'loss'  # the figure that is told
    average: Average | None = None  # its weights are what is exported; None: those with the lowest `watch` are
    clip: float | None = 1.0  # largest norm of the gradients of each of `apart`
    apart: Sequence[nn.Module] = ()  # networks that only share the loop; empty: `model` is one
    portions: Callable[[Any], Iterable[tuple[Any, float]]] = lambda batch: [(batch, 1.0)]  # a batch in parts, shares
    before_step: Callable[[int], None] = lambda step: None
    loss_name: str = 'loss'  # its column of the log
    counted: str = 'items'  # what the loss is the mean of
    info: dict = field(default_factory=dict)  # what else the checkpoint is to tell
    tensors: dict[str, Tensor] = field(default_factory=dict)  # and to hold


class Ahead:
    """Batches that somebody makes ahead, a context manager; called as `Trainee.batch`.

    `make` gives a context manager over the batches from a step on, the first one that is asked for.
    """

    def __init__(self, make: Callable[[int], Any]):
        self._make, self._stack, self._source = make, ExitStack(), None

    def __enter__(self) -> 'Ahead':
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, step: int, rank: int) -> Any:
        if self._source is None:
            self._source = self._stack.enter_context(self._make(step))
        return next(self._source)


class Window:
    """Means over the steps since the last row of the log."""

    def __init__(self, sums: Mapping[str, Sequence[float]] = {}):
        self._sums = {name: list(pair) for name, pair in sums.items()}
        self._steps: list[tuple[int | Tensor, dict[str, float | Tensor]]] = []

    def add(self, count: int | Tensor, figures: dict[str, float | Tensor]) -> None:
        """Take in a step; tensors () stay on their device until somebody asks."""
        self._steps.append((count, figures))

    def sums(self) -> dict[str, list[float]]:
        """Return figure -> [sum, weight]."""
        for count, figures in self._steps:
            for name, value in figures.items():
                pair = self._sums.setdefault(name, [0.0, 0.0])
                pair[0] += float(value) * int(count)
                pair[1] += int(count)
        self._steps.clear()
        return self._sums

    def means(self) -> dict[str, float]:
        """Return figure -> its mean."""
        return {name: total / max(weight, 1) for name, (total, weight) in self.sums().items()}


class _Late(Exception):
    """A validation would end too late."""


@contextmanager
def _in_time(limit: TimeLimit) -> Iterator[None]:
    """Break off a validation that goes on for too long: before it starts, or whenever a network of torch is called.

    Raises
    ------
    _Late
        In the block, or before it.
    """

    def look(*_: object) -> None:
        if limit.left < 0:
            raise _Late

    if limit.kept_back > limit.left:
        raise _Late
    look()
    hook = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()


def train(
    trainee: Trainee,
    out: Path,
    limit: TimeLimit,
    *,
    steps: float = math.inf,
    every_steps: float = math.inf,
    every_minutes: float = math.inf,
    patience: int | None = None,
    to_beat: float = math.inf,
    fabric: 'Fabric | None' = None,
) -> dict[str, Any]:
    """Train until the steps, the minutes or the patience are used up; a run in `out` goes on.

    Parameters
    ----------
    steps
        In all, those of earlier calls among them.
    every_steps, every_minutes
        How often there is a validation and a row of the log.
    patience
        Stop after this many validations in a row that found no better weights.
    to_beat
        What the figure `watch` must be below for weights to be kept at all.

    Returns
    -------
    dict
        out, step, minutes (in all) and seconds (of this call), how many things a second, and the last row of the log.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings, or damaged.
    """
    model, average, optimizers = trainee.model, trainee.average, trainee.optimizers
    main, ranks, rank = (fabric.is_global_zero, fabric.world_size, fabric.global_rank) if fabric else (True, 1, 0)
    run = Run(out, trainee.settings, main=main)
    state = run.load(next(model.parameters()).device)
    step, before, window = 0, 0.0, Window()
    if state is None:
        run.best = to_beat
    else:
        with reading_run(out / 'last.optimizer'):
            model.load_state_dict(state['weights'])
            if average is not None:
                average.state = dict(state['average'])
            optimizers.resume(state['optimizers'])
            step, before, window = state['step'], state['minutes'], Window(state.get('window', {}))
    forward: Callable[[Any], Loss] = trainee.loss
    if fabric is not None:
        assert isinstance(trainee.loss, nn.Module)  # so that processes that train together see one forward
        forward = fabric.setup_module(trainee.loss)
        for part in optimizers.parts:  # restored states follow their parameters to the device
            part.load_state_dict(part.state_dict())
    if main:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        notice(f'{parameters:,} parameters, from step {step}, log in {out}/log.csv')
    began, first, seen, stale = time.monotonic(), step, 0, 0
    stepping = 0.0  # seconds
    validated = saved = began
    planned = trainee.total_minutes or before + limit.seconds / 60
    row: dict[str, Any] = {'step': step}

    def minutes() -> float:
        return before + limit.spent

    def save() -> None:
        state = {'step': step, 'minutes': minutes(), 'weights': model.state_dict(), 'window': window.sums(),
                 'optimizers': optimizers.state_dict()}  # fmt: skip
        run.save(state if average is None else state | {'average': average.state})

    def keep(network: nn.Module, row: Mapping[str, Any]) -> None:
        """Write the checkpoint that is to be exported."""
        weights = {name: value.cpu() for name, value in network.state_dict().items()} | trainee.tensors
        info = {**row, 'settings': trainee.settings, **trainee.info}
        write_checkpoint(out / 'best.safetensors', weights, trainee.config, info)

    def check() -> None:
        """Validate, log, keep the weights that are to be exported, save; without figures where there is no time."""
        nonlocal window, row, stale
        network = model if average is None else average.network(model)
        row = {'step': step, 'minutes': minutes()}
        try:
            with _in_time(limit):
                figures = trainee.validate(network)
        except _Late:
            notice(f'step {step}  no time was left for a validation')
            if average is not None or (run.best == math.inf and not (out / 'best.safetensors').exists()):
                keep(network, row)
            row |= window.means()  # which count in the next row of the log, too
            return save()
        seconds = time.monotonic() - began
        row |= {'minutes': minutes(), f'{trainee.counted}_per_s': int(seen) * ranks / seconds}
        row |= window.means() | figures
        run.log(row)
        told = {trainee.loss_name, trainee.watch} & row.keys()
        notice(f'step {step}  ' + '  '.join(f'{name} {row[name]:.4f}' for name in sorted(told)))
        stale += 1
        if average is not None or figures[trainee.watch] < run.best:  # NaN is no lowest
            stale = 0
            loss = {} if average is not None else {'loss': figures[trainee.watch]}
            run.best = figures.get(trainee.watch, run.best)
            keep(network, row | loss)
        window = Window()
        save()

    with limit, run:
        while step < steps:
            model.train()
            step_began = time.monotonic()
            batch = trainee.batch(step, rank)
            trainee.before_step(step)
            losses, counts, also = [], 0, {}
            for part, share in trainee.portions(batch):
                loss, count, also = forward(part)
                loss = loss * share if share != 1 else loss
                fabric.backward(loss) if fabric else loss.backward()
                losses.append(loss.detach())
                counts = counts + count
            if trainee.clip is not None:
                for network in trainee.apart or (model,):
                    torch.nn.utils.clip_grad_norm_(network.parameters(), trainee.clip)
            optimizers.step(trainee.rate(step, minutes() / planned))
            if average is not None:
                average.update(model, step)
            whole = losses[0] if len(losses) == 1 else torch.stack(losses).sum()
            window.add(counts, {trainee.loss_name: whole, **also})
            seen, step = seen + counts, step + 1
            now = time.monotonic()
            stepping += now - step_began
            limit.step = stepping / (step - first)
            stop, due = limit.is_up, limit.must_learn_its_end or now - validated >= every_minutes * 60
            if fabric and ranks > 1:
                stop, due = fabric.broadcast((stop, due))
            if stop or due or step >= steps or step % every_steps == 0:
                if fabric:
                    fabric.barrier()
                if main:
                    with limit.ending():
                        check()
                    # What was just validated and saved is not validated again where no step fits in between.
                    stop = stop or limit.is_up or (patience is not None and stale >= patience)
                if fabric:
                    fabric.barrier()
                    stop = fabric.broadcast(stop)
                validated = saved = time.monotonic()
            elif main and now - saved > SAVE_S:
                save()
                saved = time.monotonic()
            if stop:
                break
    late = limit.spent * 60 - limit.seconds
    if main and step == first + 1 and late > LATE:
        loading = f'{limit.spent * 60 - (time.monotonic() - began):.0f} s of loading'
        notice(f'{late:.0f} s over --minutes: one step is always taken, and it took {stepping:.0f} s, after {loading}')
    if step == first:
        notice('nothing left to do: the run has reached its number of steps')
    seconds = time.monotonic() - began
    result = {'out': str(out), 'step': step, 'minutes': minutes(), 'seconds': seconds}
    if average is None:
        result[f'best_{trainee.watch}'] = run.best
    return row | result | {f'{trainee.counted}_per_s': int(seen) * ranks / max(seconds, 1e-9)}
