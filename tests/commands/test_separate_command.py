import json

import numpy as np
import pytest
from separation_fakes import fake_separator, low

from bridge.cli import main
from genaudio_core.sound.audio_files import read_audio, write_audio


@pytest.fixture(autouse=True)
def fake_model(monkeypatch):
    """The command with a stand-in for the model: what is tested is what is around it."""
    from bridge.commands.offline import separate
    from genaudio_core.separation.offline import Separator

    monkeypatch.setattr(Separator, 'load', classmethod(lambda cls, *_, **__: fake_separator()))

    def queries(args, separator):
        return [low(0.5, name) for name in [*args.query, *(p.stem for p in args.example)]]

    monkeypatch.setattr(separate, '_queries', queries)


def song(path, n=60_000, channels=2, rate=44100, seed=0):
    audio = np.random.default_rng(seed).standard_normal((channels, n)).astype(np.float32) * 0.1
    write_audio(path, audio, rate)
    return audio


def made(folder):
    """The stems in a folder; side-cars lie in a hidden one."""
    return sorted(path for path in folder.iterdir() if path.name != '.genaudio')


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
    assert [p.name for p in made(tmp_path / 'o')] == ['take-2.x.wav', 'take.x.wav']


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
    assert not (tmp_path / 'o').exists()


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


def test_no_input_is_overwritten_by_the_stem_of_another(tmp_path, capsys):
    song(tmp_path / 'song.wav', n=9000)
    song(tmp_path / 'song.violin.wav', n=9000, seed=1)
    before = (tmp_path / 'song.violin.wav').read_bytes()
    files = [str(tmp_path / 'song.wav'), str(tmp_path / 'song.violin.wav')]
    assert main(['separate', *files, '-q', 'violin', '-o', str(tmp_path)]) == 2
    assert 'Nothing was written' in capsys.readouterr().err
    assert (tmp_path / 'song.violin.wav').read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize('how', ['link', 'hard link', 'example'])
def test_nothing_that_is_read_is_overwritten(tmp_path, capsys, how):
    song(tmp_path / 'song.wav', n=9000)
    other = tmp_path / 'elsewhere.wav'
    song(other, n=9000, seed=1)
    target = tmp_path / 'song.x.wav'
    if how == 'link':
        target.symlink_to(other)
    elif how == 'hard link':
        target.hardlink_to(other)
    else:
        other = other.rename(target)
    files = [str(tmp_path / 'song.wav'), *(['--example'] if how == 'example' else []), str(other)]
    assert main(['separate', *files, '-q', 'x', '-o', str(tmp_path)]) == 2
    assert 'overwritten' in capsys.readouterr().err


def test_inputs_whose_names_differ_only_in_case_keep_their_stems_apart(tmp_path):
    for name in ('Take.wav', 'take.wav', 'take-2.wav', 'TAKE.flac'):
        song(tmp_path / name, n=9000)
    files = [str(tmp_path / name) for name in ('Take.wav', 'take.wav', 'take-2.wav', 'TAKE.flac')]
    assert main(['separate', *files, '-q', 'x', '-o', str(tmp_path / 'o')]) == 0
    assert len({path.name.casefold() for path in made(tmp_path / 'o')}) == 4


