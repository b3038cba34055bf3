"""A whole sound through the live network, forwards and backwards in time.

All that the network knows of what was is its state; going backwards it knows what comes. Each errs where the other does
not, and a mean of both is better than either on songs (docs/models.md). Both directions take the same sound at the same
time, so on two threads one runs beside the other.

Backwards it takes the sound in pieces, so that memory does not grow: each begins `RUN_UP` behind its end, to have heard
something by then, and is crossfaded with the one after it.
"""

from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np

from genaudio_core.separation.streaming import MaskNetwork, over_all
from genaudio_core.sound.low_delay_stft import windows

if TYPE_CHECKING:
    from genaudio_core.separation.offline import MaskPlan

BACKWARD = 0.3  # of a stem is what it makes backwards: forwards it was trained
PIECE, RUN_UP, FADE = 30.0, 4.0, 0.25  # seconds
AT_ONCE = 128  # frames


class BothWays:
    """Separates what is fed block by block, some half a minute behind it. Memory does not grow.

    Parameters
    ----------
    network
        It must run at `sample_rate`, in Hz.
    plan
        Which vectors it is asked with, and which stems they make.
    sharpness
        Power of its masks.
    backward
        Without it is half the work, and stems are those that it plays live.
    pool
        Where one direction runs beside the other.
    """

    def __init__(
        self, network: MaskNetwork, plan: 'MaskPlan', channels: int, sample_rate: int, sharpness: float = 1.0, *,
        backward: bool = True, pool: Executor | None = None,
    ):  # fmt: skip
        self.n_queries, self.model_name = plan.n_queries, network.card.name
        self._hop = network.frame(sample_rate)[1]
        self._new = lambda: _Pass(network, plan, channels, sample_rate, sharpness)
        self._forward, self._backward, self._pool = self._new(), backward, pool
        self._piece, self._run_up, self._fade = (round(s * sample_rate) // self._hop * self._hop
                                                 for s in (PIECE, RUN_UP, FADE))  # fmt: skip
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
        if not self._backward:
            stems = self._go_forward(n)
        elif self._pool is None:
            stems = _mean(self._go_forward(n), self._go_back(n))
        else:
            beside = self._pool.submit(self._go_forward, n)
            back = self._go_back(n)
            stems = _mean(beside.result(), back)
        self._waiting, self._ahead = self._waiting[:, n:].copy(), max(0, self._ahead - n)
        return stems

    def _go_forward(self, n: int) -> np.ndarray:
        # Sound is whole a hop behind what was heard.
        wanted = n + self._hop - self._ahead
        made = self._forward.process(self._whole_hops(self._waiting[:, self._ahead : n + self._hop], wanted))
        self._ahead = n + self._hop
        return made[..., :n]

    def _go_back(self, n: int) -> np.ndarray:
        heard = self._waiting[:, : n + self._fade + self._run_up][:, ::-1]
        size = heard.shape[1]
        made = self._new().process(self._whole_hops(heard, size + self._hop))[..., :size][..., ::-1]
        stems, fade = made[..., :n].copy(), min(n, self._faded.shape[-1])
        if fade:
            rise = ((np.arange(fade) + 0.5) / self._faded.shape[-1]).astype(np.float32)
            stems[..., :fade] = stems[..., :fade] * rise + self._faded[..., :fade] * (1 - rise)
        self._faded = made[..., n : n + self._fade].copy()
        return stems

    def _whole_hops(self, samples: np.ndarray, n: int) -> np.ndarray:
        """Samples (channels, up to n), and silence up to `n` and to a whole hop."""
        return np.pad(samples, ((0, 0), (0, -(-n // self._hop) * self._hop - samples.shape[1])))


def _mean(forward: np.ndarray, back: np.ndarray) -> np.ndarray:
    return (1 - BACKWARD) * forward + BACKWARD * back


class _Pass:
    """One way through a sound, many frames at a time."""

    def __init__(self, network: MaskNetwork, plan: 'MaskPlan', channels: int, sample_rate: int, power: float):
        self._network, self._plan, self._power = network, plan, power
        self._stream = network.stream(len(plan.vectors))
        self._n_fft, self._hop = network.frame(sample_rate)
        analysis, synthesis = windows(self._n_fft, self._hop)
        self._analysis, self._synthesis = analysis.astype(np.float32), synthesis[-2 * self._hop :].astype(np.float32)
        self._past = np.zeros((channels, self._n_fft - self._hop), np.float32)
        self._tail = np.zeros((plan.n_queries, channels, self._hop), np.float32)
        self._begun = False

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take whole hops (channels, n); return what is whole by now (queries, channels, m), from the beginning on."""
        step = AT_ONCE * self._hop
        parts = [self._frames(samples[:, at : at + step]) for at in range(0, samples.shape[1], step)]
        begun, self._begun = self._begun, True
        return np.concatenate(parts, axis=2)[..., 0 if begun else self._hop :]  # the first only completes silence

    def _frames(self, samples: np.ndarray) -> np.ndarray:
        hop = self._hop
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
