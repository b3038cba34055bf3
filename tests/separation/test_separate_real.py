"""The bundled separator on real songs: nothing is lost, and nothing is longer or shorter."""

import json
from pathlib import Path

import numpy as np
import pytest

from bridge.cli import main
from genaudio_core.sound.audio_files import read_audio, write_audio

SONGS = Path(__file__).parents[3] / 'shared' / 'data' / 'audio' / 'dev-real'
FILES = ('Kevin_MacLeod_-_Vibe_Ace.ogg', '5_Rubidium/vocals_lead.ogg')


@pytest.mark.slow
@pytest.mark.parametrize('name', FILES)
def test_stems_and_residual_of_a_song_add_up(tmp_path, capsys, name):
    song = SONGS / name
    if not song.exists():
        pytest.skip('no recordings')
    asked = ['-q', 'drums', '-q', 'vocals, not drums', '-q', 'bass guitar', '--residual']
    assert main(['separate', str(song), *asked, '-o', str(tmp_path), '--json']) == 0
    (told,) = json.loads(capsys.readouterr().out)['files']
    x = read_audio(song)
    parts = [read_audio(path) for path in (*told['stems'], told['residual'])]
    assert len(parts) == 4 and all(part.shape == x.shape for part in parts)
    assert np.abs(np.sum(parts, axis=0, dtype=np.float64) - x).max() < 1e-6
    assert all(np.abs(part).max() > 1e-4 for part in parts)


def test_the_bench_reports_what_it_found(tmp_path, capsys):
    assert main(['bench', 'separate', '--minutes', '0.1', '--folder', str(tmp_path), '--json']) == 0
    told = json.loads(capsys.readouterr().out)
    assert told['exact_length'] and told['largest_sum_error'] < 1e-6 and told['minutes'] == pytest.approx(0.1)
    assert told['times_real_time_per_core'] > 0 and not list(tmp_path.iterdir())  # cleans up after itself
    write_audio(tmp_path / 'a.wav', np.random.default_rng(0).standard_normal((1, 9000)) * 0.1, 16000)
    command = ['bench', 'separate', '--minutes', '0.05', '--input', str(tmp_path / 'a.wav'), '--queries', '3', '--json']
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told['sample_rate'], told['channels'], told['queries']) == (16000, 1, 3) and told['exact_length']
    for wrong in (['--minutes', '0'], ['--queries', '99'], ['--folder', str(tmp_path / 'none')]):
        assert main(['bench', 'separate', *wrong]) == 2
        assert capsys.readouterr().err.startswith('error: ')
