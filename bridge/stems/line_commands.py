"""Lines that a person types while stems play."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bridge.settings.mix import Mix
from bridge.settings.stems_preset import port_names
from bridge.stems.audio_host import AudioHost
from bridge.stems.knobs import Knobs
from bridge.stems.lookup import Lookup
from bridge.stems.words import Words
from bridge.system.line_input import Lines, reader_of
from genaudio_core.errors import GenaudioError, did_you_mean, one_line

HELP_LINE = (
    'Lines that change what is heard: query N WORDS, gain N DB, rest DB, mute N, solo N, wet 0..1, bypass, '
    'model FILE, set NAME VALUE, learn NAME, status, quit.'
)  # fmt: skip


@dataclass
class LineCommands:
    """Changes while it plays, from lines of text."""

    host: AudioHost
    words: Words
    names: list[str]
    mix: Mix
    ended: bool = False
    knobs: Knobs | None = None

    def __post_init__(self) -> None:
        self._lines: deque[str] = deque()  # that are still to be done, in order
        self._lookup: Lookup | None = None

    def hear(self, lines: Iterable[str], on_notice: Callable[[str], None]) -> None:
        """Do what lines say, and answer, in their order. Never waits: where words must be looked up, that line and all
        behind it are done in a later call."""
        self._lines.extend(lines)
        while self._lines and not self.ended:
            if self._looks_up(self._lines[0]):
                return
            try:
                told = self.obey(self._lines.popleft())
            except GenaudioError as error:
                told = str(error)
            except Exception as error:  # of an encoder: it is anybody's, and the music goes on
                told = f'That cannot be done: {one_line(error)}'
            self._lookup = None
            on_notice(told)

    def _looks_up(self, line: str) -> bool:
        """Whether the words of a line are being looked up; begins that where it is needed."""
        verb, _, rest = line.strip().partition(' ')
        which, _, text = rest.strip().partition(' ')
        if verb != 'query' or self.words.knows(text):
            return False
        try:
            self._stem(which)
        except GenaudioError:
            return False
        if self._lookup is None or self._lookup.key != text:
            self._lookup = Lookup(text, self.words.vector)
        return not self._lookup.done

    def _vector(self, text: str) -> np.ndarray:
        if self._lookup is not None and self._lookup.key == text:
            return self._lookup.answer()
        return self.words.vector(text)

    def _stem(self, text: str) -> int:
        if text.isdecimal() and 1 <= int(text) <= len(self.names):
            return int(text) - 1
        for names in (self.names, port_names(self.names)):  # as it was asked for, or as its output is called
            if text in names[: len(self.names)]:
                return names.index(text)
        names = ', '.join(self.names)
        raise GenaudioError(f"There is no stem '{text}'.{did_you_mean(text, self.names)} There are: {names}.")

    def obey(self, line: str) -> str:
        """Do what a line says; return what to answer.

        Raises
        ------
        GenaudioError
            If the line makes no sense.
        """
        verb, _, rest = line.strip().partition(' ')
        rest = rest.strip()
        if verb in ('quit', 'exit'):
            self.ended = True
            return 'ending'
        if verb == 'status':
            figures = self.host.status().items()
            return ', '.join(f'{k} {v:.3g}' if isinstance(v, float) else f'{k} {v}' for k, v in figures)
        if verb == 'bypass':
            self.host.core.bypass = not self.host.core.bypass
            return f'bypass {"on" if self.host.core.bypass else "off"}'
        if verb == 'model':
            self.host.set_model(rest)
            return f'changing to {rest}'
        if verb in ('set', 'learn') and self.knobs is not None:
            name, _, value = rest.partition(' ')
            if verb == 'learn':
                self.knobs.learn(name)
                return f'Move a controller: it will move {name}.'
            if not value.strip():
                raise GenaudioError(f"'{line.strip()}' lacks a value, as in: set gain.rest -6")
            self.knobs.set(name, value.strip())
            return line.strip()
        if verb == 'query':
            which, _, text = rest.partition(' ')
            i = self._stem(which)
            queries = self.host.spec.queries.copy()
            queries[i] = self._vector(text)
            self.host.set_queries(queries)
            self.names[i] = text
            if self.knobs is not None:
                self.knobs.rename(port_names(self.names))
            return f'stem {i + 1} is now {text}'
        try:
            self.mix = self._mixed(verb, rest)
        except ValueError:
            raise GenaudioError(f"'{line.strip()}' lacks a number. {HELP_LINE}") from None
        self.host.set_mix(self.mix)
        return line.strip()

    def _mixed(self, verb: str, rest: str) -> Mix:
        mix = self.mix
        if verb == 'gain':
            which, _, value = rest.rpartition(' ')
            gains = list(mix.gains_db)
            gains[self._stem(which)] = float(value)
            return mix.changed(gains_db=tuple(gains))
        if verb == 'rest':
            return mix.changed(rest_db=float(rest))
        if verb == 'wet':
            return mix.changed(wet=float(rest))
        if verb in ('mute', 'solo'):
            before = getattr(mix, verb)
            return mix.changed(**{verb: before ^ {self._stem(rest)}})
        raise GenaudioError(f"I do not know '{verb}'. {HELP_LINE}")


def obey_lines(lines: Any, controls: LineCommands, on_notice: Callable[[str], None]) -> None:
    """Wait a little for lines, and do what they say. `lines` is a text stream, a `Lines`, or None."""
    reader = lines if isinstance(lines, Lines) else Lines() if lines is None else reader_of(lines)
    controls.hear(reader.wait(0.01), on_notice)
