"""Levels and spectra of what stems play, read out of the memory that the audio side shares. For the panel's process.

Nobody who plays knows of it: rings have any number of readers, and one that hangs or dies is no loss.
"""

import base64
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.audio.shared_ring import Ring
from genaudio_core.sound.loudness import OFFSET, k_weighting

FRAME = 2048  # samples of a spectrum; they follow on by half
BANDS, LOWEST, HIGHEST = 48, 50.0, 16000.0  # of a picture: how many, Hz
WINDOW = 0.4  # seconds of a momentary loudness (ITU-R BS.1771)
FLOOR = -90.0  # dB; what is under it is nothing
MOST = 8  # steps that are read at once; what is older is passed over


@dataclass(frozen=True)
class Sound:
    """Where stems are, in plain data."""

    inbox: str  # names of shared memory
    outbox: str
    channels: int  # of the outbox: pairs
    sample_rate: int  # Hz

    def rings(self) -> tuple[Any, Any]:
        """Open them: what is played, and what is heard."""
        return Ring(self.channels, self.outbox), Ring(2, self.inbox)


class Meters:
    """Reads what is new. One pair of channels for each output, and the input behind them.

    Parameters
    ----------
    sound : Sound
        Or another with its `rings` and `sample_rate`.

    Raises
    ------
    OSError, ValueError
        If the memory is not there any more.
    """

    def __init__(self, sound: Any) -> None:
        self._out, self._in = sound.rings()
        channels, rate = self._out.n_channels, sound.sample_rate
        self.pairs = channels // 2 + 1
        self._samples = np.zeros((channels + 2, FRAME), np.float32)
        self._at = self._out.end
        self._window = np.hanning(FRAME).astype(np.float32)
        scale = 2.0 / (FRAME * float((self._window**2).sum()))  # a spectrum's power -> mean square
        self._weights = (scale * np.abs(k_weighting(FRAME, rate)) ** 2).astype(np.float32)
        self._recent = np.zeros((max(round(WINDOW * rate / (FRAME // 2)), 1), self.pairs))
        self._bands = _bands(rate) * (4.0 / float(self._window.sum()) ** 2)  # a full sine is 1
        self._half: np.ndarray | None = None  # powers of the first half of a column

    def read(self) -> tuple[list[list[float]], list[str]]:
        """Return [peak in dB, momentary LUFS] of each pair and the columns of the picture that are new, a text of
        BANDS bytes in base64 for all pairs; empty lists where nothing is new."""
        step, columns, peaks = FRAME // 2, [], np.zeros(self.pairs)
        end = self._out.end  # as it is now: on a busy machine it may go on as fast as we read
        if end - self._at > FRAME + MOST * step or end < self._at:
            self._at = end - FRAME
        if end - self._at < FRAME:
            return [], []
        while end - self._at >= FRAME:
            at, self._at = self._at, self._at + step
            n = self._samples.shape[0] - 2
            if not (self._out.read_into(self._samples[:n], at) and self._in.read_into(self._samples[n:], at)):
                continue
            peaks = np.maximum(peaks, np.abs(self._samples).max(1).reshape(-1, 2).max(1))
            spectra = np.fft.rfft(self._samples * self._window)
            powers = (spectra.real**2 + spectra.imag**2).reshape(self.pairs, 2, -1)
            self._recent = np.roll(self._recent, -1, 0)
            self._recent[-1] = powers.sum(1) @ self._weights
            if self._half is None:
                self._half = powers.mean(1)
            else:
                columns.append(_column((self._half + powers.mean(1)) / 2 @ self._bands))
                self._half = None
        loud = OFFSET + _decibels(self._recent.mean(0))
        return np.round(np.stack([_decibels(peaks**2), loud], 1), 1).tolist(), columns

    def close(self) -> None:
        """Let go."""
        self._out.close()
        self._in.close()


def _decibels(powers: np.ndarray) -> np.ndarray:
    """10 log10, not under `FLOOR`."""
    return np.maximum(10 * np.log10(np.maximum(powers, 1e-30)), FLOOR)


def _bands(rate: int) -> np.ndarray:
    """Weights (bins, BANDS) of bands that are equally wide to the ear; each has a bin at least."""
    bins = np.arange(FRAME // 2 + 1)
    edges = np.geomspace(LOWEST, min(HIGHEST, rate / 2), BANDS + 1) * FRAME / rate
    found = np.zeros((len(bins), BANDS), np.float32)
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (bins >= low) & (bins < high)
        inside[round((low + high) / 2)] = True
        found[inside, band] = 1.0
    return found


def _column(powers: np.ndarray) -> str:
    levels = (1 - _decibels(powers) / FLOOR) * 255
    return base64.b64encode(np.clip(levels, 0, 255).astype(np.uint8).tobytes()).decode()
