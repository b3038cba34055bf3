"""Synthetic singing: speech and sung vowels put on the melodies of scores, with WORLD (pyworld, MIT, extra `singing`).

There are no licence-clean recordings of real singing with words. So a recorded phrase is taken apart into pitch,
spectral envelope and noisiness; its syllables are laid on the notes of a melody, the consonants at their own speed and
the vowels as long as the note; the pitch is the melody's, with glides, vibrato and a little unrest. Envelopes are
stretched for other throats. A choir is several such singers who sing the notes of chords, not quite together.

The sources and what they allow are in ``shared/data/audio/SOURCES.md``. One speaker (`HELD_OUT`) is heard in the test
split only: unseen pieces there are sung by an unseen voice.
"""

import functools
import importlib.metadata
import random
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.sound.audio_files import read_audio, to_mono
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.soundfont import SAMPLE_RATE, PlayedNote
from genaudio_core.training.sounds.lexicon import BY_NAME
from genaudio_core.training.sounds.packed_clips import SoundWriter
from genaudio_core.training.sounds.recordings import Recording, split_of
from genaudio_core.training.sounds.soundfont_clips import Phrase, PhraseBook, add_effects, level, perform

HELD_OUT = 'ljspeech-via-mozilla-TTS'
PERIOD = 5.0  # ms of an analysis frame
ONSET = 0.07  # seconds of a syllable that keep their own speed
SHORTEST = 0.06  # seconds under which a voiced stretch is not a syllable
LONGEST = 0.35  # seconds over which a voiced stretch is cut in two at its softest place
LOWEST_F0, HIGHEST_F0 = 60.0, 800.0  # Hz, where speech is searched for a pitch
VOICES_IN_MEMORY = 24

Progress = Callable[[str, int, int], None]


class SingingVoice(NamedTuple):
    """A recording taken apart, frames of `PERIOD`."""

    f0: np.ndarray  # (frames,) Hz, 0 where unvoiced
    envelope: np.ndarray  # (frames, bins) power
    noisiness: np.ndarray  # (frames, bins) 0..1
    syllables: list[tuple[int, int]]  # frames
    pitch: float  # median, as a MIDI note
    source: str


@functools.cache
def need_world() -> Any:
    """Return the module pyworld, or say how to install it."""
    # pyworld 0.3.5 asks pkg_resources for its own version and nothing else; setuptools 81 no longer has that.
    stand_in: Any = ModuleType('pkg_resources')
    stand_in.get_distribution = importlib.metadata.distribution
    added = sys.modules.setdefault('pkg_resources', stand_in) is stand_in
    try:
        return import_module('pyworld')
    except ImportError as error:
        raise GenaudioError("Singing needs pyworld: pip install 'genaudio[singing]'") from error
    finally:
        if added:
            del sys.modules['pkg_resources']


def analyse(audio: np.ndarray, source: str = '', sample_rate: int = SAMPLE_RATE) -> SingingVoice | None:
    """Return a recording (n_samples,) taken apart, or None if there is no syllable in it.

    Raises
    ------
    GenaudioError
        If pyworld is not installed.
    """
    world = need_world()
    x = np.ascontiguousarray(audio, np.float64)
    rough, times = world.dio(x, sample_rate, f0_floor=LOWEST_F0, f0_ceil=HIGHEST_F0, frame_period=PERIOD)
    f0 = world.stonemask(x, rough, times, sample_rate)
    envelope = world.cheaptrick(x, f0, times, sample_rate)
    noisiness = world.d4c(x, f0, times, sample_rate)
    found = syllables(f0 > 0, envelope.sum(axis=1))
    if not found:
        return None
    pitch = 69 + 12 * np.log2(np.median(f0[f0 > 0]) / 440)
    return SingingVoice(f0, envelope.astype(np.float32), noisiness.astype(np.float32), found, float(pitch), source)


def syllables(voiced: np.ndarray, power: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, stop) frames of the syllables of a phrase: voiced stretches with the consonant before them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(np.int8), [0]])))
    stretches = list(zip(edges[::2], edges[1::2], strict=True))
    shortest, longest, onset = (round(1000 * s / PERIOD) for s in (SHORTEST, LONGEST, ONSET))
    cut: list[tuple[int, int]] = []
    while stretches:
        start, stop = stretches.pop(0)
        if stop - start > longest:
            inner = power[start + shortest : stop - shortest]
            at = start + shortest + int(inner.argmin())
            stretches[:0] = [(start, at), (at, stop)]
        elif stop - start >= shortest:
            cut.append((int(start), int(stop)))
    # The consonant belongs to the vowel that follows, as far as it does not reach into what came before.
    result, last = [], 0
    for start, stop in cut:
        result.append((max(last, start - onset), stop))
        last = stop
    return result


