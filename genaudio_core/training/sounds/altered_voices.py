"""Instruments that no SoundFont holds: a training sound's own voice, made by changing what a font plays.

Three SoundFonts are three guitars. A varied sound comes from any font, its samples from other keys than those played
(other formants), its envelope and filter changed, now and then two instruments in one, or as coarse as an old font.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

SHARE_LAYERED = 0.25  # of varied sounds that are two instruments in one
SHARE_DULL = 0.08  # of voices that lose all their brilliance
SHARE_COARSE = 0.1  # of varied sounds that come at a low sample rate
_COARSE_RATES = (11_000.0, 24_000.0)  # Hz
# Generators of the SoundFont standard (2.04, section 8.1.2) and how far they are moved, in its own units.
_VIBRATO, _FILTER, _RESONANCE, _COARSE, _FINE = 6, 8, 9, 51, 52
_ENVELOPE = {34: (0, 3000), 36: (-2000, 1500), 37: (-60, 100), 38: (-1200, 1200)}  # attack, decay, sustain, release


class AlteredVoice(NamedTuple):
    """One instrument of a sound: a font, and what is changed in it."""

    font: str
    gain: float = 1.0
    shift: int = 0  # semitones between the key that is struck and the one that is meant
    generators: Mapping[int, float] = MappingProxyType({})


def draw_voices(fonts: Sequence[str], is_drums: bool, rng: np.random.Generator) -> list[AlteredVoice]:
    """Draw one instrument, or two to be heard as one; their gains add up to 1."""
    count = 2 if rng.random() < SHARE_LAYERED else 1
    share = float(rng.uniform(0.25, 0.75))
    gains = (share, 1 - share) if count == 2 else (1.0,)
    return [draw_voice(str(rng.choice(fonts)), is_drums, rng, gain=gain) for gain in gains]


def draw_voice(font: str, is_drums: bool, rng: np.random.Generator, *, gain: float = 1.0) -> AlteredVoice:
    """Draw the changes of one instrument; it stays in tune."""
    generators = {_FINE: float(rng.normal(0, 6))}
    shift = 0
    if rng.random() < 0.6:
        # A drum is its key; elsewhere the key moves against the tuning: the note stays, the samples are others.
        tune = int(rng.integers(-5, 6))
        shift = 0 if is_drums else -tune
        generators[_COARSE] = min(3, max(-3, tune)) if is_drums else tune
    if rng.random() < 0.4:
        generators[_FILTER] = float(rng.uniform(-3600, 0))
        generators[_RESONANCE] = float(rng.uniform(0, 90))
    if rng.random() < 0.5:
        generators |= {number: float(rng.uniform(*bounds)) for number, bounds in _ENVELOPE.items()}
    if rng.random() < 0.2 and not is_drums:
        generators[_VIBRATO] = float(rng.uniform(0, 35))
    if rng.random() < SHARE_DULL:
        generators[_FILTER] = float(rng.uniform(-4800, -3000))
    return AlteredVoice(font, gain, shift, generators)


def coarsen(audio: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return `audio` (channels, n), now and then as it sounds at a low sample rate, interpolated in straight lines."""
    if rng.random() >= SHARE_COARSE:
        return audio
    from scipy.signal import resample  # extra `train`

    n = audio.shape[1]
    low = np.asarray(resample(audio, round(n * float(rng.uniform(*_COARSE_RATES)) / sample_rate), axis=1))
    times = np.arange(n) * (low.shape[1] / n)
    return np.stack([np.interp(times, np.arange(low.shape[1]), channel) for channel in low]).astype(np.float32)
