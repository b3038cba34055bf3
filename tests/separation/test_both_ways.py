"""A whole sound goes through one network forwards and another backwards: a stem is a mean of what both make of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from separation_fakes import fake_separator
from stream_models import music, random_model

from genaudio_core.query.vector import Query
from genaudio_core.separation.both_ways import BACKWARD
from genaudio_core.separation.offline import BUNDLED, Separator
from genaudio_core.separation.streaming import MaskNetwork, separate_offline


class Half:
    """A mask of a half, whatever is asked."""

    def run(self, _, feed):
        return [np.full((len(feed['query']), 48, feed['spectrum'].shape[-1]), 0.5, np.float32)]


@pytest.fixture(scope='module')
def network():
    return MaskNetwork.load(random_model())


@pytest.fixture(scope='module')
def back():
    """Of other weights, so that who goes which way is seen."""
    return MaskNetwork.load(random_model(seed=1, backwards=True), backwards=True)


def separators(network, back, threads=1):
    """Both ways, forwards only, and with the other model."""
    for live, other in ((network, back), (network, None), (None, None)):
        model = type('Model', (), {'session': Half(), 'card': fake_separator(Half()).card})()
        made = Separator(model, threads=threads, live=live, back=other)
        made.query_dim = network.query_dim
        yield made


def query(network, word, **settings):
    return Query(word, ((1.0, network.words(word)[0]),), normalise=False, **settings)


def backwards(network, audio, queries):
    return separate_offline(network, audio[:, ::-1], queries)[..., ::-1]


def streamed(separator, audio, asked, size):
    stream = separator.stream(44100, len(audio), asked)
    parts = [stream.process(audio[:, at : at + size]) for at in range(0, audio.shape[1], size)]
    return np.concatenate([*parts, stream.finish()], axis=-1)


@pytest.mark.parametrize(('threads', 'size'), [(1, 1 << 20), (2, 9001)])
def test_a_stem_is_a_mean_of_both_directions_to_the_last_sample(network, back, threads, size):
    audio, asked = music(4.0)[:, :150_001], [query(network, 'drums')]
    both, fast, _ = separators(network, back, threads)
    with both, fast:
        found, quick = (streamed(one, audio, asked, size) for one in (both, fast))
    words = network.words('drums')
    forward, behind = separate_offline(network, audio, words), backwards(back, audio, words)
    assert_allclose(quick, forward, atol=1e-5)
    assert found.shape == (1, 2, 150_001)
    assert_allclose(found, (1 - BACKWARD) * forward + BACKWARD * behind, atol=1e-5)


@pytest.mark.parametrize('length', [1, 300, 44_100, 150_001, 3 * 44_288, 3 * 44_288 + 5])
def test_pieces_are_as_the_whole_at_any_size_of_block(network, back, length, monkeypatch):
    """Forwards to the last digit; backwards but for what a piece has not heard of what comes."""
    for name, seconds in (('PIECE', 1.004), ('RUN_UP', 0.5), ('FADE', 0.1)):
        monkeypatch.setattr(f'genaudio_core.separation.both_ways.{name}', seconds)
    audio, asked = music(4.0)[:, :length], [query(network, 'drums')]
    both, fast, _ = separators(network, back)
    whole = streamed(both, audio, asked, length)
    assert whole.shape == (1, 2, length)
    for size in (777, 44_100):
        assert_allclose(streamed(both, audio, asked, size), whole, atol=1e-6)
    words = network.words('drums')
    forward, behind = separate_offline(network, audio, words), backwards(back, audio, words)
    found = (whole - (1 - BACKWARD) * forward) / BACKWARD
    assert np.abs(found - behind).max() <= 0.05 * np.abs(behind).max() + 1e-5
    assert_allclose(streamed(fast, audio, asked, 777), forward, atol=1e-6)


def test_a_piece_is_crossfaded_with_the_one_before(network, back, monkeypatch):
    """Where nothing was heard of what comes, pieces differ most: also there nothing jumps."""
    for name, seconds in (('PIECE', 1.004), ('RUN_UP', 0.0), ('FADE', 0.1), ('BACKWARD', 1.0)):
        monkeypatch.setattr(f'genaudio_core.separation.both_ways.{name}', seconds)
    t = np.arange(4 * 44100) / 44100
    audio = np.repeat(0.3 * np.sin(2 * np.pi * 50 * t, dtype=np.float32)[None], 2, 0)
    both, *_ = separators(network, back)
    (stem,) = both.separate(audio, 44100, [query(network, 'drums')])
    steepest = np.abs(np.diff(audio)).max()
    assert np.abs(np.diff(stem[:, 4000:-4000])).max() < 2 * steepest


def test_mono_is_heard_on_both_sides_and_many_channels_share_a_mask(network, back):
    audio = music(1.0)[:1]
    both, *_ = separators(network, back)
    asked = [query(network, 'drums')]
    mono, stereo, six = (both.separate(np.repeat(audio, n, 0), 44100, asked)[0] for n in (1, 2, 6))
    assert_allclose(stereo, np.repeat(mono, 2, 0), atol=1e-5)
    assert_allclose(six, np.repeat(mono, 6, 0), atol=1e-5)


def test_all_but_a_sound_and_the_sound_still_add_up(network, back):
    audio = music(1.0)
    both, *_ = separators(network, back)
    drums = query(network, 'drums')
    rest = Query('no drums', (), drums.positive)
    stems = both.separate(audio, 44100, [drums, rest])
    assert_allclose(stems.sum(0), audio, atol=1e-5)


def test_at_a_rate_that_the_live_network_has_not_the_other_listens(network, back):
    audio = music(1.0)
    both, _, alone = separators(network, back)
    asked = [query(network, 'drums')]
    assert_allclose(both.separate(audio, 32000, asked), alone.separate(audio, 32000, asked), atol=0)


def test_without_a_model_of_ones_own_the_live_network_listens():
    from genaudio_core.files import presets_dir

    both, fast = Separator.load(), Separator.load(fast=True)
    assert both.live is not None and both.back is not None and both.back.backwards
    assert fast.live is not None and fast.back is None
    assert Separator.load(presets_dir() / 'models' / BUNDLED).live is None  # asked for, it is what one gets
