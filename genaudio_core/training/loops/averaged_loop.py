"""Runs whose product is a running average of the weights: the denoiser, its prior and the vocoder.

A diffusion model samples much better from such an average than from the weights of any one step. The average is kept
with the optimiser's state, so a run that was stopped goes on exactly; what is exported is the average.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from genaudio_core.command_line import minutes, notice, number, seed, share, threads, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write
from genaudio_core.training.loops.run_folder import (
    Optimizers,
    Run,
    a_device,
    learning_rate,
    limit_threads,
    reading_run,
    save_checkpoint,
)


def add_run_arguments(
    parser: argparse.ArgumentParser, *, rate: float, batch: int, average: float = 0.999, log_every: int = 100
) -> None:
    """The options that these runs share."""
    parser.add_argument('--out', type=Path, required=True, help='run folder; an existing run is continued')
    parser.add_argument('--minutes', type=minutes(), help='save and stop after this many minutes')
    parser.add_argument('--steps', type=whole('--steps', 1), default=1_000_000, help='stop after this many steps')
    parser.add_argument('--batch', type=whole('--batch', 1, 65536), default=batch)
    parser.add_argument('--rate', type=number('--rate', above=0, high=10), default=rate,
                        help=f'peak learning rate (default: {rate:g})')  # fmt: skip
    parser.add_argument('--warmup', type=whole('--warmup', 1), default=100, help='steps')
    parser.add_argument('--decay-at', type=whole('--decay-at', 0),
                        help='step at which the learning rate begins to fall')  # fmt: skip
    parser.add_argument('--decay-steps', type=whole('--decay-steps', 0), default=500)
    parser.add_argument('--average', type=share('--average'), default=average,
                        help='decay of the average of the weights')  # fmt: skip
    parser.add_argument('--log-every', type=whole('--log-every', 1), default=log_every, help='steps')
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('--threads', type=threads(), help='CPU threads')
    parser.add_argument('--device', type=a_device, default='cpu', help='cpu or cuda')


class AverageInPlace:
    """Running average of a model's weights, with a short memory at first."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


def train(
    model: nn.Module,
    config: dict,
    settings: dict,
    args: argparse.Namespace,
    *,
    loss: Callable[[int], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    watch: str,
    after_loss: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Train until the steps or the minutes are used up; return where and how well.

    Parameters
    ----------
    config : dict
        Rebuilds the model from its checkpoint.
    settings : dict
        What must not change when the run goes on.
    loss : callable
        Step -> loss; its randomness must come from the step (and the seed) alone.
    validate : callable
        Model with averaged weights -> figures for the log.
    watch : str
        The figure that is shown and reported.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings.
    """
    limit_threads(args.threads)
    model.to(args.device)
    run = Run(args.out, settings, minutes=args.minutes)
    optimizers = Optimizers(model)
    average = AverageInPlace(model, args.average)
    step = 0
    state_path, weights_path = args.out / 'last.optimizer', args.out / 'last.safetensors'
    if state_path.exists():
        with reading_run(state_path):
            state = torch.load(state_path, weights_only=True, map_location=args.device)
            both = state.get('weights') or load_file(weights_path, device=args.device)
            model.load_state_dict({name[6:]: value for name, value in both.items() if name.startswith('model.')})
            average.state = {name[8:]: value for name, value in both.items() if name.startswith('average.')}
            optimizers.load_state_dict(state['optimizers'])
            step = state['step']
            if both['step'].item() != step:
                raise GenaudioError(f'{args.out} was cut off while saving; its weights and optimiser do not match.')
    notice(f'{sum(p.numel() for p in model.parameters()):,} parameters, from step {step}, log in {args.out}/log.csv')
    losses: list[float] = []
    result: dict[str, Any] = {'out': str(args.out), 'step': step}
    plain = type(model)(model.config)  # type: ignore[call-arg]  # holds the average while it is measured
    plain.to(args.device)
    decay_at = args.decay_at if args.decay_at is not None else args.steps

    def save() -> None:
        plain.load_state_dict(average.state)
        plain.eval()
        with torch.inference_mode():
            figures = validate(plain)
        row = {'step': step, 'loss': sum(losses) / max(len(losses), 1)} | figures
        losses.clear()
        run.log(row)
        notice(f'step {step}  loss {row["loss"]:.4f}  {watch} {figures[watch]:.4f}')
        info = {name: round(float(value), 5) for name, value in row.items()}
        save_checkpoint(args.out / 'best.safetensors', plain, config, **(info | {'step': step}))
        both = {f'model.{k}': v for k, v in model.state_dict().items()}
        both |= {f'average.{k}': v for k, v in average.state.items()} | {'step': torch.tensor(step)}
        with atomic_write(state_path) as temporary:
            # The weights too, so that a crash between the two files leaves one save that is whole.
            torch.save({'step': step, 'optimizers': optimizers.state_dict(), 'weights': both}, temporary)
        with atomic_write(weights_path) as temporary:
            save_file({name: value.contiguous() for name, value in both.items()}, temporary)
        result.update(info | {'step': step})

    began = step
    while step < args.steps:
        model.train()
        value = loss(step)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers.step(learning_rate(step, args.rate, args.warmup, decay_at, args.decay_steps))
        if after_loss is not None:
            after_loss()
        average.update(model, step)
        losses.append(value.item())
        step += 1
        stop = run.time_is_up
        if step % args.log_every == 0 or stop or step == args.steps:
            save()
        if stop:
            break
    if step == began:
        notice('nothing left to do: the run has reached its number of steps')
    return json.loads(json.dumps(result))
