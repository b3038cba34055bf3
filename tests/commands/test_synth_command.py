"""`genaudio synth`, with a synthesizer that is no model: files, numbers, errors of one line."""

import argparse
import json

import numpy as np
import pytest

import genaudio_core.synthesis.synthesizer as synthesis
from bridge.cli import main
from bridge.commands.offline.synth import outputs
from genaudio_core.sound.audio_files import read_audio, write_audio


class Fake:
    sample_rate = 44100
    query_dim = 128
    asked: dict = {}  # noqa: RUF012 (one test at a time)

    @classmethod
    def load(cls, model=None, **options):
        cls.asked = {'model': model, **options}
        return cls()

    def make(
        self,
        query,
        seconds=2.0,
        takes=1,
        seed=1,
        guidance=3.0,
        steps=None,
        pitch=0.0,
        *,
        way='words',
        on_progress=None,
    ):
        Fake.asked |= {'query': query, 'seed': seed, 'guidance': guidance, 'pitch': pitch, 'way': way, 'steps': steps}
        return np.stack([np.full(round(seconds * 44100), (take + 1) / 10, np.float32) for take in range(takes)])


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(synthesis, 'Synthesizer', Fake)
    return Fake


def test_takes_are_numbered_and_hold_what_was_made(fake, tmp_path, capsys):
    out = tmp_path / 'snare.wav'
    asked = ['synth', 'snare drum', '--seconds', '0.25', '--takes', '3', '--seed', '9', '-o', str(out), '--json']
    assert main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    assert told['files'] == [str(tmp_path / f'snare-{n}.wav') for n in (1, 2, 3)]
    assert told['seconds'] == 0.25 and told['seed'] == 9 and told['sample_rate'] == 44100
    for n, path in enumerate(told['files'], start=1):
        np.testing.assert_allclose(read_audio(path, 44100), np.full((1, 11025), n / 10), atol=1e-6)
    assert not out.exists() and fake.asked['seed'] == 9 and fake.asked['way'] == 'words'


def test_one_take_keeps_its_name_and_options_arrive(fake, tmp_path):
    out = tmp_path / 'x.flac'
    assert main(['synth', 'rain, not thunder', '--seconds', '0.1', '--prior', '--guidance', '2', '--pitch', '-5',
                 '--steps', '7', '-o', str(out)]) == 0  # fmt: skip
    assert out.exists()
    assert fake.asked['way'] == 'prior' and fake.asked['pitch'] == -5 and fake.asked['steps'] == 7
    assert len(fake.asked['query'].negative) == 1 and fake.asked['query'].n_words == 1


def test_an_example_is_heard_and_not_read(fake, tmp_path):
    rng = np.random.default_rng(0)
    write_audio(tmp_path / 'clip.wav', rng.standard_normal((1, 44100)).astype(np.float32) * 0.1, 44100)
    example = ['--example', str(tmp_path / 'clip.wav'), '--seconds', '0.1', '-o', str(tmp_path / 'y.wav')]
    assert main(['synth', *example]) == 0
    assert fake.asked['query'].n_words == 0 and len(fake.asked['query'].positive) == 1
    assert main(['synth', 'piano', *example]) == 0
    assert fake.asked['query'].n_words == 1 and len(fake.asked['query'].positive) == 2


def test_numbers_of_many_takes_sort_by_name(tmp_path):
    names = [path.name for path in outputs(tmp_path / 'a.wav', 12)]
    assert names == sorted(names) and names[0] == 'a-01.wav'


@pytest.mark.parametrize('arguments, message', [
    (['synth', '-o', 'x.wav'], 'Nothing to make'), (['synth', '  ', '-o', 'x.wav'], 'Nothing to make'),
    (['synth', '!?', '-o', 'x.wav'], 'no word'), (['synth', 'not drums', '-o', 'x.wav'], 'only says what not'),
    (['synth', 'piano', '-o', 'x.doc'], '.doc'), (['synth', 'piano', '-o', 'nowhere/x.wav'], 'does not exist'),
    (['synth', 'piano', '--takes', '0', '-o', 'x.wav'], '0 takes'),
    (['synth', '--example', 'none.wav', '-o', 'x.wav'], 'none.wav'),
    (['synth', '--example', 'bad.wav', '-o', 'x.wav'], 'bad.wav'),
    (['synth', 'piano', '--image', 'none.jpg', '-o', 'x.wav'], 'no picture none.jpg'),
    (['synth', 'piano', '--image', 'bad.wav', '-o', 'x.wav'], 'never seen a picture'),
    (['synth', 'piano', '--model', 'none.onnx', '-o', 'x.wav'], 'none.onnx'),
])  # fmt: skip
def test_errors_are_one_line_and_leave_no_file(arguments, message, tmp_path, monkeypatch, capsys, request):
    if '--model' not in arguments:
        request.getfixturevalue('fake')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'bad.wav').write_bytes(b'no sound at all')
    assert main(arguments) != 0
    told = capsys.readouterr().err.strip()
    assert message in told and told.count('\n') == 0 and told.startswith('error:')
    assert not (tmp_path / 'x.wav').exists()


def test_clip_models_need_clip_weights(fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fake, 'query_dim', 512)
    assert main(['synth', 'piano', '-o', str(tmp_path / 'x.wav')]) != 0
    assert '--encoder' in capsys.readouterr().err


def test_words_and_pictures_go_to_clip_in_one_question(fake, tmp_path, monkeypatch):
    from bridge.commands.offline.synth import _query
    from genaudio_core.query.own_encoder import EncoderProcess

    calls = []

    def answer(self, **asked):
        calls.append(asked)
        return {name: np.arange(len(things) * 512, dtype=np.float32).reshape(-1, 512) for name, things in asked.items()}

    monkeypatch.setattr(EncoderProcess, 'ask', answer)
    (tmp_path / 'a.png').write_bytes(b'x')
    args = argparse.Namespace(words='piano, not drums', example=[], image=[tmp_path / 'a.png'], negative=['hiss'],
                              encoder='w', encoder_model='ViT-B-32')  # fmt: skip
    query = _query(args, 512)
    assert calls == [{'text': ['piano', 'drums', 'hiss'], 'image': [tmp_path / 'a.png']}]
    assert [vector[0] for _, vector in query.positive] == [0, 0] and query.n_words == 1
    assert [vector[0] for _, vector in query.negative] == [512, 1024]
