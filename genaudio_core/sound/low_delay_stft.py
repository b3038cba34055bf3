"""Low-delay short-time spectra: long windows that look back, short ones that give sound back.

Why not the usual square-root Hann: 2048 samples tell a bass from a kick drum, but would cost 46 ms. The analysis
window here rises slowly over the past and falls within the newest `hop` samples; the synthesis window covers only
the newest ``2 * hop``. Their product is a Hann window of ``2 * hop``, which overlaps to one at every `hop`, so
sound passes unchanged through a mask of ones and the delay is ``2 * hop`` whatever `n_fft` is (after Mauler and
Martin, "A low delay, variable resolution, perfect reconstruction spectral analysis-synthesis system", 2007).

::

    analysis   ____....----~~~~~~~~~~~~\\
    synthesis                     __/~~\\        <- only these 2 * hop samples come out
               |<------- n_fft -------->|

Frame `t` sees the samples before ``(t + 1) * hop``; it completes the output samples before ``t * hop``.
"""

import numpy as np

from genaudio_core.errors import GenaudioError


def windows(n_fft: int, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the analysis and the synthesis window, both float64 of shape (n_fft,).

    Raises
    ------
    GenaudioError
        If `n_fft` is shorter than two hops.
    """
    if hop < 1 or n_fft < 2 * hop:
        raise GenaudioError(f'A window of {n_fft} samples is too short for a hop of {hop}: at least two hops.')
    rise = n_fft - hop
    analysis = np.empty(n_fft)
    analysis[:rise] = np.sin(np.pi * (np.arange(rise) + 0.5) / (2 * rise))
    analysis[rise:] = np.cos(np.pi * (np.arange(hop) + 0.5) / (2 * hop))
    product = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) ** 2
    synthesis = np.zeros(n_fft)
    synthesis[-2 * hop :] = product / analysis[-2 * hop :]
    return analysis, synthesis


def amplitude_scale(n_fft: int, hop: int) -> float:
    """Return the factor that makes a full-scale sine a line of height one, whatever the window."""
    return 2.0 / float(windows(n_fft, hop)[0].sum())


class Analysis:
    """Spectra of a stream, one per `hop` new samples.

    Parameters
    ----------
    n_channels, n_fft, hop
        `n_fft` and `hop` in samples.
    """

    def __init__(self, n_channels: int, n_fft: int, hop: int):
        self.n_fft, self.hop = n_fft, hop
        self._window = windows(n_fft, hop)[0].astype(np.float32)
        self._past = np.zeros((n_channels, n_fft), np.float32)
        self._windowed = np.empty_like(self._past)

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take `hop` new samples (n_channels, hop); return the spectrum (n_channels, n_fft // 2 + 1), complex64."""
        past, hop = self._past, self.hop
        past[:, :-hop] = past[:, hop:]
        past[:, -hop:] = samples
        np.multiply(past, self._window, out=self._windowed)
        return np.fft.rfft(self._windowed)

    def seen_through(self, window: np.ndarray) -> np.ndarray:
        """Return the spectrum of the same past through another window (n_fft,)."""
        return np.fft.rfft(self._past * window)

    def preload(self, samples: np.ndarray) -> None:
        """Fill the past with the newest `n_fft` samples, (channels, n), of a stream that has been running before."""
        count = min(samples.shape[-1], self.n_fft)
        self._past[:] = 0
        if count:
            self._past[:, -count:] = samples[:, -count:]

    def reset(self) -> None:
        """Forget the past."""
        self._past[:] = 0


class Synthesis:
    """Sound from spectra: gives `hop` finished samples per spectrum, `hop` samples before the newest.

    Parameters
    ----------
    shape
        Leading axes of the spectra, such as (n_queries, n_channels).
    """

    def __init__(self, shape: tuple[int, ...], n_fft: int, hop: int):
        self.n_fft, self.hop = n_fft, hop
        self._window = windows(n_fft, hop)[1][-2 * hop :].astype(np.float32)
        self._tail = np.zeros((*shape, hop), np.float32)

    def process(self, spectrum: np.ndarray) -> np.ndarray:
        """Take spectra (..., n_fft // 2 + 1); return finished samples (..., hop), float32."""
        hop = self.hop
        newest = np.fft.irfft(spectrum, self.n_fft)[..., -2 * hop :] * self._window
        finished = self._tail + newest[..., :hop]
        self._tail = np.ascontiguousarray(newest[..., hop:])
        return finished.astype(np.float32, copy=False)

    def reset(self) -> None:
        """Forget the half-finished samples."""
        self._tail[...] = 0


def analyse(signal: np.ndarray, n_fft: int, hop: int, window: np.ndarray | None = None) -> np.ndarray:
    """Return the spectra of a whole signal (..., samples): (..., frames, n_fft // 2 + 1).

    The signal is padded with `n_fft` - `hop` zeros before it, and with zeros after it to whole hops, plus one hop
    so that `synthesise` gives every sample back. `window` (n_fft,) replaces the analysis window of this hop.
    """
    n = signal.shape[-1]
    frames = -(-n // hop) + 1
    pad = [(0, 0)] * (signal.ndim - 1) + [(n_fft - hop, frames * hop - n)]
    padded = np.pad(signal, pad)
    strided = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]
    return np.fft.rfft(strided * (windows(n_fft, hop)[0] if window is None else window))


def synthesise(spectra: np.ndarray, n_fft: int, hop: int, n_samples: int) -> np.ndarray:
    """Return the first `n_samples` samples of the signal whose spectra (..., frames, bins) these are."""
    pieces = np.fft.irfft(spectra, n_fft)[..., -2 * hop :] * windows(n_fft, hop)[1][-2 * hop :]
    frames = pieces.shape[-2]
    out = np.zeros((*pieces.shape[:-2], (frames + 1) * hop))
    out[..., : frames * hop] += pieces[..., :hop].reshape(*pieces.shape[:-2], -1)
    out[..., hop:] += pieces[..., hop:].reshape(*pieces.shape[:-2], -1)
    return out[..., hop : hop + n_samples]  # frame 0 also completes the hop before the signal, which is silence
