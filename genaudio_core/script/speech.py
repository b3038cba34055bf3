"""Words into speech: an engine is one small class with `fault` and `say`.

`Espeak` (Debian's espeak-ng, GPLv3, run as a program of its own) is the default: always there, never beautiful.
`CommandEngine` runs any other program that reads text and writes a wav file, such as piper.
"""

import shlex
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.processes.programs import run_program
from genaudio_core.script.table import VOICE
from genaudio_core.sound.audio_files import read_audio

SAMPLE_RATE = 44100
TIMEOUT = 120.0  # seconds for one row; a program that hangs must not hang us
# Variants of espeak-ng that are well understood; the number in front of each is its usual pitch, 0..99.
_MALE = ((42, 'm1'), (30, 'm3'), (48, 'm4'), (36, 'm7'), (55, 'm2'), (25, 'm8'))
_FEMALE = ((62, 'f1'), (55, 'f2'), (70, 'f3'), (50, 'f4'), (66, 'f5'))
_WOMEN = frozenset(
    ('woman', 'women', 'girl', 'mother', 'mom', 'mum', 'grandmother', 'sister', 'aunt', 'lady', 'queen', 'princess',
     'wife', 'daughter', 'actress', 'witch', 'she', 'female', 'anchorwoman', 'mrs', 'ms', 'miss')
)  # fmt: skip
_MEN = frozenset(
    ('man', 'men', 'boy', 'father', 'dad', 'grandfather', 'brother', 'uncle', 'king', 'prince', 'husband', 'son',
     'actor', 'wizard', 'he', 'male', 'anchorman', 'mr', 'sir')
)  # fmt: skip


@dataclass(frozen=True)
class SpeechVoice:
    """How somebody speaks."""

    name: str = 'en'  # language, or a voice that the engine knows
    pitch: int = 50  # 0..99
    speed: int = 160  # words a minute

    def __post_init__(self):
        VOICE.check('voice', {'voice': self.name, 'pitch': self.pitch, 'speed': self.speed})

    def describe(self) -> str:
        """One line for a person."""
        return f'{self.name}, pitch {self.pitch}, {self.speed} words a minute'


class SpeechEngine(Protocol):
    """Speaks."""

    def fault(self, voice: SpeechVoice) -> str:
        """Return why it cannot speak with this voice, or an empty text."""
        ...

    def say(self, text: str, voice: SpeechVoice) -> np.ndarray:
        """Return float32 (channels, n_samples) at 44.1 kHz."""
        ...


def voice_of(character: str, language: str = 'en', taken: Iterable[SpeechVoice] = ()) -> SpeechVoice:
    """A voice for a character: always the same for the same name, and another than those `taken` while there are some.

    A word such as 'woman' or 'father' in the name decides between the higher and the lower voices.
    """
    words = {word.strip('.,').lower() for word in character.replace('-', ' ').split()}
    number = zlib.crc32(character.strip().lower().encode())
    both = [pair for two in zip(_MALE, _FEMALE, strict=False) for pair in two]
    choices = _FEMALE if words & _WOMEN else _MALE if words & _MEN else both
    offset = (number >> 8) % 9 - 4
    voices = [SpeechVoice(f'{language}+{name}', pitch + offset, 150 + (number >> 16) % 25) for pitch, name in choices]
    voices = voices[number % len(voices) :] + voices[: number % len(voices)]
    names = {voice.name for voice in taken}
    return next((voice for voice in voices if voice.name not in names), voices[0])


def cast(
    characters: Iterable[str], wanted: Mapping[str, Mapping[str, Any]], language: str = 'en'
) -> dict[str, SpeechVoice]:
    """A voice for every character, in the order of their first words; `wanted` overrides voice, pitch and speed.

    Raises
    ------
    GenaudioError
        If `wanted` names nobody, or what a voice does not have.
    """
    names = list(dict.fromkeys(characters))
    told = {name: VOICE.check(f'voices.{name}', settings) for name, settings in wanted.items()}
    for name in told:
        if name not in names:
            raise GenaudioError(f"voices: the script has no character called '{name}'.{did_you_mean(name, names)}")
    voices: dict[str, SpeechVoice] = {}
    for name in names:
        own = voice_of(name, language, voices.values())
        said = {key: value for key, value in told.get(name, {}).items() if value is not None}
        voices[name] = SpeechVoice(
            said.get('voice', own.name), said.get('pitch', own.pitch), said.get('speed', own.speed)
        )
    return voices


