import numpy as np
import pytest
from numpy.testing import assert_allclose

from genaudio_core.sound.spectrogram import (
    StreamingISTFT,
    StreamingSTFT,
    bands_to_bins,
    bins_to_bins,
    good_size,
    istft,
    stft,
    unwarp_matrix,
    warp_matrix,
    windows,
)


def noise(channels=2, n=5000, seed=0):
    return np.random.default_rng(seed).standard_normal((channels, n)).astype(np.float32)


@pytest.mark.parametrize('n', [1, 255, 1024, 5000])
@pytest.mark.parametrize(('n_fft', 'hop'), [(1024, 256), (600, 150)])
def test_there_and_back(n, n_fft, hop):
    x = noise(n=n)
    assert_allclose(istft(stft(x, n_fft, hop), n_fft, hop, n), x, atol=2e-6)


def test_a_sine_is_where_it_belongs():
    x = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000)
    spectrum = np.abs(stft(x, 1024, 256))
    assert spectrum.shape == (513, 1 + 8000 // 256)
    assert spectrum[:, 10].argmax() == 64  # 1000 Hz / 15.625 Hz


def test_same_as_torch():
    torch = pytest.importorskip('torch')
    x = noise()
    theirs = torch.stft(
        torch.from_numpy(x), 1024, 256, window=torch.hann_window(1024), return_complex=True, pad_mode='constant'
    )
    assert_allclose(stft(x, 1024, 256), theirs.numpy(), atol=2e-4)


@pytest.mark.parametrize('block_size', [1, 64, 65, 480, 8193])
def test_blocks_equal_whole(block_size):
    x = noise(n=3000)
    forward, back = StreamingSTFT(2, 512, 128), StreamingISTFT(2, 512, 128)
    spectra, audio = [], []
    for i in range(0, x.shape[1], block_size):
        spectra.append(forward.process(x[:, i : i + block_size]))
        audio.append(back.process(spectra[-1]))
    spectra.append(forward.finish())
    audio += [back.process(spectra[-1]), back.finish()]
    whole = stft(x, 512, 128)
    live = np.concatenate(spectra, axis=2)
    assert_allclose(live, whole[:, :, : live.shape[2]], atol=1e-4)
    assert live.shape[2] >= 3000 // 128
    assert_allclose(np.concatenate(audio, axis=1)[:, :3000], x, atol=2e-6)


def test_clipsep_warp_and_back():
    """The published warp: a smooth spectrum survives the round trip; ends stay ends."""
    smooth = np.sin(np.linspace(0, 6, 513)) + 2
    there = warp_matrix() @ smooth
    assert_allclose(there[[0, -1]], smooth[[0, -1]], atol=1e-5)
    assert np.abs(unwarp_matrix() @ there - smooth).max() < 2e-3


def test_warp_formulas():
    y = np.linspace(-1, 1, 256)
    ramp = np.arange(513.0)
    expected = ((21 ** ((y + 1) / 2) - 11) / 10 + 1) / 2 * 512
    assert_allclose(warp_matrix() @ ramp, expected, atol=1e-3)


def test_bands_share_out_all_energy():
    spread = bands_to_bins(2049, 192, 101.0)
    assert_allclose(spread.sum(axis=1), 1, atol=1e-6)
    energy = np.random.default_rng(0).random(2049)
    assert_allclose((spread.T @ energy).sum(), energy.sum(), rtol=1e-6)


def test_other_rates_read_by_frequency():
    """A band means the same hertz at 96 kHz as at 44.1; beyond the top the last band goes on."""
    own = bands_to_bins(2049, 192, 101.0)
    wide = bands_to_bins(4097, 192, 101.0, reach=2.0)
    mask = np.random.default_rng(0).random(192)
    assert_allclose((wide @ mask)[:2049], own @ mask, atol=1e-5)
    assert_allclose((wide @ mask)[2049:], mask[-1], atol=1e-6)
    assert_allclose(bins_to_bins(5, 9, reach=0.5) @ np.arange(9.0), [0, 1, 2, 3, 4])


def test_good_sizes_are_near_and_smooth():
    for n in (1486, 4458, 8916, 371):
        size = good_size(n)
        assert size % 4 == 0 and abs(size - n) / n < 0.04
        for factor in (2, 3, 5):
            while size % factor == 0:
                size //= factor
        assert size == 1


def test_windows_cover_everything():
    for n in (1, 10, 99, 100, 101, 350):
        covered = np.zeros(n, bool)
        for start, stop in windows(n, 100, 80):
            covered[start:stop] = True
        assert covered.all()
