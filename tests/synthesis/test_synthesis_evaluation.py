"""Frechet distances, query match, and the bundled models measured by them."""

import numpy as np
import pytest
from tiny_synthesis import write_pack

from genaudio_core.analysis.synthesis import (
    QueryMatch,
    as_table,
    evaluate,
    frechet_distance,
    heard,
    levelled_mel,
    mel_statistics,
    study_vocoder,
)
from genaudio_core.query.audio_encoder import AudioEncoder
from genaudio_core.query.text_encoder import TextEncoder
from genaudio_core.query.vector import Query
from genaudio_core.sound.mel import BANDS, LEVEL, moment_power
from genaudio_core.synthesis.synthesizer import Synthesizer
from genaudio_core.training.sounds.packed_mels import SynthesisData


def test_frechet_distance_of_known_gaussians():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((40000, 3)) * [1.0, 2.0, 0.5]
    b = rng.standard_normal((40000, 3)) * [3.0, 2.0, 0.5] + [0.0, 1.0, 0.0]
    # Between diagonal Gaussians: the squared difference of means plus that of standard deviations.
    assert frechet_distance(a, b) == pytest.approx(1.0 + 4.0, rel=0.03)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)


def test_frechet_distance_survives_fewer_vectors_than_dimensions():
    rng = np.random.default_rng(1)
    few, many = rng.standard_normal((5, 20)), rng.standard_normal((50, 20))
    assert np.isfinite(frechet_distance(few, many)) and frechet_distance(few, few) < 1e-6


def test_match_tells_right_from_shuffled():
    names = ['piano', 'drums', 'rain', 'violin', 'dog bark']
    concepts = np.eye(5, 128, dtype=np.float32)
    labels = np.arange(5).repeat(4)
    vectors = concepts[labels] + np.random.default_rng(0).standard_normal((20, 128)) * 0.02
    right = QueryMatch(names, concepts).scores(vectors, labels)
    assert right['labels_above'] == right['pairs_above'] == right['top1'] == 1 and right['match'] > 0.9
    wrong = QueryMatch(names, concepts).scores(vectors, (labels + 1) % 5)
    assert wrong['labels_above'] == 0 and wrong['top1'] == 0


def test_confusable_labels_are_no_mismatch():
    names = ['violin', 'viola', 'rain']
    concepts = np.eye(3, 128, dtype=np.float32)
    heard_as_viola = concepts[[1]]
    scores = QueryMatch(names, concepts).scores(heard_as_viola, np.array([0]))
    assert scores['mismatch'] == 0 and scores['top1'] == 0 and scores['top5'] == 1


def test_mel_statistics_feel_means_and_spreads_above_the_floor():
    mel = np.full((2, 10, BANDS), -5.0)
    mel[1, ::2] = -3.0
    stats = mel_statistics(mel)
    assert stats.shape == (2, 48)
    np.testing.assert_allclose(stats[0], [-5.0] * 24 + [0.0] * 24)
    np.testing.assert_allclose(stats[1], [-4.0] * 24 + [1.0] * 24)


def test_a_perfect_vocoder_has_no_distance_and_a_silent_one_has():
    rng = np.random.default_rng(0)
    clip = rng.standard_normal(20000).astype(np.float32) * 0.1
    kept = {}

    def perfect(mel, n):
        gain = np.exp(mel.max() - kept['mel'].max())
        return clip * gain

    from genaudio_core.sound.mel import log_mel, mel_magnitude

    kept['mel'] = log_mel(mel_magnitude(clip))
    table = study_vocoder({'perfect': perfect, 'silent': lambda mel, n: np.zeros(n, np.float32)}, [clip])
    assert max(table['perfect'].values()) < 0.05 and min(table['silent'].values()) > 10
    power = moment_power(np.exp(levelled_mel(clip)))
    assert np.sqrt(power.max()) == pytest.approx(LEVEL, rel=0.01)


def test_silence_is_not_heard():
    assert heard(AudioEncoder.load(), np.zeros(44100, np.float32)) is None


class PackPlayer:
    """Plays the sound that belongs to what is asked for: a synthesizer that cannot be wrong."""

    def __init__(self, real, sounds):
        self.vocoder, self.card, self._sounds = real.vocoder, real.card, sounds

    def make(self, query, seconds, takes, seed, guidance, steps, way='words'):
        return self._sounds[query.name][None, : round(seconds * 44100)]


def test_the_table_ranks_a_perfect_maker_above_random_pictures(tmp_path):
    names = write_pack(tmp_path / 'pack.safetensors')
    data = SynthesisData(tmp_path / 'pack.safetensors')
    data.split[:] = 2
    data.start[:] = True
    encoder, real = AudioEncoder.load(), Synthesizer.load(threads=1)
    rng = np.random.default_rng(0)
    time = np.arange(3 * 44100) / 44100
    sounds = {name: (np.sin(2 * np.pi * 120 * 2.1**i * time) * (0.2 + 0.1 * rng.random(len(time)))).astype(np.float32)
              for i, name in enumerate(names)}  # fmt: skip
    # Texts are where the encoder hears these tones: the perfect maker matches, by construction.
    concepts = np.stack([heard(encoder, sounds[name]) for name in names])
    data.query = concepts[data.label]
    table = evaluate(PackPlayer(real, sounds), encoder, concepts, data, ways=('words', 'ZS'), per_label=1)  # type: ignore
    assert table['words']['top1'] == table['ZS']['top1'] == table['real sounds']['top1'] == 1
    assert table['random pictures']['match'] < table['words']['match'] - 0.1
    assert table['real, labels shuffled']['match'] < table['real sounds']['match'] - 0.1
    lines = as_table(table)
    assert len(lines) == 2 + len(table) and all(line.count('|') == 10 for line in lines)


def test_the_bundled_model_makes_the_same_sound_again():
    synthesizer, text = Synthesizer.load(threads=1), TextEncoder.load()
    query = Query('snare drum', ((1.0, text.encode('snare drum')),))
    first = synthesizer.make(query, 0.5, seed=3)
    np.testing.assert_array_equal(first, Synthesizer.load(threads=1).make(query, 0.5, seed=3))
    assert np.abs(first).max() > 0.2


@pytest.mark.slow
def test_matching_text_scores_above_mismatching_text_for_most_labels():
    synthesizer, text, encoder = Synthesizer.load(threads=1), TextEncoder.load(), AudioEncoder.load()
    match = QueryMatch(text.names, text.concepts)
    vectors, labels = [], []
    for number, name in enumerate(text.names[::2]):
        audio = synthesizer.make(Query(name, ((1.0, text.encode(name)),)), 2.0, seed=number)[0]
        vector = heard(encoder, audio)
        if vector is not None:
            vectors.append(vector)
            labels.append(2 * number)
    assert match.scores(np.stack(vectors), np.array(labels))['labels_above'] >= 0.8
