"""Log-mel spectrograms, the picture of a sound that the synthesis models paint, and a way back without a network.

One setting for the whole family (it travels in the cards): 44.1 kHz, Hann windows of 2048 samples 512 apart, 96
triangular bands from 20 Hz to 18 kHz on the mel scale (HTK's formula). Values are natural logarithms of magnitudes,
scaled such that a sine at full scale reads about 0, and floored at -11.5 (-100 dB). Mels are (..., frames, bands).
"""

import functools

import numpy as np

from genaudio_core.sound.spectrogram import hann, istft, stft

SAMPLE_RATE = 44100  # Hz
N_FFT = 2048
HOP = 512
BANDS = 96
LOW, HIGH = 20.0, 18000.0  # Hz
FLOOR = 1e-5  # magnitude
LOG_FLOOR = float(np.log(FLOOR))
LOG_TOP = 1.0  # what eight bits can hold; nothing of level 'one' comes near it
LEVEL = 0.25  # magnitude to which `normalise` brings the loudest moment (root of the bands' summed power)


def _mel(frequency):
    return 2595 * np.log10(1 + np.asarray(frequency) / 700)


@functools.cache
def mel_filters(bins: int = N_FFT // 2 + 1, bands: int = BANDS, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """Return float32 (bands, bins): triangles whose rows sum to one, so that a band is a mean of magnitudes."""
    edges = 700 * (10 ** (np.linspace(_mel(LOW), _mel(HIGH), bands + 2) / 2595) - 1)
    frequency = np.linspace(0, sample_rate / 2, bins)
    width = sample_rate / 2 / (bins - 1)
    # In the bass a triangle is narrower than a bin; it is widened to touch its neighbours.
    rise = np.maximum(edges[1:-1] - edges[:-2], width)[:, None]
    fall = np.maximum(edges[2:] - edges[1:-1], width)[:, None]
    distance = frequency[None] - edges[1:-1, None]
    rows = np.maximum(0, np.minimum(1 + distance / rise, 1 - distance / fall))
    return (rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-9)).astype(np.float32)


def mel_magnitude(audio: np.ndarray) -> np.ndarray:
    """Return the mel magnitudes (..., frames, bands) of `audio` (..., n_samples); frame t is centred on t * HOP."""
    magnitude = np.abs(stft(audio, N_FFT, HOP)) * (4 / N_FFT)  # a Hann window sums to half its length
    return np.swapaxes(mel_filters() @ magnitude, -1, -2)


def log_mel(magnitude: np.ndarray) -> np.ndarray:
    """Mel magnitudes of any shape -> natural logarithms, floored, of that shape."""
    return np.log(np.maximum(magnitude, FLOOR)).astype(np.float32)


def moment_power(magnitude: np.ndarray, frames: int = 5) -> np.ndarray:
    """Return the power of each moment (..., frames): bands summed, averaged over `frames` (58 ms)."""
    power = (magnitude**2).sum(axis=-1)
    kernel = np.ones(frames) / frames
    return np.apply_along_axis(lambda row: np.convolve(row, kernel, 'same'), -1, power)


def level_gain(magnitude: np.ndarray) -> float:
    """Return the factor that brings the loudest moment of mel magnitudes (frames, bands) to `LEVEL`."""
    return float(LEVEL / np.sqrt(max(float(moment_power(magnitude).max()), 1e-16)))


def pack_mel(mel: np.ndarray) -> np.ndarray:
    """Log mels of any shape -> uint8 of that shape, 0.43 dB a step."""
    return np.round((np.clip(mel, LOG_FLOOR, LOG_TOP) - LOG_FLOOR) * (255 / (LOG_TOP - LOG_FLOOR))).astype(np.uint8)


def unpack_mel(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack_mel`: float32 of the same shape."""
    return (packed.astype(np.float32) * ((LOG_TOP - LOG_FLOOR) / 255) + LOG_FLOOR).astype(np.float32)


# --- the way back ----------------------------------------------------------------------------------------------------


@functools.cache
def _spread() -> tuple[np.ndarray, np.ndarray]:
    """Return (bins, bands) weights that put mel bands back on the bins, and the bins outside of all bands (bins,)."""
    filters = mel_filters()
    places = filters / np.maximum(filters.max(axis=1, keepdims=True), 1e-9)
    weights = places.T / np.maximum(places.sum(axis=0)[:, None], 1e-3)
    outside = places.sum(axis=0) < 1e-3
    return weights.astype(np.float32), outside


def bin_magnitudes(mel: np.ndarray) -> np.ndarray:
    """Log mels (frames, bands) -> magnitudes of `stft` (bins, frames), by interpolation between the bands."""
    weights, outside = _spread()
    magnitude = np.exp(weights @ mel.T) * (N_FFT / 4)
    magnitude[outside] = 0
    return magnitude.astype(np.float32)


def griffin_lim(
    magnitude: np.ndarray,
    n_samples: int,
    iterations: int = 32,
    *,
    momentum: float = 0.99,
    spectrum: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return audio (n_samples,) whose `stft` has nearly these magnitudes (bins, frames).

    The fast version (Perraudin, Balazs and Sondergaard, 2013), from the phases of `spectrum` or from random ones.
    """
    if spectrum is None:
        phase = np.random.default_rng(seed).uniform(-np.pi, np.pi, magnitude.shape).astype(np.float32)
        spectrum = magnitude * np.exp(1j * phase)
    before = np.zeros_like(spectrum)
    frames = magnitude.shape[1]
    for _ in range(iterations):
        audio = istft(spectrum, N_FFT, HOP, (frames - 1) * HOP, hann(N_FFT))
        there = stft(audio, N_FFT, HOP)
        ahead = there + momentum * (there - before)
        before = there
        spectrum = magnitude * ahead / np.maximum(np.abs(ahead), 1e-9)
    return istft(spectrum, N_FFT, HOP, n_samples, hann(N_FFT))
