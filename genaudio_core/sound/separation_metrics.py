"""How well a sound was separated: SDR, SIR, SAR (BSS Eval v4, as museval has them) and SI-SDR. Numpy only.

The conventions are those of the CLIPSep paper: one window over the whole signal (``window=inf``), filters of 512 taps,
the *images* version, no permutation. There SDR is the plain ratio of the reference to the error; SIR and SAR divide
the error by projecting the estimate on delayed copies of the references. Tests compare with museval, which is not used
itself: it would bring pandas, scipy and the reader of a data set to every training.

Audio is (channels, n_samples) or (n_samples,); ratios are in dB.
"""

from dataclasses import dataclass

import numpy as np

from genaudio_core.errors import GenaudioError

FILTER_LENGTH = 512  # taps
SILENT = 1e-5  # sum of absolute values under which a signal has no ratio


@dataclass(frozen=True)
class Ratios:
    """Of one source, in dB; NaN where the reference or the estimate is silent."""

    sdr: float
    sir: float
    sar: float


def _finite(audio: np.ndarray) -> np.ndarray:
    """`audio` as float64. NaN means silence in what is returned here, and must not hide a damaged model."""
    audio = np.asarray(audio, np.float64)
    if not np.isfinite(audio).all():
        raise GenaudioError('The sound to be measured contains NaN or infinite samples.')
    return audio


def _db(signal: float, error: float) -> float:
    if error <= 0:
        return float('inf')
    return float(10 * np.log10(signal / error)) if signal > 0 else float('-inf')


def _correlations(signals: np.ndarray, others: np.ndarray, taps: int) -> np.ndarray:
    """Return c[i, j, lag + taps - 1] = sum_t signals[i, t + lag] others[j, t] for |lag| < taps."""
    n = 1 << int(np.ceil(np.log2(signals.shape[1] + taps)))
    first, second = np.fft.rfft(signals, n), np.fft.rfft(others, n)
    full = np.fft.irfft(first[:, None] * second[None].conj(), n)
    return np.concatenate([full[..., -(taps - 1) :], full[..., :taps]], axis=-1)


def _project(rows: np.ndarray, estimate: np.ndarray, taps: int) -> np.ndarray:
    """Project `estimate` (c, n) on all delays 0..taps-1 of `rows` (r, n): (c, n + taps - 1)."""
    n_rows, n = rows.shape
    own = _correlations(rows, rows, taps)
    delay = np.arange(taps)
    # Gram matrix of (row i, delay a) with (row j, delay b): their correlation at lag b - a.
    gram = own[:, :, (delay[None, :] - delay[:, None]) + taps - 1].transpose(0, 2, 1, 3).reshape(n_rows * taps, -1)
    # The estimate at delay d of row i.
    right = _correlations(estimate, rows, taps)[..., taps - 1 :]  # (c, r, taps)
    right = right.reshape(len(estimate), -1).T
    try:
        filters = np.linalg.solve(gram, right)
    except np.linalg.LinAlgError:  # two references are the same
        filters = np.linalg.lstsq(gram, right, rcond=None)[0]
    filters = filters.T.reshape(len(estimate), n_rows, taps)
    size = 1 << int(np.ceil(np.log2(n + taps)))
    out = np.fft.irfft((np.fft.rfft(filters, size) * np.fft.rfft(rows, size)[None]).sum(axis=1), size)
    return out[:, : n + taps - 1]


def bss_eval(references: np.ndarray, estimate: np.ndarray, target: int = 0, taps: int = FILTER_LENGTH) -> Ratios:
    """Return SDR, SIR and SAR of `estimate` against ``references[target]``, the others being interference.

    Parameters
    ----------
    references : (n_sources, channels, n_samples) or (n_sources, n_samples)
    estimate : (channels, n_samples) or (n_samples,)

    Raises
    ------
    GenaudioError
        If a sample is not a finite number.
    """
    references = _finite(references)
    references = references[:, None] if references.ndim == 2 else references
    estimate = np.atleast_2d(_finite(estimate))
    if np.abs(references[target]).sum() < SILENT or np.abs(estimate).sum() < SILENT:
        return Ratios(float('nan'), float('nan'), float('nan'))
    pad = ((0, 0), (0, taps - 1))
    true = np.pad(references[target], pad)
    padded = np.pad(estimate, pad)
    own = _project(references[target], estimate, taps)
    sounding = np.concatenate([r for r in references if np.abs(r).sum() >= SILENT])
    everything = _project(sounding, estimate, taps)
    interference, artefacts = everything - own, padded - everything
    sdr = _db(float(np.sum(true**2)), float(np.sum((padded - true) ** 2)))
    return Ratios(
        sdr, _db(float(np.sum(own**2)), float(np.sum(interference**2))),
        _db(float(np.sum(everything**2)), float(np.sum(artefacts**2))),
    )  # fmt: skip


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Return the scale-invariant SDR (Le Roux et al., 2019), over all channels at once; NaN for silence."""
    reference, estimate = _finite(reference).ravel(), _finite(estimate).ravel()
    energy = float(reference @ reference)
    if np.abs(reference).sum() < SILENT or np.abs(estimate).sum() < SILENT:
        return float('nan')
    scaled = (estimate @ reference) / energy * reference
    return _db(float(scaled @ scaled), float(np.sum((estimate - scaled) ** 2)))


def summary(values: list[float]) -> dict[str, float]:
    """Return mean, standard error, median and number of the finite `values`."""
    kept = np.array([v for v in values if np.isfinite(v)])
    if not len(kept):
        return {'mean': float('nan'), 'sem': float('nan'), 'median': float('nan'), 'n': 0}
    sem = float(kept.std(ddof=1) / np.sqrt(len(kept))) if len(kept) > 1 else float('nan')
    return {'mean': float(kept.mean()), 'sem': sem, 'median': float(np.median(kept)), 'n': len(kept)}
