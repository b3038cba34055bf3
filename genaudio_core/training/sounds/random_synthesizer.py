"""A synthesizer for training sounds, since no SoundFont holds what a knob can do.

The synthesizers of General MIDI fonts are a few dozen recordings of machines of the eighties, their guitars a few
notes through one amplifier, and what learns from them does not know others. This one is drawn again for every part:
oscillators (one to seven, detuned and spread), a low-pass filter with resonance, an envelope and a slow wave, an
envelope of level, vibrato, noise, and effects. Plucked strings are the same with a bright beginning; a guitar's chord
goes through its amplifier as a whole.

A note is read from a handful of wavetables, one for each of some positions of the filter, between which it fades:
nothing aliases, and a note costs a few table look-ups instead of a sum over its partials.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.sound.loudness import rms
from genaudio_core.sound.soundfont import PlayedNote

TABLE = 2048  # samples of a period
POSITIONS = 12  # of the filter
LOWEST, HIGHEST = 60.0, 16_000.0  # Hz, of the filter
PARTIALS = 400
PLUCKED = ('acoustic guitar', 'electric guitar', 'distorted guitar', 'electric bass', 'slap bass')


@dataclass(frozen=True)
class Patch:
    """Positions of the knobs; times in seconds."""

    partials: np.ndarray  # amplitudes of the oscillator's partials, (PARTIALS,)
    detune: np.ndarray  # cents, of each oscillator
    pan: np.ndarray  # -1 to 1, of each oscillator
    second: float  # semitones of a second set of oscillators
    second_level: float
    cutoff: float  # Hz at key 60
    tracking: float  # 0: one cutoff for all keys, 1: it moves with the key
    order: int  # of the filter: 6 dB per octave each
    resonance: float  # dB at the cutoff
    sweep: float  # octaves above the cutoff at the beginning of a note
    sweep_time: float
    wave: float  # octaves that a slow wave moves the cutoff
    wave_rate: float  # Hz
    attack: float
    decay: float
    sustain: float
    release: float
    vibrato: float  # cents
    noise: float


def draw_patch(kind: str, rng: np.random.Generator) -> Patch:
    """Draw a patch for a concept of the lexicon: what holds (pads, strings), is played, or plucked; or a bass."""
    k = np.arange(1, PARTIALS + 1)

    def log(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    if kind in PLUCKED:
        bass, slapped = kind.endswith('bass'), kind == 'slap bass'
        double = kind != 'acoustic guitar' and not bass and rng.random() < 0.35  # played twice, left and right
        return Patch(
            partials=np.abs(np.sin(np.pi * k * rng.uniform(0.06, 0.4))) / k ** rng.uniform(0.8, 1.3),
            detune=np.array([-3.0, 3.0] if double else [0.0]), pan=np.array([-1.0, 1.0] if double else [0.0]),
            second=0.0, second_level=0.0, cutoff=log(200, 1500) if bass else log(500, 4000),
            tracking=float(rng.uniform(0.3, 1)), order=int(rng.integers(1, 3)), resonance=0.0,
            sweep=float(rng.uniform(3, 5) if slapped else rng.uniform(0.5, 4)),
            sweep_time=log(0.02, 0.1) if slapped else log(0.04, 0.6), wave=0.0, wave_rate=1.0, attack=log(0.001, 0.006),
            decay=log(0.3, 2.5), sustain=0.0, release=log(0.03, 0.15),
            vibrato=float(rng.uniform(3, 12)) if rng.random() < 0.2 else 0.0, noise=0.0,
        )  # fmt: skip
    shape = rng.choice(['saw', 'pulse', 'square', 'triangle', 'drawn'], p=[0.4, 0.2, 0.15, 0.1, 0.15])
    width = float(rng.uniform(0.08, 0.45))
    partials = {
        'saw': 1 / k, 'square': (k % 2) / k, 'triangle': (k % 2) / k**2,
        'pulse': np.abs(np.sin(np.pi * k * width)) / k,
        'drawn': np.where(k <= 12, rng.random(PARTIALS) ** 2, 0.02 / k),
    }[str(shape)]  # fmt: skip
    holds = kind in ('synth pad', 'synth strings') or rng.random() < 0.15
    bass = kind == 'synth bass'
    n = int(rng.choice([1, 2, 3, 7], p=[0.6, 0.3, 0.1, 0.0] if bass else [0.25, 0.25, 0.2, 0.3]))
    spread = float(rng.uniform(2, 25))
    return Patch(
        partials=partials, detune=np.linspace(-spread, spread, n) if n > 1 else np.zeros(1),
        pan=np.linspace(-1, 1, n) * rng.uniform(0, 1) if n > 1 else np.zeros(1),
        second=float(rng.choice([-12, 12, 7, 19, 0.1])),
        second_level=float(rng.uniform(0.2, 1)) if rng.random() < 0.4 else 0.0,
        cutoff=log(150, 2500) if bass else log(300, 9000), tracking=float(rng.choice([0, 0.5, 1])),
        order=int(rng.choice([2, 4])), resonance=float(rng.uniform(0, 15)) if rng.random() < 0.5 else 0.0,
        sweep=float(rng.uniform(0.5, 5)) if rng.random() < 0.6 else 0.0, sweep_time=log(0.04, 1.0),
        wave=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.25 else 0.0, wave_rate=log(0.2, 6),
        attack=log(0.05, 0.6) if holds else log(0.001, 0.03), decay=log(0.08, 1.5),
        sustain=float(rng.uniform(0.6, 1)) if holds else float(rng.choice([0, rng.uniform(0.2, 1)], p=[0.3, 0.7])),
        release=log(0.2, 1.5) if holds else log(0.02, 0.4),
        vibrato=float(rng.uniform(4, 25)) if rng.random() < 0.3 else 0.0,
        noise=log(0.003, 0.05) if rng.random() < 0.2 else 0.0,
    )  # fmt: skip


def play(
    patch: Patch, notes: Sequence[PlayedNote], seconds: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Return the part (2, samples) from 0 to `seconds`; notes may begin before 0, and are heard on from there."""
    lead = round(max([0.0, *(-note.start for note in notes)]) * sample_rate)
    out = np.zeros((2, lead + round(seconds * sample_rate)), np.float32)
    for note in notes:
        at = lead + round(note.start * sample_rate)
        sound = _note(patch, note, sample_rate, rng)[:, : max(out.shape[1] - at, 0)]
        out[:, at : at + sound.shape[1]] += sound
    return out[:, lead:]


