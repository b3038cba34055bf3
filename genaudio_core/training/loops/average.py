"""The exponential moving average of the weights of a network."""

import torch
from torch import nn


class Average:
    """Running average of the weights; BatchNorm's own averages are taken as they are."""

    def __init__(self, model: nn.Module, decay: float = 0.99):
        self.decay = decay
        self.state = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (step + 1) / (step + 10))
        for key, value in model.state_dict().items():
            if value.is_floating_point() and 'running' not in key:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)
