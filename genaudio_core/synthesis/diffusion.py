"""Sampling from a diffusion model: the noise schedule and two fast solvers. Numpy only, for any model.

* A sample at time t in 0..1 is ``alpha x + sigma noise`` with alpha^2 + sigma^2 = 1: the cosine schedule (Nichol and
  Dhariwal, 2021), its noise `shift` times stronger (Hoogeboom et al., 2023): our data is strongly correlated, so the
  same noise hides less of it than of white data.
* A model predicts v = alpha noise - sigma x (Salimans and Ho, 2022), which is well conditioned at both ends.
* `ddim` is the deterministic DDIM (Song et al., 2021); `dpm_solver` is DPM-Solver++(2M) (Lu et al., 2022), of second
  order at the same cost. Both take ``predict(x, t) -> x0`` and integrate from t = 1 to t = 0.
"""

import itertools
from collections.abc import Callable

import numpy as np

EDGE = 0.003  # t stays this far from 0 and 1, where the logarithm of alpha / sigma is infinite
Predict = Callable[[np.ndarray, float], np.ndarray]


def schedule(t, shift: float = 1.0) -> tuple:
    """Return alpha and sigma at time `t` (scalar or array of 0..1)."""
    angle = np.arctan(shift * np.tan(np.clip(t, 0.0, 1.0) * np.pi / 2))
    return np.cos(angle), np.sin(angle)


def x_from_v(x: np.ndarray, v: np.ndarray, t: float, shift: float = 1.0) -> np.ndarray:
    """Return the clean sample, of `x`'s shape, that a prediction `v` (same shape) for `x` at time `t` stands for."""
    alpha, sigma = schedule(t, shift)
    return alpha * x - sigma * v


def guided(conditional: np.ndarray, other: np.ndarray, guidance: float, rescale: float = 0.0) -> np.ndarray:
    """Return classifier-free guidance, ``other + guidance (conditional - other)``; (batch, ...) arrays.

    Parameters
    ----------
    rescale : float
        Share (0..1) by which the spread of the result is brought back to that of `conditional` (Lin et al., 2023):
        strong guidance otherwise exaggerates contrast.
    """
    mixed = other + guidance * (conditional - other)
    if rescale > 0 and guidance != 1:
        axes = tuple(range(1, mixed.ndim))
        spread = mixed.std(axis=axes, keepdims=True)
        wanted = conditional.std(axis=axes, keepdims=True)
        mixed = mixed * (1 + rescale * (wanted / np.maximum(spread, 1e-6) - 1))
    return mixed


def time_steps(steps: int, shift: float = 1.0) -> np.ndarray:
    """Return times (steps + 1,) from nearly 1 to nearly 0, even in the angle of the schedule."""
    angle = np.linspace(1 - EDGE, EDGE, steps + 1) * np.pi / 2
    # Even steps of the angle, whatever the shift: it is the angle that says how much of the sample is noise.
    return np.arctan(np.tan(angle) / shift) / (np.pi / 2)


def ddim(predict: Predict, noise: np.ndarray, steps: int, shift: float = 1.0) -> np.ndarray:
    """Return a clean sample of the shape of `noise`, by `steps` evaluations of `predict`."""
    times = time_steps(steps, shift)
    x, clean = noise, noise
    for t, after in itertools.pairwise(times):
        alpha, sigma = schedule(t, shift)
        clean = predict(x, float(t))
        epsilon = (x - alpha * clean) / sigma
        alpha, sigma = schedule(after, shift)
        x = alpha * clean + sigma * epsilon
    return clean


def dpm_solver(predict: Predict, noise: np.ndarray, steps: int, shift: float = 1.0) -> np.ndarray:
    """As `ddim`, with the slope of the clean sample taken from the step before (multistep, second order)."""
    times = time_steps(steps, shift)
    x, clean, before, last_h = noise, noise, None, 0.0
    for i, (t, after) in enumerate(itertools.pairwise(times)):
        alpha, sigma = schedule(t, shift)
        alpha_next, sigma_next = schedule(after, shift)
        h = float(np.log(alpha_next / sigma_next) - np.log(alpha / sigma))
        clean = predict(x, float(t))
        if before is None or i == steps - 1:  # the last step is of first order, as its authors advise for few steps
            slope = clean
        else:
            ratio = h / (2 * last_h)
            slope = (1 + ratio) * clean - ratio * before
        x = (sigma_next / sigma) * x - alpha_next * np.expm1(-h) * slope
        before, last_h = clean, h
    return clean


SOLVERS: dict[str, Callable[..., np.ndarray]] = {'ddim': ddim, 'dpm': dpm_solver}
