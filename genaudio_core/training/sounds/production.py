"""Effects of producers that SoundFonts lack: pumping, filters that open, notes cut short, a voice above the band.

Everything here works on single stems (2, n), so that a mixture stays the sum of its stems.
"""

import random
from collections.abc import Sequence

import numpy as np

from genaudio_core.sound.soundfont import PlayedNote
from genaudio_core.training.sounds.singing import Singers, near, parts, sing
from genaudio_core.training.sounds.soundfont_clips import add_effects, level

SHARE_PUMPED = 0.35  # of varied windows with a bass drum
SHARE_SWEPT = 0.25  # of varied synthesizers
SHARE_DOUBLED = 0.4  # of voices
FEWEST_SUNG = 5  # notes of a melody
SHORTEST_SUNG = 0.12  # seconds, the median of a melody's notes
KICKS = (35, 36)  # MIDI keys
# Part of a kit, as a concept -> its keys; the other keys are percussion. Toms share a concept with the taiko.
DRUM_PARTS: dict[str, tuple[int, ...]] = {
    'kick drum': KICKS, 'snare drum': (37, 38, 40), 'hi-hat': (42, 44, 46), 'taiko': (41, 43, 45, 47, 48, 50),
    'cymbals': (49, 51, 52, 53, 55, 57, 59),
}  # fmt: skip
OTHER_DRUMS = 'hand percussion'


def drum_part(key: int) -> str:
    """Return the part of a kit, as a concept, that a MIDI key of channel 10 belongs to."""
    return next((name for name, keys in DRUM_PARTS.items() if key in keys), OTHER_DRUMS)


def pump(audio: np.ndarray, kicks: Sequence[float], depth: float, release: float, sample_rate: int) -> np.ndarray:
    """Return audio (2, n) as a compressor makes it that listens to the bass drum.

    Parameters
    ----------
    kicks
        Seconds from the beginning of `audio`.
    depth
        Share of the level that is taken away, 0 to 1.
    release
        Seconds until it is back.
    """
    gain = np.ones(audio.shape[-1], np.float32)
    span = round(release * sample_rate)
    shape = (1 - depth * (1 - np.linspace(0, 1, span)) ** 1.5).astype(np.float32)
    attack = min(round(0.004 * sample_rate), span)
    shape[:attack] = np.linspace(1, shape[attack - 1], attack)
    for kick in kicks:
        at = round(kick * sample_rate)
        first, last = max(at, 0), min(at + span, len(gain))
        if last > first:
            gain[first:last] = np.minimum(gain[first:last], shape[first - at : last - at])
    return audio * gain


