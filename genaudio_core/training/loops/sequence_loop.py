"""One training loop for every model of sequences: the music model, its baselines, and personal models.

Randomness depends only on (seed, step, rank); rank 0 validates, logs and saves; all ranks stop together.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn

from genaudio_core.command_line import minutes, notice, number, seed, threads, whole
from genaudio_core.training.loops.run_folder import Optimizers, Run, learning_rate, limit_threads


@dataclass
class Task:
    """What the loop has to know about a model."""

    model: nn.Module  # whose weights are trained and saved
    loss: nn.Module  # holds the model; batch -> (loss, events counted), so that DDP sees one forward
    batch: Callable[[int, int], dict[str, Tensor]]  # (step, rank) -> batch
    validate: Callable[[], dict[str, dict[str, float]]]  # source -> {'nll': ...}; 'mean' decides which weights are best
    config: dict  # rebuilds the model from its checkpoint
    settings: dict  # what must not change when a run goes on
    rate: Callable[[int], float] | None = None  # step -> learning rate; None: the one all runs have
    betas: tuple[float, float] = (0.9, 0.95)  # of Adam


def add_run_arguments(parser: argparse.ArgumentParser, *, rate: float) -> None:
    """The options of every run: where, how long, how fast, on what."""
    parser.add_argument('--out', type=Path, required=True, help='run folder; an existing run is continued')
    parser.add_argument('--steps', type=whole('--steps', 1), default=200_000, help='stop after this many steps')
    parser.add_argument('--minutes', type=minutes(), help='save and stop after this many minutes')
    parser.add_argument('--decay-at', type=whole('--decay-at', 0),
                        help='step at which the learning rate begins to fall to zero')  # fmt: skip
    parser.add_argument('--decay-steps', type=whole('--decay-steps', 0), default=500)
    parser.add_argument('--batch', type=whole('--batch', 1, 65536), default=8, help='sequences in a batch, per process')
    parser.add_argument('--rate', type=number('--rate', above=0, high=10), default=rate,
                        help=f'peak learning rate (default: {rate:g})')  # fmt: skip
    parser.add_argument('--warmup', type=whole('--warmup', 1), default=200, help='steps')
    parser.add_argument('--optimizer', choices=('muon', 'adam'), default='muon')
    parser.add_argument('--validate-every', type=whole('--validate-every', 1), default=250, help='steps')
    parser.add_argument('--validate-pieces', type=whole('--validate-pieces', 1), default=8,
                        help='held-out pieces per source')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('--threads', type=threads(), help='CPU threads per process')
    parser.add_argument('--devices', type=whole('--devices', 1, 1024), default=1, help='processes, or GPUs')
    parser.add_argument('--nodes', type=whole('--nodes', 1, 1024), default=1)
    parser.add_argument('--accelerator', default='auto', choices=('auto', 'cpu', 'cuda'))
    parser.add_argument('--bf16', choices=('auto', 'yes', 'no'), default='auto', help='bfloat16 (auto: on GPUs)')


def launch(args: argparse.Namespace) -> Fabric:
    """Start the processes that `add_run_arguments` asks for; each goes on from here."""
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
    fabric: Fabric, task: Task, args: argparse.Namespace, *, patience: int | None = None, to_beat: float | None = None
) -> dict[str, Any]:
    """Train until the steps, the minutes or the patience are used up.

    Parameters
    ----------
    patience : int, optional
        Stop after this many validations in a row that found no better weights.
    to_beat : float, optional
        Held-out NLL that weights must be below to be kept at all.

    Returns
    -------
    dict
        out, step, best_valid_nll, seconds, events_per_s.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings.
    """
    model = task.model
    run = Run(args.out, task.settings, minutes=args.minutes, main=fabric.is_global_zero)
    optimizers = Optimizers(model, muon=args.optimizer == 'muon', betas=task.betas)
    step = run.load(model, optimizers)
    if step == 0 and to_beat is not None:
        run.best = to_beat
    wrapped = fabric.setup_module(task.loss)
    for part in optimizers.parts:  # restored states follow their parameters to the device
        part.load_state_dict(part.state_dict())
    if fabric.is_global_zero:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        notice(f'{parameters:,} parameters, from step {step}, log in {args.out}/log.csv')
    decay_at = args.decay_at if args.decay_at is not None else args.steps
    last_step = min(args.steps, decay_at + args.decay_steps)
    began, events_seen, loss_sum, loss_events, stale = time.monotonic(), 0, 0.0, 0, 0
    while step < last_step:
        batch = {name: value.to(fabric.device) for name, value in task.batch(step, fabric.global_rank).items()}
        torch.manual_seed(hash((args.seed, step, fabric.global_rank)))  # dropout, the same when resumed
        loss, events = wrapped(batch)
        fabric.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        ours = learning_rate(step, args.rate, args.warmup, decay_at, args.decay_steps)
        optimizers.step(ours if task.rate is None else task.rate(step))
        loss_sum, loss_events = loss_sum + float(loss.detach()) * int(events), loss_events + int(events)
        events_seen += int(events)
        step += 1
        stop = bool(fabric.broadcast(run.time_is_up)) if fabric.world_size > 1 else run.time_is_up
        if step % args.validate_every == 0 or stop or step == last_step:
            fabric.barrier()
            if fabric.is_global_zero:
                held_out = task.validate()
                seconds = time.monotonic() - began
                mean = held_out.pop('mean')
                train_nll = loss_sum / max(loss_events, 1)
                run.log({
                    'step': step, 'seconds': seconds, 'events_per_s': events_seen / seconds,
                    'train_nll': train_nll, 'valid_nll': mean['nll'],
                    **{name: value for name, value in mean.items() if name != 'nll'},
                    **{source: row['nll'] for source, row in sorted(held_out.items())},
                })  # fmt: skip
                notice(f'step {step}  train {train_nll:.3f}  valid {mean["nll"]:.3f}')
                better = run.save_best(model, mean['nll'], task.config, step=step, valid=mean, settings=task.settings)
                run.save(model, optimizers, step)
                stale = 0 if better else stale + 1
                # Seen by all ranks with the next step, as the end of the time is.
                run.stopped = run.stopped or (patience is not None and stale >= patience)
            loss_sum, loss_events = 0.0, 0
            fabric.barrier()
        if stop:
            break
    seconds = time.monotonic() - began
    return {'out': str(args.out), 'step': step, 'best_valid_nll': run.best, 'seconds': seconds,
            'events_per_s': events_seen * fabric.world_size / seconds if seconds else 0.0}  # fmt: skip
