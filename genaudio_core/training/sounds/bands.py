"""Windows of band music as separate stems, rendered through SoundFonts: what the live separator learns from.

Notable choices

* A *window* is `seconds` of one piece; each instrument (a concept of ``lexicon.py``) that sounds in it is one stem,
  stereo, 44.1 kHz. The mixture is the sum of the stems, never a separate render (they would differ by -39 dB).
* Pieces are split by a hash of their name, so a piece is in one split whatever else is rendered.
* The test split is heard through SoundFonts that no training window uses.
* Real pieces, unlike bands made up of loops, keep the balance and the interplay that a composer gave them.
* A font that holds only some instruments (``recorded_font.py``) plays those; other parts are another font's.
* With `vary` every stem of a training window gets an instrument of its own (``altered_voices.py``); now and then the
  part is given to another family altogether. Half of the electric guitars are clean ones of a font through an amplifier
  of ours: where it distorts, it distorts a chord as a whole, and no two amplifiers are alike.
* With `synths` as many parts are given to synthesizers of the fonts, basses to synthesizer basses; with `sung` in as
  many windows the highest melody is sung (``singing.py``): bands of scores hardly ever have a singer.
* Varied windows are now and then produced as songs are (``production.py``): parts that duck under the bass drum,
  filters that open.
* With `own` synthesizers are ours (``random_synthesizer.py``), half of the guitars and basses too, and a quarter of
  the other parts is given to synthesizers.
"""

import hashlib
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mido
import numpy as np

from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.sound.loudness import rms
from genaudio_core.sound.soundfont import DRUM_BANK, Generators, PlayedNote, load_fluidsynth, load_font, silence
from genaudio_core.training.sounds.altered_voices import AlteredVoice, coarsen, draw_voices
from genaudio_core.training.sounds.lexicon import BY_NAME, PROGRAM_TO_CONCEPT
from genaudio_core.training.sounds.packed_clips import SPLITS, SoundWriter
from genaudio_core.training.sounds.production import (
    KICKS,
    SHARE_PUMPED,
    SHARE_SWEPT,
    drum_part,
    pump,
    sung_over,
    sweep,
)
from genaudio_core.training.sounds.random_synthesizer import PLUCKED, draw_patch, play, through_effects
from genaudio_core.training.sounds.recordings import read_manifest
from genaudio_core.training.sounds.singing import Singers

SAMPLE_RATE = 44100  # Hz
Events = list[tuple[float, Any]]  # (seconds, mido message of a channel)
_NEVER_SWAPPED = ('drums', 'voice')
SHARE_RECAST = 0.2  # of varied parts that another family plays
AMPLIFIED = ('electric guitar', 'distorted guitar')
SHARE_AMPLIFIED = 0.5  # of these in varied windows
CLEAN_GUITARS = (25, 26, 27, 28)  # programs
SHARE_OWN = 0.25  # of parts that are given to a synthesizer, where it is ours
SHARE_PLUCKED = 0.5  # of guitars and basses that it plays then
LOUDER_DRUMS = 9.0  # dB at most, of varied windows: on records they are louder than in the scores of games
SHARE_TAKEN = 0.75  # of sung melodies that no instrument plays too
_BEFORE = 1.5  # seconds before a window from which notes are played, whose tails belong in it


def concept_of(program: int, channel: int) -> str:
    """Return the stem that a General MIDI program on a MIDI channel belongs to, or '' for none."""
    return 'drums' if channel == 9 else PROGRAM_TO_CONCEPT.get(program, '')


def split_of(name: str) -> str:
    """Return 'train', 'valid' or 'test' for a piece's name: 80, 8 and 12 in a hundred."""
    place = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100
    return 'train' if place < 80 else 'valid' if place < 88 else 'test'


def read_events(path: Path) -> Events:
    """Return the channel messages of a MIDI file with their times in seconds.

    Raises
    ------
    GenaudioError
        If the file is not a readable MIDI file.
    """
    try:
        midi = mido.MidiFile(path, clip=True)
        events, now, tempo = [], 0.0, 500_000
        for message in mido.merge_tracks(midi.tracks):
            now += mido.tick2second(message.time, midi.ticks_per_beat, tempo)
            if message.type == 'set_tempo':
                tempo = message.tempo
            elif not message.is_meta and hasattr(message, 'channel'):
                events.append((now, message))
    except (OSError, EOFError, ValueError, KeyError, IndexError, mido.KeySignatureError) as error:
        why = getattr(error, 'strerror', None) or one_line(error)
        raise GenaudioError(f'{path} is not a readable MIDI file, and is passed over ({why}).') from error
    return events


