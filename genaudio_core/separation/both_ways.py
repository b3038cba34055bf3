"""A whole sound through the live network forwards, and through one of its kind backwards in time.

All that a network knows of what was is its state; one that goes backwards knows what comes. A drum that dies away
swells there, so it is a network of its own, trained that way (the live one sent backwards was 4 dB worse at drums).
Each errs where the other does not, and a mean of both is better than either (docs/models.md). Both take the same
sound at the same time, so on two threads one runs beside the other.

Backwards it takes the sound in pieces, so that memory does not grow: each begins `RUN_UP` behind its end, to have heard
something by then, and is crossfaded with the one after it.
"""

from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from genaudio_core.separation.streaming import MaskNetwork, over_all
from genaudio_core.sound.low_delay_stft import windows

if TYPE_CHECKING:
    from genaudio_core.separation.offline import MaskPlan

BACKWARD = 0.3  # of a stem is what is made backwards
PIECE, RUN_UP, FADE = 30.0, 4.0, 0.25  # seconds
AT_ONCE = 128  # frames


class BothWays:
    """Separates what is fed block by block, some half a minute behind it. Memory does not grow.

    Parameters
    ----------
    forward
        It must run at `sample_rate`, in Hz.
    back
        Goes backwards, at the same rates; without it is half the work, and stems are those that are played live.
    plan
        Which vectors they are asked with, and which stems they make.
    sharpness
        Power of their masks.
    pool
        Where one direction runs beside the other.
    """

    def __init__(
        self, forward: MaskNetwork, back: MaskNetwork | None, plan: 'MaskPlan', channels: int, sample_rate: int,
        sharpness: float = 1.0, pool: Executor | None = None,
    ):  # fmt: skip
        self.n_queries = plan.n_queries
        self.model_name = ' or '.join(network.card.name for network in (forward, back) if network is not None)
        new = partial(_Pass, plan=plan, channels=channels, sample_rate=sample_rate, power=sharpness)
        self._forward, self._pool = new(forward), pool
        self._new_back = None if back is None else partial(new, back)
        hop = self._forward.hop
        self._piece, self._run_up, self._fade = (round(s * sample_rate) // hop * hop for s in (PIECE, RUN_UP, FADE))
        self._waiting = np.zeros((channels, 0), np.float32)
        self._ahead = 0  # samples of `_waiting` that went forwards already
        self._faded = np.zeros((self.n_queries, channels, 0), np.float32)  # what the piece before said of its successor

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take float32 (channels, any n); return what is finished: (n_queries, channels, m)."""
        parts = [np.zeros((self.n_queries, block.shape[0], 0), np.float32)]
        self._waiting = np.concatenate([self._waiting, block], axis=1).astype(np.float32, copy=False)
        while self._waiting.shape[1] >= self._piece + self._fade + self._run_up:
            parts.append(self._put(self._piece))
        return np.concatenate(parts, axis=2)

    def finish(self) -> np.ndarray:
        """Return the rest (n_queries, channels, n)."""
        return self._put(self._waiting.shape[1])

    def _put(self, n: int) -> np.ndarray:
        """Finish the next `n` samples: a piece, or all that is left."""
        if self._new_back is None:
            stems = self._go_forward(n)
        elif self._pool is None:
            stems = _mean(self._go_forward(n), self._go_back(n, self._new_back()))
        else:
            beside = self._pool.submit(self._go_forward, n)
            back = self._go_back(n, self._new_back())
            stems = _mean(beside.result(), back)
        self._waiting, self._ahead = self._waiting[:, n:].copy(), max(0, self._ahead - n)
        return stems

    def _go_forward(self, n: int) -> np.ndarray:
        # Sound is whole a hop behind what was heard.
        until = n + self._forward.hop
        made = self._forward.process(self._waiting[:, self._ahead : until], until - self._ahead)
        self._ahead = until
        return made[..., :n]

    def _go_back(self, n: int, back: '_Pass') -> np.ndarray:
        heard = self._waiting[:, : n + self._fade + self._run_up][:, ::-1]
        size = heard.shape[1]
        made = back.process(heard, size + back.hop)[..., :size][..., ::-1]
        stems, fade = made[..., :n].copy(), min(n, self._faded.shape[-1])
        if fade:
            rise = ((np.arange(fade) + 0.5) / self._faded.shape[-1]).astype(np.float32)
            stems[..., :fade] = stems[..., :fade] * rise + self._faded[..., :fade] * (1 - rise)
        self._faded = made[..., n : n + self._fade].copy()
        return stems


def _mean(forward: np.ndarray, back: np.ndarray) -> np.ndarray:
    return (1 - BACKWARD) * forward + BACKWARD * back


class _Pass:
    """One way through a sound, many frames at a time."""

    def __init__(self, network: MaskNetwork, plan: 'MaskPlan', channels: int, sample_rate: int, power: float):
        self._network, self._plan, self._power = network, plan, power
        self._stream = network.stream(len(plan.vectors))
        self._n_fft, self.hop = network.frame(sample_rate)
        analysis, synthesis = windows(self._n_fft, self.hop)
        self._analysis, self._synthesis = analysis.astype(np.float32), synthesis[-2 * self.hop :].astype(np.float32)
        self._past = np.zeros((channels, self._n_fft - self.hop), np.float32)
        self._tail = np.zeros((plan.n_queries, channels, self.hop), np.float32)
        self._begun = False

    def process(self, samples: np.ndarray, n: int) -> np.ndarray:
        """Take samples (channels, up to n), and silence up to `n` and to a whole hop.

        Returns what is whole by now (queries, channels, m), from the beginning on.
        """
        samples = np.pad(samples, ((0, 0), (0, -(-n // self.hop) * self.hop - samples.shape[1])))
        step = AT_ONCE * self.hop
        parts = [self._frames(samples[:, at : at + step]) for at in range(0, samples.shape[1], step)]
        begun, self._begun = self._begun, True
        return np.concatenate(parts, axis=2)[..., 0 if begun else self.hop :]  # the first only completes silence

    def _frames(self, samples: np.ndarray) -> np.ndarray:
        hop = self.hop
        joined = np.concatenate([self._past, samples], axis=1)
        self._past = joined[:, samples.shape[1] :]
        seen = np.lib.stride_tricks.sliding_window_view(joined, self._n_fft, axis=-1)[:, ::hop]
        spectra = np.fft.rfft(seen * self._analysis).astype(np.complex64, copy=False)  # (channels, frames, bins)
        heard = self._network.hears(_two_sides(spectra))
        frames, bins = heard.shape[1:]
        masks = np.empty((len(self._plan.vectors), frames, bins), np.float32)
        for t in range(frames):
            masks[:, t] = self._stream.step(heard[:, t], self._plan.vectors)
        masks = over_all(self._plan.stems(masks), spectra.shape[-1])
        masks = masks if self._power == 1 else masks**self._power
        newest = np.fft.irfft(spectra * masks[:, None], self._n_fft)[..., -2 * hop :] * self._synthesis
        whole = newest[..., :hop]
        whole[..., 1:, :] += newest[..., :-1, hop:]
        whole[..., 0, :] += self._tail
        self._tail = newest[..., -1, hop:].copy()
        return whole.reshape(*whole.shape[:2], -1).astype(np.float32, copy=False)


def _two_sides(spectra: np.ndarray) -> np.ndarray:
    """Return (2, ...) of the spectra (channels, ...): every other channel on one side, mono on both."""
    if len(spectra) == 2:
        return spectra
    return np.stack([spectra[::2].mean(axis=0), spectra[1::2].mean(axis=0) if len(spectra) > 1 else spectra[0]])
