"""How loud a sound is: integrated loudness by ITU-R BS.1770-4 (LUFS), true peak (dBTP), and RMS. numpy only.

The K-weighting filter is applied to spectra, with the exact frequency response of the standard's two biquads; the
sound is padded, so that nothing wraps around. One deviation: a sound shorter than a gating block of 0.4 s, which the
standard leaves undefined, is measured as one block of its own length.
"""

import functools

import numpy as np

BLOCK, STEP = 0.4, 0.1  # seconds
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, LU
OFFSET = -0.691  # dB, so that a 997 Hz sine at full scale in one channel reads -3.01 LUFS
_PAD = 0.25  # seconds; the high-pass at 38 Hz has died away by then
_CHUNK = 1 << 16  # samples weighted at a time
_OVERSAMPLING, _TAPS = 4, 16  # true peak: phases, and taps on each side of a sample


def rms(audio: np.ndarray) -> float:
    """Return the root mean square of all samples of all channels of `audio` (channels, n_samples)."""
    return float(np.sqrt(np.mean(np.square(audio))))


@functools.lru_cache(maxsize=8)
def k_weighting(n_fft: int, sample_rate: int) -> np.ndarray:
    """Response (n_fft // 2 + 1,) of the pre-filter and the RLB high-pass at the bins of a real FFT, for any rate (Hz).

    The analogue prototypes are those that give the standard's coefficients at 48 kHz (De Man 2014).
    """
    z = np.exp(-2j * np.pi * np.arange(n_fft // 2 + 1) / n_fft)
    k = np.tan(np.pi * 1681.974450955533 / sample_rate)
    q, v_high = 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    v_band = v_high**0.4996667741545416
    shelf = (v_high + v_band * k / q + k * k) + 2 * (k * k - v_high) * z + (v_high - v_band * k / q + k * k) * z**2
    shelf /= (1 + k / q + k * k) + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z**2
    k = np.tan(np.pi * 38.13547087602444 / sample_rate)
    q = 0.5003270373238773
    high_pass = (1 - 2 * z + z**2) / (1 + 2 * (k * k - 1) / (1 + k / q + k * k) * z
                                      + (1 - k / q + k * k) / (1 + k / q + k * k) * z**2)  # fmt: skip
    return shelf * high_pass


def _weighted_power(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Squared K-weighted samples, summed over the channels: (n_samples,) float64."""
    pad = round(_PAD * sample_rate)
    power = np.zeros(audio.shape[1])
    for start in range(0, audio.shape[1], _CHUNK):
        begin = max(0, start - pad)  # what sounded before still rings in the filter
        part = audio[:, begin : start + _CHUNK].astype(np.float64)
        n = 1 << (part.shape[1] + pad - 1).bit_length()
        spectrum = np.fft.rfft(part, n) * k_weighting(n, sample_rate)
        wave = np.fft.irfft(spectrum, n)[:, start - begin : part.shape[1]]
        power[start : start + wave.shape[1]] = (wave**2).sum(axis=0)
    return power


def integrated_loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Return the gated loudness of float (channels, n_samples) in LUFS; -inf where all of it is under the gate.

    Every channel has weight one: mono and stereo, not surround.
    """
    if not audio.shape[1]:
        return float('-inf')
    sums = np.concatenate([[0.0], _weighted_power(audio, sample_rate).cumsum()])
    block, step = min(round(BLOCK * sample_rate), audio.shape[1]), round(STEP * sample_rate)
    starts = np.arange(0, audio.shape[1] - block + 1, step)
    means = np.maximum((sums[starts + block] - sums[starts]) / block, 1e-30)
    levels = OFFSET + 10 * np.log10(means)
    means = means[levels > ABSOLUTE_GATE]
    if not len(means):
        return float('-inf')
    gate = OFFSET + 10 * np.log10(means.mean()) + RELATIVE_GATE
    kept = means[OFFSET + 10 * np.log10(means) > gate]
    return float(OFFSET + 10 * np.log10(kept.mean()))


def _interpolators() -> np.ndarray:
    """Windowed sincs at a quarter, half and three quarters of a sample: (3, 2 * _TAPS)."""
    at = np.arange(-_TAPS + 1, _TAPS + 1)
    filters = []
    for phase in range(1, _OVERSAMPLING):
        x = at - phase / _OVERSAMPLING
        taps = np.sinc(x) * np.cos(np.pi * x / (2 * _TAPS + 1)) ** 2
        filters.append(taps / taps.sum())
    return np.array(filters)


def true_peak(audio: np.ndarray) -> float:
    """Return the peak between and on the samples of (channels, n_samples), 4 times oversampled; 0 for no samples."""
    if not audio.size:
        return 0.0
    peak = float(np.abs(audio).max())
    filters = _interpolators()
    for channel in audio:
        for start in range(0, len(channel), _CHUNK):
            part = channel[max(0, start - 2 * _TAPS) : start + _CHUNK]
            if np.abs(part).max() <= peak / 4:  # between samples no real sound rises by 12 dB
                continue
            for taps in filters:
                peak = max(peak, float(np.abs(np.convolve(part, taps[::-1])).max()))
    return peak


def decibels(factor: float) -> float:
    """20 log10, with -inf for 0."""
    return 20 * float(np.log10(factor)) if factor > 0 else float('-inf')
