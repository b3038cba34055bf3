import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genaudio_core.sound.loudness import decibels, integrated_loudness, true_peak


def sine(frequency, seconds, rate=48000, level_db=0.0, channels=1, phase=0.0):
    t = np.arange(round(seconds * rate)) / rate
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency * t + phase)
    return np.tile(wave.astype(np.float32), (channels, 1))


@pytest.mark.parametrize('rate', [44100, 48000])
def test_the_standards_own_calibration(rate):
    """BS.1770: 997 Hz at full scale in one channel reads -3.01. EBU Tech 3341: stereo at -23 dBFS reads -23.0."""
    assert integrated_loudness(sine(997, 5, rate), rate) == pytest.approx(-3.01, abs=0.02)
    assert integrated_loudness(sine(1000, 20, rate, -23, 2), rate) == pytest.approx(-23.0, abs=0.05)


def test_gates_of_ebu_tech_3341():
    """Cases 3 and 4: what is 10 LU under the rest, or under -70 LUFS, is not counted."""

    def seconds_at(*parts):
        return np.concatenate([sine(1000, s, level_db=db, channels=2) for s, db in parts], axis=1)

    assert integrated_loudness(seconds_at((10, -36), (30, -23), (10, -36)), 48000) == pytest.approx(-23, abs=0.1)
    parts = ((10, -72), (10, -36), (30, -23), (10, -36), (10, -72))
    assert integrated_loudness(seconds_at(*parts), 48000) == pytest.approx(-23, abs=0.1)


def test_agrees_with_pyloudnorm():
    pyloudnorm = pytest.importorskip('pyloudnorm')
    rng = np.random.default_rng(5)
    for rate in (44100, 48000):
        noise = rng.standard_normal((2, rate * 5)) * np.repeat(rng.uniform(0.001, 0.3, 5), rate)
        meter = pyloudnorm.Meter(rate, filter_class='DeMan')
        assert integrated_loudness(noise, rate) == pytest.approx(meter.integrated_loudness(noise.T), abs=0.02)


@given(st.floats(-40, 6, allow_subnormal=False), st.integers(2000, 60000), st.integers(0, 2**31))
def test_a_gain_moves_the_loudness_by_itself(gain_db, n, seed):
    """Whatever the length, short sounds too."""
    noise = np.random.default_rng(seed).standard_normal((2, n)).astype(np.float32) * 0.1
    moved = integrated_loudness(noise * 10 ** (gain_db / 20), 44100) - integrated_loudness(noise, 44100)
    assert moved == pytest.approx(gain_db, abs=0.01)


def test_silence_and_nothing():
    assert integrated_loudness(np.zeros((2, 44100)), 44100) == float('-inf')
    assert integrated_loudness(np.zeros((2, 0)), 44100) == float('-inf')
    assert true_peak(np.zeros((2, 0))) == 0 and decibels(0) == float('-inf')


@pytest.mark.parametrize(('frequency', 'phase', 'on_samples'), [(12000, np.pi / 4, 0.707), (8000, np.pi / 2, 1.0)])
def test_peaks_between_samples(frequency, phase, on_samples):
    """A quarter of the rate, 45 degrees off: every sample is at 0.707, the wave reaches 1."""
    wave = sine(frequency, 0.2, phase=phase)[:, 200:-200] * np.hanning(9200).astype(np.float32)
    assert np.abs(wave).max() == pytest.approx(on_samples, abs=0.01)
    assert true_peak(wave) == pytest.approx(1.0, abs=0.01)
