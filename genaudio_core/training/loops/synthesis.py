"""Training of the models of synthesis: a loss at a rate that falls at the end, and a running average of the weights.

A diffusion model samples much better from such an average than from the weights of any one step.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from genaudio_core.training.loops.arguments import limit_threads
from genaudio_core.training.loops.average import Average
from genaudio_core.training.loops.loop import Trainee, train
from genaudio_core.training.loops.optimizers import Optimizers, learning_rate
from genaudio_core.training.loops.time_limit import TimeLimit


def fit(
    model: nn.Module,
    config: dict,
    settings: dict,
    args: argparse.Namespace,
    *,
    loss: Callable[[int], Tensor],
    validate: Callable[[nn.Module], dict[str, float]],
    watch: str,
) -> dict[str, Any]:
    """Train as `loop.train` does; `loss` takes a step's number and gives (); `args` are of `add_average_arguments`.

    Raises
    ------
    GenaudioError
        If the folder is a run with other settings.
    """
    limit_threads(args.threads)
    model.to(args.device)
    decay_at = args.decay_at if args.decay_at is not None else args.steps

    def measured(network: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            return validate(network)

    trainee = Trainee(
        model, config, settings, lambda step, _: step,
        lambda step: (loss(step), args.batch, {}), measured,
        lambda step, _: learning_rate(step, args.rate, args.warmup, decay_at, args.decay_steps),
        Optimizers(model), watch=watch, average=Average(model, args.average),
    )  # fmt: skip
    return train(trainee, args.out, TimeLimit.of(args), steps=args.steps, every_steps=args.log_every)
