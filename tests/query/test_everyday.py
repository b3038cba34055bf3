import argparse
import types

import numpy as np
import pytest
from numpy.testing import assert_allclose
from separation_fakes import fake_separator
from stream_models import music, random_model

import genaudio_core as ga
from genaudio_core.errors import GenaudioError
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.own_encoder import QuerySource
from genaudio_core.query.parsing import parse
from genaudio_core.query.vector import Query
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator, separate_offline


@pytest.fixture(scope='module')
def encoder():
    return QueryEncoder()


@pytest.mark.parametrize('text', [
    'instrumental', 'Instrumentals', 'the instrumental track', 'karaoke', 'karaoke version', 'backing track',
    'accompaniment', 'minus one', 'music minus one', 'the band', 'no vocals', 'without vocals', 'not vocals',
    'everything but vocals', 'everything except the vocals', 'all but vocals', 'everything without vocals',
    'mix minus vocals', 'the whole song without the vocals', 'except vocals', 'remove vocals', 'remove the vocals',
    'vocals removed', 'vocalless', '- vocals',
])  # fmt: skip
def test_all_but_the_vocals_in_many_words(text):
    positive, negative = parse(text)
    assert positive == [] and [(weight, words.removeprefix('the ')) for weight, words in negative] == [(1, 'vocals')]


@pytest.mark.parametrize(('text', 'positive', 'negative'), [
    ('drumless', [], ['drums']),
    ('no drums or bass', [], ['drums', 'bass']),
    ('everything but drums and bass', [], ['drums', 'bass']),
    ('instrumental, no drums', [], ['vocals', 'drums']),
    ('other', [], ['vocals', 'drums', 'bass']),
    ('without backing track', ['vocals'], []),
    ('drums but not cymbals', ['drums'], ['cymbals']),
    ('trumpet with mute', ['trumpet with mute'], []),
    ('big band', ['big band'], []),
])  # fmt: skip
def test_what_is_left_out_and_what_is_not(text, positive, negative):
    found = parse(text)
    assert tuple([words for _, words in side] for side in found) == (positive, negative)


@pytest.mark.parametrize(('text', 'names'), [
    ('sound effects', 'noise'), ('FX', 'noise'), ('sfx', 'noise'), ('percussion', 'hand percussion'),
    ('woodwinds', 'flute and clarinet and oboe and saxophone'), ('lead guitar', 'distorted guitar and electric guitar'),
    ('arp', 'synth lead'), ('lead', 'synth lead'), ('rhythm section', 'drums and electric bass'), ('808', 'synth bass'),
    ('synth bass', 'synth bass'), ('kick', 'kick drum'), ('snare', 'snare drum'), ('hi-hat', 'hi-hat'),
    ('cymbals', 'cymbals'), ('toms', 'taiko'), ('pad', 'synth pad'), ('keys', 'piano'), ('brass', 'brass section'),
    ('strings', 'strings'), ('beat', 'drums'), ('a cappella', 'vocals'), ('acapella', 'vocals'), ('voice', 'vocals'),
    ('rap', 'vocals'), ('guitar', 'acoustic guitar'), ('guitars', 'acoustic guitar'),
    ('guitar solo', 'distorted guitar'), ('horns', 'brass section'),
])  # fmt: skip
def test_words_of_musicians_are_understood(encoder, text, names, caplog):
    assert encoder.text_encoder.match(text).nearest == names
    vector = encoder.text(text)
    assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)
    assert not caplog.records  # known words need no notice
    assert all(encoder.text(name) @ vector > 0.5 for name in names.split(' and '))


def test_a_stem_and_all_but_it_add_up_offline():
    """Also beside others; and what a complement holds brings no other stem down."""
    rng = np.random.default_rng(3)

    class Random:
        def run(self, _, feed):
            shape = (len(feed['query']), 48, feed['spectrum'].shape[-1])
            return [np.random.default_rng(5).random(shape).astype(np.float32)]

    separator = fake_separator(Random())
    audio = (rng.standard_normal((2, 200_000)) * 0.1).astype(np.float32)
    voice, kit = (np.eye(4, dtype=np.float32)[i] for i in (0, 1))
    vocals, drums = Query('vocals', ((1.0, voice),)), Query('drums', ((1.0, kit),))
    instrumental = Query('instrumental', (), ((1.0, voice),))
    both = ga.separate(audio, [vocals, drums, instrumental], sample_rate=44100, model=separator)
    assert_allclose(both['vocals'] + both['instrumental'], audio, atol=1e-6)
    without = ga.separate(audio, [vocals, drums], sample_rate=44100, model=separator)
    assert_allclose(both['drums'], without['drums'], atol=1e-6)
    alone = ga.separate(audio, instrumental, sample_rate=44100, model=separator, residual=True)
    only = ga.separate(audio, vocals, sample_rate=44100, model=separator)
    assert_allclose(alone['residual'], only['vocals'], atol=1e-6)


@pytest.mark.parametrize('hop', [256, 128])
def test_a_stem_and_all_but_it_add_up_live(hop):
    network, audio = MaskNetwork.load(random_model()), music(0.4)
    drums = network.words('drums')
    rows = np.concatenate([np.append(drums, [[share]], 1) for share in (0, 1)]).astype(np.float32)
    engine = StreamingSeparator(network, rows, hop=hop)
    stems = engine.separate(audio)
    settled = engine.dry[:, network.n_fft :]
    assert np.abs(settled).max() > 0.01
    assert_allclose(stems.sum(0)[:, network.n_fft :], settled, atol=1e-5)
    plain = StreamingSeparator(network, np.repeat(drums, 2, 0), hop=hop)
    assert_allclose(stems[0], plain.separate(audio)[0], atol=1e-6)
    whole = separate_offline(network, audio, rows, hop)
    assert_allclose(stems[..., engine.latency :], whole[..., : -engine.latency], atol=1e-6)


def test_from_a_stem_to_all_but_it_in_a_glide():
    network, audio = MaskNetwork.load(random_model()), music(0.5)
    engine = StreamingSeparator(network, network.words('drums'))
    engine.separate(audio[:, :11_000])
    engine.set_queries(np.append(network.words('drums'), [[1]], 1))
    rest = engine.separate(audio[:, 11_000:])
    past = rest.shape[-1] // 2
    plain = StreamingSeparator(network, network.words('drums')).separate(audio)[..., 11_000:]
    assert_allclose(rest[0, :, past:] + plain[0, :, past:], engine.dry[:, past:], atol=1e-5)


def test_not_alone_is_all_but_that():
    from bridge.commands.offline import separate

    args = argparse.Namespace(query=[], example=[], image=[], negative=['drums', 'bass'], encoder=None)
    (query,) = separate._queries(args, types.SimpleNamespace(asked=QuerySource()))
    assert query.is_complement and len(query.negative) == 2 and query.name == 'no drums or bass'


def test_a_sound_is_not_made_of_what_it_is_not(encoder):
    query = encoder.query('no drums')
    assert query.is_complement and query.row[-1] == 1
    with pytest.raises(GenaudioError, match='only says what not to hear'):
        _ = query.vector
