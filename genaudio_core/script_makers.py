"""Who makes the sound of a row: a recording, the sound-effect model, the music model, or a voice.

A maker is one small class with two methods. `fault` says, before anything is made, why it could not serve a row;
`make` returns the sound. All draw from the seed they are given, so the same script and seed make the same mix.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudio_core.audio_files import READABLE, AudioReader, read_audio
from genaudio_core.audio_script import AUTO_SECONDS, BEGIN, EFFECT, MUSIC, SPEECH, Faults, Row, Script
from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model
from genaudio_core.music_words import MusicPlan, understand
from genaudio_core.script_mix import SAMPLE_RATE
from genaudio_core.soundfont import MIDI_SUFFIXES, Renderer
from genaudio_core.speech import Engine, Voice, voice_of

SILENCE = ('silence', 'pause')  # a sound effect that is none


@dataclass
class Made:
    """A sound, and what to tell about how it came to be."""

    audio: np.ndarray  # float32 (channels, n_samples), 44.1 kHz
    told: str = ''


class Maker(Protocol):
    """Makes the sound of rows."""

    def fault(self, row: Row) -> str:
        """Return why this row cannot be made, or an empty text."""
        ...

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        """Return the sound of a row; of about `n_samples`, or as long as it takes where that is None."""
        ...


class Recordings:
    """Plays the file that a row names: sound as it is, from its beginning; MIDI through the renderer."""

    def __init__(self, renderer: Renderer):
        self.renderer = renderer

    def fault(self, row: Row) -> str:
        assert row.file is not None
        try:
            if row.file.suffix.lower() in MIDI_SUFFIXES:
                return self.renderer.fault() or ('' if self._score(row.file).n_notes else f'{row.file} has no note.')
            with AudioReader(row.file, SAMPLE_RATE) as reader:
                minutes = reader.n_samples / SAMPLE_RATE / 60
                return f'{row.file} is {minutes:.0f} minutes long; at most 60 are taken.' if minutes > 60 else ''
        except GenaudioError as error:
            return str(error)

    @staticmethod
    def _score(file: Path):
        from genaudio_core.score import read_midi

        return read_midi(file)

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        assert row.file is not None
        if row.file.suffix.lower() in MIDI_SUFFIXES:
            score = self._score(row.file)
            whole = round((score.seconds_at(score.end) + 1.5) * SAMPLE_RATE)  # the last notes ring
            return Made(self.renderer.render(score, n_samples or whole), f'plays {row.file.name}')
        audio = read_audio(row.file, SAMPLE_RATE)
        told = f'plays {row.file.name}'
        if n_samples is not None and audio.shape[1] < n_samples:
            told += f', which ends {(n_samples - audio.shape[1]) / SAMPLE_RATE:.2f} s early: silence after it'
        return Made(audio, told)


class Silence:
    """A pause."""

    def fault(self, row: Row) -> str:
        return ''

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        return Made(np.zeros((1, n_samples or 0), np.float32), 'silence')


class Effects:
    """Sound effects by the sound model.

    Parameters
    ----------
    load : callable
        Returns the ``synthesis.Synthesizer``; called when the first effect is made.
    encode : callable
        Words -> query.
    """

    def __init__(self, load: Callable[[], Any], encode: Callable[[str], Any]):
        self._load, self._encode = load, encode
        self._synthesizer: Any = None
        self._queries: dict[str, Any] = {}

    def _query(self, words: str) -> Any:
        if words not in self._queries:  # once for each text: the encoder tells what it is unsure of
            self._queries[words] = self._encode(words)
        return self._queries[words]

    def fault(self, row: Row) -> str:
        try:
            self._synthesizer = self._synthesizer or self._load()
            self._query(row.content)
        except GenaudioError as error:
            return str(error)
        return ''

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        self._synthesizer = self._synthesizer or self._load()
        seconds = (n_samples or round(AUTO_SECONDS[EFFECT] * SAMPLE_RATE)) / SAMPLE_RATE
        audio = self._synthesizer.make(self._query(row.content), seconds=seconds, takes=1, seed=seed)
        return Made(audio, f"made by the sound model from '{row.content}'")


class Music:
    """Music by the music model, for the instruments, tempo, key and mood that the words ask for."""

    def __init__(self, renderer: Renderer, model: str | Path = 'live', threads: int = 1):
        self.renderer, self.model, self.threads = renderer, model, threads
        self._decoder: Any = None

    def fault(self, row: Row) -> str:
        try:
            find_model(self.model)
            understand(row.content)
        except GenaudioError as error:
            return str(error)
        return self.renderer.fault()

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        from genaudio_core.continuation import Decoder
        from genaudio_core.generation import generate

        plan = understand(row.content)
        if self._decoder is None:
            self._decoder = Decoder.load(find_model(self.model), threads=self.threads)
        n_samples = n_samples or round(AUTO_SECONDS[MUSIC] * SAMPLE_RATE)
        beats = n_samples / SAMPLE_RATE * plan.tempo / 60
        spare = 4.0  # the model may begin with a rest; the row begins with its first beat that has a note
        made = generate(
            self._decoder, beats + spare, instruments=plan.instruments, controls=plan.controls(), tempo=plan.tempo,
            meter=plan.meter, seed=seed,
        )  # fmt: skip
        score = made.score
        first = min((note.beat for track in score.tracks for note in track.notes), default=0.0)
        rest = min(float(int(first)), spare)
        for track in score.tracks:
            track.notes = [note._replace(beat=note.beat - rest) for note in track.notes if note.beat >= rest]
        return Made(self.renderer.render(score, n_samples), _told(plan, score.instruments))


def _told(plan: MusicPlan, instruments: list[str]) -> str:
    return f'{plan.describe()}; plays: {", ".join(instruments) or "nothing"}'


class Speech:
    """Speech by the user's recordings where there are some, else by an engine.

    Parameters
    ----------
    recordings : Path, optional
        A folder with ``CHARACTER-1.wav``, ``CHARACTER-2.wav`` for a character's lines in their order, or ``row-3.wav``.
    voices : dict
        Character -> its voice (`speech.voice_of` gives each one of its own).
    """

    def __init__(self, engine: Engine, voices: dict[str, Voice] | None = None, recordings: Path | None = None):
        self.engine, self.voices, self.recordings = engine, voices or {}, recordings
        self._lines: dict[int, Path] = {}

    def prepare(self, script: Script) -> None:
        """Find the recordings of a script's lines.

        Raises
        ------
        GenaudioError
            If the folder is missing.
        """
        if self.recordings is None:
            return
        if not self.recordings.is_dir():
            raise GenaudioError(f'--voices: there is no folder {self.recordings}.')
        files = {p.stem.lower(): p for p in sorted(self.recordings.iterdir()) if p.suffix.lower() in READABLE}
        count: dict[str, int] = {}
        for row in script.rows:
            if row.kind != SPEECH:
                continue
            character = _slug(row.character) or 'speech'
            count[character] = count.get(character, 0) + 1
            names = (f'row-{row.number}', f'{character}-{count[character]}', f'{character}-{count[character]:02d}')
            found = next((files[name] for name in names if name in files), None)
            if found is not None:
                self._lines[row.number] = found

    def fault(self, row: Row) -> str:
        if row.number in self._lines:
            try:
                with AudioReader(self._lines[row.number]):
                    return ''
            except GenaudioError as error:
                return str(error)
        return self.engine.fault(self._voice(row)) or ('' if _spoken(row.content) else 'there is no word to say.')

    def _voice(self, row: Row) -> Voice:
        return self.voices.get(row.character) or voice_of(row.character)

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        if row.number in self._lines:
            return Made(read_audio(self._lines[row.number], SAMPLE_RATE), f'plays {self._lines[row.number].name}')
        voice = self._voice(row)
        return Made(self.engine.say(row.content, voice), f'said by {voice.describe()}')


def _slug(name: str) -> str:
    return re.sub(r'[^\w]+', '-', name.lower()).strip('-')


def _spoken(text: str) -> bool:
    return any(letter.isalnum() for letter in text)


@dataclass
class Makers:
    """One maker for each kind of row."""

    speech: Maker
    effects: Maker
    music: Maker
    recordings: Maker
    silence: Maker = field(default_factory=Silence)

    def of(self, row: Row) -> Maker:
        """The maker that serves a row."""
        if row.file is not None:
            return self.recordings
        if row.kind == EFFECT and row.content.lower() in SILENCE:
            return self.silence
        return {SPEECH: self.speech, EFFECT: self.effects, MUSIC: self.music}[row.kind]

    def check(self, script: Script, faults: Faults) -> None:
        """Add what the makers cannot make to the faults of a script."""
        for row in script.rows:
            if row.action not in ('', BEGIN) or faults.of(row.number):
                continue
            if told := self.of(row).fault(row):
                faults.add(row.number, told)


def seed_of(row: Row, seed: int, seen: dict[int, int]) -> int:
    """A seed from what a row says: rows elsewhere may change without changing this one's sound.

    `seen` counts rows that say the same, so that two footsteps are not one.
    """
    own = zlib.crc32(f'{row.kind}\n{row.content.lower()}\n{row.character}'.encode())
    seen[own] = seen.get(own, 0) + 1
    return int(np.random.SeedSequence([seed, own, seen[own]]).generate_state(1)[0]) % 2**31
