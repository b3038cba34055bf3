import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.query.audio_encoder import AudioEncoder
from genaudio_core.query.encoder import QueryEncoder
from genaudio_core.query.parsing import parse
from genaudio_core.query.text_encoder import TextEncoder, plain_words, text_features
from genaudio_core.query.vector import Query, morph, unit

BUNDLED = presets_dir() / 'models' / 'query-text.onnx'
NAMES = ['violin', 'drums', 'cymbals', 'flute']


class TableSession:
    """A word table in which every feature of a concept's name points at the concept."""

    def __init__(self, buckets=4096):
        self.rows = np.zeros((buckets, 128), np.float32)
        for index, name in enumerate(NAMES):
            self.rows[text_features(name, buckets), index] += 1

    def run(self, _, feed):
        total = self.rows[feed['ids']].sum(axis=0) + 1e-3
        return [total / np.linalg.norm(total)]


def text_encoder():
    card = ModelCard(kind='query-text', details={
        'buckets': 4096, 'names': NAMES, 'concepts': np.eye(4, 128).tolist(), 'phrases': {'fiddle': 0, 'drum kit': 1},
    })  # fmt: skip
    return TextEncoder(TableSession(), card)


def encoder():
    return QueryEncoder(text_encoder())


def test_phrases_are_found_in_any_dress():
    words = text_encoder()
    for text in ('fiddle', 'Fiddle!', 'the sound of a FIDDLE playing', 'fiddles'):
        match = words.match(text)
        assert (match.nearest, match.exact) == ('violin', True)


def test_a_typo_goes_where_it_was_meant_and_that_is_told():
    match = text_encoder().match('violni')
    assert match.nearest == 'violin' and not match.exact
    told = []
    text_encoder().encode('violinn', told.append)
    text_encoder().encode('a fiddle', told.append)
    assert told == ["'violinn' is understood as 'violin'."]


def test_a_stranger_is_told_with_the_nearest_known():
    told = []
    text_encoder().encode('xqzt', told.append)
    assert len(told) == 1 and '\n' not in told[0]
    assert "'xqzt' is not a sound I know; the nearest is '" in told[0]


@pytest.mark.parametrize('text', ['', '   ', '...', '-'])
def test_empty_queries_in_one_line(text):
    with pytest.raises(GenaudioError) as caught:
        encoder().query(text)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('text', 'positive', 'negative'), [
    ('violin', [(1, 'violin')], []),
    ('drums, not cymbals', [(1, 'drums')], [(1, 'cymbals')]),
    ('0.7 violin + 0.3*flute', [(0.7, 'violin'), (0.3, 'flute')], []),
    ('drums - cymbals', [(1, 'drums')], [(1, 'cymbals')]),
    ('strings without violin and flute', [(1, 'strings')], [(1, 'violin'), (1, 'flute')]),
    ('violin and flute', [(1, 'violin'), (1, 'flute')], []),
    ('hi-hat', [(1, 'hi-hat')], []),
    ('808 bass', [(1, '808 bass')], []),
    ('0.5 808 bass + 909 hat', [(0.5, '808 bass'), (1, '909 hat')], []),
    ('303', [(1, '303')], []),
    ('1e3 hz', [(1, '1e3 hz')], []),
    ('440.5 hz', [(1, '440.5 hz')], []),
    ('12 string guitar', [(1, '12 string guitar')], []),
    ('8 bit synth', [(1, '8 bit synth')], []),
    ('0.5 drums, 2 violin', [(0.5, 'drums'), (2, 'violin')], []),
    ('2 * violin', [(2, 'violin')], []),
    ('20x violin, not 3\u00d7 cymbals', [(20, 'violin')], [(3, 'cymbals')]),
    ('2 xylophones + drums', [(2, 'xylophones'), (1, 'drums')], []),
    ('0,7 violin + 0,3 flute', [(0.7, 'violin'), (0.3, 'flute')], []),
    ('drums - 808 bass', [(1, 'drums')], [(1, '808 bass')]),
])  # fmt: skip
def test_parse(text, positive, negative):
    assert parse(text) == (positive, negative)


def test_weightless_is_told():
    with pytest.raises(GenaudioError, match='weight'):
        encoder().query('0 violin + flute')


@pytest.mark.parametrize('text', ['-0.5 violin', '- 0.5 violin', 'drums -0.5 cymbals', '\u22120.5 violin', '-2*violin'])
def test_a_weight_below_zero_is_refused_or_taken_as_leaving_out(text):
    try:
        positive, negative = parse(text)
    except GenaudioError as error:
        assert "'not'" in str(error) and '\n' not in str(error)
    else:
        assert not positive and negative == [(0.5, 'violin')]


