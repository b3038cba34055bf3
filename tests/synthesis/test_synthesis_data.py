"""Packing sounds for synthesis: onsets, crops, splits."""

import random

import numpy as np
import pytest

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.mel import HOP, LEVEL, mel_magnitude, moment_power, unpack_mel
from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter
from genaudio_core.training.sounds.packed_mels import (
    FRAMES,
    LEAD,
    SynthesisData,
    crop,
    crops_of,
    onsets,
    prepare_synthesis,
)

RATE = 44100


def hits(times, seconds=4.0, level=0.5):
    """Decaying noise bursts at the given times (s)."""
    rng = np.random.default_rng(0)
    audio = np.zeros(int(seconds * RATE), np.float32)
    for time in times:
        n = min(int(0.2 * RATE), len(audio) - int(time * RATE))
        burst = rng.standard_normal(n) * np.exp(-np.arange(n) / 2000)
        audio[int(time * RATE) : int(time * RATE) + n] += (level * burst).astype(np.float32)
    return audio


class Ears:
    """An encoder that counts what it hears."""

    def __init__(self):
        self.heard = []

    def encode(self, audio, sample_rate):
        if np.abs(audio).max() < 1e-6:
            raise GenaudioError('silent')
        self.heard.append(audio.shape[1])
        return np.eye(128, dtype=np.float32)[len(self.heard) % 128]


def test_onsets_are_where_the_hits_are():
    times = (0.5, 1.3, 2.71)
    found = sorted(onsets(mel_magnitude(hits(times))))
    assert len(found) == 3
    # A window of 2048 samples feels a hit two frames before its middle reaches it.
    np.testing.assert_allclose(np.array(found) * HOP / RATE, times, atol=2.5 * HOP / RATE)


def test_a_steady_tone_has_no_onset_but_its_first():
    tone = np.sin(np.arange(2 * RATE) * 0.05).astype(np.float32)
    assert len(onsets(mel_magnitude(tone))) <= 1


def test_a_crop_is_levelled_padded_and_heard_without_its_silence():
    audio = hits((0.02,), seconds=1.0, level=0.01)
    item = crop(audio, mel_magnitude(audio), 0, 'drums', 'train', True)
    assert item is not None and item.magnitude.shape[0] == FRAMES
    assert np.sqrt(moment_power(item.magnitude).max()) == pytest.approx(LEVEL, rel=0.01)
    assert (item.magnitude[100:] == 0).all()
    assert 0.1 * RATE < len(item.audio) < 0.5 * RATE
    assert crop(np.zeros(RATE, np.float32), mel_magnitude(np.zeros(RATE, np.float32)), 0, 'x', 'train', True) is None


def test_crops_at_onsets_begin_with_them_and_are_marked():
    audio = hits((0.5, 1.3, 2.71))
    items = list(crops_of(audio, 'drums', 'train', 2, 1, random.Random(0)))
    assert [item.start for item in items] == [True, True, False]
    for item in items[:2]:
        assert moment_power(item.magnitude)[: LEAD + 6].max() > 0.3 * LEVEL**2


def test_a_pack_keeps_labels_and_splits(tmp_path):
    with SoundWriter(tmp_path / 'sounds') as writer:
        for split in ('train', 'valid', 'test'):
            for label in ('drums', 'piano'):
                writer.add(hits((0.3, 1.9))[None], RATE, label=label, kind='solo', split=split)
            writer.add(hits((0.3,))[None], RATE, label='noise', kind='noise', split=split)
            writer.add(np.zeros((1, RATE)), RATE, label='rain', kind='recording', split=split)
    ears = Ears()
    told = prepare_synthesis(tmp_path / 'pack.safetensors', SoundSet(tmp_path / 'sounds'), per_font=0, encoder=ears)  # type: ignore
    data = SynthesisData(tmp_path / 'pack.safetensors')
    assert told['items'] == len(data.mel) == len(ears.heard) and told['labels'] == 2
    assert {data.names[label] for label in data.label} == {'drums', 'piano'}
    for split in ('train', 'valid', 'test'):
        assert told[split] == len(data.rows(split)) > 0
        assert len(data.rows(split, start=True)) + len(data.rows(split, start=False)) == len(data.rows(split))
    assert data.mel.dtype == np.uint8 and data.mel.shape[1:] == (FRAMES, 96)
    assert np.isfinite(unpack_mel(data.mel)).all()
    np.testing.assert_allclose(np.linalg.norm(data.query, axis=1), 1, atol=1e-3)


def test_nothing_to_learn_from_is_told(tmp_path):
    with SoundWriter(tmp_path / 'sounds') as writer:
        writer.add(np.zeros((1, RATE)), RATE, label='rain', kind='recording', split='train')
    with pytest.raises(GenaudioError, match='no sound'):
        prepare_synthesis(tmp_path / 'pack.safetensors', SoundSet(tmp_path / 'sounds'), per_font=0, encoder=Ears())  # type: ignore
    assert not (tmp_path / 'pack.safetensors').exists()
