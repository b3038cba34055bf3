import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.sound.separation_metrics import bss_eval, si_sdr, summary


def museval_metrics():
    """museval's metrics alone: importing the package wants ffmpeg."""
    package = importlib.util.find_spec('museval')
    if package is None or package.origin is None:
        pytest.skip('museval is not installed')
    spec = importlib.util.spec_from_file_location('museval_metrics', Path(package.origin).parent / 'metrics.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources(seed, n=3000, channels=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, channels, n))


def test_si_sdr_does_not_hear_the_level():
    (a,), (b,) = sources(1)
    assert_allclose(si_sdr(a, a + 0.1 * b), si_sdr(a, 7 * (a + 0.1 * b)))
    assert_allclose(si_sdr(a, a + 0.1 * b), 20, atol=0.5)


def test_a_delayed_target_is_no_interference():
    """A filtered copy of the target costs SDR, but neither SIR nor SAR (museval's images version)."""
    references = sources(2)
    delayed = np.roll(references[0], 5, axis=-1)
    delayed[:, :5] = 0
    ratios = bss_eval(references, delayed, taps=32)
    assert ratios.sdr < 0
    assert ratios.sir > 40
    assert ratios.sar > 25


def test_interference_is_told_from_artefacts():
    references = sources(3)
    noise = np.random.default_rng(4).standard_normal(references[0].shape)
    with_other = bss_eval(references, references[0] + 0.1 * references[1], taps=16)
    with_noise = bss_eval(references, references[0] + 0.1 * noise, taps=16)
    assert_allclose(with_other.sir, 20, atol=0.5)
    assert with_other.sar > 80
    assert_allclose(with_noise.sar, 20, atol=0.5)
    assert with_noise.sir > 35


@pytest.mark.parametrize('channels', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_same_as_museval(channels):
    museval = museval_metrics()
    references = sources(5, channels=channels)
    rng = np.random.default_rng(6)
    estimates = np.stack([0.8 * references[0] + 0.3 * references[1], references[1] - 0.2 * references[0]])
    estimates += 0.1 * rng.standard_normal(estimates.shape)
    sdr, _, sir, sar, _ = museval.bss_eval(
        references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), window=np.inf, compute_permutation=False
    )
    for target in range(2):
        ours = bss_eval(references, estimates[target], target)
        assert_allclose([ours.sdr, ours.sir, ours.sar], [sdr[target, 0], sir[target, 0], sar[target, 0]], atol=0.01)


def test_silence_has_no_ratio():
    references = sources(7)
    assert np.isnan(bss_eval(references, np.zeros_like(references[0])).sdr)
    assert summary([1.0, 3.0, float('nan')])['mean'] == 2.0
