"""Who makes the sound of a row: a recording, the sound-effect model, the music model, or a voice.

A maker is one small class with two methods. `fault` says, before anything is made, why it could not serve a row;
`make` returns the sound. All draw from the seed they are given, so the same script and seed make the same mix.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudio_core.continuation.description import MusicPlan, understand
from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model, slug
from genaudio_core.script.mixing import SAMPLE_RATE
from genaudio_core.script.speech import SpeechEngine, SpeechVoice, voice_of
from genaudio_core.script.table import AUTO_SECONDS, BEGIN, EFFECT, MAX_TOTAL, MUSIC, SPEECH, Faults, Row, Script
from genaudio_core.sound.audio_files import READABLE, AudioReader, read_audio
from genaudio_core.sound.soundfont import MIDI_SUFFIXES, Renderer
from genaudio_core.synthesis.synthesizer import MAX_SECONDS, MIN_SECONDS

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

    def length(self, row: Row) -> int:
        """Return how many samples a row without a fault will have by itself, as far as that is known before; else 0."""
        ...

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        """Return the sound of a row; of about `n_samples`, or as long as it takes where that is None."""
        ...


class Unknown(Maker):
    """A maker that knows the length only when it has made it."""

    def length(self, row: Row) -> int:
        return 0


def _playable(path: Path) -> int:
    """Read a recording from end to end, as making does; return its samples at the mix's rate.

    Raises
    ------
    GenaudioError
        If it cannot be played, or is longer than a mix can be.
    """
    n_samples = 0
    with AudioReader(path, SAMPLE_RATE, on_notice=lambda text: None) as reader:
        for block in reader.blocks():
            n_samples += block.shape[1]
            _check_minutes(path, max(n_samples, reader.n_samples) / SAMPLE_RATE)
    return n_samples


def _check_minutes(path: Path, seconds: float) -> None:
    if not seconds <= MAX_TOTAL:
        raise GenaudioError(f'{path} is {seconds / 60:.0f} minutes long; at most {MAX_TOTAL / 60:.0f} are taken.')


class Recordings(Maker):
    """Plays the file that a row names: sound as it is, from its beginning; MIDI through the renderer."""

    def __init__(self, renderer: Renderer):
        self.renderer = renderer
        self._lengths: dict[Path, int] = {}

    def fault(self, row: Row) -> str:
        assert row.file is not None
        try:
            if row.file.suffix.lower() in MIDI_SUFFIXES:
                if told := self.renderer.fault():
                    return told
                score = self._score(row.file)
                self._lengths[row.file] = self._whole(row.file, score)
                return '' if score.n_notes else f'{row.file} has no note.'
            self._lengths[row.file] = _playable(row.file)
        except GenaudioError as error:
            return str(error)
        return ''

    def length(self, row: Row) -> int:
        assert row.file is not None
        return self._lengths.get(row.file, 0)

    @staticmethod
    def _score(file: Path):
        from genaudio_core.score.reading import read_midi

        return read_midi(file)

    @staticmethod
    def _whole(file: Path, score: Any) -> int:
        seconds = score.seconds_at(score.end) + 1.5  # the last notes ring
        _check_minutes(file, seconds)
        return round(seconds * SAMPLE_RATE)

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        assert row.file is not None
        if row.file.suffix.lower() in MIDI_SUFFIXES:
            score = self._score(row.file)
            whole = self._whole(row.file, score)
            audio = self.renderer.render(score, n_samples or whole)
            damage = ''.join(f' ({warning})' for warning in score.warnings)
            return Made(audio, f'plays {row.file.name}{self.renderer.left_out(score)}{damage}')
        audio = read_audio(row.file, SAMPLE_RATE)
        told = f'plays {row.file.name}'
        if n_samples is not None and audio.shape[1] < n_samples:
            told += f', which ends {(n_samples - audio.shape[1]) / SAMPLE_RATE:.2f} s early: silence after it'
        return Made(audio, told)


class Silence(Unknown):
    """A pause."""

    def fault(self, row: Row) -> str:
        return ''

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        return Made(np.zeros((1, n_samples or 0), np.float32), 'silence')


class Effects(Unknown):
    """Sound effects by the sound model.

    Parameters
    ----------
    load : callable
        Returns the ``synthesizer.Synthesizer``; called when the first effect is made.
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
        wanted = n_samples or round(AUTO_SECONDS[EFFECT] * SAMPLE_RATE)
        # What is shorter than the model makes is cut, what is longer goes on with the same.
        seconds = min(max(wanted / SAMPLE_RATE, MIN_SECONDS), MAX_SECONDS)
        audio = self._synthesizer.make(self._query(row.content), seconds=seconds, takes=1, seed=seed)
        told = f"made by the sound model from '{row.content}'"
        if audio.shape[1] < wanted - 1:
            told += f', which repeats after {audio.shape[1] / SAMPLE_RATE - JOIN:.0f} s'
            audio = _prolonged(audio, wanted)
        return Made(audio[:, :wanted] if n_samples else audio, told)


JOIN = 2.0  # seconds over which a sound that repeats fades into itself