class BandRenderer:
    """Renders the stems of a window through one of several SoundFonts.

    Parameters
    ----------
    soundfonts
        Paths of .sf2 or .sf3 files; each is loaded once (1-6 s for the large ones).
    """

    def __init__(self, soundfonts: Sequence[Path | str]):
        self.synth = load_fluidsynth().Synth(gain=0.2, samplerate=float(SAMPLE_RATE), **{
            'synth.reverb.active': 0, 'synth.chorus.active': 0, 'synth.dynamic-sample-loading': 1,
            'synth.threadsafe-api': 0,
        })  # fmt: skip
        self._generators = Generators(self.synth)
        self._presets: dict[tuple[str, int, int], bool] = {}
        self.fonts = {Path(path).stem: load_font(self.synth, path) for path in soundfonts}

    def window(
        self,
        events: Events,
        start: float,
        seconds: float,
        fonts: Sequence[str],
        rng: np.random.Generator,
        *,
        vary: bool = False,
        own: bool = False,
        synths: float = 0.0,
        singers: Singers | None = None,
        sung: float = 0.0,
        drum_parts: float = 0.0,
    ) -> dict[str, np.ndarray]:
        """Return concept -> audio of shape (2, samples), for the concepts that sound.

        One transposition for the window (drums stay), and now and then another program of the same family. A part is
        played by the first of `fonts` that holds it; with `vary` every stem gets an instrument of its own, drawn from
        all of them, with `own` synthesizers are ours (see the module's notes).
        """
        semitones = int(rng.integers(-4, 5))
        swaps: dict[int, int] = {}
        program = [0] * 16
        by_concept: dict[str, list[tuple[float, Any, int]]] = {}
        for when, message in events:
            if when >= start + seconds:
                break
            channel = message.channel
            if message.type == 'program_change':
                program[channel] = message.program
                continue
            playing = program[channel]
            if playing not in swaps:
                recast = vary and rng.random() < SHARE_RECAST
                swaps[playing] = self._recast(playing, rng) if recast else self._swap(playing, vary, rng)
                if (own and rng.random() < SHARE_OWN) or (synths and rng.random() < synths):
                    swaps[playing] = self._synthesized(playing, rng)
            if message.type not in ('note_on', 'note_off', 'control_change', 'pitchwheel'):
                continue
            sound = playing if channel == 9 else swaps[playing]
            by_concept.setdefault(concept_of(sound, channel), []).append((when, message, sound))
        by_concept.pop('', None)
        stems: dict[str, np.ndarray] = {}
        voice = None
        if singers is not None and rng.random() < sung:
            voice = self._sung(by_concept, start, seconds, semitones, singers, rng)
        kicks = [when - start for when, message, _ in by_concept.get('drums', ())
                 if message.type == 'note_on' and message.velocity and message.note in KICKS]  # fmt: skip
        pumped = (rng.uniform(0.3, 0.95), rng.uniform(0.1, 0.35)) if vary and rng.random() < SHARE_PUMPED else None
        in_parts = bool(drum_parts) and rng.random() < drum_parts
        for concept, wanted in by_concept.items():
            amplified = vary and concept in AMPLIFIED and rng.random() < SHARE_AMPLIFIED
            if amplified:
                clean = int(rng.choice(CLEAN_GUITARS))
                wanted = [(when, message, clean) for when, message, _ in wanted]
            able = self._able(fonts, concept == 'drums', {program for *_, program in wanted})
            voices = draw_voices(able, concept == 'drums', rng) if vary else [AlteredVoice(able[0])]
            if in_parts and concept == 'drums':
                gain = 10 ** (rng.uniform(0, LOUDER_DRUMS) / 20) if vary else 1.0
                for part in sorted({drum_part(message.note) for _, message, _ in wanted if message.type == 'note_on'}):
                    struck = [one for one in wanted if one[1].type[:4] != 'note' or drum_part(one[1].note) == part]
                    played = [v.gain * self._play(struck, start, seconds, v, semitones) for v in voices]
                    audio = gain * np.sum(played, axis=0)
                    if rms(audio) >= 1e-3:
                        stems[part] = np.asarray(audio, np.float32)
                continue
            audio = np.sum([v.gain * self._play(wanted, start, seconds, v, semitones) for v in voices], axis=0)
            synthetic = concept == 'synth bass' or BY_NAME[concept].family == 'synth'
            if own and (synthetic or (concept in PLUCKED and rng.random() < SHARE_PLUCKED)):
                audio = _as_loud(self._synthesize(concept, wanted, start, seconds, semitones, rng), audio)
            elif amplified:
                audio = _as_loud(through_effects(concept, audio, SAMPLE_RATE, rng), audio)
            if vary:
                audio = coarsen(audio, SAMPLE_RATE, rng)
                if synthetic and rng.random() < SHARE_SWEPT:
                    audio = _as_loud(sweep(audio, SAMPLE_RATE, rng), audio)
                if concept == 'drums':
                    audio = audio * 10 ** (rng.uniform(0, LOUDER_DRUMS) / 20)
                if pumped and concept != 'drums' and rng.random() < 0.7:
                    audio = pump(audio, kicks, *pumped, SAMPLE_RATE)
            if rms(audio) >= 1e-3:
                stems[concept] = np.asarray(audio, np.float32)
        if voice is not None and stems:
            loudest = max((rms(audio) for concept, audio in stems.items()
                           if BY_NAME[concept].family != 'drums'), default=0.05)  # fmt: skip
            voice *= loudest / (rms(voice) + 1e-6) * 10 ** (rng.uniform(-4, 5) / 20)
            stems['vocals'] = np.asarray(voice, np.float32)
        return stems

    @classmethod
    def _sung(
        cls,
        by_concept: dict[str, list[tuple[float, Any, int]]],
        start: float,
        seconds: float,
        semitones: int,
        singers: Singers,
        rng: np.random.Generator,
    ) -> np.ndarray | None:
        """Sing the highest melody, which is then mostly taken from the instrument that had it."""
        able = [concept for concept in by_concept if concept != 'drums' and BY_NAME[concept].family != 'bass']
        places = sorted({(concept, message.channel) for concept in able for _, message, _ in by_concept[concept]})
        melodies = [cls._notes([one for one in by_concept[concept] if one[1].channel == channel], start, seconds,
                               semitones) for concept, channel in places]  # fmt: skip
        found = sung_over(melodies, singers, seconds, SAMPLE_RATE, rng)
        if found is None:
            return None
        concept, channel = places[found[0]]
        if rng.random() < SHARE_TAKEN and len(places) > 1:
            by_concept[concept] = [one for one in by_concept[concept] if one[1].channel != channel]
        return found[1]

    def _able(self, fonts: Sequence[str], is_drums: bool, programs: Iterable[int]) -> Sequence[str]:
        """Those of `fonts` that hold the programs, or all where none does."""
        wanted = [(DRUM_BANK, 0)] if is_drums else [(0, program) for program in programs]
        return [font for font in fonts if all(self._holds(font, *preset) for preset in wanted)] or fonts

    def _holds(self, font: str, bank: int, preset: int) -> bool:
        key = (font, bank, preset)
        if key not in self._presets:
            self._presets[key] = self.synth.sfpreset_name(self.fonts[font], bank, preset) is not None
        return self._presets[key]

    @staticmethod
    def _recast(program: int, rng: np.random.Generator) -> int:
        """Give a part to any other instrument; bass stays what it is."""
        concept = PROGRAM_TO_CONCEPT.get(program)
        if concept is None or BY_NAME[concept].family == 'bass':
            return program
        return int(rng.choice([p for p, name in PROGRAM_TO_CONCEPT.items() if BY_NAME[name].family != 'bass']))

    @staticmethod
    def _synthesized(program: int, rng: np.random.Generator) -> int:
        """Give a part to a synthesizer, a bass to a bass."""
        concept = PROGRAM_TO_CONCEPT.get(program)
        if concept is None:
            return program
        bass = BY_NAME[concept].family == 'bass'
        return int(rng.choice((38, 39) if bass else [p for p, name in PROGRAM_TO_CONCEPT.items()
                                                     if BY_NAME[name].family == 'synth']))  # fmt: skip

    @staticmethod
    def _notes(wanted, start: float, seconds: float, semitones: int) -> list[PlayedNote]:
        """The notes of a part that sound in a window, in seconds from its beginning."""
        notes: list[PlayedNote] = []
        sounding: dict[tuple[int, int], tuple[float, int]] = {}
        for when, message, _ in wanted:
            if message.type not in ('note_on', 'note_off'):
                continue
            place = (message.channel, message.note)
            if place in sounding:
                begin, velocity = sounding.pop(place)
                if begin >= start - _BEFORE:
                    notes.append(PlayedNote(begin - start, when - start, message.note + semitones, velocity))
            if message.type == 'note_on' and message.velocity:
                sounding[place] = (when, message.velocity)
        notes += [PlayedNote(begin - start, seconds, key + semitones, velocity)
                  for (_, key), (begin, velocity) in sounding.items() if begin >= start - _BEFORE]  # fmt: skip
        return notes

    @staticmethod
    def _synthesize(
        concept: str, wanted, start: float, seconds: float, semitones: int, rng: np.random.Generator
    ) -> np.ndarray:
        """As `_play`, on our own synthesizer."""
        notes = BandRenderer._notes(wanted, start, seconds, semitones)
        audio = play(draw_patch(concept, rng), notes, seconds, SAMPLE_RATE, rng)
        return through_effects(concept, audio, SAMPLE_RATE, rng)

    @staticmethod
    def _swap(program: int, basses: bool, rng: np.random.Generator) -> int:
        """Give every other part to an instrument of its family; a bass only with `basses`."""
        concept = PROGRAM_TO_CONCEPT.get(program)
        family = BY_NAME[concept].family if concept else ''
        if not family or family in _NEVER_SWAPPED or (family == 'bass' and not basses) or rng.random() < 0.5:
            return program
        return int(rng.choice([p for p, name in PROGRAM_TO_CONCEPT.items() if BY_NAME[name].family == family]))

    def _play(self, wanted, start: float, seconds: float, voice: AlteredVoice, semitones: int) -> np.ndarray:
        notes = [when for when, message, _ in wanted if message.type == 'note_on' and message.velocity]
        if not any(start - _BEFORE <= when < start + seconds for when in notes):
            return np.zeros((2, round(seconds * SAMPLE_RATE)), np.float32)
        synth, now, current = self.synth, start - _BEFORE, {}
        silence(synth)
        pieces: list[np.ndarray] = []
        sounding: set[tuple[int, int]] = set()
        for when, message, program in wanted:
            channel = message.channel
            if when > now:
                count = round((when - now) * SAMPLE_RATE)
                if count:
                    pieces.append(self._generate(count))
                    now += count / SAMPLE_RATE
            if message.type == 'control_change':
                if message.control in (1, 7, 10, 11, 64, 6, 38, 100, 101):
                    synth.cc(channel, message.control, message.value)
            elif message.type == 'pitchwheel':
                synth.pitch_bend(channel, message.pitch)
            elif when >= start - _BEFORE:
                key = message.note if channel == 9 else message.note + semitones + voice.shift
                if not 0 <= key <= 127:
                    continue
                if message.type == 'note_on' and message.velocity:
                    if current.get(channel) != program:
                        self._select(channel, voice, program, channel == 9)
                        current[channel] = program
                    sounding.add((channel, key))
                    synth.noteon(channel, key, message.velocity)
                elif (channel, key) in sounding:
                    sounding.discard((channel, key))
                    synth.noteoff(channel, key)
        rest = round((start + seconds - now) * SAMPLE_RATE)
        if rest > 0:
            pieces.append(self._generate(rest))
        return np.concatenate(pieces, axis=1)[:, -round(seconds * SAMPLE_RATE) :]

    def _select(self, channel: int, voice: AlteredVoice, program: int, is_drums: bool) -> None:
        self._generators.move(channel, voice.generators)
        # A kit or a variation that the font lacks sounds as its standard one.
        for bank, preset in ((DRUM_BANK, program), (DRUM_BANK, 0)) if is_drums else ((0, program),):
            if self._holds(voice.font, bank, preset):
                self.synth.program_select(channel, self.fonts[voice.font], bank, preset)
                return

    def _generate(self, count: int) -> np.ndarray:
        return self.synth.get_samples(count).reshape(-1, 2).T.astype(np.float32) / 32768


