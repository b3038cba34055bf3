"""The offline separator listens with the live network: a stem is a mean of what both make of it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from separation_fakes import fake_separator
from stream_models import music, random_model

from genaudio_core.query.vector import Query
from genaudio_core.separation.offline import BUNDLED, Separator
from genaudio_core.separation.streaming import MaskNetwork, separate_offline


class Half:
    """A mask of a half, whatever is asked."""

    def run(self, _, feed):
        return [np.full((len(feed['query']), 48, feed['spectrum'].shape[-1]), 0.5, np.float32)]


@pytest.fixture(scope='module')
def network():
    return MaskNetwork.load(random_model())


def separators(network, threads=1):
    for live in (network, None):
        model = fake_separator(Half())
        made = Separator(type('Model', (), {'session': Half(), 'card': model.card})(), threads=threads, live=live)
        made.query_dim = network.query_dim
        yield made


def query(network, word, **settings):
    return Query(word, ((1.0, network.words(word)[0]),), normalise=False, **settings)


@pytest.mark.parametrize(('threads', 'size'), [(1, 1 << 20), (2, 9001)])
def test_a_stem_is_a_mean_of_both_to_the_last_sample(network, threads, size):
    audio = music(4.0)[:, :150_001]
    both, alone = separators(network, threads)
    asked = [query(network, 'drums')]
    with both:
        stream = both.stream(44100, 2, asked)
        parts = [stream.process(audio[:, at : at + size]) for at in range(0, audio.shape[1], size)]
        found = np.concatenate([*parts, stream.finish()], axis=-1)[..., : audio.shape[1]]
    first = 0.4 * alone.separate(audio, 44100, asked[:1])[0]
    first += 0.6 * separate_offline(network, audio, network.words('drums'))[0]
    assert_allclose(found[0], first, atol=1e-5)


def test_mono_is_heard_on_both_sides_and_many_channels_share_a_mask(network):
    audio = music(1.0)[:1]
    both, _ = separators(network)
    asked = [query(network, 'drums')]
    mono, stereo, six = (both.separate(np.repeat(audio, n, 0), 44100, asked)[0] for n in (1, 2, 6))
    assert_allclose(stereo, np.repeat(mono, 2, 0), atol=1e-5)
    assert_allclose(six, np.repeat(mono, 6, 0), atol=1e-5)


def test_all_but_a_sound_and_the_sound_still_add_up(network):
    audio = music(1.0)
    both, _ = separators(network)
    drums = query(network, 'drums')
    rest = Query('no drums', (), drums.positive)
    stems = both.separate(audio, 44100, [drums, rest])
    assert_allclose(stems.sum(0), audio, atol=1e-5)


def test_at_a_rate_that_the_live_network_has_not_it_does_not_listen(network):
    audio = music(1.0)
    both, alone = separators(network)
    asked = [query(network, 'drums')]
    assert_allclose(both.separate(audio, 32000, asked), alone.separate(audio, 32000, asked), atol=0)


def test_the_bundled_one_listens_with_it_unless_it_is_to_be_fast():
    from genaudio_core.files import presets_dir

    path = presets_dir() / 'models' / BUNDLED
    assert Separator.load().live is not None and Separator.load(path).live is not None
    assert Separator.load(fast=True).live is None
