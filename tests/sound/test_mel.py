"""Spectrograms and the codec of the synthesis models."""

import numpy as np
import pytest

from genaudio_core.sound.mel import (
    BANDS,
    FLOOR,
    HOP,
    LEVEL,
    LOG_FLOOR,
    N_FFT,
    SAMPLE_RATE,
    bin_magnitudes,
    griffin_lim,
    level_gain,
    log_mel,
    mel_filters,
    mel_magnitude,
    moment_power,
    pack_mel,
    unpack_mel,
)
from genaudio_core.sound.spectrogram import stft
from genaudio_core.synthesis.mel_patches import PatchCodec


def sine(frequency, seconds=0.5):
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE).astype(np.float32)


def test_filters_are_means_and_leave_no_band_empty():
    filters = mel_filters()
    assert filters.shape == (BANDS, N_FFT // 2 + 1)
    np.testing.assert_allclose(filters.sum(axis=1), 1, atol=1e-5)
    peaks = filters.argmax(axis=1)
    assert (np.diff(peaks) >= 0).all() and filters[:, 0].max() < 1


@pytest.mark.parametrize('frequency', [110.0, 440.0, 3000.0, 12000.0])
def test_a_sine_shows_in_its_band(frequency):
    mel = mel_magnitude(sine(frequency))
    band = mel[20].argmax()
    centre = mel_filters()[band].argmax() * SAMPLE_RATE / N_FFT
    assert abs(centre - frequency) < max(40, 0.06 * frequency)
    magnitude = np.abs(stft(sine(frequency), N_FFT, HOP))[:, 20].max() * 4 / N_FFT
    assert 0.7 < magnitude < 1.05


def test_eight_bits_are_fine_enough_and_silence_is_the_floor():
    mel = np.linspace(LOG_FLOOR, 0.9, 5000)
    assert np.abs(unpack_mel(pack_mel(mel)) - mel).max() * 8.686 < 0.25
    assert (pack_mel(log_mel(np.zeros((3, BANDS)))) == 0).all()
    assert log_mel(np.zeros(1))[0] == pytest.approx(np.log(FLOOR))


@pytest.mark.parametrize('gain', [0.001, 0.1, 3.0])
def test_the_level_of_the_loudest_moment_does_not_depend_on_the_input(gain):
    audio = sine(300) * np.linspace(0, gain, 22050, dtype=np.float32)
    magnitude = mel_magnitude(audio)
    assert np.sqrt(moment_power(magnitude * level_gain(magnitude)).max()) == pytest.approx(LEVEL, rel=1e-4)


def test_griffin_lim_gives_a_sine_back_at_its_pitch_and_length():
    wanted = sine(523.25) * 0.5
    mel = log_mel(mel_magnitude(wanted))
    back = griffin_lim(bin_magnitudes(mel), len(wanted), 20)
    assert back.shape == wanted.shape
    spectrum = np.abs(np.fft.rfft(back[4096:16384] * np.hanning(12288)))
    assert abs(spectrum.argmax() * SAMPLE_RATE / 12288 - 523.25) < 15
    again = log_mel(mel_magnitude(back))
    loud = mel > mel.max() - 3
    assert np.abs(again - mel)[loud].mean() * 8.686 < 3


def random_mels(n=40, frames=16):
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((n, frames, BANDS)) * 0.2, axis=2)
    return (smooth - 5 + rng.standard_normal((n, 1, 1))).astype(np.float32)


def test_a_codec_that_keeps_everything_is_exact():
    mels = np.maximum(random_mels(), -9.0)
    codec = PatchCodec.fit(mels, 4, 4 * BANDS, -9.0)
    rows = codec.encode(mels)
    assert rows.shape == (40, 4, 4 * BANDS)
    np.testing.assert_allclose(codec.decode(rows), mels, atol=2e-4)


def test_a_codec_keeps_what_varies_most_and_evens_its_size():
    mels = random_mels()
    errors = []
    for keep in (8, 32, 128):
        codec = PatchCodec.fit(mels, 4, keep, -9.0)
        rows = codec.encode(mels)
        assert rows.shape[-1] == codec.size == keep
        assert np.mean(rows**2) == pytest.approx(1, rel=0.05)
        errors.append(np.abs(codec.decode(rows) - np.maximum(mels, -9.0)).mean())
    assert errors[0] > errors[1] > errors[2]


def test_a_codec_survives_its_own_numbers():
    codec = PatchCodec.fit(random_mels(), 4, 32, -9.0)
    again = PatchCodec(**codec.to_dict())
    mels = random_mels(3)
    np.testing.assert_array_equal(codec.encode(mels), again.encode(mels))


def test_what_is_decoded_never_falls_below_the_floor():
    codec = PatchCodec.fit(random_mels(), 4, 32, -9.0)
    rows = np.random.default_rng(1).standard_normal((2, 3, 32)).astype(np.float32) * 20
    assert codec.decode(rows).min() >= -9.0
