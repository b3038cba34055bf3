"""Evaluation: file and checkpoint agree, truth is measured as truth, loops and early ends are seen."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_data import make_data, make_piece, notes

import export.job
from export.manifest import Job
from export.up_to_date import source_hash
from genaudio_core.analysis.evaluation import (
    Excerpt,
    MusicSet,
    continuations,
    describe,
    describe_continuations,
    excerpts,
    likelihood,
    source_shares,
    unconditional,
)
from genaudio_core.commands.cli import main
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.models import mmt
from genaudio_core.models.mmt import TINY
from genaudio_core.models.tokens import TokenConfig, TokenModel
from genaudio_core.music.events import DRUM_PROGRAM, encode_table
from genaudio_core.music.layouts import LIVE, MMT
from genaudio_core.music.metrics import pitch_class_entropy, trim
from genaudio_core.training.loops.checkpoints import save_checkpoint
from genaudio_core.training.scores.packed_scores import ScoreData, pack
from genaudio_core.training.scores.tokenizers import Tokenizer, note_starts


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    return make_data(tmp_path_factory.mktemp('data') / 'x.safetensors', 4, bars=20, sources=('band', 'orchestra'))


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('model') / 'tiny.safetensors'
    save_checkpoint(path, mmt.MMT(TINY), TINY.to_dict())
    return path


@pytest.fixture(scope='module')
def exported(checkpoint) -> Path:
    job = Job(name='tiny', kind='decoder', checkpoint=checkpoint, output=checkpoint.with_suffix('.onnx'))
    export.job.export(job, source_hash(job))
    return job.output


def evaluate(capsys, *argv) -> dict:
    assert main(['evaluate', *map(str, argv), '--json']) == 0
    return json.loads(capsys.readouterr().out)


def test_the_file_and_the_checkpoint_are_equally_likely(data, checkpoint, exported, capsys):
    options = ('--data', data, '--samples', 0, '--pieces', 2, '--length', 60)
    torch_side = evaluate(capsys, checkpoint, *options)['nll']
    file_side = evaluate(capsys, exported, *options)['nll']
    assert set(file_side['sources']) == {'band', 'orchestra'} and file_side['pieces'] == 2
    assert file_side['per_note'] == pytest.approx(torch_side['per_note'], rel=1e-4)
    for name, value in torch_side['fields'].items():
        assert file_side['fields'][name] == pytest.approx(value, rel=1e-3, abs=1e-4)
    assert sum(file_side['fields'].values()) == pytest.approx(file_side['per_event'])
    assert file_side['per_note'] > file_side['per_event']  # header and meter are paid for by the notes


def test_a_checkpoint_is_measured_as_the_graph_it_would_ship(data, checkpoint, exported, tmp_path, capsys, monkeypatch):
    made = []

    def export_(job, hash_):
        made.append(job)
        shutil.copy(exported, job.output)

    monkeypatch.setattr(export.job, 'export', export_)
    options = ('--data', data, '--samples', 2, '--pieces', 1, '--length', 40, '--given', 8, '--beats', 4)
    report = evaluate(capsys, checkpoint, *options, '--out', tmp_path / 'report.json')
    assert [job.checkpoint for job in made] == [checkpoint]
    assert json.loads((tmp_path / 'report.json').read_text()) == report
    assert report['truth']['pieces'] == report['unconditional']['pieces'] == report['continuation']['pieces'] == 2
    assert report['truth_continuation']['stops_early'] == 0
    found = excerpts(ScoreData(data), 'test', LIVE, 2, beats=12, balance=0.5)
    expected = np.mean([pitch_class_entropy(trim(piece.table, 64)) for piece in found])
    assert report['truth']['pitch_class_entropy'][0] == pytest.approx(expected)
    # The same seed measures the same music, and it can be read.
    assert main(['evaluate', str(exported), *map(str, options)]) == 0
    text = capsys.readouterr().out
    assert 'per note' in text and 'truth, continuation' in text and 'groove %' in text
    assert f'{report["continuation"]["notes"]}' in text


def test_published_sampling_and_the_models_own_differ(exported):
    decoder = Decoder.load(exported)
    tables = [
        unconditional(decoder, 1, 8, Controls(published_top_k=top_k, allow_end=True), 3).tables[0] for top_k in (0, 1)
    ]
    assert not np.array_equal(*tables)


def test_a_continuation_keeps_what_was_given(exported, data):
    decoder = Decoder.load(exported)
    given = excerpts(ScoreData(data), 'test', LIVE, 1, beats=12)
    made = continuations(decoder, given, 8, 4, Controls(allow_end=False), 1)
    table = made.tables[0]
    before = table[table['step'] < 96]
    wanted = trim(given[0].table, 8)
    assert sorted(zip(before['step'], before['pitch'], strict=True)) == sorted(
        zip(wanted['step'], wanted['pitch'], strict=True)
    )
    assert made.seconds > 0


def test_loops_and_early_ends_are_counted():
    phrase = [(i * 12, 12, 60 + 7 * (i % 4), 80, 0) for i in range(8)]
    loop = notes([*phrase, *((step + 96, d, p, v, program) for step, d, p, v, program in phrase)])
    fresh = notes([*phrase, *((96 + i * 12, 12, 40 + i, 80, 0) for i in range(8))])
    early = notes([*phrase, (96, 12, 41, 80, 0)])
    silent = notes(phrase)
    result = describe_continuations(MusicSet([loop, fresh, early, silent]), 8, 8)
    assert result['repeats_verbatim'] == pytest.approx(1 / 3)  # of those that play
    assert result['stops_early'] == 0.5
    assert result['notes'] == 8 + 8 + 1 and result['pieces'] == 4
    assert result['repeated_share'][0] == pytest.approx((1 + 0 + 0) / 3)


def test_truth_goes_through_the_layout(tmp_path):
    piece = make_piece('a', seed=1, bars=20, drums=True)
    drums = make_piece('b', seed=2, bars=20, drums=True)
    drums.notes = drums.notes[drums.notes['program'] == DRUM_PROGRAM]
    short = make_piece('c', seed=3, bars=2)
    pack([piece, drums, short], np.array([2, 2, 2], np.uint8), tmp_path / 'x.safetensors', [])
    data = ScoreData(tmp_path / 'x.safetensors')
    live, published = (excerpts(data, 'test', encoding, 9, beats=32) for encoding in (LIVE, MMT))
    assert len(live) == 2 and len(published) == 1  # too short is left out; drums alone are no music to MMT
    assert (published[0].table['program'] != DRUM_PROGRAM).all()
    assert any((excerpt.table['program'] == DRUM_PROGRAM).any() for excerpt in live)
    with pytest.raises(GenaudioError, match='longer than 500 beats'):
        excerpts(data, 'test', LIVE, 9, beats=500)


def test_sources_take_turns(data):
    found = excerpts(ScoreData(data), 'train', LIVE, 4, beats=16)
    assert [excerpt.source for excerpt in found] == ['band', 'orchestra', 'band', 'orchestra']
    assert all(isinstance(excerpt, Excerpt) and excerpt.meter == (4, 4) for excerpt in found)


def test_truth_has_the_proportions_of_training(tmp_path):
    long = [make_piece(f'long-{i}', seed=i, bars=90, source='orchestra') for i in range(5)]
    short = [make_piece(f'short-{i}', seed=50 + i, bars=10, source='band') for i in range(5)]
    splits = np.array([0, 2, 2, 2, 2] * 2, np.uint8)  # one of each to train on
    pack([*long, *short], splits, tmp_path / 'x.safetensors', [])
    data = ScoreData(tmp_path / 'x.safetensors')
    orchestra = data.sources.index('orchestra')
    assert [source_shares(data, b)[orchestra] for b in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.75, 0.9])
    found = excerpts(data, 'test', LIVE, 4, beats=16, balance=0.5)
    assert [excerpt.source for excerpt in found].count('orchestra') == 3
    # Once the large source has no more, the others fill up; one that is left out never comes.
    assert len(excerpts(data, 'test', LIVE, 8, beats=16, balance=0.5)) == 8
    assert {e.source for e in excerpts(data, 'test', LIVE, 8, beats=16, exclude=('band',))} == {'orchestra'}


def test_likelihood_adds_up():
    two = [encode_table(make_piece('a', seed=i).notes, LIVE)[:n] for i, n in enumerate((30, 50))]
    sequences = {'a': two, 'b': two}

    def piece_nll(sequence):
        return {'nll': 3.0, 'type': 1.0, 'pitch': 2.0, 'events': len(sequence) - 1}

    result = likelihood(sequences, piece_nll)
    n_notes = sum(int((sequence[1:, 0] == 3).sum()) for sequence in sequences['a'])
    assert result['per_event'] == pytest.approx(3) and result['fields'] == {'type': 1.0, 'pitch': 2.0}
    assert result['per_note'] == pytest.approx(3 * (29 + 49) / n_notes)
    assert result['pieces'] == 4 and not math.isnan(result['per_note_interval'][1])


def test_describe_of_nothing_is_no_crash():
    result = describe(MusicSet([make_piece('a').notes[:0]]), 64)
    assert result['notes'] == 0 and math.isnan(result['pitch_class_entropy'][0])


@pytest.mark.parametrize('name', ['remi', 'mmm'])
def test_baselines_are_measured_alike(data, tmp_path, capsys, name):
    tokenizer = Tokenizer(name)
    config = TokenConfig(name, len(tokenizer), dim=32, layers=1, heads=2, head_dim=16, context=48)
    torch.manual_seed(0)
    save_checkpoint(tmp_path / 'b.safetensors', TokenModel(config), config.to_dict())
    report = evaluate(capsys, tmp_path / 'b.safetensors', '--data', data, '--samples', 2, '--pieces', 1)
    assert report['nll']['per_note'] > report['nll']['per_event'] > 0
    assert report['unconditional']['pieces'] == report['truth']['pieces'] == 2
    # An untrained model spreads its bets: about log(vocabulary) a token.
    assert report['nll']['per_event'] == pytest.approx(math.log(len(tokenizer)), rel=0.2)


@pytest.mark.parametrize('name', ['remi', 'mmm'])
def test_tokenizers_round_trip(name):
    tokenizer = Tokenizer(name)
    table = make_piece('a', seed=4, drums=True).notes
    tokens = tokenizer.encode(table, end=True)
    assert tokens[0] == tokenizer.begin and tokens[-1] == tokenizer.end and tokens.max() < len(tokenizer)
    back = tokenizer.decode(tokens.tolist())

    def key(rows):
        return sorted(zip(rows['step'], rows['pitch'], rows['program'], rows['duration'], strict=True))

    pitched = table[table['program'] != DRUM_PROGRAM]
    assert key(back[back['program'] != DRUM_PROGRAM]) == key(pitched)
    assert note_starts(tokenizer)[tokens].sum() == len(table)


def test_mmm_windows_hold_every_track_and_an_end():
    table = make_piece('a', seed=4, bars=40).notes
    tokenizer = Tokenizer('mmm')
    window = tokenizer.window(table, 120, ends=False)
    assert window[-1] == tokenizer.end and len(window) <= 180
    assert set(tokenizer.decode(window.tolist())['program'].tolist()) == {33, 40}


@pytest.mark.parametrize(
    ('argv', 'message'),
    [
        (['absent.safetensors'], 'No checkpoint at'),
        (['absent.onnx'], 'No model file at'),
        (['CHECKPOINT', '--samples', '-1'], '--samples must be a whole number from 0'),
        (['CHECKPOINT', '--beats', '0'], '--beats must be a number over 0, at most 100000, not 0'),
        (['CHECKPOINT', '--out', '/nowhere/report.json'], 'does not exist'),
        (['CHECKPOINT', '--exclude', 'band,orchestra', '--samples', '0'], 'has no test pieces'),
    ],
)
def test_bad_input_is_one_line(data, checkpoint, capsys, argv, message):
    argv = [str(checkpoint) if word == 'CHECKPOINT' else word for word in argv]
    assert main(['evaluate', *argv, '--data', str(data)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count('\n') == 1
