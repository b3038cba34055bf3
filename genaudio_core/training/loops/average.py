"""The running average of the weights of a network: what is exported, as it is better than those of any one step."""

import copy
from collections.abc import Callable

import torch
from torch import nn


class Average:
    """Exponential moving average, with a short memory at first; BatchNorm's own averages are taken as they are.

    Parameters
    ----------
    decay
        Share that stays at each step once there were many, or a function of the number of the step.
    """

    def __init__(self, model: nn.Module, decay: float | Callable[[int], float] = 0.99):
        self.decay = decay if callable(decay) else lambda step: min(decay, (step + 1) / (step + 10))
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step` (from 0)."""
        weights = model.state_dict()
        smooth = [name for name, value in weights.items() if value.is_floating_point() and 'running' not in name]
        torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
            [self.state[name] for name in smooth], [weights.pop(name) for name in smooth], 1 - self.decay(step)
        )
        for name, value in weights.items():
            self.state[name].copy_(value)

    def network(self, model: nn.Module) -> nn.Module:
        """Return a copy of `model` with the averaged weights, in eval mode."""
        averaged = copy.deepcopy(model)
        averaged.load_state_dict(self.state)
        return averaged.eval()