def gated(audio: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return audio (2, n) in short notes that die away at once, in a rhythm of sixteen steps of its own.

    Plucked synthesizers begin as drums do: who learned synthesizers from held notes takes them for drums.
    """
    step, n = int(rng.uniform(0.09, 0.2) * sample_rate), audio.shape[-1]
    struck = rng.random(16) < rng.uniform(0.25, 0.9)
    struck[rng.integers(16)] = True
    since = np.full(n, n, np.int64)  # samples since the last stroke
    for i in range(-16, n // step + 1):
        if struck[i % 16]:
            first = max(i * step, 0)
            since[first:] = np.arange(first - i * step, n - i * step)
    decay = np.exp(rng.uniform(np.log(0.03), np.log(0.25))) * sample_rate
    attack = rng.uniform(0.001, 0.01) * sample_rate
    shape = np.exp(-since / decay) * np.minimum(1.0, since / attack)
    return (audio * shape).astype(np.float32)


def limiter_gain(mixture: np.ndarray, drive: float, ratio: float, release: float, sample_rate: int) -> np.ndarray:
    """Return the gain (n,) with which a compressor at the end of a desk levels a mixture (2, n).

    It is the same for all that sounds: stems times it add up to the mixture times it.

    Parameters
    ----------
    drive
        How far peaks stand above its threshold, in dB.
    ratio
        dB above the threshold that become one.
    release
        Seconds in which what it holds down falls to a third.
    """
    n, hop = mixture.shape[-1], 64
    level = np.abs(mixture).max(0)
    peaks = np.pad(level, (0, -n % hop)).reshape(-1, hop).max(1)
    decibels = 20 * np.log10(np.maximum(peaks, 1e-9) / max(float(level.max(initial=0)), 1e-9))
    wanted = np.maximum(decibels + drive, 0) * (1 - 1 / ratio)
    held, falls = 0.0, np.exp(-hop / (release * sample_rate))
    for i, down in enumerate(wanted):
        wanted[i] = held = max(down, held * falls)
    wanted = np.maximum(wanted, np.append(wanted[1:], 0))  # it looks ahead: at no sample less than what its peak needs
    wanted = np.maximum(wanted, np.append(0, wanted[:-1] * falls))
    down = np.interp(np.arange(n), (np.arange(len(wanted)) + 0.5) * hop, wanted)
    return (10 ** (-down / 20)).astype(np.float32)


def sweep(audio: np.ndarray, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Return audio (2, n) through a low-pass filter that opens and closes, once in the window or with the beat."""
    import pedalboard as pb

    n = audio.shape[-1]
    cutoff = float(np.exp(rng.uniform(np.log(250), np.log(1500))))
    low_pass = pb.LadderFilter(pb.LadderFilter.Mode.LPF24, cutoff, float(rng.uniform(0, 0.6)))
    board = pb.Pedalboard([low_pass])  # pyright: ignore[reportPrivateImportUsage]
    closed = board(np.ascontiguousarray(audio, np.float32), sample_rate)
    rate = float(rng.choice([0.06, 0.12, 0.25, 0.5, 2.0, 4.0])) * float(rng.uniform(0.85, 1.2))  # Hz
    phase = 2 * np.pi * (rate * np.arange(n) / sample_rate + rng.random())
    opened = ((1 - np.cos(phase)) / 2).astype(np.float32)
    return closed * (1 - opened) + audio * opened


def sung_over(
    melodies: Sequence[Sequence[PlayedNote]],
    singers: Singers,
    seconds: float,
    sample_rate: int,
    rng: np.random.Generator,
) -> tuple[int, np.ndarray] | None:
    """Sing the highest of some parts.

    Parameters
    ----------
    melodies
        The notes of each part, in seconds from the beginning of the window.

    Returns
    -------
    tuple or None
        Which part it was and the voice (2, n), at no particular level; None where nothing can be sung.
    """
    tops = [parts(notes, 2)[1] if notes else [] for notes in melodies]
    able = [i for i, notes in enumerate(tops) if len(notes) >= FEWEST_SUNG
            and np.median([note.end - note.start for note in notes]) >= SHORTEST_SUNG]  # fmt: skip
    if not able:
        return None
    chosen = max(able, key=lambda i: float(np.median([note.note for note in tops[i]])))
    draw = random.Random(int(rng.integers(2**31)))
    voice = singers.draw()
    notes = [note._replace(start=max(note.start, 0.0)) for note in near(tops[chosen], voice.pitch, draw)]
    audio = level(sing(voice, notes, seconds, draw, sample_rate)[None])
    if not np.any(audio):
        return None
    both = np.repeat(audio, 2, 0)
    if rng.random() < SHARE_DOUBLED:
        both = both * float(rng.uniform(0.3, 1.0))
        for side in range(2):  # once more to the left and to the right, a little late and beside the pitch
            late, speed = rng.uniform(0.008, 0.035) * sample_rate, 2 ** (rng.normal(0, 0.1) / 12)
            places = np.arange(audio.shape[1]) * speed - late
            both[side] += np.interp(places, np.arange(audio.shape[1]), audio[0], left=0.0, right=0.0)
    return chosen, add_effects(both.astype(np.float32), sample_rate, 'vocals', draw)
