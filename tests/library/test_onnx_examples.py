"""The two programs that need no more of us than our files: with numpy and onnxruntime, as old and as new as allowed.

tests/run.sh runs this file with the oldest onnxruntime, too, where there is neither torch nor genaudio.
"""

import ast
import os
import subprocess
import sys
import wave
from pathlib import Path

import mido
import numpy as np
import pytest

from genaudio_core.files import find_model, presets_dir
from genaudio_core.query.text_encoder import TextEncoder, text_features
from genaudio_core.query.vector import Query
from genaudio_core.separation.offline import Separator

EXAMPLES = next(parent / 'examples' for parent in Path(__file__).resolve().parents if (parent / 'examples').is_dir())
MODELS = presets_dir() / 'models'
THEIRS = {'mido', 'numpy', 'onnxruntime'}


def run(name: str, folder: Path, *arguments: object) -> None:
    """In an interpreter that sees no folder of ours (-I)."""
    command = [sys.executable, '-I', str(EXAMPLES / f'{name}.py'), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith('PYTHON')}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=500)
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('name', ['onnx_music', 'onnx_separate'])
def test_it_imports_nothing_of_ours(name):
    imported = set()
    for node in ast.walk(ast.parse((EXAMPLES / f'{name}.py').read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or '').partition('.')[0])
    assert {'numpy', 'onnxruntime'} <= imported <= THEIRS | sys.stdlib_module_names


def test_onnx_music(tmp_path):
    """A band of piano, bass and drums, and no note that is not ended."""
    run('onnx_music', tmp_path, MODELS / 'live.onnx', 'song.mid')
    (track,) = mido.MidiFile(tmp_path / 'song.mid').tracks
    programs = {message.channel: message.program for message in track if message.type == 'program_change'}
    assert programs == {0: 0, 1: 33, 9: 0}
    struck = [message for message in track if message.type == 'note_on']
    assert len(struck) > 50 and {0, 9} <= {message.channel for message in struck} <= programs.keys()
    ended = [message for message in track if message.type == 'note_off']
    assert sorted((m.channel, m.note) for m in struck) == sorted((m.channel, m.note) for m in ended)


def test_onnx_separate(tmp_path):
    """By the page's rules alone, words and spectra included, it is the stem that we make: here of one window."""
    rng = np.random.default_rng(0)
    time = np.arange(191 * 1024) / 44100
    hits = rng.standard_normal(len(time)) * np.exp(-25 * (time % 0.5))
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (110.0, 277.2, 329.6))
    sound = np.int16(np.stack([0.2 * hits + 0.1 * chord, 0.2 * hits + 0.05 * chord]).clip(-1, 1) * 32767)
    with wave.open(str(tmp_path / 'song.wav'), 'wb') as file:
        file.setparams((2, 2, 44100, 0, 'NONE', ''))
        file.writeframes(sound.T.tobytes())
    run('onnx_separate', tmp_path, MODELS, 'song.wav', 'snare drums', 'drums.wav')
    with wave.open(str(tmp_path / 'drums.wav')) as file:
        stem = np.frombuffer(file.readframes(file.getnframes()), '<i2').reshape(-1, 2).T / 32767
    words = TextEncoder.load()
    vector = words._session.run(None, {'ids': np.array(text_features('snare drums', words.buckets))})[0]
    query = Query('drums', ((1.0, vector),), normalise=False)
    (ours,) = Separator.load(find_model('separator')).separate(sound / np.float32(32768), 44100, [query])
    assert np.abs(ours).max() > 0.01
    np.testing.assert_allclose(stem, ours, atol=2e-4)
