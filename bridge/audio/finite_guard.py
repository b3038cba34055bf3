"""NaN and infinite samples, kept from everything that comes after."""

import numpy as np


class FiniteGuard:
    """Makes a stream finite in place: what is NaN or infinite becomes silence, with fades before and after it.

    A stretch begins with the value heard last, which falls to 0 over `fade_samples`; behind it the signal rises over as
    many. Stretches less than that apart within a block are one. Blocks may have any length. One thread only; what it
    counts may be read from any.

    Parameters
    ----------
    channels : int
        Of the blocks.
    fade_samples : int
        At least 1.

    Attributes
    ----------
    blocks : int
        How many blocks held values that are not numbers.
    in_a_row : int
        Samples of such blocks since the last good one.
    """

    FADE = 64  # samples, where nobody says otherwise

    def __init__(self, channels: int = 2, fade_samples: int = FADE) -> None:
        self.blocks = self.in_a_row = 0
        self._fade = max(fade_samples, 1)
        self._rise = (np.arange(1, self._fade + 1) / self._fade).astype(np.float32)
        self._fall = 1 - self._rise
        self._rise_at = self._fall_at = self._fade  # samples done; all: nothing to do
        self._held = np.zeros((channels, 1), np.float32)
        self._last = np.zeros((channels, 1), np.float32)
        self._good = np.ones((channels, 0), bool)

    def __call__(self, block: np.ndarray) -> int:
        """Mend a block (channels, n_samples) in place; return how many samples, counted once for all channels, were
        not finite."""
        n = block.shape[1]
        if not n:
            return 0
        if self._good.shape[1] < n:
            self._good = np.ones((len(block), n), bool)
        good = np.isfinite(block, out=self._good[:, :n])
        if good.all():
            self.in_a_row = 0
            self._go_on(block)
            return 0
        self.blocks += 1
        self.in_a_row += n
        bad = np.flatnonzero(~good.all(0))
        at = 0
        for stretch in np.split(bad, np.flatnonzero(np.diff(bad) > self._fade) + 1):
            first, end = int(stretch[0]), int(stretch[-1]) + 1
            if first > at:
                self._go_on(block[:, at:first])
            if self._rise_at:  # else the stretch began in the block before
                self._held[:], self._fall_at, self._rise_at = self._last, 0, 0
            block[:, first:end] = 0
            self._tail(block[:, first:end])
            at = end
        if at < n:
            self._go_on(block[:, at:])
        return len(bad)

    def _go_on(self, part: np.ndarray) -> None:
        if self._rise_at < self._fade:
            ramp = self._rise[self._rise_at : self._rise_at + part.shape[1]]
            part[:, : len(ramp)] *= ramp
            self._rise_at += len(ramp)
        self._tail(part)

    def _tail(self, part: np.ndarray) -> None:
        if self._fall_at < self._fade:
            ramp = self._fall[self._fall_at : self._fall_at + part.shape[1]]
            part[:, : len(ramp)] += self._held * ramp
            self._fall_at += len(ramp)
        self._last[:] = part[:, -1:]