class _Program:
    """A speech engine that runs a program, which reads a text and writes a wav file."""

    def _run(self, command: list[str], text: str, out: Path) -> np.ndarray:
        done = run_program(command, text=text.encode(), timeout=TIMEOUT)
        if done.returncode or not out.is_file() or not out.stat().st_size:
            said = done.stderr.decode(errors='replace').strip().splitlines()
            raise GenaudioError(f'{command[0]} made no speech{": " + said[-1].rstrip(".") if said else ""}.')
        try:
            return read_audio(out, SAMPLE_RATE)
        except GenaudioError as error:
            raise GenaudioError(f'{command[0]} made a file that cannot be read: {error}') from error


class Espeak(_Program, SpeechEngine):
    """espeak-ng, run once for each row."""

    def __init__(self, program: str = 'espeak-ng'):
        self.program = program
        self._checked: dict[str, str] = {}

    def fault(self, voice: SpeechVoice) -> str:
        if shutil.which(self.program) is None:
            return (
                'no voice is installed: apt-get install espeak-ng, or give recordings (File, or `recordings=FOLDER`), '
                "or another program (`CommandEngine('COMMAND')`)."
            )
        if voice.name not in self._checked:
            self._checked[voice.name] = ''
            try:
                self.say('a', voice)
            except GenaudioError:
                self._checked[voice.name] = f"espeak-ng has no voice '{voice.name}'; see espeak-ng --voices."
        return self._checked[voice.name]

    def say(self, text: str, voice: SpeechVoice) -> np.ndarray:
        """Return a line as it is spoken, float32 (channels, n_samples)."""
        with tempfile.TemporaryDirectory(prefix='genaudio-') as folder:
            out = Path(folder) / 'speech.wav'
            command = [self.program, '--stdin', '-b', '1', '-v', voice.name, '-p', str(voice.pitch),
                       '-s', str(voice.speed), '-w', str(out)]  # fmt: skip
            # A control character would be markup to espeak.
            clean = ''.join(letter if letter.isprintable() else ' ' for letter in text)
            return self._run(command, clean, out)


class CommandEngine(_Program, SpeechEngine):
    """Any program: ``piper -m voice.onnx -f {out}``. It gets the text on its standard input.

    ``{out}`` stands for the wav file to write; ``{voice}``, ``{pitch}`` and ``{speed}`` may be used too.
    """

    def __init__(self, command: str):
        try:
            self.words = shlex.split(command)
        except ValueError as error:
            raise GenaudioError(f'`command`: {error} in: {command}') from None
        if not self.words or not any('{out}' in word for word in self.words):
            raise GenaudioError("`command` needs {out} for the wav file, such as 'piper -m voice.onnx -f {out}'.")
        self._checked: dict[SpeechVoice, str] = {}

    def fault(self, voice: SpeechVoice) -> str:
        """Let each voice say one word: what a program can do is known only when it does it."""
        if shutil.which(self.words[0]) is None:
            return f"the program '{self.words[0]}' (`command`) is not installed."
        if voice not in self._checked:
            try:
                self.say('yes', voice)
                self._checked[voice] = ''
            except GenaudioError as error:
                self._checked[voice] = str(error)
        return self._checked[voice]

    def say(self, text: str, voice: SpeechVoice) -> np.ndarray:
        """Return a line as it is spoken, float32 (channels, n_samples)."""
        with tempfile.TemporaryDirectory(prefix='genaudio-') as folder:
            out = Path(folder) / 'speech.wav'
            values = {'out': out, 'voice': voice.name, 'pitch': voice.pitch, 'speed': voice.speed}
            command = []
            for word in self.words:
                for name, value in values.items():
                    word = word.replace(f'{{{name}}}', str(value))
                command.append(word)
            return self._run(command, text, out)
