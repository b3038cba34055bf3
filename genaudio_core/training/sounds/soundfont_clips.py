"""Notes into audio: SoundFonts through fluidsynth, random performances, effects by pedalboard.

The scores give real harmony and rhythm, the renderer draws the instrument: the same melody is heard on a
saxophone today and a flute tomorrow, so that a model learns the timbre and not the tune.
"""

import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Score, Track
from genaudio_core.score.reading import read_midi
from genaudio_core.sound.soundfont import SAMPLE_RATE as SAMPLE_RATE
from genaudio_core.sound.soundfont import PlayedNote
from genaudio_core.sound.soundfont import find_font as find_font
from genaudio_core.training.sounds.lexicon import BY_NAME, PROGRAM_TO_CONCEPT, Concept

# Debian package -> file. TimGM6mb (GPL) is heard in tests only: its sound is in no training clip.
TRAIN_FONTS: dict[str, str] = {
    'fluid-soundfont-gm': 'FluidR3_GM.sf2',
    'musescore-general-soundfont-small': 'MuseScore_General_Lite.sf3',
    'csound-soundfont': 'sf_GMbank.sf2',
}
TEST_FONT = ('timgm6mb-soundfont', 'TimGM6mb.sf2')
LOUDNESS = 0.08  # root mean square that stems are brought to, full scale 1


class Phrase(NamedTuple):
    """The notes of one track of one piece, in seconds, with how many sound at once."""

    piece: str
    concept: str  # of the track's own program; 'drums' for drums; '' if unknown
    notes: list[PlayedNote]
    polyphony: float  # mean number of notes sounding while any sounds
    tempo: float = 120.0  # BPM at the start of the piece


def _phrase(score: Score, track: Track, piece: str) -> Phrase:
    notes = [
        PlayedNote(score.seconds_at(n.beat), score.seconds_at(n.beat + n.duration), n.note, n.velocity)
        for n in track.notes
    ]
    held = sum(n.end - n.start for n in notes)
    busy, last = 0.0, 0.0
    for n in sorted(notes):
        busy += max(0.0, n.end - max(n.start, last))
        last = max(last, n.end)
    concept = 'drums' if track.is_drum else PROGRAM_TO_CONCEPT.get(track.program, '')
    return Phrase(piece, concept, sorted(notes), held / busy if busy > 0 else 0.0, score.tempo_at(0.0))


def read_phrases(paths: Iterable[Path], min_notes: int = 20) -> dict[str, list[Phrase]]:
    """Return piece name -> its tracks as phrases. Files that cannot be read are passed over."""
    pieces: dict[str, list[Phrase]] = {}
    for path in paths:
        try:
            score = read_midi(path)
        except GenaudioError:
            continue
        piece = f'{path.parent.name}/{path.stem}'
        phrases = [_phrase(score, track, piece) for track in score.tracks if len(track.notes) >= min_notes]
        if phrases:
            pieces[piece] = phrases
    return pieces


class PhraseBook:
    """Phrases sorted by what can be played from them."""

    def __init__(self, phrases: Iterable[Phrase]):
        self.mono: list[Phrase] = []
        self.poly: list[Phrase] = []
        self.drums: list[Phrase] = []
        self.by_concept: dict[str, list[Phrase]] = defaultdict(list)
        for phrase in phrases:
            if phrase.concept == 'drums':
                self.drums.append(phrase)
                continue
            (self.mono if phrase.polyphony < 1.15 else self.poly).append(phrase)
            if phrase.concept:
                self.by_concept[phrase.concept].append(phrase)

    def choose(self, concept: Concept, rng: random.Random) -> Phrase:
        """Draw a phrase that `concept` could play, its own repertoire first."""
        if concept.name == 'drums':
            return rng.choice(self.drums)
        own = self.by_concept.get(concept.name)
        if own and rng.random() < 0.5:
            return rng.choice(own)
        if concept.family == 'bass':
            basses = [p for name in ('electric bass', 'double bass', 'cello', 'bassoon', 'tuba')
                      for p in self.by_concept.get(name, ())]  # fmt: skip
            return rng.choice(basses or self.mono)
        if concept.family in ('keys', 'organ', 'guitar', 'plucked', 'mallets') or concept.name in (
            'strings', 'choir', 'synth pad', 'synth strings', 'brass section', 'synth brass',
        ):  # fmt: skip
            return rng.choice(self.poly if rng.random() < 0.75 else self.mono)
        return rng.choice(self.mono)


