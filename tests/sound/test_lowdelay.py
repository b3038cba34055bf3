import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.low_delay_stft import Analysis, Synthesis, amplitude_scale, analyse, synthesise, windows

SHAPES = [(2048, 256), (2048, 128), (512, 256), (1024, 64)]


def noise(samples, seed=0):
    return np.random.default_rng(seed).standard_normal((2, samples)).astype(np.float32)


@pytest.mark.parametrize(('n_fft', 'hop'), SHAPES)
def test_windows_overlap_to_one_and_only_the_newest_two_hops_sound(n_fft, hop):
    analysis, synthesis = windows(n_fft, hop)
    product = analysis * synthesis
    assert_allclose(product[-2 * hop : -hop] + product[-hop:], 1, atol=1e-12)
    assert not synthesis[: -2 * hop].any()
    assert np.abs(synthesis).max() < 4  # an error in a mask must not be blown up


@pytest.mark.parametrize(('n_fft', 'hop'), SHAPES)
@pytest.mark.parametrize('samples', [1, 255, 3000])
def test_there_and_back(n_fft, hop, samples):
    x = noise(samples).astype(np.float64)
    assert_allclose(synthesise(analyse(x, n_fft, hop), n_fft, hop, samples), x, atol=1e-10)


@pytest.mark.parametrize(('n_fft', 'hop'), SHAPES)
def test_streaming_is_the_input_one_hop_behind_the_newest(n_fft, hop):
    x = noise(12 * hop)
    analysis, synthesis = Analysis(2, n_fft, hop), Synthesis((2,), n_fft, hop)
    out = [synthesis.process(analysis.process(x[:, i : i + hop])) for i in range(0, x.shape[1], hop)]
    assert_allclose(np.concatenate(out, -1)[:, hop:], x[:, :-hop], atol=2e-6)


def test_spectra_do_not_see_the_future():
    x = noise(4096)
    y = x.copy()
    y[:, 2048:] = 0
    seen = 2048 // 256  # frames whose newest sample is before 2048
    assert_allclose(analyse(x, 2048, 256)[:, :seen], analyse(y, 2048, 256)[:, :seen])
    assert not np.allclose(analyse(x, 2048, 256)[:, seen], analyse(y, 2048, 256)[:, seen])


def test_preload_goes_on_as_if_it_had_been_running():
    x = noise(4096)
    running, late = Analysis(2, 2048, 256), Analysis(2, 2048, 256)
    for i in range(0, 3840, 256):
        running.process(x[:, i : i + 256])
    late.preload(x[:, :3840])
    assert_allclose(late.process(x[:, 3840:]), running.process(x[:, 3840:]))


def test_scale_makes_a_full_sine_one():
    sine = np.sin(2 * np.pi * 100 / 2048 * np.arange(8192))[None]
    assert np.abs(analyse(sine, 2048, 256)[0, 20]).max() * amplitude_scale(2048, 256) == pytest.approx(1, abs=0.02)


def test_a_window_of_less_than_two_hops_is_refused():
    with pytest.raises(GenaudioError, match='at least two hops'):
        windows(300, 256)
