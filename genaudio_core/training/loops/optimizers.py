"""Muon and AdamW under one learning rate, and how that rate moves."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from genaudio_core.command_line import notice


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

    @classmethod
    def of(cls, *parts: torch.optim.Optimizer) -> 'Optimizers':
        """Return these under one learning rate."""
        found = cls.__new__(cls)
        found.parts = list(parts)
        return found

    def step(self, rate: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group['lr'] = rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict]:
        return [part.state_dict() for part in self.parts]

    def resume(self, states: object) -> None:
        """Load what a run saved; if that was another optimiser's, say so and begin its moments again."""
        sizes = [[len(group['params']) for group in part.param_groups] for part in self.parts]
        if not isinstance(states, list) or [[len(g['params']) for g in s['param_groups']] for s in states] != sizes:
            notice('the optimiser is not the one from before: its moments start from zero')
            return
        for part, state in zip(self.parts, states, strict=True):
            part.load_state_dict(state)
