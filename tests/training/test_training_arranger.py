"""Mixtures with their labels, and the arranger's trainer: learns, exports, and leaves out what it is judged by."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_data import TRAIN, VALID, make_piece

from export.cli import main as export
from genaudio_core.commands.cli import main
from genaudio_core.models.arranger.part_tagger import PartTagger
from genaudio_core.music.events import TRACKED_NOTE_TYPE
from genaudio_core.training.fit.arranger import CONFIGS, evaluate, load_arranger, windows_of
from genaudio_core.training.scores.packed_scores import ScoreData, pack
from genaudio_core.training.scores.part_batches import (
    MixtureSampler,
    apart_from,
    collate,
    heights,
    lent,
    mixture,
    only,
    varied,
)

FAST = ['--config', 'tiny', '--length', '48', '--batch', '4', '--validate-every', '10', '--validate-pieces', '2',
        '--threads', '1', '--accelerator', 'cpu', '--warmup', '5', '--rate', '0.01']  # fmt: skip


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('data') / 'scores.safetensors'
    pieces = [make_piece(f'band-{i}', seed=i, drums=i == 0) for i in range(6)]
    pack(pieces, np.array([TRAIN] * 4 + [VALID] * 2, np.uint8), path, [])
    return path


def table(rows) -> np.ndarray:
    return np.array(list(rows), TRACKED_NOTE_TYPE)


def test_a_mixture_is_sorted_and_knows_its_parts():
    rows = [(12, 6, 60, 80, 40, 3), (0, 6, 70, 80, 40, 1), (0, 6, 48, 80, 0, 0), (0, 6, 50, 80, 0, 2),
            (0, 3, 36, 80, 128, 5), (0, 6, 55, 80, 127, 6)]  # fmt: skip
    found = mixture(table(rows))
    assert found.names == ('piano', 'violin', 'violin')  # two staves of a piano are one part; drums and noises none
    assert found.pitch.tolist() == [48, 50, 70, 60] and found.part.tolist() == [0, 0, 1, 2]
    assert found.onset.tolist() == [0, 0, 0, 1] and found.length.tolist() == [0.5] * 4
    some = only(found, [0, 2])
    assert some.names == ('piano', 'violin') and some.part.tolist() == [0, 0, 1]


def test_the_higher_part_of_an_instrument_comes_first_however_its_file_has_them():
    low_first = [(i, 6, 48 + 7 * track, 80, 52, track) for i in range(0, 48, 6) for track in range(4)]
    high_first = [(i, 6, 69 - 7 * track, 80, 52, track) for i in range(0, 48, 6) for track in range(4)]
    for rows in (low_first, high_first):
        found = mixture(table(rows))
        assert found.names == ('voices',) * 4 and [found.pitch[found.part == i][0] for i in range(4)] == [
            69,
            62,
            55,
            48,
        ]
        # What is high in the piece stays so in an excerpt where it is low.
        turned = table((i, 6, 127 - pitch, 80, 52, track) for i, _, pitch, _, _, track in rows)
        assert [mixture(turned, heights(table(rows))).pitch[k] for k in range(4)] == [58, 65, 72, 79]
        assert mixture(turned, heights(table(rows))).part[:4].tolist() == [0, 1, 2, 3]
    unison = mixture(
        table([(0, 6, 60, 80, 52, 1), (0, 6, 60, 80, 52, 0), (6, 6, 50, 80, 52, 0), (6, 6, 70, 80, 52, 1)])
    )
    assert unison.part.tolist() == [0, 1, 1, 0]


def test_variation_keeps_time_and_who_plays_with_whom(data):
    scores = ScoreData(data)
    whole = mixture(scores.notes(0, tracks=True))
    for seed in range(20):
        new = varied(whole, np.random.default_rng(seed))
        assert (np.diff(new.onset) >= 0).all() and sorted(new.onset) == sorted(whole.onset)
        assert len(np.unique(new.part)) == 2 and (new.pitch <= 127).all()
        sizes = sorted(np.bincount(new.part).tolist())
        assert sizes == sorted(np.bincount(whole.part).tolist())
        high = [new.pitch[new.part == i].mean() for i in range(2)]
        assert abs(high[0] - high[1]) > 12  # tune and bass are two parts still
    names = {lent(whole, np.random.default_rng(seed)) for seed in range(20)}
    assert len(names) > 3
    choir = mixture(table((i, 6, 48 + 7 * track, 80, 40, track) for i in range(0, 48, 6) for track in range(4)))
    assert any(len(set(lent(choir, np.random.default_rng(seed)))) == 1 for seed in range(20))


def test_a_batch_pads_notes_and_parts(data):
    scores = ScoreData(data)
    one = mixture(scores.notes(0, tracks=True))
    b = collate([one.rows(slice(30)), only(one, [1]).rows(slice(10))])
    assert b['part'].shape == (2, 30) and (b['part'][1, 10:] == -1).all()
    assert b['there'].tolist() == [[True, True], [True, False]] and b['length'].tolist() == [30, 10]
    model = PartTagger(CONFIGS['tiny']).eval()
    alone = model(collate([only(one, [1]).rows(slice(10))]))
    together = model(b)
    for name in ('live', 'whole'):  # neither other pieces nor padding change what a note gets
        assert torch.allclose(alone[name][0], together[name][1, :10, :1], atol=1e-5)


def test_training_learns_and_exports(data, tmp_path, capsys):
    out = tmp_path / 'run'
    assert main(['fit', 'arranger', '--data', str(data), '--out', str(out), *FAST, '--steps', '60']) == 0
    model, info = load_arranger(out / 'best.safetensors')
    assert isinstance(model, PartTagger) and info['step'] in (50, 60)
    scores = ScoreData(data)
    found = evaluate(model, windows_of(scores, 60, np.ones(len(scores), bool), 2))['mean']
    assert found['live'] > 0.9 and found['whole'] > 0.9  # a tune and a bass two octaves below
    assert export(['one', str(out / 'best.safetensors'), str(tmp_path / 'a.onnx'), '--kind', 'arranger']) == 0
    assert export(['verify', str(tmp_path / 'a.onnx')]) == 0


def test_a_run_begins_from_weights_that_are_there(data, tmp_path, capsys):
    def fit(out: str, *more: str) -> int:
        return main(['fit', 'arranger', '--data', str(data), '--out', str(tmp_path / out), *FAST, *more])

    assert fit('a', '--steps', '2') == 0
    best = tmp_path / 'a' / 'best.safetensors'
    assert fit('b', '--steps', '1', '--init', str(best), '--rate', '1e-9') == 0
    a, b = load_file(best), load_file(tmp_path / 'b' / 'last.safetensors')
    assert all(torch.allclose(a[name], b[name], atol=1e-6) for name in a)
    capsys.readouterr()
    assert fit('c', '--steps', '1', '--init', str(best), '--config', 'parts') == 2
    assert 'another size' in capsys.readouterr().err


def test_works_to_be_judged_by_are_left_out(data, tmp_path):
    scores = ScoreData(data)
    judged = mixture(scores.notes(1, tracks=True))
    kept = apart_from(scores, [judged.pitch + 3])  # in another key
    assert kept.tolist() == [True, False, True, True, True, True]
    sampler = MixtureSampler(scores, 48, kept=kept)
    assert 1 not in sampler.pieces and len(sampler.pieces) == 3


@pytest.mark.parametrize(
    ('wrong', 'told'),
    [
        (['--config', 'part'], "'parts'"),
        (['--favour', 'band:3'], '--favour'),
        (['--apart-from', '{data}'], 'is not a table of notes (.npz)'),
        (['--exclude', 'band'], 'no piece'),
        (['--config', 'lstm'], 'no piece'),
        (['--config', 'lstm', '--parts', 'violn'], 'violin'),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(data, tmp_path, capsys, wrong, told):
    wrong = [part.format(data=data) for part in wrong]
    assert main(['fit', 'arranger', '--data', str(data), '--out', str(tmp_path / 'r'), *FAST, *wrong]) != 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1 and told in lines[0]


@pytest.mark.parametrize('config', ['lstm', 'bilstm', 'transformer', 'transformer-causal'])
def test_a_published_network_is_trained_on_one_ensemble(data, tmp_path, config):
    out, parts = tmp_path / 'run', 'violin,electric-bass'
    more = ['--config', config, '--parts', parts, '--steps', '2', '--batch', '2', '--length', '20']
    assert main(['fit', 'arranger', '--data', str(data), '--out', str(out), *FAST, *more]) == 0
    model, _ = load_arranger(out / 'best.safetensors')
    assert model.config.parts == ('electric-bass', 'violin')
