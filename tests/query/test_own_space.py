"""The user's own encoder from a folder of videos to a stem pulled out by a picture."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip('torch')
from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.query.own_encoder import EncoderProcess, QuerySource
from genaudio_core.sound.audio_files import read_audio, write_audio
from genaudio_core.training.queries.own_space import build_own_space, middle_frames
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES
from genaudio_core.training.sounds.packed_clips import SoundWriter

needs_ffmpeg = pytest.mark.skipif(not shutil.which('ffmpeg'), reason='no ffmpeg')


def video(path, colours=('red', 'lime', 'blue'), seconds=4):
    """A video that shows one colour after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    inputs, labels = [], ''
    for i, colour in enumerate(colours):
        inputs += ['-f', 'lavfi', '-i', f'color={colour}:s=32x24:r=10:d={seconds / len(colours)}']
        labels += f'[{i}:v]'
    subprocess.run(['ffmpeg', '-v', 'error', *inputs, '-filter_complex', f'{labels}concat=n={len(colours)}',
                    '-c:v', 'mpeg4', '-q:v', '1', str(path)], check=True)  # fmt: skip


class ColourProcess(EncoderProcess):
    """Words by their letters, pictures by their mean colour."""

    def __init__(self, inputs=('text', 'image')):
        self.inputs = inputs

    def ask(self, **asked):
        from PIL import Image

        told = {'family': 'clip' if 'image' in self.inputs else 'clap', 'inputs': list(self.inputs)}
        for name, things in asked.items():
            assert name in self.inputs
            if name == 'text':
                rows = [[len(word), word.count('a'), word.count('e')] for word in things]
            elif name == 'image':
                rows = [np.asarray(Image.open(path).convert('RGB'), float).mean(axis=(0, 1)) for path in things]
            else:
                rows = [[read_audio(path).shape[1], 0, 0] for path in things]
            told[name] = np.array(rows, np.float32) + 1e-6
        return told


@needs_ffmpeg
def test_frames_come_from_the_middle(tmp_path):
    from PIL import Image

    video(tmp_path / 'a.mp4', ('red', 'lime', 'blue'), seconds=9)
    frames = middle_frames(tmp_path / 'a.mp4', tmp_path)
    assert len(frames) == 3  # at 3.5, 4.5 and 5.5 s: all in the green third
    for frame in frames:
        red, green, blue = np.asarray(Image.open(frame).convert('RGB'), float).mean(axis=(0, 1))
        assert green > 200 and red < 60 and blue < 60
    (tmp_path / 'no.mp4').write_text('no video')
    with pytest.raises(GenaudioError, match='no pictures'):
        middle_frames(tmp_path / 'no.mp4', tmp_path)