def _prolonged(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Repeat a sound (channels, n) up to `n_samples`, each time faded over its own end at equal power."""
    n = min(round(JOIN * SAMPLE_RATE), audio.shape[1] // 2)
    up = np.sin(0.5 * np.pi * (np.arange(n, dtype=np.float32) + 0.5) / n)
    out, at = np.zeros((audio.shape[0], n_samples), np.float32), 0
    while at < n_samples:
        part = audio[:, : n_samples - at].copy()
        if at:
            part[:, :n] *= up[: part.shape[1]]
        rest = n_samples - at - audio.shape[1]
        if rest > 0:
            part[:, -n:] *= up[::-1]
        out[:, at : at + part.shape[1]] += part
        at += audio.shape[1] - n
        if rest <= 0:
            break
    return out


class Music(Unknown):
    """Music by the music model, for the instruments, tempo, key and mood that the words ask for."""

    def __init__(self, renderer: Renderer, model: str | Path = 'live', threads: int = 1):
        self.renderer, self.model, self.threads = renderer, model, threads
        self._decoder: Any = None

    def fault(self, row: Row) -> str:
        try:
            self._loaded()
            understand(row.content)
        except GenaudioError as error:
            return str(error)
        return self.renderer.fault()

    def _loaded(self) -> Any:
        if self._decoder is None:
            from genaudio_core.continuation.decoder import Decoder

            self._decoder = Decoder.load(find_model(self.model), threads=self.threads)
        return self._decoder

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        from genaudio_core.continuation.generation import generate

        plan = understand(row.content)
        n_samples = n_samples or round(AUTO_SECONDS[MUSIC] * SAMPLE_RATE)
        beats = n_samples / SAMPLE_RATE * plan.tempo / 60
        spare = 4.0  # the model may begin with a rest; the row begins with its first beat that has a note
        made = generate(
            self._loaded(), beats + spare, instruments=plan.instruments, controls=plan.controls(), tempo=plan.tempo,
            meter=plan.meter, seed=seed,
        )  # fmt: skip
        score = made.score
        first = min((note.beat for track in score.tracks for note in track.notes), default=0.0)
        rest = min(float(int(first)), spare)
        for track in score.tracks:
            track.notes = [note._replace(beat=note.beat - rest) for note in track.notes if note.beat >= rest]
        told = _told(plan, score.instruments) + self.renderer.left_out(score)
        return Made(self.renderer.render(score, n_samples), told)


def _told(plan: MusicPlan, instruments: list[str]) -> str:
    return f'{plan.describe()}; plays: {", ".join(instruments) or "nothing"}'


class Speech(Maker):
    """Speech by the user's recordings where there are some, else by an engine.

    Parameters
    ----------
    recordings : Path, optional
        A folder with ``CHARACTER-1.wav``, ``CHARACTER-2.wav`` for a character's lines in their order, or ``row-3.wav``.
    voices : dict
        Character -> its voice (`speech.voice_of` gives each one of its own).
    """

    def __init__(
        self, engine: SpeechEngine, voices: dict[str, SpeechVoice] | None = None, recordings: Path | None = None
    ):
        self.engine, self.voices, self.recordings = engine, voices or {}, recordings
        self._lines: dict[int, Path] = {}
        self._lengths: dict[int, int] = {}

    @property
    def files(self) -> list[Path]:
        """The recordings that `prepare` found."""
        return list(self._lines.values())

    def length(self, row: Row) -> int:
        return self._lengths.get(row.number, 0)

    def prepare(self, script: Script) -> None:
        """Find the recordings of a script's lines.

        Raises
        ------
        GenaudioError
            If the folder is missing.
        """
        if self.recordings is None:
            return
        try:
            found = sorted(self.recordings.iterdir())
        except (OSError, ValueError) as error:
            why = getattr(error, 'strerror', None) or error
            raise GenaudioError(f'`recordings`: the folder {self.recordings} cannot be read ({why}).') from None
        files = {p.stem.lower(): p for p in found if p.suffix.lower() in READABLE}
        count: dict[str, int] = {}
        for row in script.rows:
            if row.kind != SPEECH:
                continue
            character = slug(row.character, 'speech')
            count[character] = count.get(character, 0) + 1
            names = (f'row-{row.number}', f'{character}-{count[character]}', f'{character}-{count[character]:02d}')
            line = next((files[name] for name in names if name in files), None)
            if line is not None:
                self._lines[row.number] = line

    def fault(self, row: Row) -> str:
        if row.number in self._lines:
            try:
                self._lengths[row.number] = _playable(self._lines[row.number])
            except GenaudioError as error:
                return str(error)
            return ''
        return self.engine.fault(self._voice(row)) or ('' if _spoken(row.content) else 'there are no words to say.')

    def _voice(self, row: Row) -> SpeechVoice:
        return self.voices.get(row.character) or voice_of(row.character)

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        if row.number in self._lines:
            return Made(read_audio(self._lines[row.number], SAMPLE_RATE), f'plays {self._lines[row.number].name}')
        voice = self._voice(row)
        return Made(self.engine.say(row.content, voice), f'said by {voice.describe()}')


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
