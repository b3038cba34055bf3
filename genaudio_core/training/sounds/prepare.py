"""Make the packed sounds: rendered solos and bands, the real recordings, and synthetic singing made of their voices.

Every random choice comes from `seed` and the piece, so the same command makes the same sounds.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.soundfont import SAMPLE_RATE, FontSampler, PlayedNote, find_font
from genaudio_core.training.sounds.altered_voices import coarsen, draw_voices
from genaudio_core.training.sounds.lexicon import BY_NAME, CONCEPTS, WEIGHT
from genaudio_core.training.sounds.packed_clips import SoundWriter
from genaudio_core.training.sounds.recordings import performances, read_manifest, split_of
from genaudio_core.training.sounds.singing import need_world, render_singing
from genaudio_core.training.sounds.soundfont_clips import (
    TEST_FONT,
    TRAIN_FONTS,
    Phrase,
    PhraseBook,
    add_effects,
    level,
    perform,
    read_phrases,
)

# How many files to read of each source: all of the bands, enough of the rest for variety.
FILES_PER_SOURCE = {
    'freedoom': 100, 'easyrpg_rtp': 20, 'simutrans': 48, 'blasphemer': 10, 'mutopia_pd_by': 220,
    'openscore_string_quartets': 12, 'openscore_lieder': 60, 'hauptstimme': 12, 'chopin_first_editions': 12,
    'groove_midi_dataset': 250, 'polish_scores': 60,
}  # fmt: skip
BAND_SOURCES = ('freedoom', 'easyrpg_rtp', 'simutrans', 'blasphemer')

Progress = Callable[[str, int, int], None]


def _quiet(stage: str, done: int, total: int) -> None:
    pass


def gather_pieces(scores: Path, seed: int, scale: float = 1.0, progress: Progress = _quiet) -> dict[str, list[Phrase]]:
    """Return piece name -> phrases, from a draw of the score folders under `scores`."""
    rng = random.Random(seed)
    paths: list[Path] = []
    for folder in sorted(p for p in scores.iterdir() if p.is_dir()) if scores.is_dir() else []:
        files = sorted(folder.rglob('*.mid'))
        limit = max(1, int(FILES_PER_SOURCE.get(folder.name, 40) * scale))
        paths += rng.sample(files, min(limit, len(files)))
    if not paths:
        raise GenaudioError(f'No .mid files under {scores}.')
    pieces: dict[str, list[Phrase]] = {}
    for index, path in enumerate(paths):
        progress('reading scores', index, len(paths))
        for piece, phrases in read_phrases([path]).items():
            if path.is_relative_to(scores / 'groove_midi_dataset') or 'groove' in str(path):
                # Performances of one drummer and session stay in one split.
                phrases = [phrase._replace(concept='drums') for phrase in phrases]
            pieces[piece] = phrases
    return pieces


def _finish(audio: np.ndarray, concept: str, rng: random.Random, channels: int) -> np.ndarray:
    if channels == 1:
        audio = audio.mean(axis=0, keepdims=True)
    return level(add_effects(audio, SAMPLE_RATE, concept, rng))


@dataclass(frozen=True)
class Rendering:
    """The material of a split's sounds, and their destination."""

    writer: SoundWriter
    pieces: dict[str, list[Phrase]]  # name of the piece -> its phrases, of every split
    split: str
    fonts: dict[str, FontSampler]
    rng: random.Random
    progress: Progress = _quiet