@pytest.mark.parametrize('letters', ['a', '\u4ea4'])
@pytest.mark.parametrize('words', ['violin', 'the violins and the violas at the back of the strings', '\u97ff' * 60])
def test_names_that_are_too_long_are_shortened(tmp_path, capsys, letters, words):
    name = letters * (250 // len(letters.encode())) + '.wav'
    song(tmp_path / name, n=9000)
    assert main(['separate', str(tmp_path / name), '-q', words, '-q', words, '-o', str(tmp_path / 'o')]) == 0
    assert len(list((tmp_path / 'o').iterdir())) == 2
    assert 'shortened' in capsys.readouterr().err


def test_long_queries_that_begin_alike_have_files_of_their_own(tmp_path):
    song(tmp_path / 'a.wav', n=9000)
    queries = ['-q', 'the violins at the back of ' * 5 + 'one', '-q', 'the violins at the back of ' * 5 + 'two']
    assert main(['separate', str(tmp_path / 'a.wav'), *queries, '-o', str(tmp_path / 'o')]) == 0
    assert len(list((tmp_path / 'o').iterdir())) == 2


@pytest.mark.parametrize('kind', ['flac', 'mp3'])
def test_a_stem_that_is_clipped_is_told(tmp_path, capsys, kind):
    write_audio(tmp_path / 'loud.wav', np.random.default_rng(0).standard_normal((2, 40_000)), 44100)
    assert main(['separate', str(tmp_path / 'loud.wav'), '-q', 'x', '-f', kind, '-o', str(tmp_path / 'o')]) == 0
    assert f'loud.x.{kind} was clipped' in capsys.readouterr().err
    assert main(['separate', str(tmp_path / 'loud.wav'), '-q', 'x', '-o', str(tmp_path / 'o')]) == 0
    assert 'clipped' not in capsys.readouterr().err


def test_a_file_that_a_library_cannot_stand_costs_no_other(tmp_path, capsys, monkeypatch):
    from genaudio_core.separation import offline

    for name in ('a.wav', 'b.wav', 'c.wav'):
        song(tmp_path / name, n=9000)
    real = offline.separate_file

    def breaks(separator, path, *args, **kwargs):
        if path.name == 'b.wav':
            raise RuntimeError('Not sure how to convert\n data')
        return real(separator, path, *args, **kwargs)

    monkeypatch.setattr(offline, 'separate_file', breaks)
    files = [str(tmp_path / name) for name in ('a.wav', 'b.wav', 'c.wav')]
    assert main(['separate', *files, '-q', 'x', '-o', str(tmp_path / 'o')]) == 1
    told = capsys.readouterr().err
    assert 'skipped: ' in told and 'Not sure how to convert data' in told and '1 of 3 files' in told
    assert [p.name for p in made(tmp_path / 'o')] == ['a.x.wav', 'c.x.wav']


def test_stems_that_are_no_numbers_are_not_written(tmp_path, capsys, monkeypatch):
    from genaudio_core.separation.offline import Separator

    song(tmp_path / 'a.wav', n=9000)
    monkeypatch.setattr(Separator, 'masks', lambda self, spectrum, query: np.full(
        (len(query), *spectrum.shape), np.nan, np.float32))  # fmt: skip
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-o', str(tmp_path / 'o')]) == 2
    assert 'NaN or infinite' in capsys.readouterr().err
    assert not (tmp_path / 'o').exists()


def test_a_file_cut_short_is_separated_as_far_as_it_goes_and_told(tmp_path, capsys):
    song(tmp_path / 'a.wav')
    data = (tmp_path / 'a.wav').read_bytes()
    (tmp_path / 'a.wav').write_bytes(data[: len(data) // 2])
    assert main(['separate', str(tmp_path / 'a.wav'), '-q', 'x', '-o', str(tmp_path / 'o')]) == 0
    assert 'shorter than its header says' in capsys.readouterr().err
    assert 29_900 < read_audio(tmp_path / 'o' / 'a.x.wav').shape[1] <= 30_000


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_a_signal_leaves_no_half_written_file(tmp_path, name):
    """The command itself, in the middle of ten minutes of sound."""
    import signal
    import subprocess
    import sys
    import time

    from jack_server import HEARS_ALL

    noise = np.random.default_rng(0).standard_normal((1, 8000 * 600)).astype(np.float32) * 0.1
    write_audio(tmp_path / 'long.wav', noise, 8000)
    out = tmp_path / 'o'
    command = [*HEARS_ALL, sys.executable, '-m', 'bridge.cli', 'separate', str(tmp_path / 'long.wav'), '-q', 'violin']
    command += ['-o', out]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and not (out.is_dir() and list(out.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + getattr(signal, name)
    assert said.strip() == 'stopped'
    assert not out.exists()
