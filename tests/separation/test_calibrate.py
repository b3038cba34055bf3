"""How hard masks are is chosen on held-out mixtures."""

import json

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from tiny_sounds import tiny_sounds  # noqa: E402

from genaudio_core.commands.cli import main  # noqa: E402
from genaudio_core.models.clipsep_small import CLIPSepSmall, SmallConfig  # noqa: E402
from genaudio_core.training.fit.clipsep import POWERS, improvement_at  # noqa: E402
from genaudio_core.training.loops.checkpoints import read_checkpoint, save_checkpoint  # noqa: E402
from genaudio_core.training.queries.space import QuerySpace, unit  # noqa: E402
from genaudio_core.training.sounds.lexicon import NAMES  # noqa: E402


def test_masks_that_are_too_hard_are_softened():
    torch.manual_seed(0)
    sources = torch.rand(4, 2, 24, 16) ** 3  # powers of sounds that do not interfere
    energy = sources.sum(1, keepdim=True)
    batch = {'energy': energy, 'cross': sources, 'total': sources.sum((2, 3)), 'query': torch.zeros(4, 2, 8)}
    right = sources / energy

    def gain(hardness, power):
        return improvement_at(right**hardness, batch, power).mean().item()

    assert max(POWERS, key=lambda power: gain(2.0, power)) == 0.5
    assert max(POWERS, key=lambda power: gain(1.0, power)) == 1.0
    assert gain(1.0, 1.0) == pytest.approx(gain(2.0, 0.5), abs=1e-3)


def test_it_is_written_into_the_checkpoint_and_nothing_else_changes(tmp_path, capsys):
    sounds = tiny_sounds(tmp_path / 'sounds')
    concepts = unit(np.random.default_rng(1).standard_normal((len(NAMES), 128))).astype(np.float32)
    QuerySpace(np.zeros(0), np.zeros((0, 0)), concepts, NAMES).save(tmp_path / 'space.npz')
    torch.manual_seed(1)
    config = SmallConfig(width=4, max_width=8)
    (tmp_path / 'run').mkdir()
    save_checkpoint(tmp_path / 'run' / 'best.safetensors', CLIPSepSmall(config), config.to_dict(), step=7)
    before, _, _ = read_checkpoint(tmp_path / 'run' / 'best.safetensors')
    args = ['calibrate', str(tmp_path / 'run'), '--sounds', str(sounds.folder), '--space', str(tmp_path / 'space.npz')]
    assert main([*args, '-n', '8', '--json']) == 0
    told = json.loads(capsys.readouterr().out)
    after, known, info = read_checkpoint(tmp_path / 'run' / 'best.safetensors')
    assert known == config.to_dict() | {'mask_power': told['mask_power']}
    assert info['step'] == 7
    assert told['mask_power'] == float(max(told['si_sdri'], key=told['si_sdri'].get))
    assert all(torch.equal(before[name], after[name]) for name in before)
