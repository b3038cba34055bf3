"""CLIP and CLAP out of folders of transformers, tiny and random."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')
from PIL import Image  # noqa: E402
from tiny_encoders import DIM, tiny_clap, tiny_clip  # noqa: E402

from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.encoders.process import answer, load_encoder  # noqa: E402
from genaudio_core.sound.audio_files import write_audio  # noqa: E402


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    return load_encoder(tiny_clip(tmp_path_factory.mktemp('clip')))


def test_clip_takes_words_and_pictures(clip, tmp_path):
    Image.new('RGB', (50, 40), (255, 0, 0)).save(tmp_path / 'red.png')
    Image.new('RGB', (40, 90), (0, 0, 255)).save(tmp_path / 'blue.png')
    told = answer(clip, {'text': ['violin', 'drums'], 'image': [tmp_path / 'red.png', tmp_path / 'blue.png']})
    assert (told['family'], told['inputs']) == ('clip', ['text', 'image'])
    for name in ('text', 'image'):
        first, second = np.array(told[name])
        assert first.shape == (DIM,) and np.abs(first - second).max() > 1e-3
    # Not normalised: CLIPSep was trained on CLIP vectors as they come.
    assert abs(np.linalg.norm(told['image'][0]) - 1) > 0.05
    tokens = clip.tokenizer(['violin'], return_tensors='pt')
    with torch.inference_mode():
        pooled = clip.model.text_model(input_ids=tokens['input_ids'], attention_mask=tokens['attention_mask'])
        assert_allclose(told['text'][0], clip.model.text_projection(pooled.pooler_output)[0], atol=1e-5)


def test_a_picture_is_looked_at_in_its_middle(clip, tmp_path):
    wide = Image.new('RGB', (96, 32), (0, 255, 0))
    wide.paste((255, 0, 0), (32, 0, 64, 32))
    wide.save(tmp_path / 'wide.png')
    Image.new('RGB', (32, 32), (255, 0, 0)).save(tmp_path / 'red.png')
    assert_allclose(clip.image(tmp_path / 'wide.png'), clip.image(tmp_path / 'red.png'), atol=1e-5)
    seen = []
    clip.model.vision_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs['pixel_values']), with_kwargs=True
    )
    clip.image(tmp_path / 'red.png')
    assert_allclose(seen[0][0, :, 5, 5], [2, -2, -2], atol=1e-6)  # mean 0.5 and deviation 0.25 of its settings


def test_clap_takes_words_and_recordings(tmp_path):
    clap = load_encoder(tiny_clap(tmp_path / 'clap'))
    t = np.arange(44100) / 44100
    write_audio(tmp_path / 'tone.wav', 0.3 * np.sin(2 * np.pi * 440 * t), 44100)
    write_audio(tmp_path / 'noise.wav', np.random.default_rng(0).standard_normal((2, 20000)) * 0.1, 48000)
    told = answer(clap, {'text': ['violin', 'drums'], 'audio': [tmp_path / 'tone.wav', tmp_path / 'noise.wav']})
    assert (told['family'], told['inputs']) == ('clap', ['text', 'audio'])
    for name in ('text', 'audio'):
        first, second = np.array(told[name])
        assert first.shape == (DIM,) and np.abs(first - second).max() > 1e-3
    with pytest.raises(GenaudioError, match='CLAP takes text and audio, no image'):
        answer(clap, {'image': ['a.png']})
    (tmp_path / 'clap' / 'preprocessor_config.json').unlink()
    with pytest.raises(GenaudioError, match=r'preprocessor_config\.json'):
        load_encoder(tmp_path / 'clap').audio(tmp_path / 'tone.wav')


def test_other_folders_in_one_line(tmp_path):
    with pytest.raises(GenaudioError, match=r'no config\.json'):
        load_encoder(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'bert'}))
    with pytest.raises(GenaudioError, match="type 'bert'"):
        load_encoder(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': 'clip'}))
    with pytest.raises(GenaudioError, match='cannot be loaded') as caught:
        load_encoder(tmp_path)
    assert '\n' not in str(caught.value)