def render_solos(
    to: Rendering,
    *,
    clips_per_weight: float,
    seconds: float,
    vary: bool = False,
) -> float:
    """Add mono 'solo' clips of every concept that General MIDI has; return the seconds made.

    With `vary` every clip gets an instrument of its own (``altered_voices.py``).
    """
    split, fonts, rng = to.split, to.fonts, to.rng
    book = PhraseBook(p for name, phrases in to.pieces.items() if split_of(name) == split for p in phrases)
    if not book.mono or not book.poly or not book.drums:
        raise GenaudioError(f"Too few scores for the split '{split}': melodies, chords and drums are all needed.")
    plan = [
        concept for concept in CONCEPTS if concept.programs
        for _ in range(max(1, round(clips_per_weight * WEIGHT.get(concept.name, 1.0))))
    ]  # fmt: skip
    rng.shuffle(plan)  # an interrupted run leaves a little of everything
    made = 0.0
    names = sorted(fonts)
    for index, concept in enumerate(plan):
        to.progress(f'rendering solos ({split})', index, len(plan))
        font = rng.choice(names)
        for _ in range(5):
            phrase = book.choose(concept, rng)
            notes = perform(phrase, concept, seconds, rng)
            if len(notes) >= 4:
                break
        else:
            continue
        is_drum = concept.name == 'drums'
        # Drum kits live in their own bank: standard, room, power, jazz, brush.
        program = rng.choice((0, 0, 0, 8, 16, 32, 40)) if is_drum else rng.choice(concept.programs)
        if vary:
            audio = _play_varied(notes, program, is_drum, seconds, fonts, rng)
        else:
            audio = fonts[font].play(notes, program, is_drum, seconds)
        if np.abs(audio).max() < 1e-3:  # a program this font does not have
            continue
        audio = _finish(audio, concept.name, rng, channels=1)
        to.writer.add(audio, SAMPLE_RATE, label=concept.name, kind='solo', split=split, source=font, group=phrase.piece)
        made += seconds
    return made


def _play_varied(
    notes: list[PlayedNote],
    program: int,
    is_drum: bool,
    seconds: float,
    fonts: dict[str, FontSampler],
    rng: random.Random,
) -> np.ndarray:
    draw = np.random.default_rng(rng.getrandbits(32))
    audio = np.zeros((2, int(seconds * SAMPLE_RATE)), np.float32)
    for voice in draw_voices(sorted(fonts), is_drum, draw):
        moved = [n._replace(note=n.note + voice.shift) for n in notes if 0 <= n.note + voice.shift <= 127]
        audio += voice.gain * fonts[voice.font].play(moved, program, is_drum, seconds, generators=voice.generators)
    return coarsen(audio, SAMPLE_RATE, draw)


def _band(phrases: list[Phrase], grooves: list[Phrase], rng: random.Random) -> dict[str, tuple[str, Phrase]] | None:
    """Choose drums, bass, lead and chords of a piece: role -> (concept, phrase)."""
    drums = [p for p in phrases if p.concept == 'drums']
    pitched = [p for p in phrases if p.concept and p.concept != 'drums' and len(p.notes) >= 30]
    if len(pitched) < 3:
        return None

    def height(phrase: Phrase) -> float:
        return float(np.median([n.note for n in phrase.notes]))

    basses = [p for p in pitched if BY_NAME[p.concept].family == 'bass'] or sorted(pitched, key=height)[:1]
    bass = rng.choice(basses)
    rest = [p for p in pitched if p is not bass and BY_NAME[p.concept].family != 'bass']
    if len(rest) < 2:
        return None
    lead = max(rng.sample(rest, min(3, len(rest))), key=height)
    chords = max((p for p in rest if p is not lead), key=lambda p: p.polyphony + rng.uniform(0, 0.5))
    if drums:
        drum = max(drums, key=lambda p: len(p.notes))
    else:
        drum = rng.choice(grooves)
        # Played at the tempo of the piece (or half or double), or it would not be a band.
        ratio = drum.tempo / bass.tempo
        while ratio > 1.41:
            ratio /= 2
        while ratio < 0.71:
            ratio *= 2
        stretched = [PlayedNote(n.start * ratio, n.end * ratio, n.note, n.velocity) for n in drum.notes]
        drum = drum._replace(notes=stretched)

    def voice(phrase: Phrase, options: tuple[str, ...]) -> str:
        return rng.choice(options) if rng.random() < 0.6 else phrase.concept

    bass_name = voice(bass, ('electric bass', 'electric bass', 'double bass', 'synth bass'))
    if BY_NAME[bass_name].family != 'bass':
        bass_name = 'electric bass'
    lead_name = voice(lead, ('violin', 'saxophone', 'trumpet', 'flute', 'distorted guitar', 'synth lead', 'choir',
                             'clarinet', 'electric guitar'))  # fmt: skip
    chords_name = voice(chords, ('piano', 'electric piano', 'acoustic guitar', 'organ', 'strings', 'synth pad',
                                 'electric guitar', 'distorted guitar'))  # fmt: skip
    if chords_name == lead_name:
        chords_name = 'piano' if lead_name != 'piano' else 'strings'
    return {'drums': ('drums', drum), 'bass': (bass_name, bass), 'lead': (lead_name, lead),
            'chords': (chords_name, chords)}  # fmt: skip


