"""Sounds that a network learns to tell apart in seconds."""

from pathlib import Path

import numpy as np

from genaudio_core.training.sounds.packed_clips import SoundSet, SoundWriter

LABELS = {'piano': 500, 'drums': 2000, 'violin': 5000, 'flute': 9000}  # Hz around which each sounds


def tiny_sounds(folder: Path) -> SoundSet:
    """Four labels, each a band of noise of its own, and noise: for training and for testing."""
    rng = np.random.default_rng(0)
    with SoundWriter(folder) as writer:
        for label, centre in LABELS.items():
            for split in ('train', 'valid', 'test'):
                n = 300_000 if split == 'test' else 120_000
                spectrum = np.fft.rfft(rng.standard_normal(n))
                hz = np.fft.rfftfreq(n, 1 / 44100)
                audio = np.fft.irfft(spectrum * (np.abs(hz - centre) < 0.3 * centre), n)
                audio *= 0.1 / audio.std()
                writer.add(audio[None], 44100, label=label, kind='solo', split=split, group=f'{label}{split}')
        for split in ('train', 'test'):
            noise = rng.standard_normal((1, 300_000)) * 0.1
            writer.add(noise, 44100, label='noise', kind='noise', split=split)
    return SoundSet(folder)