@needs_ffmpeg
def test_a_space_of_words_pictures_and_videos(tmp_path):
    from PIL import Image

    mine = tmp_path / 'mine'
    video(mine / 'Fiddle' / 'a.mp4', ('red', 'lime', 'red'), seconds=9)
    (mine / 'drums').mkdir()
    Image.new('RGB', (9, 9), (0, 0, 255)).save(mine / 'drums' / 'kit.png')
    write_audio(mine / 'drums' / 'kit.wav', np.ones((1, 100)), 44100)
    (mine / 'drums' / 'broken.mp4').write_text('no video')
    (mine / 'holiday').mkdir()
    Image.new('RGB', (9, 9)).save(mine / 'holiday' / 'sea.png')
    told = []
    space, variants = build_own_space(ColourProcess(), [mine], told.append)
    assert space.names == list(NAMES) and space.dim == 3
    assert_allclose(np.linalg.norm(space.concepts, axis=1), 1, atol=1e-5)
    violin = next(c for c in CONCEPTS if c.name == 'violin')
    assert len(variants['violin']) == len(violin.synonyms) + 1
    assert_allclose(variants['violin'][-1], [0, 1, 0], atol=0.2)
    assert_allclose(variants['drums'][-1], [0, 0, 1], atol=0.01)
    assert len(told) == 1 and 'broken.mp4 contains no pictures' in told[0]
    assert space.queries is not None
    source = QuerySource(**{**space.queries, 'inputs': tuple(space.queries['inputs'])})
    assert source.encoder == 'clip' and source.normalised and source.describes(np.array([6.0, 0, 0]))
    space.save(tmp_path / 'space.npz')
    again = QuerySpace.load(tmp_path / 'space.npz')
    assert again.queries == space.queries and again.dim == 3
    hears, heard = build_own_space(ColourProcess(('text', 'audio')), [mine], told.append)
    assert hears.queries is not None and hears.queries['encoder'] == 'clap'
    drums = next(c for c in CONCEPTS if c.name == 'drums')
    assert len(heard['drums']) == len(drums.synonyms) + 1 and len(heard['violin']) == len(violin.synonyms)
    with pytest.raises(GenaudioError, match='does not exist'):
        build_own_space(ColourProcess(), [tmp_path / 'nowhere'])


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize('family', ['clip', 'clap'])
def test_from_weights_of_ones_own_to_a_stem(tmp_path, capsys, family):
    """A tiny random CLIP (or CLAP): space, training, export, and a stem by a picture (or a recording)."""
    pytest.importorskip('transformers')
    from PIL import Image
    from tiny_encoders import DIM, tiny_clap, tiny_clip

    from bridge.cli import main as genaudio
    from export.cli import main as export
    from genaudio_core.models.encoders.process import load_encoder
    from genaudio_core.query.vector import Query
    from genaudio_core.separation.offline import Separator

    encoder = (tiny_clip if family == 'clip' else tiny_clap)(tmp_path / 'encoder')
    mine = tmp_path / 'mine'
    rng = np.random.default_rng(0)
    video(mine / 'violin' / 'a.mp4')
    write_audio(mine / 'violin' / 'a.wav', rng.standard_normal((1, 44100)) * 0.1, 44100)
    space, variants, run = tmp_path / 'space.npz', tmp_path / 'variants.npz', tmp_path / 'run'
    assert main(['query-space', '--encoder', str(encoder), '--own', str(mine), '-o', str(space),
                 '--variants', str(variants), '--json']) == 0  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert (told['encoder'], told['dim']) == (family, DIM)
    with SoundWriter(tmp_path / 'sounds') as writer:
        for label in ('piano', 'drums', 'violin', 'flute'):
            for split in ('train', 'valid'):
                audio = rng.uniform(-0.3, 0.3, (1, 100_000))
                writer.add(audio, 44100, label=label, kind='solo', split=split)
    assert main(['fit', 'clipsep', '--sounds', str(tmp_path / 'sounds'), '--space', str(space), '--queries',
                 str(variants), '--out', str(run), '--minutes', '0.02', '--batch', '2', '--width', '4',
                 '--max-width', '8', '--frames', '64', '--film', '4', '--network', 'unet']) == 0  # fmt: skip
    assert main(['release', str(run), '-o', str(tmp_path / 'm.safetensors')]) == 0
    assert export(['one', '--kind', 'clipsep', str(tmp_path / 'm.safetensors'), str(tmp_path / 'm.onnx')]) == 0
    separator = Separator.load(tmp_path / 'm.onnx')
    assert separator.asked.encoder == family and separator.asked.normalised and separator.query_dim == DIM
    x = rng.standard_normal((2, 60_000)).astype(np.float32) * 0.1
    write_audio(tmp_path / 'song.wav', x, 44100)
    Image.new('RGB', (50, 40), (200, 30, 0)).save(tmp_path / 'picture.png')
    asked = ['--image', 'picture.png'] if family == 'clip' else ['--example', 'song.wav']
    asked[1] = str(tmp_path / asked[1])
    command = ['separate', str(tmp_path / 'song.wav'), '-q', 'a violin', '--model', str(tmp_path / 'm.onnx'), *asked,
               '-o', str(tmp_path / 'o'), '--residual']  # fmt: skip
    capsys.readouterr()
    assert genaudio(command) == 2
    assert '--encoder' in capsys.readouterr().err
    assert genaudio([*command, '--encoder', str(encoder)]) == 0
    assert 'other weights' not in capsys.readouterr().err
    loaded = load_encoder(encoder)
    other = loaded.image(tmp_path / 'picture.png') if family == 'clip' else loaded.audio(tmp_path / 'song.wav')
    queries = [Query(n, ((1.0, v.numpy()),)) for n, v in (('violin', loaded.text('a violin')), ('other', other))]
    expected = separator.separate(x, 44100, queries)
    stems = [read_audio(tmp_path / 'o' / f'song.{name}.wav')
             for name in ('a-violin', 'picture' if family == 'clip' else 'song', 'residual')]  # fmt: skip
    assert_allclose(stems[:2], expected, atol=1e-5)
    assert_allclose(sum(stems), x, atol=1e-6)