def _as_loud(audio: np.ndarray, other: np.ndarray) -> np.ndarray:
    return audio * (rms(other) / (rms(audio) + 1e-6))


def render_bands(
    folders: Sequence[Path],
    out: Path,
    *,
    train_fonts: Sequence[Path],
    test_fonts: Sequence[Path],
    seconds: float = 8.0,
    per_minute: float = 2.0,
    seed: int = 1,
    vary: bool = False,
    own: bool = False,
    splits: Sequence[str] = SPLITS,
    synths: float = 0.0,
    sung: float = 0.0,
    drum_parts: float = 0.0,
    recordings: Path | None = None,
) -> dict[str, int]:
    """Render windows of all MIDI files under `folders` into a sound set (``packed_clips.py``) at `out`.

    Windows of the test split use `test_fonts`, all others `train_fonts`. A reader may start while this runs. With
    `vary` training windows get instruments of their own, with `own` our synthesizer; `synths` is a share of
    parts, `sung` and `drum_parts` are of windows, and `recordings` the folder with the voices (see the module's notes).

    Returns
    -------
    dict
        The number of windows by split.

    Raises
    ------
    GenaudioError
        If there is no MIDI file, no window in them, or a SoundFont cannot be read.
    """
    paths = sorted(path for folder in folders for path in folder.rglob('*.mid'))
    if not paths:
        raise GenaudioError(f'No .mid files under {", ".join(map(str, folders))}.')
    places = np.random.default_rng(seed).permutation(len(paths))
    renderer = BandRenderer([*train_fonts, *test_fonts])
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    voices = read_manifest(recordings) if recordings else []
    singers = {split: Singers(voices, split, random.Random(seed)) for split in splits} if voices else {}
    with SoundWriter(out) as writer:
        for n, path in enumerate(paths[i] for i in places):
            name = f'{path.parent.name}/{path.stem}'
            split = split_of(name)
            if split not in splits:
                continue
            try:
                events = read_events(path)
            except GenaudioError as error:
                notice(str(error))
                continue
            rng = np.random.default_rng(zlib.crc32(name.encode()) + seed)
            fonts = [Path(f).stem for f in (test_fonts if split == 'test' else train_fonts)]
            for start in _starts(events, seconds, per_minute, rng):
                train = split == 'train'
                order = [str(font) for font in rng.permutation(fonts)]
                stems = renderer.window(
                    events, start, seconds, order, rng, vary=vary and train, own=own and train, synths=synths,
                    singers=singers.get(split), sung=sung, drum_parts=drum_parts,
                )  # fmt: skip
                if len(stems) < 2:
                    continue
                # One gain for the window: the parts keep the balance that the composer gave them.
                gain = 0.7 / max(float(np.abs(audio).max()) for audio in stems.values())
                for concept, audio in stems.items():
                    writer.add(
                        audio * gain, SAMPLE_RATE, label=concept, kind='stem', split=split, source=order[0],
                        group=f'{name}@{start:.2f}#{seed}', role=BY_NAME[concept].family,
                    )  # fmt: skip
                counts[split] += 1
            if n % 10 == 9:
                notice(f'{n + 1}/{len(paths)} pieces, {counts}')
    if not any(counts.values()):
        raise GenaudioError(
            f'No window with two sounding parts is in the {len(paths)} MIDI files ({", ".join(splits)}); give files of '
            'bands with 20 notes or more.'
        )
    return counts


def _starts(events, seconds: float, per_minute: float, rng: np.random.Generator) -> Iterator[float]:
    notes = [when for when, message in events if message.type == 'note_on' and message.velocity]
    if len(notes) < 20:
        return
    first, last = notes[0], notes[-1]
    for _ in range(min(12, max(1, round((last - first) / 60 * per_minute)))):
        yield float(rng.uniform(first, max(first + 0.1, last - seconds)))
