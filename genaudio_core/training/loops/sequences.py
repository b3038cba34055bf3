"""Training of models of sequences, in one process or several: the music model, its baselines, and personal models."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from genaudio_core.training.loops.arguments import limit_threads
from genaudio_core.training.loops.loop import Trainee, train
from genaudio_core.training.loops.optimizers import HALF, Optimizers, learning_rate
from genaudio_core.training.loops.time_limit import TimeLimit


@dataclass
class Task:
    """The differences between models of sequences."""

    model: nn.Module  # whose weights are trained and saved
    loss: nn.Module  # holds the model; batch -> (loss, events counted), so that DDP sees one forward
    batch: Callable[[int, int], dict[str, Tensor]]  # (step, rank) -> batch
    validate: Callable[[], dict[str, dict[str, float]]]  # source -> {'nll': ...}; 'mean' decides which weights are best
    config: dict  # rebuilds the model from its checkpoint
    settings: dict  # what must not change when a run goes on
    rate: Callable[[int], float] | None = None  # step -> learning rate; None: the one all runs have
    betas: tuple[float, float] = (0.9, 0.95)  # of Adam
    exact: bool = False  # nothing is rounded that was not rounded where it was published


class _Loss(nn.Module):
    """The loss of a task as the loop wants it."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        return *self.loss(batch), {}


@contextmanager
def _rounded_products(wanted: bool) -> Iterator[None]:
    """Let torch round to bfloat16 inside matrix products, meanwhile and where that is `wanted`.

    Several times as fast on AMX, where autocast loses more by its casts than it gains.
    """
    before = torch.get_float32_matmul_precision()
    try:
        if wanted:
            torch.set_float32_matmul_precision('medium')
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def launch(args: argparse.Namespace) -> Fabric:
    """Start the processes that `add_sequence_arguments` asks for; each goes on from here."""
    limit_threads(args.threads)
    accelerator = args.accelerator if args.accelerator != 'auto' else ('cuda' if torch.cuda.is_available() else 'cpu')
    bf16 = args.bf16 == 'yes' or (args.bf16 == 'auto' and accelerator == 'cuda')
    # The meter head has no targets in many a batch; DDP must not wait for its gradients.
    strategy = 'auto' if args.devices * args.nodes == 1 else DDPStrategy(find_unused_parameters=True)
    fabric = Fabric(
        accelerator=accelerator, devices=args.devices, num_nodes=args.nodes, strategy=strategy,
        precision='bf16-mixed' if bf16 else '32-true',
    )  # fmt: skip
    fabric.launch()
    return fabric


def fit(
    fabric: Fabric, task: Task, args: argparse.Namespace, *, patience: int | None = None,
    to_beat: float = float('inf'), after: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Train as `loop.train` does.

    Parameters
    ----------
    patience : int, optional
        Stop after this many validations in a row that found no better weights.
    to_beat : float
        Held-out NLL that weights must be below to be kept at all.
    after : float
        Seconds of the minutes that are needed when this is over.

    Returns
    -------
    dict
        out, step, best_valid_nll, seconds, events_per_s, and the last row of the log.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings.
    """
    decay_at = args.decay_at if args.decay_at is not None else args.steps

    def batch(step: int, rank: int) -> dict[str, Tensor]:
        drawn = {name: value.to(fabric.device) for name, value in task.batch(step, rank).items()}
        torch.manual_seed(hash((args.seed, step, rank)))  # dropout, the same when resumed
        return drawn

    def rate(step: int, _: float) -> float:
        if task.rate is not None:
            return task.rate(step)
        return learning_rate(step, args.rate, args.warmup, decay_at, args.decay_steps)

    def validate(_: nn.Module) -> dict[str, float]:
        held_out = task.validate()
        mean = dict(held_out.pop('mean'))
        by_source = {source: row['nll'] for source, row in sorted(held_out.items())}
        return {'valid_nll': mean.pop('nll')} | mean | by_source

    trainee = Trainee(
        task.model, task.config, task.settings, batch, _Loss(task.loss), validate, rate,
        Optimizers(task.model, muon=args.optimizer == 'muon', betas=task.betas),
        watch='valid_nll', loss_name='train_nll', counted='events',
    )  # fmt: skip
    rounded = HALF and fabric.device.type == 'cpu' and args.bf16 != 'no' and not task.exact
    with _rounded_products(rounded):
        return train(
            trainee, args.out, TimeLimit.of(args, after), steps=min(args.steps, decay_at + args.decay_steps),
            every_steps=args.validate_every, patience=patience, to_beat=to_beat, fabric=fabric,
        )  # fmt: skip