@given(parts=st.lists(st.tuples(
    st.one_of(st.just(''), st.sampled_from(['0.7 ', '2 * ', '3\u00d7', '.5 ', '12.5 '])),
    st.from_regex(r'[a-z]{2,8}( [a-z]{2,8})?', fullmatch=True), st.booleans()), min_size=1, max_size=5))  # fmt: skip
def test_what_is_written_by_the_grammar_is_read_by_it(parts):
    words = {'not', 'no', 'and', 'plus', 'minus', 'without'}
    parts = [part for part in parts if not words & set(part[1].split())]
    text = ' + '.join(f'{number}{name}' for number, name, out in parts if not out)
    text += ''.join(f', not {number}{name}' for number, name, out in parts if out)
    positive, negative = parse(text)
    for found, left_out in ((positive, False), (negative, True)):
        weights = [(float(number.strip(' *\u00d7') or 1), name) for number, name, out in parts if out is left_out]
        assert found == weights


@given(text=st.text(st.one_of(st.sampled_from('0123456789.,+-*x e&;'), st.characters()), max_size=30))
def test_any_text_is_a_query_or_one_line(text):
    try:
        positive, negative = parse(text)
    except GenaudioError as error:
        assert 'weight' in str(error)
    else:
        for weight, words in positive + negative:
            assert 0 < weight <= 100 and words


def test_mix_and_negative_vectors():
    query = encoder().query('0.8 violin + 0.6 flute', negative=['drums'])
    assert_allclose(query.target[[0, 3]], [0.8, 0.6], atol=1e-6)
    assert query.vector[1] < -0.3 and query.target[1] == 0
    assert_allclose(np.linalg.norm(query.vector), 1, atol=1e-6)


def test_morph_walks_the_sphere():
    a, b = np.eye(128)[0], np.eye(128)[1]
    for amount in (0, 0.25, 0.5, 1):
        v = morph(a, b, amount)
        assert_allclose(np.linalg.norm(v), 1, atol=1e-6)
        assert_allclose(np.arctan2(v[1], v[0]), amount * np.pi / 2, atol=1e-6)
    assert np.isfinite(morph(a, -a, 0.5)).all()
    assert_allclose(morph(a, a, 0.3), a)


def test_clip_queries_keep_their_length():
    vector = np.full(512, 3.0, np.float32)
    assert_allclose(Query('x', ((2.0, vector),), normalise=False).target, vector)


class MeanSession:
    def run(self, _, feed):
        assert np.isfinite(feed['energy']).all()
        return [unit(np.ones((len(feed['energy']), 128), np.float32))]


def audio_encoder_card():
    return ModelCard(kind='query-audio', sample_rate=44100, details={
        'n_fft': 1024, 'hop_length': 256, 'bands': 32, 'base': 101.0, 'frames': 16})  # fmt: skip


def audio_encoder():
    return AudioEncoder(MeanSession(), audio_encoder_card())


@pytest.mark.parametrize(('n', 'rate'), [(300, 44100), (44100, 44100), (30_000, 16000)])
def test_examples_of_any_length_and_rate(n, rate):
    audio = np.random.default_rng(0).standard_normal((2, n)).astype(np.float32)
    assert_allclose(audio_encoder().encode(audio, rate), 128**-0.5, atol=1e-6)


def test_an_example_that_sounds_only_at_its_end_is_heard():
    audio = np.zeros((1, 10_000), np.float32)  # of which no window that begins at every eighth frame has the end
    audio[:, -200:] = np.random.default_rng(0).standard_normal(200)
    assert_allclose(audio_encoder().encode(audio, 44100), 128**-0.5, atol=1e-6)


class Counting(MeanSession):
    def run(self, what, feed):
        self.windows = feed['energy']
        return super().run(what, feed)


def test_an_example_out_of_phase_is_heard_as_in_phase():
    tone = np.random.default_rng(0).standard_normal((1, 9000)).astype(np.float32)
    heard = []
    for audio in (tone, np.concatenate([tone, tone]), np.concatenate([tone, -tone])):
        session = Counting()
        AudioEncoder(session, audio_encoder_card()).encode(audio, 44100)
        heard.append(session.windows)
    assert_allclose(heard[1], heard[0], rtol=1e-5)
    assert_allclose(heard[2], heard[0], rtol=1e-5)


