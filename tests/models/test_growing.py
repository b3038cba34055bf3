"""A grown model computes what the small one did, and learns from there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_data import make_data

from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.models.growing import grow
from genaudio_core.models.mmt import MMT, TINY, MMTConfig
from genaudio_core.music.events import timeline
from genaudio_core.music.layouts import LIVE, NOTE
from genaudio_core.training.fit.mmt import load_mmt
from genaudio_core.training.loops.checkpoints import read_checkpoint, save_checkpoint


def small(seed: int = 0) -> MMT:
    torch.manual_seed(seed)
    made = MMT(TINY).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(1.5).add_(0.05 * torch.randn(parameter.shape))
    return made


def tensors(events: np.ndarray) -> tuple[torch.Tensor, ...]:
    step, phase = timeline(events[:, : len(LIVE.fields)], LIVE)
    return tuple(torch.from_numpy(np.asarray(a, np.int64))[None] for a in (events, step, phase))


LARGER = {
    'wider': replace(TINY, dim=64, heads=4),
    'three times as wide': replace(TINY, dim=96, heads=6),
    'deeper': replace(TINY, layers=5),
    'described': replace(TINY, encoding='described'),
    'all of it': replace(TINY, encoding='described', dim=64, heads=4, layers=3),
}


@pytest.mark.parametrize('name', LARGER)
def test_a_grown_model_predicts_what_the_small_one_does(name):
    from export.kinds.decoder import random_events

    config: MMTConfig = LARGER[name]
    one = small()
    other = grow(one, config)
    events = random_events(LIVE, 60, np.random.default_rng(3))
    wide = np.zeros((60, len(config.layout.fields)), np.int16)
    wide[:, : events.shape[1]] = events
    a, b = tensors(events), tensors(wide)
    with torch.no_grad():
        before, after = one(*a), other(*b)
        for field in LIVE.order:
            expected = one.heads.logits(field, before, a[0], a[2])
            found = other.heads.logits(field, after, b[0], b[2])
            torch.testing.assert_close(found[..., : expected.shape[-1]], expected, rtol=0, atol=2e-4)


def test_the_copies_do_not_stay_copies():
    """Shares are random: else the gradients of both copies are one, and the model never becomes wider."""
    torch.manual_seed(1)
    model = grow(small(), LARGER['wider']).train()
    weight = model.layers[0].get_parameter('attention.q.weight')
    assert not torch.allclose(weight[:, :32], weight[:, 32:], atol=1e-3)


@pytest.mark.parametrize(
    'config', [replace(TINY, dim=48), replace(TINY, dim=64), replace(TINY, layers=1), replace(TINY, encoding='mmt')]
)
def test_what_cannot_grow_is_said_in_one_line(config):
    with pytest.raises(GenaudioError, match='cannot grow into'):
        grow(small(), config)


def test_fit_grows_from_a_checkpoint_and_goes_on(tmp_path):
    data = make_data(tmp_path / 'scores.safetensors')
    save_checkpoint(tmp_path / 'small.safetensors', small(), TINY.to_dict())
    start = str(tmp_path / 'small.safetensors')
    command = [
        'fit', 'mmt', '--data', str(data), '--config', 'tiny-described', '--grow-from', start,
        '--out', str(tmp_path / 'run'), '--length', '48', '--batch', '2', '--validate-every', '2',
        '--validate-pieces', '1', '--threads', '1', '--accelerator', 'cpu',
    ]  # fmt: skip
    assert main([*command, '--steps', '2']) == 0
    assert main([*command, '--steps', '4']) == 0
    model, info = load_mmt(tmp_path / 'run' / 'best.safetensors')
    assert model.config.encoding == 'described'
    assert info['valid_nll'] > 0 and info['note'] > 0 and info['note_told'] > 0 and info['description'] > 0
    assert read_checkpoint(tmp_path / 'run' / 'best.safetensors')[2]['step'] in (2, 4)


def test_losses_of_notes_and_of_descriptions_are_told_apart(tmp_path):
    from genaudio_core.music.layouts import CHORD, DESCRIBED, PART
    from genaudio_core.training.fit.mmt import evaluate
    from genaudio_core.training.scores.batches import collate, fixed_windows
    from genaudio_core.training.scores.packed_scores import ScoreData

    data = ScoreData(make_data(tmp_path / 'scores.safetensors'))
    plain = fixed_windows(data, DESCRIBED, 64, 'valid', per_source=1)
    told = fixed_windows(data, DESCRIBED, 64, 'valid', per_source=1, told=True)
    assert {int(t) for w in told.values() for s in w for t in s[:, 0]} >= {NOTE, PART}
    assert not any(np.isin(s[:, 0], (CHORD, PART)).any() for w in plain.values() for s in w)
    torch.manual_seed(0)
    model = MMT(replace(TINY, encoding='described')).eval()
    found = evaluate(model, plain, told=told)['mean']
    # What `evaluate` says of notes is the sum over their rows and no others.
    batch = collate(plain['band'], DESCRIBED)
    with torch.no_grad():
        hidden = model(batch['events'], batch['step'], batch['phase'])
        notes = batch['target'][..., 0] == NOTE
        losses, counts = model.field_losses(hidden, batch['target'], batch['target_phase'], where=notes)
    part = DESCRIBED.index('part')
    expected = float((losses.sum() - losses[part]) / counts[0])
    assert found['note'] == pytest.approx(expected, rel=1e-5)
    assert found['nll'] == pytest.approx(evaluate(model, plain)['mean']['nll'], rel=1e-6)
