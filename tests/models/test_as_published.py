"""``fit mmt --as-published`` trains as MMT's own script: mask, crops, optimiser, schedule, and the loss it reports."""

import json

import numpy as np
import pytest
import torch
from tiny_data import TEST, TRAIN, VALID, make_data, make_piece, notes

from genaudio_core.commands.cli import main
from genaudio_core.models.mmt import MMT, MMTConfig
from genaudio_core.music import layouts
from genaudio_core.music.events import DRUM_PROGRAM
from genaudio_core.music.layouts import END_OF_SONG, NOTE
from genaudio_core.training.fit import mmt
from genaudio_core.training.fit.mmt import Loss, evaluate_as_published, published_rate
from genaudio_core.training.loops.optimizers import Optimizers
from genaudio_core.training.scores.batches import WindowSampler, collate, published_windows
from genaudio_core.training.scores.packed_scores import PackedPiece, ScoreData, pack

# What x-transformers 0.25.9 gives with the key mask of the published wrapper, for the weights and sequences below:
# type, beat, position, pitch, duration, instrument, padding and all.
REFERENCE = {
    'learned': (23.239216, (1.83048, 5.869523, 2.737925, 4.805425, 3.790186, 4.205677)),
    'rotary': (23.246174, (1.815973, 5.897121, 2.752056, 4.819679, 3.764282, 4.197061)),
    'none': (23.239140, (1.830225, 5.869435, 2.73772, 4.806763, 3.789681, 4.205317)),
}


def small(positions: str) -> MMT:
    model = MMT(MMTConfig(dim=64, layers=2, heads=2, positions=positions, context=64, dropout=0.0)).eval()
    rng, state = np.random.default_rng(7), model.state_dict()
    for name in sorted(state):
        values = rng.standard_normal(tuple(state[name].shape)).astype(np.float32) * 0.15
        state[name] = torch.from_numpy(values)
    model.load_state_dict(state)
    return model


def padded() -> list[np.ndarray]:
    rng = np.random.default_rng(24)
    return [
        np.stack([rng.integers(0, size, n) for size in layouts.MMT.sizes], 1).astype(np.int16) for n in (12, 64, 27, 40)
    ]


@pytest.mark.parametrize('positions', REFERENCE)
def test_the_loss_of_padded_batches_is_the_published_one(positions):
    model, (total, fields) = small(positions), REFERENCE[positions]
    with torch.no_grad():
        assert float(Loss(model, as_published=True)(collate(padded(), layouts.MMT))[0]) == pytest.approx(
            total, abs=1e-5
        )
        unmasked = model(
            **{k: v for k, v in collate(padded(), layouts.MMT).items() if k in ('events', 'step', 'phase')}
        )
    b = collate(padded(), layouts.MMT)
    with torch.no_grad():
        losses, counts = model.field_losses(unmasked, b['target'], as_published=True)
    assert abs(float((losses / counts).sum()) - total) > 1e-3  # the mask of padded keys does something
    reported = evaluate_as_published(model, padded())['mean']
    assert reported['nll'] == pytest.approx(total, abs=1e-5)
    assert [reported[name] for name in layouts.MMT.fields] == pytest.approx(fields, abs=1e-5)


def test_the_reported_loss_is_the_mean_over_batches_in_order():
    model, sequences = small('none'), padded()
    halves = [evaluate_as_published(model, sequences[i : i + 3])['mean']['nll'] for i in (0, 3)]
    assert evaluate_as_published(model, sequences, batch=3)['mean']['nll'] == pytest.approx(sum(halves) / 2)


def test_the_rate_rises_for_5000_steps_and_falls_to_a_tenth_at_100000():
    assert published_rate(0, 5e-4) == pytest.approx(1e-7) and published_rate(4999, 5e-4) == pytest.approx(5e-4)
    assert published_rate(52_500, 5e-4) == pytest.approx(5e-4 * 0.55)
    assert published_rate(100_000, 5e-4) == published_rate(150_000, 5e-4) == pytest.approx(5e-5)


def long_piece(beats: int, thin: range) -> PackedPiece:
    """One note a beat, but for a stretch without any; drums all through, which the layout does not have."""
    rows = [(beat * 12, 12, 60 + beat % 12, 80, 40) for beat in range(beats) if beat not in thin]
    rows += [(beat * 12, 3, 36, 100, DRUM_PROGRAM) for beat in range(beats)]
    return PackedPiece('band', 'long', notes(rows), np.array([[0, 1]], np.int32))


