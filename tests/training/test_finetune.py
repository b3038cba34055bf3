"""Personal models: what is held out, when nothing is kept, what is too little."""

import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import make_data, make_piece

from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.models.mmt import MMT, TINY
from genaudio_core.music.events import table_to_tracks
from genaudio_core.score.notes import Score
from genaudio_core.score.reading import to_midi
from genaudio_core.training.fit import finetune
from genaudio_core.training.fit.finetune import TRAIN, VALID, find_checkpoint, split
from genaudio_core.training.fit.mmt import load_mmt
from genaudio_core.training.loops.checkpoints import save_checkpoint


@pytest.fixture(autouse=True)
def _keep_signal_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope='module')
def start(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('model') / 'start.safetensors'
    save_checkpoint(path, MMT(TINY), TINY.to_dict())
    return path


def write(folder: Path, n: int, bars: int = 12) -> Path:
    folder.mkdir()
    for i in range(n):
        buffer = io.BytesIO()
        to_midi(Score(table_to_tracks(make_piece('x', seed=i, bars=bars).notes))).save(file=buffer)
        (folder / f'{i}.mid').write_bytes(buffer.getvalue())
    return folder


def tune(start: Path, files: Path, out: Path, *more: str) -> int:
    fast = ['--length', '48', '--batch', '2', '--validate-every', '3', '--threads', '1', '--accelerator', 'cpu']
    return main(['finetune', '--model', str(start), '--files', str(files), '--out', str(out), *fast, '--json', *more])


def test_a_model_of_ones_own(start, tmp_path, capsys):
    files = write(tmp_path / 'mine', 2)
    (files / 'noise.mid').write_bytes(b'noise')
    replay = make_data(tmp_path / 'replay.safetensors', 4)
    more = ['--steps', '9', '--rate', '0.01', '--replay', str(replay), '--replay-share', '0.5']
    assert tune(start, files, tmp_path / 'run', *more) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert result['improved'] and result['nll_after'] < result['nll_before'] - 0.1
    assert result['held_out'] == 'the last fifth of each file'
    assert (result['files'], result['skipped']) == (2, 1) and 'skipped noise.mid' in shown.err
    assert result['general_after'] < result['general_before']
    before, after = (load_mmt(path)[0].state_dict() for path in (start, Path(result['model'])))
    assert not all(torch.equal(before[name], after[name]) for name in before)
    assert load_mmt(Path(result['model']))[1]['step'] == result['best_step']
    # Asked again, it goes on where it was; with other files it refuses.
    assert tune(start, files, tmp_path / 'run', *more) == 0
    assert json.loads(capsys.readouterr().out)['step'] == 9
    assert tune(start, write(tmp_path / 'others', 3), tmp_path / 'run', *more) == 2
    assert 'other settings (files)' in capsys.readouterr().err


def test_nothing_is_kept_if_nothing_helps_and_it_stops_early(start, tmp_path, capsys):
    assert tune(start, write(tmp_path / 'mine', 1, bars=20), tmp_path / 'run', '--rate', '80', '--patience', '2',
                '--steps', '5000') == 0  # fmt: skip
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert not result['improved'] and result['model'] == str(start)
    assert result['nll_after'] == result['nll_before']
    assert result['step'] < 20
    assert 'nothing was kept' in shown.err
    assert not (tmp_path / 'run' / 'best.safetensors').exists()


def test_keep_keeps_a_model_that_did_not_get_better(start, tmp_path, capsys):
    assert tune(start, write(tmp_path / 'mine', 1, bars=20), tmp_path / 'run', '--rate', '80', '--patience', '1',
                '--steps', '5000', '--keep') == 0  # fmt: skip
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert not result['improved'] and result['nll_after'] > result['nll_before']
    assert result['model'] == str(tmp_path / 'run' / 'best.safetensors') and 'as --keep asks' in shown.err
    load_mmt(tmp_path / 'run' / 'best.safetensors')


@pytest.mark.parametrize(('n', 'bars', 'message'), [(1, 6, 'Only 60 usable notes'), (1, 17, 'Give more')])
def test_too_little_is_one_line(start, tmp_path, capsys, n, bars, message):
    assert tune(start, write(tmp_path / 'mine', n, bars), tmp_path / 'run') == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not (tmp_path / 'run').exists()


def test_no_file_and_no_model_are_one_line(start, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert tune(start, tmp_path / 'empty', tmp_path / 'run') == 2
    assert 'Only 0 usable notes in 0 file(s)' in capsys.readouterr().err
    assert tune(tmp_path / 'absent.safetensors', write(tmp_path / 'mine', 2), tmp_path / 'run') == 2
    assert 'No checkpoint at' in capsys.readouterr().err


def test_with_enough_files_whole_ones_are_held_out():
    pieces = [make_piece(str(i), seed=i) for i in range(10)]
    kept, splits, words = split(pieces)
    assert kept == pieces and words == '2 of 10 files'
    assert (splits == VALID).sum() == 2
    again = split(pieces[::-1])[1][::-1]  # which ones does not depend on the order
    assert np.array_equal(again, splits)


def test_a_copy_of_what_is_trained_on_is_never_held_out():
    pieces = [make_piece(str(i), seed=i) for i in range(6)]
    for i in range(6):
        copy = make_piece(f'{i} copy', seed=i)
        copy.notes['pitch'] += 1
        pieces.append(copy)
    parts, splits, _ = split(pieces)
    # A file and its twin are on the same side: learnt by heart, the one would praise itself in the other.
    sides = {part.name: side for part, side in zip(parts, splits, strict=True)}
    assert VALID in splits and TRAIN in splits
    assert all(sides[str(i)] == sides[f'{i} copy'] for i in range(6))


def test_the_cut_is_on_a_bar_line_and_loses_no_note():
    piece = make_piece('a', seed=1, bars=30)
    parts, splits, _ = split([piece])
    assert splits.tolist() == [TRAIN, VALID]
    assert np.array_equal(np.concatenate([part.notes for part in parts]), piece.notes)
    assert parts[1].notes['step'][0] % 48 == 0
    assert 0.15 < len(parts[1].notes) / len(piece.notes) < 0.25


def test_a_bundled_half_precision_checkpoint_is_found_and_read(start, tmp_path, monkeypatch):
    (tmp_path / 'models').mkdir()
    model = load_mmt(start)[0]
    save_checkpoint(tmp_path / 'models' / 'live.safetensors', model.half(), TINY.to_dict())
    monkeypatch.setattr(finetune, 'presets_dir', lambda: tmp_path)
    path = find_checkpoint('live')
    loaded, exact = load_mmt(path)[0], load_mmt(start)[0]
    assert path.stat().st_size < 0.6 * start.stat().st_size
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, exact.state_dict()[name], rtol=1e-3, atol=1e-5)
    with pytest.raises(GenaudioError, match="Did you mean 'live'"):
        find_checkpoint('lives')
