"""Samples that are no numbers, kept from everything that comes after."""

import numpy as np


class FiniteGuard:
    """Passes blocks on; one that holds NaN or infinity becomes silence, with a short fade before and after it.

    One thread only. What it counts may be read from any.

    Attributes
    ----------
    blocks : int
        How many blocks were silenced.
    in_a_row : int
        Samples silenced since the last good one.
    """

    FADE = 64  # samples

    def __init__(self, channels: int = 2) -> None:
        self.blocks = self.in_a_row = 0
        self._last = np.zeros((channels, 1), np.float32)
        self._down = np.linspace(1, 0, self.FADE + 1, dtype=np.float32)[1:]
        self._up_at = self.FADE  # samples of the fade in that are done

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """Return (channels, n_samples): `block` itself where nothing had to be done to it."""
        n = block.shape[1]
        if not n:
            return block
        if not np.isfinite(block).all():
            out = np.zeros(block.shape, np.float32)
            if not self.in_a_row:
                k = min(n, self.FADE)
                out[:, :k] = self._last * self._down[:k]
            self.blocks += 1
            self.in_a_row += n
            self._last[:], self._up_at = 0, 0
            return out
        self.in_a_row = 0
        if self._up_at < self.FADE:
            block = block.copy()
            k = min(n, self.FADE - self._up_at)
            block[:, :k] *= np.arange(self._up_at + 1, self._up_at + k + 1, dtype=np.float32) / self.FADE
            self._up_at += k
        self._last[:] = block[:, -1:]
        return block
