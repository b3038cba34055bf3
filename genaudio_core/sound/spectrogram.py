"""Short-time Fourier transforms and the log-frequency warp, offline and streaming. Numpy only.

Two families of settings meet here:

* CLIPSep as published: 16 kHz, 1024-point Hann windows 256 apart, and a *point-sampling* warp to 256 bins
  (`warp_matrix`, base 21, as `grid_sample` with bilinear interpolation and aligned corners does it).
* Ours (CLIPSep-small, 44.1 kHz, 4096 points 1024 apart): *bands*. `bands_to_bins` spreads band masks over the bins by
  linear interpolation, and its transpose gathers energies, so no partial falls between two sample points.

Spectra are (..., bins, frames), complex64.
"""

from collections.abc import Iterator

import numpy as np


def hann(n: int) -> np.ndarray:
    """Return the periodic Hann window, float32 (n,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)).astype(np.float32)


def n_frames(n_samples: int, hop_length: int) -> int:
    """Frames of a centred transform of `n_samples` samples."""
    return 1 + n_samples // hop_length


def stft(audio: np.ndarray, n_fft: int, hop_length: int, window: np.ndarray | None = None) -> np.ndarray:
    """Return the centred transform of `audio` (..., n_samples): complex64 (..., n_fft // 2 + 1, frames).

    The signal is continued by zeros; frame t is centred on sample t * hop_length.
    """
    window = hann(n_fft) if window is None else window
    pad = [(0, 0)] * (audio.ndim - 1) + [(n_fft // 2, n_fft // 2)]
    padded = np.pad(audio.astype(np.float32, copy=False), pad)
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft, axis=-1)[..., ::hop_length, :]
    return np.swapaxes(np.fft.rfft(frames * window, axis=-1), -1, -2).astype(np.complex64)


def istft(
    spectrum: np.ndarray,
    n_fft: int,
    hop_length: int,
    n_samples: int,
    window: np.ndarray | None = None,
) -> np.ndarray:
    """Return float32 (..., n_samples): the least-squares inverse of `stft` (windowed overlap-add)."""
    window = hann(n_fft) if window is None else window
    frames = np.fft.irfft(np.swapaxes(spectrum, -1, -2), n_fft, axis=-1).astype(np.float32) * window
    count = frames.shape[-2]
    total = n_fft + hop_length * (count - 1)
    out = np.zeros((*frames.shape[:-2], total), np.float32)
    weight = np.zeros(total, np.float32)
    square = window**2
    for t in range(count):
        begin = t * hop_length
        out[..., begin : begin + n_fft] += frames[..., t, :]
        weight[begin : begin + n_fft] += square
    begin = n_fft // 2
    out = out[..., begin : begin + n_samples] / np.maximum(weight[begin : begin + n_samples], 1e-8)
    if out.shape[-1] < n_samples:
        out = np.pad(out, [(0, 0)] * (out.ndim - 1) + [(0, n_samples - out.shape[-1])])
    return out


class StreamingSTFT:
    """`stft` block by block: the same frames, as soon as their samples are there.

    Latency is n_fft // 2 samples: frame t needs the signal up to t * hop_length + n_fft // 2.
    """

    def __init__(self, channels: int, n_fft: int, hop_length: int):
        self.n_fft, self.hop_length, self.channels = n_fft, hop_length, channels
        self.latency = n_fft // 2
        self._window = hann(n_fft)
        self.reset()

    def reset(self) -> None:
        """Begin a new signal."""
        self._waiting = np.zeros((self.channels, self.n_fft // 2), np.float32)

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take (channels, any n) and return the frames it completes: (channels, bins, frames), maybe none."""
        self._waiting = np.concatenate([self._waiting, block.astype(np.float32, copy=False)], axis=1)
        count = max(0, 1 + (self._waiting.shape[1] - self.n_fft) // self.hop_length)
        if not count:
            return np.zeros((self.channels, self.n_fft // 2 + 1, 0), np.complex64)
        view = np.lib.stride_tricks.sliding_window_view(self._waiting, self.n_fft, axis=1)
        frames = view[:, : (count - 1) * self.hop_length + 1 : self.hop_length]
        spectrum = np.swapaxes(np.fft.rfft(frames * self._window, axis=-1), -1, -2).astype(np.complex64)
        self._waiting = self._waiting[:, count * self.hop_length :]
        return spectrum

    def finish(self) -> np.ndarray:
        """Return the last frames (channels, bins, frames), whose windows reach past the end into zeros."""
        return self.process(np.zeros((self.channels, self.n_fft // 2), np.float32))


class StreamingISTFT:
    """`istft` frame by frame: gives out samples as soon as no later frame touches them."""

    def __init__(self, channels: int, n_fft: int, hop_length: int):
        self.n_fft, self.hop_length, self.channels = n_fft, hop_length, channels
        self._window = hann(n_fft)
        self.reset()

    def reset(self) -> None:
        """Begin a new signal."""
        self._sum = np.zeros((self.channels, self.n_fft), np.float32)
        self._weight = np.zeros(self.n_fft, np.float32)
        self._skip = self.n_fft // 2  # what the centred transform had put before the signal

    def process(self, spectrum: np.ndarray) -> np.ndarray:
        """Take (channels, bins, frames); return finished samples (channels, n)."""
        hop, parts = self.hop_length, []
        frames = np.fft.irfft(np.swapaxes(spectrum, -1, -2), self.n_fft, axis=-1).astype(np.float32) * self._window
        for t in range(frames.shape[1]):
            self._sum += frames[:, t]
            self._weight += self._window**2
            parts.append(self._sum[:, :hop] / np.maximum(self._weight[:hop], 1e-8))
            self._sum = np.concatenate([self._sum[:, hop:], np.zeros((self.channels, hop), np.float32)], axis=1)
            self._weight = np.concatenate([self._weight[hop:], np.zeros(hop, np.float32)])
        return self._cut(parts)

    def finish(self) -> np.ndarray:
        """Return what the last frames left, (channels, n): more than the signal held, cut it at its length."""
        rest = self._sum / np.maximum(self._weight, 1e-8)
        return self._cut([rest[:, : self.n_fft - self.hop_length]])

    def _cut(self, parts: list[np.ndarray]) -> np.ndarray:
        out = np.concatenate([np.zeros((self.channels, 0), np.float32), *parts], axis=1)
        skip = min(self._skip, out.shape[1])
        self._skip -= skip
        return out[:, skip:]


# --- frequency warps -------------------------------------------------------------------------------------------------


def _linear_rows(places: np.ndarray, n: int) -> np.ndarray:
    """Matrix (len(places), n) that reads a vector of n values at fractional `places` (0..n-1), linearly."""
    matrix = np.zeros((len(places), n), np.float32)
    low = np.clip(np.floor(places).astype(int), 0, n - 2)
    weight = (places - low).astype(np.float32)
    rows = np.arange(len(places))
    matrix[rows, low] = 1 - weight
    matrix[rows, low + 1] = weight
    return matrix


def warp_matrix(bins: int = 513, warped: int = 256, base: float = 21.0) -> np.ndarray:
    """Return (warped, bins): CLIPSep's log-frequency warp, sampled at y' = (21^((y+1)/2) - 11) / 10, y in -1..1."""
    y = np.linspace(-1, 1, warped)
    half = (base - 1) / 2
    return _linear_rows(((base ** ((y + 1) / 2) - half - 1) / half + 1) / 2 * (bins - 1), bins)


def unwarp_matrix(bins: int = 513, warped: int = 256, base: float = 21.0) -> np.ndarray:
    """Return (bins, warped): the inverse warp, sampled at y' = 2 log(10 y + 11) / log 21 - 1."""
    y = np.linspace(-1, 1, bins)
    half = (base - 1) / 2
    return _linear_rows((np.log(half * y + half + 1) / np.log(base)) * (warped - 1), warped)


def bands_to_bins(bins: int, bands: int, base: float, *, reach: float = 1.0) -> np.ndarray:
    """Return (bins, bands), rows summing to one: a mask per band -> a mask per bin. Its transpose gathers energy.

    The last bin lies at `reach` times the top of the last band: a spectrum at another sample rate than the bands'
    own reads them by frequency. Beyond the top the last band goes on.
    """
    y = np.clip(2 * reach * np.linspace(0, 1, bins) - 1, -1, 1)
    half = (base - 1) / 2
    return _linear_rows((np.log(half * y + half + 1) / np.log(base)) * (bands - 1), bands)


def bins_to_bins(bins: int, other: int, *, reach: float = 1.0) -> np.ndarray:
    """Return (bins, other): reads a spectrum of `other` bins at `bins` frequencies; as `bands_to_bins`, unwarped."""
    return _linear_rows(np.clip(reach * np.linspace(0, 1, bins), 0, 1) * (other - 1), other)


def good_size(n: float) -> int:
    """Return the multiple of 4 nearest to `n` that a fast Fourier transform likes (factors 2, 3 and 5 only)."""
    best = 0
    for two in (4 * 2**i for i in range(20)):
        for three in (3**i for i in range(6)):
            for five in (5**i for i in range(4)):
                size = two * three * five
                if abs(size - n) < abs(best - n):
                    best = size
    return best


def windows(n_samples: int, length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of windows `length` long and `step` apart that cover 0..n_samples; the last is cut."""
    start = 0
    while True:
        yield start, min(start + length, n_samples)
        if start + length >= n_samples:
            return
        start += step