def perform(
    phrase: Phrase,
    concept: Concept,
    seconds: float,
    rng: random.Random,
    *,
    start: float | None = None,
    vary: bool = True,
) -> list[PlayedNote]:
    """Return an excerpt of `phrase` moved into the range of `concept`, with human-like velocities.

    `start` fixes the excerpt (band stems share it); `vary` also draws tempo and key.
    """
    notes = phrase.notes
    if start is None:
        start = rng.choice(notes).start - rng.uniform(0, 1)
        start = max(0.0, min(start, notes[-1].end - seconds))
    stretch = rng.uniform(0.8, 1.25) if vary else 1.0
    window = [n for n in notes if start <= n.start < start + seconds / stretch]
    if not window:
        return []
    shift = 0
    is_drum = concept.name == 'drums'
    if not is_drum:
        middle = float(np.median([n.note for n in window]))
        shift = rng.randint(-5, 6) if vary else 0
        centre = (concept.low + concept.high) / 2
        shift += 12 * round((centre - middle - shift + rng.uniform(-6, 6)) / 12)
    flat = len({n.velocity for n in window}) <= 3
    base = rng.randint(55, 105)
    swing, emphasis = rng.uniform(2, 12), rng.uniform(0.6, 1.2)
    played = []
    for n in window:
        note = n.note + shift
        if not is_drum:
            while note < concept.low:
                note += 12
            while note > concept.high:
                note -= 12
        velocity = base if flat else int(n.velocity * emphasis)
        velocity = int(np.clip(velocity + rng.gauss(0, swing), 20, 127))
        onset = (n.start - start) * stretch
        length = max((n.end - n.start) * stretch, 0.05) * (1.0 if is_drum else rng.uniform(0.85, 1.0))
        played.append(PlayedNote(onset, onset + length, note, velocity))
    return played


def add_effects(audio: np.ndarray, sample_rate: int, concept: str, rng: random.Random) -> np.ndarray:
    """Return `audio` (channels, n) through a random, musically plausible chain; the same shape comes back."""
    import pedalboard as pb

    chain: list = []
    family = BY_NAME[concept].family if concept in BY_NAME else ''
    if concept == 'distorted guitar' and rng.random() < 0.4:
        chain.append(pb.Distortion(drive_db=rng.uniform(5, 20)))
    if family in ('guitar', 'keys', 'synth') and rng.random() < 0.2:
        chain.append(pb.Chorus(rate_hz=rng.uniform(0.3, 2), depth=rng.uniform(0.1, 0.3), mix=rng.uniform(0.2, 0.5)))
    if rng.random() < 0.5:
        chain.append(pb.LowShelfFilter(rng.uniform(80, 400), rng.uniform(-6, 4)))
    if rng.random() < 0.6:
        chain.append(pb.HighShelfFilter(rng.uniform(2000, 8000), rng.uniform(-8, 6)))
    if rng.random() < 0.5:
        chain.append(pb.PeakFilter(float(np.exp(rng.uniform(np.log(200), np.log(6000)))), rng.uniform(-6, 6), 0.8))
    if rng.random() < 0.3:
        attack, release = rng.uniform(1, 20), rng.uniform(50, 250)  # ms
        chain.append(pb.Compressor(rng.uniform(-30, -12), rng.uniform(1.5, 4), attack, release))
    if family in ('guitar', 'synth', 'voice') and rng.random() < 0.15:
        chain.append(pb.Delay(rng.uniform(0.1, 0.5), rng.uniform(0.1, 0.4), rng.uniform(0.1, 0.3)))
    if rng.random() < 0.6:
        wet = rng.uniform(0.03, 0.25)
        chain.append(pb.Reverb(room_size=rng.uniform(0.1, 0.8), damping=rng.uniform(0.2, 0.9), wet_level=wet,
                               dry_level=1 - wet, width=rng.uniform(0.5, 1)))  # fmt: skip
    if not chain:
        return audio
    board = pb.Pedalboard(chain)  # pyright: ignore[reportPrivateImportUsage]
    return board(np.ascontiguousarray(audio, np.float32), sample_rate)


def level(audio: np.ndarray, loudness: float = LOUDNESS, peak: float = 0.95) -> np.ndarray:
    """Return `audio` (channels, samples) at the given RMS over its sounding parts, lowered if its peak needs it."""
    power = np.mean(audio**2, axis=0)
    frames = power[: len(power) // 1024 * 1024].reshape(-1, 1024).mean(axis=1) if len(power) >= 1024 else power
    sounding = frames[frames > frames.max() * 1e-4] if frames.size and frames.max() > 0 else frames
    rms = float(np.sqrt(sounding.mean())) if sounding.size else 0.0
    if rms < 1e-6:
        return audio
    gain = min(loudness / rms, peak / max(float(np.abs(audio).max()), 1e-9))
    return audio * gain
