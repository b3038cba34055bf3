from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from separation_fakes import FakeModel, MaskSession, fake_separator, low

from genaudio_core.errors import GenaudioError
from genaudio_core.query.vector import Query
from genaudio_core.separation.offline import Separator, separate_file
from genaudio_core.sound.audio_files import read_audio, write_audio
from genaudio_core.sound.spectrogram import bands_to_bins, istft, stft


def noise(channels=2, n=200_000, seed=0):
    return (np.random.default_rng(seed).standard_normal((channels, n)) * 0.1).astype(np.float32)


def masked_offline(x, share, bands=48):
    """The whole signal at once; shares no code with the engine but the transforms."""
    mask = (np.arange(bands) < round(share * bands)).astype(np.float32)
    spectrum = stft(x, 2048, 512)
    return istft(spectrum * (bands_to_bins(1025, bands, 101.0) @ mask)[:, None], 2048, 512, x.shape[1])


@pytest.mark.parametrize('n', [1, 700, 20_000, 32_768, 33_000, 65_000, 200_000])
def test_same_as_the_whole_at_once(n):
    """Windows leave no seam: a mask that does not change gives what one filter gives, for any length."""
    x = noise(n=n)
    out = fake_separator().separate(x, 44100, [low(0.4)])
    assert out.shape == (1, 2, n)
    assert_allclose(out[0], masked_offline(x, 0.4), atol=2e-6)


@pytest.mark.parametrize('block_size', [64, 4096, 100_003])
def test_blocks_equal_whole(block_size):
    x = noise(n=120_000)
    separator = fake_separator()
    stream = separator.stream(44100, 2, [low(0.3), low(0.6)])
    parts = [stream.process(x[:, i : i + block_size]) for i in range(0, x.shape[1], block_size)]
    live = np.concatenate([*parts, stream.finish()], axis=2)[..., : x.shape[1]]
    assert_allclose(live, separator.separate(x, 44100, [low(0.3), low(0.6)]), atol=1e-6)


def test_a_changing_mask_has_no_seam():
    """The model changes its mind with every window; the sound must not jump where windows meet."""

    class Moody(MaskSession):
        def run(self, _, feed):
            (masks,) = super().run(_, feed)
            return [masks * (len(self.calls) % 2)]

    t = np.arange(300_000) / 44100
    x = np.sin(2 * np.pi * 220 * t)[None].astype(np.float32)
    y = fake_separator(Moody(48)).separate(x, 44100, [low(1.0)])[0, 0]
    steepest = np.abs(np.diff(x[0])).max()
    assert np.abs(np.diff(y)).max() < 1.05 * steepest
    assert np.abs(y).min() < 0.01 < 0.5 < np.abs(y).max()  # it did change its mind


@pytest.mark.parametrize('sample_rate', [8000, 16000, 22050, 48000, 96000])
def test_any_rate_keeps_its_hertz(sample_rate):
    """Half the bands end at the same frequency at every rate."""
    bands = bands_to_bins(1025, 48, 101.0)
    edge = np.flatnonzero(bands @ (np.arange(48) < 24).astype(float) > 0.5)[-1] / 1024 * 22050
    x = noise(channels=1, n=sample_rate)
    y = fake_separator().separate(x, sample_rate, [low(0.5)])[0]
    assert y.shape == x.shape
    spectrum = np.abs(np.fft.rfft(y[0]))
    hertz = np.fft.rfftfreq(sample_rate, 1 / sample_rate)
    assert spectrum[hertz < edge * 0.9].mean() > 50 * spectrum[hertz > edge * 1.3].mean()


def test_magnitude_models_too():
    x = noise(channels=1, n=100_000)
    separator = fake_separator(front='magnitude')
    y = separator.separate(x, 44100, [low(0.5)])[0]
    spectrum = np.abs(stft(y, 2048, 512))[0]
    assert spectrum[:500].mean() > 50 * spectrum[530:].mean()


def test_queries_never_take_more_than_there_is():
    x = noise(n=80_000)
    stems = fake_separator().separate(x, 44100, [low(1.0), low(1.0), low(1.0)])
    assert_allclose(stems.sum(axis=0), x, atol=2e-6)


def test_negative_query_takes_away():
    x = noise(n=80_000)
    minus = ((1.0, np.array([0.25, 0, 0, 0], np.float32)),)
    y = fake_separator().separate(x, 44100, [low(0.75, negative=minus)])[0]
    assert_allclose(y, masked_offline(x, 0.75) - masked_offline(x, 0.25), atol=3e-6)


def test_stems_and_residual_add_up_to_the_file(tmp_path):
    x = noise(n=150_001) * 3
    write_audio(tmp_path / 'in.wav', x, 48000)
    outputs = [tmp_path / 'a.wav', tmp_path / 'b.wav']
    queries, rest = [low(0.3), low(0.5)], tmp_path / 'r.wav'
    told = separate_file(fake_separator(), tmp_path / 'in.wav', outputs, queries, residual=rest)
    parts = [read_audio(p) for p in [*outputs, tmp_path / 'r.wav']]
    assert all(p.shape == x.shape for p in parts)
    assert np.abs(np.sum(parts, axis=0) - x).max() < 1e-6
    assert told['channels'] == 2 and told['sample_rate'] == 48000


def test_memory_does_not_grow():
    stream = fake_separator().stream(44100, 1, [low(0.5)])
    sizes = []
    for i in range(12):
        stream.process(noise(1, 44100, seed=i))
        sizes.append(stream._spectra.shape[2])
    assert max(sizes) < 2 * 64 + 44100 // 512 + 2  # two windows and a block, however long it goes on


def test_bad_requests_in_one_line(tmp_path):
    separator = fake_separator()
    with pytest.raises(GenaudioError, match='`queries` is empty'):
        separator.separate(noise(), 44100, [])
    with pytest.raises(GenaudioError, match='0 seconds'):
        separator.separate(noise(n=0), 44100, [low(0.5)])
    with pytest.raises(GenaudioError, match='the model takes 4'):
        separator.separate(noise(), 44100, [Query('x', ((1.0, np.ones(7, np.float32)),))])
    with pytest.raises(GenaudioError, match='sample rate'):
        separator.separate(noise(), 10, [low(0.5)])
    write_audio(tmp_path / 'silent.wav', np.zeros((2, 50_000)), 44100)
    with pytest.raises(GenaudioError, match='silent'):
        separate_file(separator, tmp_path / 'silent.wav', [tmp_path / 'o.wav'], [low(0.5)])
    assert not (tmp_path / 'o.wav').exists()


def test_masks_are_as_hard_as_the_card_and_the_person_say(tmp_path):
    class Half:
        def run(self, _, feed):
            return [np.full((len(feed['query']), 48, feed['spectrum'].shape[-1]), 0.5, np.float32)]

    audio = noise(1, 60_000)
    for power, sharpness in ((1.0, 1.0), (0.7, 1.0), (0.7, 2.0)):
        card = fake_separator().card
        card = replace(card, details=card.details | {'mask_power': power})
        separator = Separator(FakeModel(Half(), card), sharpness)  # type: ignore[arg-type]
        (stem,) = separator.separate(audio, 44100, [low(1.0)])
        assert_allclose(stem, audio * 0.5 ** (power * sharpness), atol=1e-5)
    with pytest.raises(GenaudioError, match=r'0\.1'):
        Separator(FakeModel(Half(), card), 0.0)  # type: ignore[arg-type]
