"""Training: resumption bit for bit, time budget, two processes, settings, and that anything is learnt."""

import csv
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_data import make_data

from genaudio_core.commands.cli import main

FAST = [
    '--config', 'tiny', '--length', '48', '--batch', '2', '--validate-every', '3', '--validate-pieces', '1',
    '--threads', '1', '--accelerator', 'cpu',
]  # fmt: skip


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp('data') / 'scores.safetensors')


@pytest.fixture(autouse=True)
def _keep_signal_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def train(data: Path, out: Path, *more: str, model: str = 'mmt') -> int:
    return main(['fit', model, '--data', str(data), '--out', str(out), *FAST, *more])


def log(out: Path) -> list[dict[str, str]]:
    with (out / 'log.csv').open() as file:
        return list(csv.DictReader(file))


def same_weights(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize('optimizer', ['muon', 'adam'])
def test_a_stopped_run_goes_on_bit_for_bit(data, tmp_path, optimizer):
    whole, halves = tmp_path / 'whole', tmp_path / 'halves'
    assert train(data, whole, '--steps', '6', '--optimizer', optimizer) == 0
    assert train(data, halves, '--steps', '3', '--optimizer', optimizer) == 0
    assert not same_weights(whole / 'last.safetensors', halves / 'last.safetensors')
    assert train(data, halves, '--steps', '6', '--optimizer', optimizer) == 0
    assert same_weights(whole / 'last.safetensors', halves / 'last.safetensors')
    assert same_weights(whole / 'best.safetensors', halves / 'best.safetensors')
    assert [row['valid_nll'] for row in log(whole)] == [row['valid_nll'] for row in log(halves)]
    assert [row['train_nll'] for row in log(whole)] == [row['train_nll'] for row in log(halves)]


def test_dropout_also_resumes_exactly(data, tmp_path, monkeypatch):
    from dataclasses import replace

    from genaudio_core.models.mmt import CONFIGS, TINY

    monkeypatch.setitem(CONFIGS, 'tiny', replace(TINY, dropout=0.3))
    assert train(data, tmp_path / 'whole', '--steps', '4') == 0
    assert train(data, tmp_path / 'halves', '--steps', '2') == 0
    assert train(data, tmp_path / 'halves', '--steps', '4') == 0
    assert same_weights(tmp_path / 'whole' / 'last.safetensors', tmp_path / 'halves' / 'last.safetensors')


def test_the_time_budget_ends_a_run_with_everything_saved(data, tmp_path):
    assert train(data, tmp_path / 'run', '--minutes', '0.0001', '--steps', '100000') == 0
    rows = log(tmp_path / 'run')
    assert 1 <= int(rows[-1]['step']) < 100
    for name in ('last.safetensors', 'last.optimizer', 'best.safetensors', 'config.json'):
        assert (tmp_path / 'run' / name).exists()


def test_sigterm_finishes_the_step_and_saves(data, tmp_path, monkeypatch):
    from genaudio_core.training.scores.batches import WindowSampler

    def batch(self, size, seed, step, rank=0, original=WindowSampler.batch):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, size, seed, step, rank)

    monkeypatch.setattr(WindowSampler, 'batch', batch)
    assert train(data, tmp_path / 'run', '--steps', '100000', '--validate-every', '1000') == 0
    assert [row['step'] for row in log(tmp_path / 'run')] == ['3']


def test_a_folder_with_other_settings_is_refused(data, tmp_path, capsys):
    assert train(data, tmp_path / 'run', '--steps', '1') == 0
    capsys.readouterr()
    assert train(data, tmp_path / 'run', '--steps', '2', '--rate', '0.5', '--seed', '7') == 2
    error = capsys.readouterr().err
    assert 'other settings (rate, seed)' in error and 'Traceback' not in error
    assert [row['step'] for row in log(tmp_path / 'run')] == ['1']


def test_the_loss_falls(data, tmp_path):
    more = ['--steps', '40', '--validate-every', '20', '--warmup', '5', '--rate', '0.01', '--batch', '4']
    assert train(data, tmp_path / 'run', *more) == 0
    first, last = log(tmp_path / 'run')
    assert float(last['valid_nll']) < float(first['valid_nll']) - 0.5
    assert float(last['train_nll']) < float(first['train_nll']) - 1


