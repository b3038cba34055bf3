"""The live network as a second ear of the offline one: it was trained on more bands, and errs elsewhere.

A mean of both is better than either on real songs (docs/models.md). It takes as long again, so on two threads it runs
beside the windows of the other.
"""

from typing import TYPE_CHECKING

import numpy as np

from genaudio_core.separation.streaming import MaskNetwork, over_all
from genaudio_core.sound import low_delay_stft

if TYPE_CHECKING:
    from genaudio_core.separation.offline import MaskPlan

SHARE = 0.6  # of a stem: more is better for vocals and rendered bands, less for drums and basses of real songs


class LiveEar:
    """Stems of a stream by the live network, block by block, with no delay but that of what is not whole yet.

    Parameters
    ----------
    network
        It must run at the stream's rate, `sample_rate` in Hz.
    plan
        Which vectors it is asked with, and which stems they make.
    power
        Of its masks; see `Separator.sharpness`.
    """

    def __init__(
        self, network: MaskNetwork, plan: 'MaskPlan', channels: int, sample_rate: int, power: float = 1.0
    ):  # fmt: skip
        self._network, self._plan, self._power = network, plan, power
        self._stream = network.stream(len(plan.vectors))
        n_fft, self.hop = network.frame(sample_rate)
        self._analysis = low_delay_stft.Analysis(channels, n_fft, self.hop)
        self._synthesis = low_delay_stft.Synthesis((plan.n_queries, channels), n_fft, self.hop)
        self._waiting = np.zeros((channels, 0), np.float32)
        self._made = np.zeros((plan.n_queries, channels, 0), np.float32)
        self._begun = False

    def hear(self, block: np.ndarray) -> None:
        """Take samples (channels, any n)."""
        joined = np.concatenate([self._waiting, block], axis=1).astype(np.float32, copy=False)
        whole = joined.shape[1] // self.hop * self.hop
        pieces = [self._made]
        for at in range(0, whole, self.hop):
            spectrum = self._analysis.process(joined[:, at : at + self.hop])
            heard = self._network.hears(_two_sides(spectrum))
            masks = over_all(self._plan.stems(self._stream.step(heard, self._plan.vectors)), spectrum.shape[-1])
            made = self._synthesis.process(spectrum * (masks if self._power == 1 else masks**self._power)[:, None])
            if self._begun:  # the first hop only completes what was before the sound
                pieces.append(made)
            self._begun = True
        self._waiting, self._made = joined[:, whole:].copy(), np.concatenate(pieces, axis=2)

    def end(self) -> None:
        """The sound is over: what is not whole yet is completed with silence."""
        missing = -self._waiting.shape[1] % self.hop
        self.hear(np.zeros((self._waiting.shape[0], missing + self.hop), np.float32))

    def take(self, n: int) -> np.ndarray:
        """Return the next `n` samples (queries, channels, n); silence where the sound is over."""
        taken, self._made = self._made[..., :n], self._made[..., n:].copy()
        return np.pad(taken, ((0, 0), (0, 0), (0, n - taken.shape[-1])))


def _two_sides(spectrum: np.ndarray) -> np.ndarray:
    """Return (2, F) of the spectra (channels, F): every other channel on one side, mono on both."""
    if len(spectrum) == 2:
        return spectrum
    return np.stack([spectrum[::2].mean(axis=0), spectrum[1::2].mean(axis=0) if len(spectrum) > 1 else spectrum[0]])
