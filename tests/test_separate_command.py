import json

import numpy as np
import pytest
from separation_fakes import fake_separator, low

from bridge.cli import main
from genaudio_core.audio_files import read_audio, write_audio


@pytest.fixture(autouse=True)
def fake_model(monkeypatch):
    """The command with a stand-in for the model: what is tested is what is around it."""
    from bridge.commands import separate
    from genaudio_core.separation import Separator

    monkeypatch.setattr(Separator, 'load', classmethod(lambda cls, *_, **__: fake_separator()))

    def queries(args, separator):
        return [low(0.5, name) for name in [*args.query, *(p.stem for p in args.example)]]

    monkeypatch.setattr(separate, '_queries', queries)


def song(path, n=60_000, channels=2, rate=44100, seed=0):
    audio = np.random.default_rng(seed).standard_normal((channels, n)).astype(np.float32) * 0.1
    write_audio(path, audio, rate)
    return audio


def test_stems_and_residual(tmp_path, capsys):
    x = song(tmp_path / 'song.wav')
    out = tmp_path / 'stems'
    asked = ['-q', 'Violin solo', '-q', 'drums', '--residual']
    assert main(['separate', str(tmp_path / 'song.wav'), *asked, '-o', str(out), '--json']) == 0
    (told,) = json.loads(capsys.readouterr().out)['files']
    assert [p.name for p in sorted(out.iterdir())] == ['song.drums.wav', 'song.residual.wav', 'song.violin-solo.wav']
    total = sum(read_audio(p) for p in out.iterdir())
    assert np.abs(total - x).max() < 1e-6
    assert told['channels'] == 2 and set(told['level_db']) == {'violin-solo', 'drums', 'residual'}


@pytest.mark.parametrize('kind', ['flac', 'mp3', 'wav'])
def test_formats(tmp_path, kind):
    song(tmp_path / 'a.wav', channels=1, rate=32000)
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-o', str(tmp_path / 'o'), '-f', kind]) == 0
    length = read_audio(tmp_path / 'o' / f'a.x.{kind}').shape[1]
    assert length == 60_000 if kind != 'mp3' else length >= 60_000


def test_many_files_of_one_name_and_a_broken_one(tmp_path, capsys):
    for folder in ('a', 'b'):
        (tmp_path / folder).mkdir()
        song(tmp_path / folder / 'take.wav', n=9000)
    (tmp_path / 'broken.wav').write_text('no sound')
    files = [str(tmp_path / name) for name in ('a/take.wav', 'broken.wav', 'b/take.wav')]
    assert main(['separate', *files, '-q', 'x', '-o', str(tmp_path / 'o'), '--json']) == 1
    captured = capsys.readouterr()
    assert 'skipped: Cannot read' in captured.err
    assert len(json.loads(captured.out)['skipped']) == 1
    assert sorted(p.name for p in (tmp_path / 'o').iterdir()) == ['take-2.x.wav', 'take.x.wav']


def test_two_stems_of_one_name(tmp_path):
    song(tmp_path / 'a.wav', n=9000)
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-q', 'X!', '-o', str(tmp_path / 'o')]) == 0
    assert len(list((tmp_path / 'o').iterdir())) == 2


@pytest.mark.parametrize(('make', 'said'), [
    (lambda p: None, 'There is no file'),
    (lambda p: write_audio(p, np.zeros((2, 5000)), 44100), 'is silent'),
    (lambda p: write_audio(p, np.zeros((2, 0)), 44100), '0 seconds'),
    (lambda p: write_audio(p, np.full((1, 5000), np.nan), 44100), 'NaN'),
    (lambda p: write_audio(p, np.ones((32, 500)), 44100), '32 channels'),
    (lambda p: p.write_bytes(b'RIFF' + bytes(40)), 'Cannot read'),
])  # fmt: skip
def test_bad_files_get_one_line(tmp_path, capsys, make, said):
    make(tmp_path / 'bad.wav')
    assert main(['separate', str(tmp_path / 'bad.wav'), '-q', 'x', '-o', str(tmp_path / 'o')]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and error.startswith('error: ') and '\n' not in error
    assert not list((tmp_path / 'o').iterdir())


def test_unknown_format_suggests(tmp_path, capsys):
    song(tmp_path / 'a.wav', n=900)
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-f', 'flacc']) == 2
    assert "Did you mean 'flac'" in capsys.readouterr().err


def test_the_input_is_never_overwritten(tmp_path, capsys):
    song(tmp_path / 'a.x.wav', n=9000)
    song(tmp_path / 'a.wav', n=9000)
    (tmp_path / 'a.wav').unlink()
    (tmp_path / 'a.wav').symlink_to(tmp_path / 'a.x.wav')
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-o', str(tmp_path)]) == 2
    assert 'the input itself' in capsys.readouterr().err
