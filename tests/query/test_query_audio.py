"""The audio encoder's training: what it hears, what it learns, and that it goes on exactly."""

import random

import numpy as np
import pytest
from numpy.testing import assert_allclose

torch = pytest.importorskip('torch')
from tiny_sounds import LABELS, tiny_sounds  # noqa: E402

from genaudio_core.errors import GenaudioError  # noqa: E402
from genaudio_core.models.query_encoder import AudioNetConfig  # noqa: E402
from genaudio_core.sound.spectrogram import bands_to_bins  # noqa: E402
from genaudio_core.training.loops.checkpoints import read_checkpoint  # noqa: E402
from genaudio_core.training.loops.time_limit import TimeLimit  # noqa: E402
from genaudio_core.training.mixtures.solo_mixtures import MixtureConfig, MixtureMaker  # noqa: E402
from genaudio_core.training.queries.audio_encoder import SPEED, audio_batch, audio_vectors, train_audio  # noqa: E402
from genaudio_core.training.queries.space import QuerySpace, unit  # noqa: E402
from genaudio_core.training.sounds.lexicon import NAMES  # noqa: E402

CONFIG = AudioNetConfig()
SECONDS = CONFIG.frames * CONFIG.hop_length / CONFIG.sample_rate


@pytest.fixture(scope='module')
def sounds(tmp_path_factory):
    return tiny_sounds(tmp_path_factory.mktemp('sounds'))


@pytest.fixture(scope='module')
def space():
    concepts = unit(np.random.default_rng(1).standard_normal((len(NAMES), 128))).astype(np.float32)
    return QuerySpace(np.zeros(0), np.zeros((0, 0)), concepts, NAMES)


def test_what_is_varied_is_the_way_a_sound_is_heard(sounds):
    gather = torch.from_numpy(bands_to_bins(CONFIG.n_fft // 2 + 1, CONFIG.bands, CONFIG.base)).T.contiguous()
    mixer = MixtureMaker(sounds, 'train', MixtureConfig(seconds=2**SPEED * SECONDS))

    def draw(seed, vary):
        return audio_batch(mixer, gather, CONFIG, random.Random(seed), 16, vary=vary)

    energy, labels = draw(1, vary=True)
    assert energy.shape == (16, 1, CONFIG.bands, CONFIG.frames)
    assert energy.isfinite().all() and (energy >= 0).all()
    again, same_labels = draw(1, vary=True)
    assert torch.equal(energy, again) and labels == same_labels
    # Holes are there when it is varied, and only then: a thousandth of what is beside them.
    plain, _ = draw(1, vary=False)
    assert set(labels) <= set(LABELS)
    loudest = plain.mean(dim=3).argmax(dim=2)[:, 0]
    assert not torch.equal(loudest, energy.mean(dim=3).argmax(dim=2)[:, 0])


def test_a_stopped_run_goes_on_to_the_very_step(tmp_path, sounds, space):
    whole = train_audio(space, sounds.folder, tmp_path / 'whole', TimeLimit(5), batch=4, steps=4)
    train_audio(space, sounds.folder, tmp_path / 'parts', TimeLimit(5), batch=4, steps=2)
    parts = train_audio(space, sounds.folder, tmp_path / 'parts', TimeLimit(5), batch=4, steps=4)
    assert whole['step'] == parts['step'] == 4
    one, _, _ = read_checkpoint(tmp_path / 'whole' / 'best.safetensors')
    two, _, _ = read_checkpoint(tmp_path / 'parts' / 'best.safetensors')
    for name, value in one.items():
        assert_allclose(two[name], value, atol=1e-6, err_msg=name)
    assert len((tmp_path / 'parts' / 'log.csv').read_text().splitlines()) == 1 + 2


def test_a_space_of_other_concepts_is_as_good_and_one_that_lacks_a_sound_is_one_line(tmp_path, sounds, space):
    names = sorted(LABELS, reverse=True)
    small = QuerySpace(space.centre, space.turn, space.concepts[: len(names)], names)
    assert train_audio(small, sounds.folder, tmp_path / 'small', TimeLimit(5), batch=4, steps=1)['step'] == 1
    lacks = QuerySpace(space.centre, space.turn, space.concepts[:3], names[:3])
    with pytest.raises(GenaudioError, match=f"no '{names[3]}'; make one"):
        train_audio(lacks, sounds.folder, tmp_path / 'lacks', TimeLimit(5), batch=4, steps=1)
    assert not (tmp_path / 'lacks').exists()


def test_it_learns_which_sound_is_which(tmp_path, sounds, space):
    train_audio(space, sounds.folder, tmp_path / 'run', TimeLimit(5), batch=8, steps=40)
    vectors = audio_vectors(tmp_path / 'run' / 'best.safetensors', space, sounds.folder, 4)
    assert set(vectors) == set(LABELS)
    own = {label: space.concepts[NAMES.index(label)] for label in LABELS}
    right = [max(own, key=lambda other: float(vector @ own[other])) == label
             for label, found in vectors.items() for vector in found]  # fmt: skip
    assert np.mean(right) >= 0.8