def sing(
    voice: SingingVoice, notes: Sequence[PlayedNote], seconds: float, rng: random.Random, sample_rate: int = SAMPLE_RATE
) -> np.ndarray:
    """Return float32 (n_samples,): `voice` sings `notes`, one at a time (a note ends where the next one begins)."""
    world = need_world()
    n = round(seconds * 1000 / PERIOD)
    f0, where = np.zeros(n), np.full(n, -1)
    loudness = np.zeros(n)
    wanted = np.zeros(n)  # MIDI notes
    at = rng.randrange(len(voice.syllables))
    previous = None
    unrest = random_walk(n, rng)
    depth, speed = rng.uniform(0.1, 0.45), rng.uniform(4.8, 6.5)  # vibrato: semitones and Hz
    for i, note in enumerate(sorted(notes)):
        begin = round(note.start * 1000 / PERIOD)
        until = notes[i + 1].start if i + 1 < len(notes) else seconds
        end = min(n, round(min(note.end, until) * 1000 / PERIOD))
        if end - begin < 8:
            continue
        start, stop = voice.syllables[at % len(voice.syllables)]
        at += 1
        length = end - begin
        head = min(round(1000 * ONSET / PERIOD), length // 2, stop - start)
        body = np.linspace(min(start + head, stop - 1), stop - 1, length - head) if length > head else np.zeros(0)
        where[begin:end] = np.round(np.concatenate([np.arange(start, start + head), body])).astype(int)
        t = np.arange(length) * PERIOD / 1000
        glide = np.exp(-t / rng.uniform(0.02, 0.07))
        swell = np.clip((t - 0.25) / 0.3, 0, 1)  # vibrato comes once the note stands
        wanted[begin:end] = note.note + (0 if previous is None else (previous - note.note)) * glide
        wanted[begin:end] += depth * swell * np.sin(2 * np.pi * speed * t + rng.uniform(0, 6.28))
        fade = np.minimum(1.0, np.minimum(t / 0.015, (length * PERIOD / 1000 - t) / 0.05))
        loudness[begin:end] = fade * (note.velocity / 100) ** 0.7
        previous = note.note
    sung = where >= 0
    if not sung.any():
        return np.zeros(round(seconds * sample_rate), np.float32)
    frames = np.where(sung, where, 0)
    f0 = np.where(sung & (voice.f0[frames] > 0), 440 * 2 ** ((wanted + unrest - 69) / 12), 0.0)
    stretch = rng.uniform(0.88, 1.14)
    bins = voice.envelope.shape[1]
    places = np.clip(np.arange(bins) / stretch, 0, bins - 1)
    low = places.astype(int)
    share = places - low
    high = np.minimum(low + 1, bins - 1)

    def throat(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values[:, low] * (1 - share) + values[:, high] * share, np.float64)

    envelope = throat(voice.envelope[frames]) * loudness[:, None] ** 2 + 1e-12
    audio = world.synthesize(f0, envelope, throat(voice.noisiness[frames]), sample_rate, PERIOD)
    wanted_samples = round(seconds * sample_rate)
    audio = np.pad(audio, (0, max(0, wanted_samples - len(audio))))[:wanted_samples]
    return audio.astype(np.float32)


def random_walk(n: int, rng: random.Random, size: float = 0.12) -> np.ndarray:
    """Return (n,) semitones of unrest: slow noise of standard deviation `size`."""
    points = max(2, n // 12)
    rough = np.random.default_rng(rng.getrandbits(32)).standard_normal(points) * size
    return np.interp(np.linspace(0, points - 1, n), np.arange(points), rough)


def parts(notes: Sequence[PlayedNote], n_voices: int) -> list[list[PlayedNote]]:
    """Share out chords among singers: each sings one note of each chord, the lowest singer the lowest."""
    chords: list[list[PlayedNote]] = []
    for note in sorted(notes):
        if chords and note.start - chords[-1][0].start < 0.05:
            chords[-1].append(note)
        else:
            chords.append([note])
    ranked = [sorted(chord, key=lambda n: n.note) for chord in chords]
    return [[chord[round(v * (len(chord) - 1) / max(n_voices - 1, 1))] for chord in ranked] for v in range(n_voices)]


class Singers:
    """The voices of one split, taken apart when first needed."""

    def __init__(self, recordings: Sequence[Recording], split: str, rng: random.Random):
        wanted = [r for r in recordings if r.need == 'vocals' and r.concept in ('speech', 'vocals') and r.seconds >= 1]
        self.recordings = [
            r for r in wanted
            if (r.source == HELD_OUT if split == 'test' else r.source != HELD_OUT)
            and (split == 'test' or split_of(r.path.name) in (split, 'test' if split == 'valid' else split))
        ]  # fmt: skip
        self._rng = rng
        self._voices: dict[int, SingingVoice | None] = {}

    def draw(self) -> SingingVoice:
        """Return a random voice.

        Raises
        ------
        GenaudioError
            If no recording of the split has a syllable in it.
        """
        by_source: dict[str, list[int]] = {}
        for index, recording in enumerate(self.recordings):
            by_source.setdefault(f'{recording.source} {recording.label}', []).append(index)
        for _ in range(50 if by_source else 0):
            # Each speaker as often as any other, however many files there are.
            index = self._rng.choice(by_source[self._rng.choice(sorted(by_source))])
            if index not in self._voices:
                if len(self._voices) >= VOICES_IN_MEMORY:
                    self._voices.pop(next(iter(self._voices)))
                recording = self.recordings[index]
                audio = to_mono(read_audio(recording.path, SAMPLE_RATE))
                self._voices[index] = analyse(audio, recording.source)
            if (voice := self._voices[index]) is not None:
                return voice
        raise GenaudioError('None of the voice recordings could be made to sing.')


def near(notes: Sequence[PlayedNote], pitch: float, rng: random.Random) -> list[PlayedNote]:
    """Move a melody by octaves to where a voice of this speaking `pitch` sings: some notes above it."""
    middle = float(np.median([n.note for n in notes]))
    shift = 12 * round((pitch + rng.uniform(2, 12) - middle) / 12)
    return [n._replace(note=int(np.clip(n.note + shift, 36, 88))) for n in notes]


def render_singing(
    writer: SoundWriter,
    pieces: dict[str, list[Phrase]],
    recordings: Sequence[Recording],
    split: str,
    rng: random.Random,
    *,
    n_solos: int,
    n_choirs: int,
    seconds: float,
    progress: Progress | None = None,
) -> float:
    """Add mono 'solo' clips labelled 'vocals' and 'choir'; return the seconds made.

    Raises
    ------
    GenaudioError
        If pyworld is missing, or the split has no voices or no melodies.
    """
    need_world()
    book = PhraseBook(p for name, phrases in pieces.items() if split_of(name) == split for p in phrases)
    if not book.mono or not book.poly:
        raise GenaudioError(f"Too few scores for the split '{split}': melodies and chords are needed to sing.")
    singers, made = Singers(recordings, split, rng), 0.0
    plan = ['vocals'] * n_solos + ['choir'] * n_choirs
    rng.shuffle(plan)
    for index, label in enumerate(plan):
        if progress:
            progress(f'singing ({split})', index, len(plan))
        for _ in range(8):
            phrase = rng.choice(book.mono if label == 'vocals' else book.poly)
            notes = perform(phrase, BY_NAME[label], seconds, rng)
            if len(notes) >= 5:
                break
        else:
            continue
        if label == 'vocals':
            voice = singers.draw()
            audio, source = sing(voice, near(parts(notes, 1)[0], voice.pitch, rng), seconds, rng), voice.source
        else:
            audio, source = np.zeros(round(seconds * SAMPLE_RATE), np.float32), 'choir'
            for part in parts(notes, rng.randint(3, 5)):
                voice = singers.draw()
                late, flat = rng.uniform(0, 0.05), rng.gauss(0, 0.1)
                moved = [n._replace(start=n.start + late, end=n.end + late) for n in part]
                own = sing(voice, moved, seconds, rng)
                # A shift of the whole voice by a few cents: reading it a little faster.
                places = np.arange(len(own)) * 2 ** (flat / 12)
                own = np.interp(places, np.arange(len(own)), own, right=0.0)
                audio += (own / max(rms(own), 1e-6) * rng.uniform(0.6, 1)).astype(np.float32)
        if np.abs(audio).max() < 1e-4:
            continue
        audio = level(add_effects(level(audio[None]), SAMPLE_RATE, label, rng))
        writer.add(audio, SAMPLE_RATE, label=label, kind='solo', split=split, source=f'singing {source}',
                   group=phrase.piece)  # fmt: skip
        made += seconds
    return made