def _note(patch: Patch, note: PlayedNote, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    held = max(note.end - note.start, 0.01)
    played = np.arange(round((held + 3 * patch.release) * sample_rate)) / sample_rate  # for phases: in double precision
    t = played.astype(np.float32)
    pitch = 440.0 * 2 ** ((note.note - 69) / 12)
    level = patch.sustain + (1 - patch.sustain) * np.exp(-np.maximum(t - patch.attack, 0) / patch.decay)
    level = level * np.minimum(t / patch.attack, 1) * np.exp(-np.maximum(t - held, 0) / patch.release)
    octaves = np.log2(patch.cutoff) + patch.tracking * (note.note - 60) / 12
    octaves = octaves + patch.sweep * np.exp(-t / patch.sweep_time)
    octaves = octaves + patch.wave * np.sin(2 * np.pi * patch.wave_rate * (note.start + t))
    lowest, highest = np.log2(LOWEST), np.log2(HIGHEST)
    position = np.clip((octaves - lowest) / (highest - lowest), 0, 1) * (POSITIONS - 1.001)
    row, between = position.astype(np.int32) * TABLE, (position % 1).astype(np.float32)
    if patch.vibrato:
        deep = patch.vibrato * np.minimum(t / 0.4, 1)
        played = np.cumsum(2 ** (deep / 1200 * np.sin(2 * np.pi * 5.5 * t)), dtype=np.float64) / sample_rate
    sound = np.zeros((2, len(t)), np.float32)
    sets = [(0.0, 1.0)] + ([(patch.second, patch.second_level)] if patch.second_level else [])
    for semitones, gain in sets:
        tables = _tables(patch, pitch * 2 ** (semitones / 12), sample_rate).reshape(-1)
        for cents, pan in zip(patch.detune, patch.pan, strict=True):
            hertz = pitch * 2 ** (semitones / 12 + cents / 1200)
            place = row + (((rng.random() + hertz * played) * TABLE).astype(np.int64) & (TABLE - 1))
            low = tables.take(place)
            voice = np.float32(gain) * (low + between * (tables.take(place + TABLE) - low))
            sound += np.array([[1 - max(pan, 0)], [1 + min(pan, 0)]], np.float32) * voice
    if patch.noise:
        sound += patch.noise * rng.standard_normal(sound.shape).astype(np.float32) * len(patch.detune)
    return sound * (level * (note.velocity / 127) ** 1.5).astype(np.float32)


def _tables(patch: Patch, pitch: float, sample_rate: int) -> np.ndarray:
    """Periods (POSITIONS, TABLE) of an oscillator at `pitch`, Hz, behind the filter at each of its positions."""
    k = np.arange(1, PARTIALS + 1)
    cutoffs = np.geomspace(LOWEST, HIGHEST, POSITIONS)[:, None]
    over = k * pitch / cutoffs
    filtered = 1 / np.sqrt(1 + over ** (2 * patch.order))
    filtered = filtered * 10 ** (patch.resonance / 20 * np.exp(-8 * np.log2(np.maximum(over, 1e-6)) ** 2))
    amplitudes = patch.partials * filtered * (k * pitch < 0.45 * sample_rate)
    spectrum = np.zeros((POSITIONS, TABLE // 2 + 1), complex)
    spectrum[:, 1 : PARTIALS + 1] = -0.5j * TABLE * amplitudes
    return np.fft.irfft(spectrum, TABLE, axis=1).astype(np.float32)


def through_effects(kind: str, audio: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return a part (2, n) through some of what parts of its `kind` are often heard through."""
    import pedalboard as pb

    board: list[pb.Plugin] = []

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    driven = {'distorted guitar': (1.0, 25, 45), 'electric guitar': (0.5, 5, 20), 'acoustic guitar': (0.0, 0, 0)}
    share, low, high = driven.get(kind, (0.15, 5, 25))
    if rng.random() < share:
        audio = audio * (0.1 / (rms(audio) + 1e-6))
        board.append(pb.Distortion(between(low, high)))
    if kind in ('distorted guitar', 'electric guitar'):  # an amplifier's cabinet
        board += [pb.HighpassFilter(between(60, 130)), pb.PeakFilter(between(1500, 3500), between(-2, 6), 1.0)]
        board += [pb.LowpassFilter(between(3000, 7000)), pb.LowpassFilter(between(3000, 7000))]
    elif kind == 'acoustic guitar':  # its body
        board.append(pb.PeakFilter(between(90, 250), between(2, 8), 1.5))
        board.append(pb.PeakFilter(between(2000, 6000), between(-6, 6), 1.0))
    elif kind.endswith('bass'):
        board.append(pb.LowpassFilter(between(1200, 7000)))
    if rng.random() < (0.05 if kind.endswith('bass') else 0.25):
        board.append(pb.Chorus(between(0.3, 2), between(0.1, 0.4), mix=0.5))
    if rng.random() < 0.1:
        board.append(pb.Phaser(between(0.1, 1)))
    if not kind.endswith('bass') and rng.random() < 0.2:
        board.append(pb.Delay(between(0.15, 0.5), between(0, 0.5), between(0.1, 0.4)))
    if not kind.endswith('bass') and rng.random() < 0.35:
        board.append(pb.Reverb(between(0.3, 0.9), wet_level=between(0.1, 0.4)))
    for plugin in board:
        audio = plugin(audio, sample_rate, reset=True)
    return audio.astype(np.float32)
