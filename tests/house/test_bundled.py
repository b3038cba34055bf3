"""The models that ship: small enough, made from the weights beside them, and each with a card that tells of it."""

import numpy as np
import pytest

from export.manifest import read_manifest
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_card
from genaudio_core.separation.streaming import MaskNetwork, separate_offline

MODELS = presets_dir() / 'models'
JOBS, FAULTS = read_manifest(MODELS / 'manifest.toml')
LIMIT = 80e6  # bytes of weights in the repository


def test_all_weights_together_stay_small():
    assert sum(path.stat().st_size for path in MODELS.iterdir()) <= LIMIT
    assert FAULTS == []
    listed = {job.output for job in JOBS} | {job.checkpoint for job in JOBS}
    listed |= {MODELS / 'manifest.toml', MODELS / 'sources.json'}
    assert {path.resolve() for path in MODELS.iterdir()} == {path.resolve() for path in listed}


@pytest.mark.parametrize('job', JOBS, ids=lambda job: job.name)
def test_a_card_names_data_licence_training_and_metrics(job):
    card = read_card(job.output, job.kind)  # checks the hash
    assert (card.name, card.licence, list(card.training_data)) == (job.name, job.licence, job.training_data)
    assert card.metrics and all(card.metrics[name] == value for name, value in job.measured.items())
    training = card.details['training']
    assert training.get('step') or training.get('steps') or training.get('phrases_tested')


def test_drums_are_pulled_out_of_a_band_by_the_bundled_live_model():
    """Noise bursts for a snare, a bass tone and a chord: nothing it was trained on, but as different as can be."""
    rng = np.random.default_rng(0)
    rate, seconds = 44100, 6
    t = np.arange(rate * seconds) / rate
    drums, bass = np.zeros(len(t)), 0.2 * np.sin(2 * np.pi * 55 * t)
    for beat in range(2 * seconds):
        age = t - beat / 2
        drums += np.where(age >= 0, rng.standard_normal(len(t)) * np.exp(-age.clip(0) * 25), 0) * 0.3
    chord = sum(0.06 * np.sin(2 * np.pi * hz * t + p) for hz, p in ((262, 0), (330, 1), (392, 2)))
    stems = {'drums': drums, 'bass': bass, 'piano': chord}
    mixture = np.tile(sum(stems.values()), (2, 1)).astype(np.float32)
    network = MaskNetwork.load(MODELS / 'stems-live.onnx')
    found = separate_offline(network, mixture, network.words('drums', 'bass'))

    def si_sdr(estimate: np.ndarray, target: np.ndarray) -> float:
        scaled = target * (estimate @ target) / (target @ target)
        return float(10 * np.log10((scaled @ scaled) / np.sum((estimate - scaled) ** 2)))

    # The bass leads the mixture as it is; the drums are 8 dB below the rest.
    for estimate, (name, gained) in zip(found, (('drums', 12), ('bass', 1.5)), strict=True):
        assert si_sdr(estimate[0], stems[name]) > si_sdr(mixture[0], stems[name]) + gained
