"""The programs in examples/ run, on small inputs made here, and do what their first line says."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_decoders import file as small_decoder
from stream_models import music

import genaudio_core as ga

EXAMPLES = Path(__file__).resolve().parents[1]
while not (EXAMPLES / 'examples').is_dir():
    EXAMPLES = EXAMPLES.parent
ROOT, EXAMPLES = EXAMPLES, EXAMPLES / 'examples'
NAMES = sorted(path.stem for path in EXAMPLES.glob('*.py'))
TESTS = ''.join(path.read_text() for path in Path(__file__).parent.glob('test_*examples.py'))


def run(name: str, folder: Path, *arguments: object, code: int = 0) -> str:
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f'{name}.py'), *map(str, arguments)], cwd=folder, env=environment, text=True,
        capture_output=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    if not code:
        assert done.stderr == ''
    return done.stdout + done.stderr


@pytest.mark.parametrize('name', NAMES)
def test_an_example_is_short_and_says_what_it_does_and_how_to_run_it(name):
    text = (EXAMPLES / f'{name}.py').read_text()
    assert 15 <= len(text.splitlines()) <= 40
    told = (ast.get_docstring(ast.parse(text)) or '').splitlines()
    assert len(told) == 2 and told[1].startswith(f'Run: python examples/{name}.py ')
    assert f'def test_{name}(' in TESTS


def test_there_is_one_for_each_of_the_usual_jobs():
    jobs = {'continue_phrase', 'accompany_melody', 'separate_to_arrays', 'live_in_process', 'own_mode', 'own_model',
            'own_musician', 'preset_from_code', 'batch_folder', 'onnx_music', 'onnx_separate'}  # fmt: skip
    assert jobs <= set(NAMES)


def test_continue_phrase(phrase, tmp_path):
    phrase.save(tmp_path / 'phrase.mid')
    run('continue_phrase', tmp_path, 'phrase.mid', 'song.mid', small_decoder('live'))
    songs = [ga.read_midi(tmp_path / f'song-{n}.mid') for n in (1, 2, 3)]
    assert all(song.n_notes > phrase.n_notes for song in songs)
    assert songs[0].tracks != songs[1].tracks


def test_accompany_melody(phrase, tmp_path):
    phrase.tracks = phrase.tracks[:1]
    phrase.save(tmp_path / 'melody.mid')
    told = run('accompany_melody', tmp_path, 'melody.mid', 'band.mid', 'C major', small_decoder('live'))
    band = ga.read_midi(tmp_path / 'band.mid')
    assert 'piano: 48 notes' in told and 'piano' in band.instruments
    assert set(band.instruments) <= {'piano', 'electric-bass', 'drums'}


def test_separate_to_arrays(tmp_path):
    ga.write_audio(tmp_path / 'song.wav', music(1.0, 44100), 44100)
    run('separate_to_arrays', tmp_path, 'song.wav', 'new-mix.wav', 'drums', 'a flute')
    stems = {path.stem: ga.read_audio(path) for path in (tmp_path / 'new-mix').iterdir()}
    assert set(stems) == {'drums', 'a-flute', 'residual'}
    mix = ga.read_audio(tmp_path / 'new-mix.wav')
    np.testing.assert_allclose(mix, ga.read_audio(tmp_path / 'song.wav') - 0.5 * stems['drums'], atol=1e-6)


def test_batch_folder(phrase, tmp_path):
    (tmp_path / 'phrases').mkdir()
    for name in ('a', 'b'):
        phrase.save(tmp_path / 'phrases' / f'{name}.mid')
    (tmp_path / 'phrases' / 'bad.mid').write_bytes(b'no MIDI')
    arguments = ('phrases', 'songs', small_decoder('live'))
    told = run('batch_folder', tmp_path, *arguments, code=1)
    assert told.count('done') == 2 and 'bad.mid: ' in told
    assert sorted(path.name for path in (tmp_path / 'songs').iterdir()) == ['a.mid', 'b.mid']
    assert 'done' not in run('batch_folder', tmp_path, *arguments, code=1)  # the second time nothing is left to do


def test_live_in_process(tmp_path):
    told = run('live_in_process', tmp_path, 'answer.mid', 8.5, 'rules')
    answer = ga.read_midi(tmp_path / 'answer.mid')
    assert answer.n_notes >= 4 and 'the band played' in told


def test_own_mode(phrase, tmp_path):
    phrase.save(tmp_path / 'phrase.mid')
    run('own_mode', tmp_path, 'phrase.mid', 'answer.mid', 'rules')
    (track,) = ga.read_midi(tmp_path / 'answer.mid').tracks
    assert track.notes and all(16 <= note.beat < 24 for note in track.notes)  # the phrase has 16 beats


def test_own_musician(phrase, tmp_path):
    phrase.save(tmp_path / 'phrase.mid')
    run('own_musician', tmp_path, 'phrase.mid', 'answer.mid')
    (track,) = ga.read_midi(tmp_path / 'answer.mid').tracks
    played = {(note.beat, note.note) for one in phrase.tracks for note in one.notes}
    echoed = {(round(note.beat - 8, 1), note.note - 12) for note in track.notes}
    assert echoed and echoed <= {(round(beat, 1), note) for beat, note in played}


def test_preset_from_code(tmp_path):
    told = run('preset_from_code', tmp_path, 'trio.mid', 'rules')
    assert "Did you mean 'temperature'" in told
    assert ga.read_midi(tmp_path / 'trio.mid').n_notes


def test_own_model(phrase, tmp_path):
    (tmp_path / 'my-songs').mkdir()
    phrase.save(tmp_path / 'my-songs' / 'one.mid')
    told = run('own_model', tmp_path, 'my-songs', 'mine.onnx', 'song.mid')
    assert 'loss' in told and ga.read_midi(tmp_path / 'song.mid').n_notes >= phrase.n_notes
    assert isinstance(ga.load(tmp_path / 'mine.onnx'), ga.MusicModel)
