"""Queries through the user's own encoder: what the separator's card says, and what people are told."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from separation_fakes import fake_separator, low

from bridge.cli import main
from bridge.commands.offline import separate
from genaudio_core.errors import GenaudioError
from genaudio_core.inference.model_card import ModelCard
from genaudio_core.query.own_encoder import EncoderProcess, QuerySource, probe_of
from genaudio_core.separation.offline import Separator
from genaudio_core.sound.audio_files import read_audio, write_audio

CLIP = QuerySource('clip', ('text', 'image'), normalised=False)
CLAP = QuerySource('clap', ('text', 'audio'), probe=probe_of(np.array([0.3, 0.4, 0, 0])))
WORDS = {'violin': [0.3, 0.4, 0, 0], 'drums': [0.5, 0, 0, 0], 'hiss': [1.0, 0, 0, 0]}


def test_cards_old_and_new():
    assert QuerySource.of(ModelCard('clipsep', details={'query_space': 'genaudio-128'})).bundled
    assert QuerySource.of(ModelCard('clipsep', details={'query_space': 'clip-vit-b-32'})) == CLIP
    for source in (CLIP, CLAP, QuerySource()):
        # As it comes back out of a file.
        card = ModelCard('clipsep', details=json.loads(json.dumps({'queries': source.to_dict()})))
        assert QuerySource.of(card) == source


def test_other_weights_of_the_same_family_are_told_apart():
    rng = np.random.default_rng(0)
    vector, other = rng.standard_normal((2, 512))
    source = QuerySource('clip', ('text',), True, probe_of(vector))
    assert source.describes(vector) and source.describes(3.0 * vector) and not source.describes(other)
    assert QuerySource('clip', ('text',)).describes(other)  # nothing is known


def test_missing_and_broken_encoders_in_one_line(tmp_path):
    with pytest.raises(GenaudioError, match='no encoder'):
        EncoderProcess(tmp_path / 'missing').ask(text=['violin'])
    pytest.importorskip('transformers')
    with pytest.raises(GenaudioError, match=r'no config\.json') as caught:
        EncoderProcess(tmp_path).ask(text=['violin'])
    assert '\n' not in str(caught.value)


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """`genaudio separate` with a stand-in for the model and for the process of the encoder."""
    write_audio(tmp_path / 'song.wav', np.random.default_rng(0).standard_normal((2, 30_000)) * 0.1, 44100)
    (tmp_path / 'picture.png').write_bytes(b'x')
    write_audio(tmp_path / 'clip.wav', np.random.default_rng(1).standard_normal((2, 30_000)) * 0.1, 44100)

    def run(source: QuerySource, *arguments: str, family: str = '', vectors=WORDS) -> int:
        separator = fake_separator()
        separator.asked = source
        monkeypatch.setattr(Separator, 'load', classmethod(lambda cls, *_, **__: separator))

        def answer(self, **asked):
            told = {'text': [vectors[word] for word in asked['text']]}
            told |= {name: [[0.5, 0, 0, 0]] * len(asked[name]) for name in ('image', 'audio') if name in asked}
            return {'family': family or source.encoder} | {k: np.array(v, np.float32) for k, v in told.items()}

        monkeypatch.setattr(EncoderProcess, 'ask', answer)
        return main(['separate', str(tmp_path / 'song.wav'), *arguments, '-o', str(tmp_path / 'o')])

    return run


def test_words_and_pictures_reach_the_separator(ask, tmp_path):
    picture = str(tmp_path / 'picture.png')
    assert ask(CLIP, '--encoder', 'w', '-q', 'drums, not violin', '-q', '3 hiss + drums', '--image', picture) == 0
    x = read_audio(tmp_path / 'song.wav')
    # Without a normalised space a mix is the weighted mean: (3 * 1.0 + 0.5) / 4 of the bands.
    queries = [
        low(0.5, negative=((1.0, np.array(WORDS['violin'], np.float32)),)), low(0.875), low(0.5),
    ]  # fmt: skip
    expected = fake_separator().separate(x, 44100, queries)
    for name, stem in zip(('drums-not-violin', '3-hiss-drums', 'picture'), expected, strict=True):
        assert_allclose(read_audio(tmp_path / 'o' / f'song.{name}.wav'), stem, atol=1e-6)


@pytest.mark.parametrize(('source', 'arguments', 'said'), [
    (CLIP, ['-q', 'violin'], 'trained on CLIP: give its weights'),
    (CLIP, ['--encoder', 'w', '--example', 'clip.wav'], 'CLIP, which does not hear sounds'),
    (CLAP, ['--encoder', 'w', '--image', 'picture.png'], 'CLAP, which does not see pictures'),
    (CLIP, ['--encoder', 'w', '--image', 'nothing.png'], 'There is no picture'),
    (CLIP, ['--encoder', 'w', '-q', '  '], 'does not say what to listen for'),
    (QuerySource(), ['--image', 'picture.png'], 'has never seen a picture'),
    (QuerySource(), ['-q', 'violin', '--encoder', 'w'], 'leave --encoder out'),
    (QuerySource(), [], 'Nothing to listen for'),
])  # fmt: skip
def test_what_a_model_cannot_be_asked(ask, tmp_path, capsys, monkeypatch, source, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert ask(source, *arguments) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and '\n' not in error and error.startswith('error: ')


def test_another_encoder_is_refused_or_told(ask, capsys):
    assert ask(CLIP, '--encoder', 'w', '-q', 'drums', family='clap') == 2
    assert 'w is a CLAP encoder; this model was trained on CLIP' in capsys.readouterr().err
    long = {word: [*vector, 0] for word, vector in WORDS.items()}
    assert ask(CLIP, '--encoder', 'w', '-q', 'drums', vectors=long) == 2
    assert 'have 5 numbers' in capsys.readouterr().err
    assert ask(CLAP, '--encoder', 'w', '-q', 'drums') == 0
    assert 'other weights' not in capsys.readouterr().err
    assert ask(CLAP, '--encoder', 'w', '-q', 'drums', vectors=WORDS | {'violin': [0, 1, 0, 0]}) == 0
    assert 'other weights?' in capsys.readouterr().err


def test_the_command_asks_once(monkeypatch):
    """Loading CLIP takes seconds: words, pictures and the probe go in one question."""
    calls = []
    monkeypatch.setattr(EncoderProcess, 'ask', lambda self, **asked: calls.append(asked) or {
        'family': 'clip', 'text': np.ones((len(asked['text']), 4), np.float32)})  # fmt: skip
    separator = fake_separator()
    separator.asked = CLIP

    class Arguments:
        query, negative, example, image, encoder, encoder_model = ['a + b', 'a'], ['c'], [], [], 'w', 'ViT-B-32'

    found = separate._queries(Arguments(), separator)  # type: ignore[arg-type]
    assert calls == [{'text': ['a', 'b', 'c', 'violin']}]
    assert [len(query.positive) for query in found] == [2, 1] and all(query.negative for query in found)