def test_crops_hold_256_beats_and_the_same_piece_is_cut_again_where_a_crop_has_few_notes(tmp_path):
    path = tmp_path / 'data.safetensors'
    few = PackedPiece('band', 'few', notes([(i * 12, 12, 60, 80, 40) for i in range(40)]
                                           + [(i * 12, 3, 36, 80, DRUM_PROGRAM) for i in range(40)]),
                      np.array([[0, 1]], np.int32))  # fmt: skip
    pack([long_piece(700, range(10, 400)), few], np.array([TRAIN, TRAIN], np.uint8), path, [])
    sampler = WindowSampler(ScoreData(path), layouts.MMT, 1024, as_published=True)
    assert sampler.pieces.tolist() == [0]  # under 50 notes that the layout has, drums not counted
    lasts = set()
    for seed in range(20):
        events = sampler.sequence(np.random.default_rng(seed))
        found = events[events[:, 0] == NOTE]
        # Crops begin anywhere in 0 .. 443; from 155 on they reach the notes behind the silence.
        assert len(found) > 10 and found[:, 1].max() <= 256
        lasts.add(len(found))
        assert events[-1, 0] == END_OF_SONG
    assert len(lasts) > 5


def test_every_piece_is_heard_once_an_epoch(tmp_path):
    data = ScoreData(make_data(tmp_path / 'data.safetensors', 8))
    sampler = WindowSampler(data, layouts.MMT, 1024, as_published=True)
    heard = []
    sampler._published = lambda index, rng: heard.append(index) or np.zeros((2, 6), np.int16)  # type: ignore
    for step in range(6):
        sampler.batch(2, seed=3, step=step)
    assert sorted(heard[:6]) == sorted(heard[6:]) == sampler.pieces.tolist() and heard[:6] != heard[6:]


def test_validation_takes_every_held_out_piece_up_to_so_many_rows_and_its_own_end(tmp_path):
    path = tmp_path / 'data.safetensors'
    pieces = [make_piece('a', seed=1), make_piece('b', seed=2, bars=200), make_piece('c', seed=3)]
    pack(pieces, np.array([VALID, VALID, TEST], np.uint8), path, [])
    short, long = published_windows(ScoreData(path), layouts.MMT, 512, 'valid')
    assert long.shape == (512, 6) and long[-1, 0] == END_OF_SONG and long[-2, 0] == NOTE
    assert short[-1, 0] == END_OF_SONG and (short[:, 0] == NOTE).sum() == 12 * 10


def test_as_published_sets_what_the_published_script_sets(tmp_path, monkeypatch, capsys):
    data, asked = make_data(tmp_path / 'data.safetensors', 4), {}
    monkeypatch.setitem(mmt.CONFIGS, 'published', MMTConfig(dim=16, layers=1, heads=1, head_dim=16))
    real = mmt.fit

    def fit(fabric, task, args, **more):
        asked.update(vars(args) | more | {'task': task})
        return real(fabric, task, args, **more)

    monkeypatch.setattr(mmt, 'fit', fit)
    command = [
        'fit',
        'mmt',
        '--data',
        str(data),
        '--out',
        str(tmp_path / 'run'),
        '--steps',
        '2',
        '--batch',
        '2',
        '--json',
    ]
    assert main([*command, '--config', 'published', '--as-published']) == 0
    result = json.loads(capsys.readouterr().out)
    wanted = {'rate': 5e-4, 'warmup': 5000, 'optimizer': 'adam', 'validate_every': 1000, 'length': 1024, 'patience': 21}
    assert {name: asked[name] for name in wanted} == wanted
    task = asked['task']
    assert task.rate(100_000) == pytest.approx(5e-5) and task.betas == (0.9, 0.999)
    assert result['best_valid_nll'] == pytest.approx(task.validate()['mean']['nll'])
    assert Optimizers(task.model, muon=False, betas=task.betas).parts[0].defaults['betas'] == (0.9, 0.999)
    assert main([*command[:5], str(tmp_path / 'other'), '--steps', '1', '--config', 'tiny', '--as-published']) == 2
    assert 'Give --config published' in capsys.readouterr().err


def test_without_it_runs_have_the_settings_they_had(tmp_path, monkeypatch, capsys):
    asked = {}
    monkeypatch.setattr(mmt, 'fit', lambda fabric, task, args, **more: asked.update(vars(args), task=task) or {})
    data = make_data(tmp_path / 'data.safetensors', 4)
    assert main(['fit', 'mmt', '--data', str(data), '--out', str(tmp_path / 'run'), '--config', 'tiny']) == 0
    wanted = {'rate': 2e-3, 'warmup': 200, 'optimizer': 'muon', 'validate_every': 250, 'length': 512}
    assert {name: asked[name] for name in wanted} == wanted
    assert set(asked['task'].settings) == {'model', 'rate', 'seed', 'optimizer', 'as_published', 'balance'}
    assert asked['task'].rate is None and asked['task'].betas == (0.9, 0.95)
