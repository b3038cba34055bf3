"""An example of any length: what is loud in it is heard, and nothing else of it is looked at."""

import numpy as np
import pedalboard.io
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import AudioReader, write_audio
from genaudio_core.sound.loudest_windows import FAINT, Looking
from genaudio_core.sound.spectrogram import bands_to_bins, stft

LOOKING = Looking(44100, 1024, 256, 16, bands_to_bins(513, 32, 101.0).T.copy())
SOUND = np.random.default_rng(0).standard_normal((2, 60_000)).astype(np.float32)


def all_windows(audio, looking=LOOKING):
    """Every window of a whole sound, the loudest first."""
    energy = looking.gather @ (np.abs(stft(audio, looking.n_fft, looking.hop_length)) ** 2).mean(axis=0)
    total, frames = energy.shape[1], looking.frames
    if total < frames:
        return np.tile(energy, (1, frames))[None, :, :frames]
    begins = sorted({*range(0, total - frames + 1, frames // 2), total - frames})
    windows = [energy[:, at : at + frames] for at in begins]
    order = np.argsort([-float(window.mean()) for window in windows], kind='stable')
    return np.stack([windows[i] for i in order])


def in_blocks(audio, size):
    return lambda: (audio[:, at : at + size] for at in range(0, audio.shape[1], size))


@settings(deadline=None, max_examples=40)
@given(n=st.integers(300, 60_000), size=st.integers(200, 70_000), channels=st.integers(1, 2))
def test_of_a_short_sound_every_window_is_heard(n, size, channels):
    audio = SOUND[:channels, :n]
    wanted = all_windows(audio)
    wanted = wanted[wanted.mean(axis=(1, 2)) > FAINT * wanted[0].mean()]
    assert_allclose(LOOKING.loudest(in_blocks(audio, size), 44100, 1000), wanted, rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=10)
@given(bursts=st.sets(st.integers(0, 640), min_size=3, max_size=8), size=st.integers(999, 70_000))
def test_of_a_long_sound_the_loudest_windows_are_heard_wherever_they_lie(bursts, size):
    audio = np.resize(SOUND, (2, 200_000)) * np.float32(0.01)
    for i, at in enumerate(sorted(bursts)):
        audio[:, at * 300 : at * 300 + 2000] *= 20 + 7 * i
    wanted = all_windows(audio)[:3].mean(axis=(1, 2))
    heard = LOOKING.loudest(in_blocks(audio, size), 44100, 3).mean(axis=(1, 2))
    # Of two windows that are loud alike either may be taken.
    assert_allclose(heard, wanted[wanted > FAINT * wanted[0]][: len(heard)], rtol=0.05)
    assert heard.sum() > 0.95 * wanted.sum()


def test_what_is_constant_is_not_loud():
    audio = np.zeros((1, 400_000), np.float32)
    audio[:, :100_000] = 0.9  # an offset, as bad converters have it
    audio[:, 250_000:254_000] = 0.1 * SOUND[:1, :4000]
    audio[:, 300_000:] = 0.9
    for part in (audio[:, 200_000:299_000], audio[:, 200_000:299_000] + np.float32(0.9)):
        (window,) = LOOKING.loudest(in_blocks(part, 7001), 44100, 1)
        assert window[8:].mean() > 1  # bands above the offset's
    with pytest.raises(GenaudioError, match='silent'):
        LOOKING.loudest(in_blocks(np.full((2, 30_000), 0.9, np.float32), 7001), 44100, 1)


@pytest.mark.parametrize('rate', [8000, 22050, 48000, 96000])
def test_only_what_is_loud_is_resampled(tmp_path, monkeypatch, rate):
    """An hour of 8 kHz took a minute of work, nearly all of it for samples that were not looked at."""
    audio = np.resize(SOUND[:1], (1, 60 * rate)) * np.float32(0.01)
    for second in (7, 31, 59):
        audio[:, second * rate : second * rate + rate // 4] *= 30
    write_audio(tmp_path / 'long.wav', audio, rate)
    resampled = []

    class Counting(pedalboard.io.StreamResampler):
        def process(self, samples=None):
            resampled.append(0 if samples is None else samples.shape[1])
            return super().process(samples)

    with AudioReader(tmp_path / 'long.wav', 44100) as reader:
        whole = np.concatenate(list(reader.blocks()), axis=1)
    monkeypatch.setattr(pedalboard.io, 'StreamResampler', Counting)
    with AudioReader(tmp_path / 'long.wav') as reader:
        windows = LOOKING.loudest(reader.blocks, reader.sample_rate, 6)
    assert len(windows) == 6
    assert 0 < sum(resampled) < 3 * rate
    # Windows at the edges of a burst hold parts of it, which move by less than a sample.
    assert_allclose(windows.mean(axis=(1, 2)), all_windows(whole)[:6].mean(axis=(1, 2)), rtol=0.02)


def test_a_sound_that_becomes_shorter_between_is_one_line():
    audio, calls = np.resize(SOUND, (2, 400_000)), []

    def blocks():
        calls.append(1)
        return [audio] if len(calls) == 1 else [audio[:, :1000]]

    with pytest.raises(GenaudioError, match='shorter while it was read'):
        LOOKING.loudest(blocks, 44100, 4)


def test_a_file_is_read_again_from_its_beginning_and_what_is_missing_is_told_once(tmp_path):
    write_audio(tmp_path / 'x.wav', 0.1 * SOUND, 44100)
    data = (tmp_path / 'x.wav').read_bytes()
    (tmp_path / 'x.wav').write_bytes(data[:-40_000])
    told = []
    with AudioReader(tmp_path / 'x.wav', on_notice=told.append) as reader:
        first, again = (np.concatenate(list(reader.blocks()), axis=1) for _ in range(2))
    assert_allclose(first, again)
    assert first.shape == (2, 55_000)
    assert len(told) == 1 and 'shorter' in told[0]