def test_a_long_example_is_listened_to_in_its_loudest_windows_whatever_its_blocks():
    rng = np.random.default_rng(0)
    audio = rng.standard_normal((2, 400_000)).astype(np.float32) * 0.01
    audio[:, 300_000:320_000] *= 50  # late: not among the first windows
    heard = []
    for sizes in ([400_000], [7001] * 58, [200_000, 200_000]):
        session = Counting()
        blocks = np.split(audio, np.cumsum(sizes)[:-1], axis=1)
        AudioEncoder(session, audio_encoder_card()).listen(lambda blocks=blocks: iter(blocks), 44100)
        heard.append(session.windows)
        assert len(session.windows) <= 64
    assert_allclose(heard[1], heard[0], rtol=1e-4)
    assert_allclose(heard[2], heard[0], rtol=1e-4)
    assert heard[0].mean() > 100 * 32 * 0.01**2  # it is the loud part that was heard


def test_an_encoder_that_makes_no_numbers_is_told():
    class Broken:
        def run(self, _, feed):
            return [np.full((len(feed['energy']), 128), np.nan, np.float32)]

    audio = np.random.default_rng(0).standard_normal((1, 9000)).astype(np.float32)
    with pytest.raises(GenaudioError, match='damaged'):
        AudioEncoder(Broken(), audio_encoder_card()).encode(audio, 44100)


@pytest.mark.parametrize('index', range(4))
def test_an_example_is_drawn_to_what_it_resembles_and_stays_itself(index):
    concepts = text_encoder().concepts
    own = np.eye(128, dtype=np.float32)[100]  # what no concept has

    class Beside:
        def run(self, _, feed):
            return [np.repeat(unit(0.6 * concepts[index] + 0.8 * own)[None], len(feed['energy']), 0)]

    hears = AudioEncoder(Beside(), audio_encoder_card())
    audio = np.random.default_rng(0).standard_normal((1, 9000)).astype(np.float32)
    vector = QueryEncoder(text_encoder(), hears).example(audio, 44100)
    assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)
    near = concepts @ vector
    assert near.argmax() == index and near[index] > 0.85
    assert vector @ own > 0.2


def test_bad_examples_in_one_line(tmp_path):
    bad = ((np.zeros((1, 0)), 'no sound'), (np.zeros((1, 999)), 'silent'), (np.full((1, 9), np.nan), 'NaN'))
    for audio, what in bad:
        with pytest.raises(GenaudioError, match=what):
            audio_encoder().encode(audio.astype(np.float32), 44100)
    with pytest.raises(GenaudioError, match='no file'):
        QueryEncoder(text_encoder(), audio_encoder()).audio(tmp_path / 'missing.wav')
    with pytest.raises(GenaudioError, match='`encoder`'):
        encoder().image(tmp_path / 'a.png')


def test_features_ignore_case_and_punctuation():
    assert text_features('Bass Guitar!', 512) == text_features('bass guitar', 512)
    assert plain_words("Fiddler's solo") == ["fiddler's"]


bundled = pytest.mark.skipif(not BUNDLED.exists(), reason='presets/models/query-text.onnx is not there')


@bundled
@pytest.mark.parametrize(('said', 'meant'), [
    ('fiddle', 'violin'), ('bass guitar', 'electric bass'), ('sax', 'saxophone'), ('drum kit', 'drums'),
    ('vox', 'vocals'), ('piana', 'piano'), ('saxaphone', 'saxophone'), ('gitar', 'acoustic guitar'),
    ('trumpt', 'trumpet'), ('drumms', 'drums'), ('vocal', 'vocals'), ('the double bass', 'double bass'),
    ('clarinett', 'clarinet'), ('a woman singing', 'vocals'), ('xylofone', 'xylophone'), ('celo', 'cello'),
])  # fmt: skip
def test_the_bundled_encoder_knows_its_words(said, meant):
    encoder, told = TextEncoder.load(), []
    match = encoder.match(said)
    assert match.nearest == meant
    encoder.encode(said, told.append)
    assert told == ([] if match.exact else [f"'{said}' is understood as '{meant}'."])


@bundled
@pytest.mark.parametrize('word', ['democracy', 'spreadsheet', 'qwzx', 'insurance'])
def test_the_bundled_encoder_knows_its_limits(word):
    told = []
    TextEncoder.load().encode(word, told.append)
    assert len(told) == 1 and 'nearest' in told[0]