def render_bands(
    to: Rendering,
    *,
    n_bands: int,
    seconds: float,
) -> float:
    """Add stereo bands of four sample-aligned stems; return the seconds made (of all stems)."""
    split, fonts, rng = to.split, to.fonts, to.rng
    names = sorted(name for name in to.pieces if split_of(name) == split)
    grooves = [p for name in names for p in to.pieces[name] if p.concept == 'drums' and len(p.notes) > 150]
    candidates = [n for n in names if len(to.pieces[n]) >= 3]
    favoured = [n for n in candidates if n.split('/')[0] in BAND_SOURCES or 'midi' in n.split('/')[0]]
    made, done, tries = 0.0, 0, 0
    while done < n_bands and tries < n_bands * 20 and candidates and grooves:
        tries += 1
        to.progress(f'rendering bands ({split})', done, n_bands)
        piece = rng.choice(favoured if favoured and rng.random() < 0.7 else candidates)
        band = _band(to.pieces[piece], grooves, rng)
        if band is None:
            continue
        end = min(max(n.end for n in phrase.notes[-5:]) for role, (_, phrase) in band.items() if role != 'drums')
        start = rng.uniform(0, max(0.0, end - seconds))
        stems: dict[str, np.ndarray] = {}
        for role, (concept_name, phrase) in band.items():
            concept = BY_NAME[concept_name]
            is_drum = role == 'drums'
            if not concept.programs:
                break
            length = phrase.notes[-1].end
            # A groove is shorter than a song: it begins somewhere else and plays its own bars.
            own_start = start if not is_drum or start + seconds < length else rng.uniform(0, max(0.0, length - seconds))
            notes = perform(phrase, concept, seconds, rng, start=own_start, vary=False)
            if len(notes) < 6:
                break
            program = rng.choice((0, 0, 8, 16, 40)) if is_drum else rng.choice(concept.programs)
            audio = fonts[rng.choice(sorted(fonts))].play(notes, program, is_drum, seconds)
            if np.abs(audio).max() < 1e-3:
                break
            audio = _finish(audio, concept_name, rng, channels=2)
            position = 0.0 if role == 'bass' else rng.uniform(-0.5, 0.5)
            pan = np.array([[np.cos((position + 1) * np.pi / 4)], [np.sin((position + 1) * np.pi / 4)]]) * np.sqrt(2)
            stems[role] = audio * pan.astype(np.float32) * rng.uniform(0.5, 1.2)
        if len(stems) < 4:
            continue
        # One gain for all: the mix stays below full scale and the balance of the band is kept.
        top = float(np.abs(sum(stems.values())).max())
        top = max(top, *(float(np.abs(s).max()) for s in stems.values()))
        for role, audio in stems.items():
            to.writer.add(audio * min(1.0, 0.95 / top), SAMPLE_RATE, label=band[role][0], kind='stem', split=split,
                       source='band', group=f'{piece}#{done}', role=role)  # fmt: skip
            made += seconds
        done += 1
    return made


def add_recordings(writer: SoundWriter, folder: Path, rng: random.Random, progress: Progress = _quiet) -> float:
    """Add the real recordings listed in ``manifest.csv`` of `folder`; return the seconds made."""
    made = 0.0
    for index, (audio, concept, kind, split, source) in enumerate(
        performances(read_manifest(folder), SAMPLE_RATE, rng)
    ):
        progress('packing recordings', index, 0)
        writer.add(level(audio), SAMPLE_RATE, label=concept, kind=kind, split=split, source=source,
                   group=f'{source}#{index}')  # fmt: skip
        made += audio.shape[1] / SAMPLE_RATE
    return made