def test_init_begins_from_a_checkpoint(data, tmp_path, capsys):
    assert train(data, tmp_path / 'a', '--steps', '3') == 0
    best = tmp_path / 'a' / 'best.safetensors'
    assert train(data, tmp_path / 'b', '--steps', '1', '--init', str(best), '--rate', '1e-9') == 0
    a, b = load_file(best), load_file(tmp_path / 'b' / 'last.safetensors')
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    capsys.readouterr()
    (tmp_path / 'noise.safetensors').write_bytes(b'noise')
    assert train(data, tmp_path / 'c', '--steps', '1', '--init', str(tmp_path / 'noise.safetensors')) == 2
    assert 'not a safetensors checkpoint' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--minutes', '0'], '--minutes must be a number over 0, at most 527040, not 0'),
        (['--config', 'lives'], "Did you mean 'live'"),
        (['--config', 'published', '--length', '4000'], '1024 positions'),
        (['--exclude', 'band'], 'no held-out pieces'),
    ],
)
def test_bad_settings_are_one_line(data, tmp_path, capsys, more, message):
    assert train(data, tmp_path / 'run', '--steps', '1', *more) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('model', ['remi', 'mmm'])
def test_a_baseline_learns_and_resumes(data, tmp_path, model):
    from genaudio_core.training.fit.baselines import load_tokens

    more = ['--rate', '0.01', '--warmup', '2', '--length', '64']
    assert train(data, tmp_path / 'whole', '--steps', '12', *more, model=model) == 0
    assert train(data, tmp_path / 'halves', '--steps', '6', *more, model=model) == 0
    assert train(data, tmp_path / 'halves', '--steps', '12', *more, model=model) == 0
    assert same_weights(tmp_path / 'whole' / 'last.safetensors', tmp_path / 'halves' / 'last.safetensors')
    rows = log(tmp_path / 'whole')
    assert float(rows[-1]['valid_nll']) < float(rows[0]['valid_nll']) - 0.3
    loaded, tokenizer, _ = load_tokens(tmp_path / 'whole' / 'best.safetensors')
    first, again, other = (loaded.sample([tokenizer.begin], tokenizer.end, seed) for seed in (1, 1, 2))
    assert first == again != other


TWO_PROCESSES = """
    import sys
    from genaudio_core.training.fit import mmt
    from genaudio_core.commands.cli import main
    from safetensors.torch import save_file

    folder, original = sys.argv.pop(), mmt.fit

    def fit(fabric, task, args):
        assert fabric.world_size == 2
        batches = []
        task.batch = lambda step, rank, draw=task.batch: batches.append(draw(step, rank)) or batches[-1]
        result = original(fabric, task, args)
        weights = {name: tensor.contiguous() for name, tensor in task.model.state_dict().items()}
        weights['first batch'] = batches[0]['events'].sum().reshape(1)
        save_file(weights, f'{folder}/rank{fabric.global_rank}.safetensors')
        return result

    mmt.fit = fit
    argv, sys.argv = sys.argv[1:], [*sys.argv, folder]  # Fabric starts its second process with sys.argv
    sys.exit(main(argv))
"""


def test_two_processes_keep_the_same_weights(data, tmp_path):
    script = tmp_path / 'two.py'
    script.write_text(textwrap.dedent(TWO_PROCESSES))
    out = tmp_path / 'run'
    command = ['fit', 'mmt', '--data', data, '--out', out, *FAST, '--steps', '3', '--devices', '2', tmp_path]
    done = subprocess.run(
        [sys.executable, str(script), *map(str, command)], capture_output=True, text=True, timeout=600,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'MASTER_ADDR': '127.0.0.1'},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = [load_file(tmp_path / f'rank{rank}.safetensors') for rank in (0, 1)]
    assert not torch.equal(ranks[0].pop('first batch'), ranks[1].pop('first batch'))  # each saw music of its own
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in ranks[0])
    saved = load_file(out / 'last.safetensors')
    assert all(torch.equal(saved[name], ranks[1][name]) for name in saved)
    assert [row['step'] for row in log(out)] == ['3']
    # And it was no run of one process.
    assert train(data, tmp_path / 'alone', '--steps', '3') == 0
    alone = load_file(tmp_path / 'alone' / 'last.safetensors')
    assert not all(torch.equal(saved[name], alone[name]) for name in saved)
