"""Lines that a person types while stems play."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bridge.settings.control_messages import shown
from bridge.settings.mix import Mix
from bridge.settings.stem_knobs import OF_MONITOR, port_names
from bridge.stems.audio_host import AudioHost
from bridge.stems.knobs import Knobs
from bridge.stems.lookup import Lookup
from bridge.stems.words import Words
from bridge.system.line_input import LineInput, reader_of
from genaudio_core.errors import GenaudioError, did_you_mean, one_line

HELP_LINE = (
    'Lines that change what is heard: NAME VALUE (gain.drums -6, gain.rest -12, mute.drums on, solo.drums on, wet 0.5, '
    'bypass on, low_latency on), query N WORDS, model FILE, learn NAME, status, quit. Short: gain N DB, rest DB, and '
    'mute N, solo N or bypass to switch over.'
)  # fmt: skip

LINES = {'set': 'set {set} {value}', 'learn': 'learn {learn}', 'query': 'query {stem} {query}'}
"""Verb of a message -> the line that it is."""


@dataclass
class LineCommands:
    """Changes while it plays, from lines of text."""

    host: AudioHost
    words: Words
    names: list[str]
    mix: Mix
    ended: bool = False
    knobs: Knobs = field(init=False)

    def __post_init__(self) -> None:
        self.knobs = Knobs(port_names(self.names), self)
        self._lines: deque[tuple[str, bool]] = deque()  # that are still to be done, in order; whether they are answered
        self._lookup: Lookup | None = None

    def take(self, message: Mapping[str, Any]) -> None:
        """Take a message of `control_messages`, checked: it is the line that a person would type.

        Raises
        ------
        GenaudioError
            If stems know nothing of its kind.
        """
        verb = next(iter(message.keys() & LINES.keys()), None)
        if verb is None:
            raise GenaudioError(f'{shown(dict(message))} is for a band; stems take {", ".join(LINES)}.')
        self._lines.append((LINES[verb].format(**message), verb != 'set'))  # a fader says the same 20 times a second

    def hear(self, lines: Iterable[str], on_notice: Callable[[str], None]) -> None:
        """Do what lines say, and answer, in their order. Never waits: where words must be looked up, that line and all
        behind it are done in a later call."""
        self._lines.extend((line, True) for line in lines)
        while self._lines and not self.ended:
            line, answered = self._lines[0]
            if self._looks_up(line):
                return
            self._lines.popleft()
            try:
                told = self.obey(line)
            except GenaudioError as error:
                told, answered = str(error), True
            except Exception as error:  # of an encoder: it is anybody's, and the music goes on
                told, answered = f'That did not work: {one_line(error)}', True
            self._lookup = None
            if answered:
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
        if verb == 'model':
            self.host.set_model(rest)
            return f'changing to {rest}'
        if verb == 'learn':
            self.knobs.learn(rest)
            return f'Move a controller: it will move {rest}.'
        if verb == 'query':
            which, _, text = rest.partition(' ')
            i = self._stem(which)
            queries = self.host.spec.queries.copy()
            queries[i] = self._vector(text)
            self.host.set_queries(queries)
            self.names[i] = text
            self.knobs.rename(port_names(self.names))
            return f'stem {i + 1} is now {text}'
        name, value = self._knob(verb, rest)
        if not value:
            raise GenaudioError(f"'{line.strip()}' needs a value, as in: {name} -6")
        self.knobs.set(name, value)
        return line.strip() if verb != 'bypass' else f'bypass {value}'

    def _knob(self, verb: str, rest: str) -> tuple[str, str]:
        """The knob that a line turns, and to what; the short forms first."""
        names, now = self.knobs.names, self.mix.knobs(self.knobs.names)
        if verb == 'gain':
            which, _, value = rest.rpartition(' ')
            return f'gain.{names[self._stem(which)]}', value
        if verb == 'rest':
            return f'gain.{names[-2]}', rest
        if verb in ('mute', 'solo'):
            name = f'{verb}.{names[self._stem(rest)]}'
            return name, 'off' if now[name] else 'on'
        if verb == 'bypass' and not rest:
            return verb, 'off' if self.host.core.bypass else 'on'
        name, _, value = rest.partition(' ') if verb == 'set' else (verb, '', rest)
        if verb != 'set' and name not in OF_MONITOR and '.' not in name:
            raise GenaudioError(f"unknown command '{verb}'. {HELP_LINE}")
        return name, value.strip()


def obey_lines(lines: Any, controls: LineCommands, on_notice: Callable[[str], None]) -> None:
    """Wait a little for lines, and do what they say. `lines` is a text stream, a `LineInput`, or None."""
    reader = lines if isinstance(lines, LineInput) else LineInput() if lines is None else reader_of(lines)
    controls.hear(reader.wait(0.01), on_notice)