def add_singing(
    writer: SoundWriter,
    pieces: dict[str, list[Phrase]],
    recordings: Path,
    rng: random.Random,
    *,
    size: float = 1.0,
    progress: Progress = _quiet,
) -> float:
    """Add synthetic singing of all splits, solo and in choirs; return the seconds made."""
    voices, made = read_manifest(recordings), 0.0
    for split, n_solos, n_choirs, seconds in (('train', 60, 24, 16.0), ('test', 10, 4, 12.0), ('valid', 4, 2, 12.0)):
        made += render_singing(
            writer, pieces, voices, split, rng, n_solos=max(1, round(n_solos * size)),
            n_choirs=max(1, round(n_choirs * size)), seconds=seconds, progress=progress,
        )  # fmt: skip
    return made


def prepare_singing(
    out: Path, scores: Path, recordings: Path, *, seed: int = 1, size: float = 1.0, progress: Progress = _quiet
) -> dict[str, float]:
    """Add synthetic singing to what `out` already holds (or begin it); return what was made.

    Raises
    ------
    GenaudioError
        If pyworld is missing, or there are no scores or voices.
    """
    need_world()
    began = time.monotonic()
    pieces = gather_pieces(scores, seed, scale=min(1.0, max(size, 0.05)), progress=progress)
    with SoundWriter(out) as writer:
        made = add_singing(writer, pieces, recordings, random.Random(f'{seed} singing'), size=size, progress=progress)
    return {'singing_hours': round(made / 3600, 3), 'minutes': round((time.monotonic() - began) / 60, 2)}


def prepare_sounds(
    out: Path,
    scores: Path,
    recordings: Path | None,
    *,
    seed: int = 1,
    size: float = 1.0,
    vary: bool = False,
    progress: Progress = _quiet,
) -> dict[str, float]:
    """Make a folder of packed sounds; `size` 1.0 is about five hours. Return what was made.

    With `vary` every training solo gets an instrument of its own (``altered_voices.py``).
    """
    if (out / 'index.jsonl').exists():
        raise GenaudioError(f'{out} already contains sounds. Give another folder, or remove it first.')
    sings = recordings is not None
    if sings:
        try:
            need_world()
        except GenaudioError as error:
            notice(f'{error} Singing is left out; prepare-sounds --singing adds it later.')
            sings = False
    began = time.monotonic()
    rng = random.Random(seed)
    pieces = gather_pieces(scores, seed, scale=min(1.0, max(size, 0.05) * 1.0), progress=progress)
    fonts = {name: FontSampler(find_font(file, name)) for name, file in TRAIN_FONTS.items()}
    test_font = {TEST_FONT[0]: FontSampler(find_font(TEST_FONT[1], TEST_FONT[0]))}
    hours: dict[str, float] = {}
    with SoundWriter(out) as writer:

        def solos(split: str, players: dict[str, FontSampler], amount: float, seconds: float) -> float:
            return render_solos(Rendering(writer, pieces, split, players, rng, progress), seconds=seconds,
                                clips_per_weight=amount * size, vary=vary and split == 'train')  # fmt: skip

        def bands(split: str, players: dict[str, FontSampler], amount: float) -> float:
            return render_bands(
                Rendering(writer, pieces, split, players, rng, progress), n_bands=round(amount * size), seconds=24
            )

        made = solos('train', fonts, 3, 16)
        hours['bands'] = bands('train', fonts, 120)
        if recordings is not None:
            hours['recordings'] = add_recordings(writer, recordings, rng, progress=progress)
            if sings:  # a generator of its own: the rest comes out the same without it
                own = random.Random(f'{seed} singing')
                hours['singing'] = add_singing(writer, pieces, recordings, own, size=size, progress=progress)
        made += solos('test', test_font, 1.5, 12) + solos('valid', fonts, 0.6, 12)
        hours['bands'] += bands('test', test_font, 10) + bands('valid', fonts, 6)
        # The bulk comes last, so that training can begin on what is already there.
        made += solos('train', fonts, 8, 16)
        hours['solos'] = made
    for sampler in (*fonts.values(), *test_font.values()):
        sampler.close()
    result = {f'{key}_hours': round(value / 3600, 3) for key, value in hours.items()}
    return result | {'minutes': round((time.monotonic() - began) / 60, 2)}
