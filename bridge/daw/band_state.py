"""The settings of a *genaudio band*: parameters by number, and the state that the DAW's session holds with them.

Parameters come from the plug-in, as numbers (`plugin/band/Band.cpp`); lists are by name, as its first line gives them.
The rest is one text of JSON, which the plug-in keeps for the host and never reads: the text of the preset that played,
a preset and chords of the user's own, takes that were kept, name and hash of the model.
"""

import base64
import json
import threading
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bridge.live.kept_takes import KeptTake
from bridge.settings.band_preset import Preset, available, find_preset, parse_preset
from bridge.settings.parameters import find_parameter
from bridge.settings.voice import is_of_part
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import atomic_write
from genaudio_core.score.reading import midi_bytes

BYPASS, PRESET, MODE, TEMPERATURE, DENSITY, KEY, SEED, MUTE = range(8)  # numbers of parameters; four mutes
PLAY, NEXT, KEEP, UNDO, PANIC = range(11, 16)
BUTTONS = {PLAY: 'play', NEXT: 'next_take', KEEP: 'keep', UNDO: 'undo', PANIC: 'panic'}
"""Parameter -> command of the session, when it goes up."""
OF_SETTINGS = {MODE: 'player.mode', TEMPERATURE: 'music.temperature', DENSITY: 'music.density', KEY: 'music.key',
               SEED: 'music.seed'}  # fmt: skip
"""Parameter -> setting that it moves."""
_ESCAPED_QUOTE = '%22'
MOST_TAKES, MOST_BYTES = 16, 40_000  # that a DAW's session holds, of kept takes
_OF_THE_HOST = {
    'transport.leader': 'internal', 'transport.latency_ms': 0.0, 'transport.song_position': 'auto',
    'ports.backend': 'auto', 'ports.inputs': ('the track',), 'ports.connect': (),
}  # fmt: skip
"""What a preset says and a host decides."""


class BandState:
    """See above. For the session's thread.

    Parameters
    ----------
    hello : dict
        The plug-in's first line: the names of its lists, and what the DAW's session held.
    say : callable
        Gets one line for the person.
    """

    def __init__(self, hello: dict[str, Any], say: Callable[[str], None]) -> None:
        self._say = say
        self._lists = {
            number: [str(one) for one in hello.get(name) or []]
            for number, name in ((PRESET, 'presets'), (MODE, 'modes'), (KEY, 'keys'))
        }
        values = hello.get('values')
        self.values: dict[int, float] = {
            number: float(value)
            for number, value in enumerate(values if isinstance(values, list) else [])
            if isinstance(value, (int, float))
        }
        self.changed = True  # since `as_text` was last called
        self._bad = ''  # the last preset or chords of which the person knows that they are wrong
        self.version = hello.get('version', 0)  # of what the host loaded last
        self.load(str(hello.get('session') or ''))
        self.model, self.model_hash = self.saved_model, self.saved_hash  # until one is loaded

    def load(self, text: str) -> None:
        """Take what the DAW's session held; what is not there, or wrong, is as in a new one."""
        if text.startswith('{' + _ESCAPED_QUOTE):
            text = unquote(text)
        try:
            found = json.loads(text or '{}')
        except (ValueError, RecursionError):
            found = {}
        found = found if isinstance(found, dict) else {}

        def word(name: str) -> str:
            return found[name] if isinstance(found.get(name), str) else ''

        self.own, self.chords, self._used_name, self._used = word('own'), word('chords'), word('name'), word('used')
        self.saved_model, self.saved_hash = word('model'), word('hash')
        turned = found.get('turned')
        self.turned: dict[str, Any] = turned if isinstance(turned, dict) else {}  # on a panel, by full name
        takes = found.get('takes')
        self.takes: list[dict[str, str]] = [
            {'name': str(one['name']), 'midi': str(one['midi'])}
            for one in (takes if isinstance(takes, list) else [])
            if isinstance(one, dict) and {'name', 'midi'} <= one.keys()
        ][-MOST_TAKES:]

    def as_text(self) -> str:
        """Return the state for the DAW's session to hold: JSON without its quotes and backslashes.

        Ardour keeps an LV2's texts as Turtle, and what reads that (serd 0.30) takes an escaped quote before an
        escaped end of a line for something else.
        """
        self.changed = False
        text = json.dumps(
            {
                'format': 1, 'name': self._used_name, 'used': self._used, 'own': self.own, 'chords': self.chords,
                'model': self.model, 'hash': self.model_hash, 'takes': self.takes, 'turned': self.turned,
            },
            ensure_ascii=False,
        )  # fmt: skip
        return text.replace('%', '%25').replace('"', _ESCAPED_QUOTE).replace('\\', '%5C')

    # --- what a person says

    def hear(self, message: dict[str, Any]) -> bool:
        """Take what the plug-in says, or a person (`genaudio plugin`); whether it concerns the music."""
        if isinstance(text := message.get('session'), str):
            self.load(text)
            self.version = message.get('version', 0)
            return True
        if isinstance(text := message.get('set_preset'), str):
            self.own = text
        elif isinstance(text := message.get('set_chords'), str):
            self.chords = text
        else:
            if isinstance(folder := message.get('write_takes'), str):
                threading.Thread(target=self._write, args=(Path(folder), list(self.takes)), daemon=True).start()
            return False
        self.changed = True
        return True

    def turn(self, name: str, value: Any, preset: Preset) -> None:
        """Hold a setting, by its short or full name, that was turned on a panel.

        Raises
        ------
        GenaudioError
            If `preset`, which plays, has no such setting, it needs a restart, or the value is wrong.
        """
        preset.with_live_values({name: value})
        full = name if is_of_part(name) else find_parameter(name)[0]
        if full == 'music.chords':
            self.chords = value
        else:
            self.turned[full] = value
        self.changed = True

    def move(self, number: int, value: float) -> None:
        """The host says what a parameter is; where it moves, what was turned on a panel before is over."""
        if value != self.values.get(number):
            names = list(self.turned) if number == PRESET else [OF_SETTINGS.get(number, '')]
            self.changed |= bool([self.turned.pop(name) for name in names if name in self.turned])
        self.values[number] = value

    def keep(self, take: KeptTake) -> None:
        """Hold a take in the DAW's session; the oldest go where it grows too large."""
        self.takes.append({'name': take.name, 'midi': base64.b64encode(midi_bytes(take.score())).decode()})
        self.takes = self.takes[-MOST_TAKES:]
        while sum(len(one['midi']) for one in self.takes) > MOST_BYTES and len(self.takes) > 1:
            del self.takes[0]
        self.changed = True
        self._say(f'{take.name} is kept in the session: genaudio plugin takes DIR writes it.')

    def _write(self, folder: Path, takes: Sequence[dict[str, str]]) -> None:
        for take in takes:
            try:
                with atomic_write(folder / Path(take['name']).name) as unfinished:
                    unfinished.write_bytes(base64.b64decode(take['midi']))
            except (GenaudioError, ValueError) as error:
                self._say(f'{take["name"]} is not written to {folder}: {error}')
                return

    # --- what is played

    def preset(self, meter: tuple[int, int]) -> Preset:
        """The preset as it is to be played, in the host's meter. What is wrong in it is told, once, and left out."""
        base = self._base()
        changes: list[dict[str, Any]] = [
            _OF_THE_HOST,
            {'transport.beats_per_bar': meter[0], 'transport.beat_unit': meter[1]},
            self._knobs(base),
        ]
        if self.chords.strip():
            changes.append({'music.chords': self.chords})
        changes += [{name: value} for name, value in self.turned.items()]
        for change in changes:
            try:
                base = base.with_values(change)
            except GenaudioError as error:
                self._tell(one_line(error))
        return base

    def is_on(self, number: int) -> bool:
        """Whether a button is down."""
        return self.values.get(number, 0) > 0.5

    def _knobs(self, base: Preset) -> dict[str, Any]:
        temperature = base['music.temperature'] * self.values.get(TEMPERATURE, 1.0)
        density = base['music.density'] + self.values.get(DENSITY, 0.0)
        found = {
            'music.temperature': min(max(temperature, 0.1), 2.0), 'music.density': min(max(density, 0.0), 1.0),
            'music.seed': base['music.seed'] + round(self.values.get(SEED, 0.0)),
        }  # fmt: skip
        for number, name in ((MODE, 'player.mode'), (KEY, 'music.key')):
            if (chosen := round(self.values.get(number, 0.0))) > 0:
                found[name] = self._name(number, chosen)
        return found

    def _name(self, number: int, chosen: int) -> str:
        names = self._lists[number]
        return names[chosen] if 0 <= chosen < len(names) else ''

    def _base(self) -> Preset:
        """The preset that is chosen: what it was when the DAW's session was saved, where it is the same one."""
        chosen = self._name(PRESET, round(self.values.get(PRESET, 0.0)))
        own = chosen not in available()
        text = self.own if own else self._used if chosen == self._used_name else ''
        if text.strip():
            try:
                return parse_preset(tomllib.loads(text), chosen)
            except (GenaudioError, ValueError) as error:
                self._tell(f'The preset cannot be played: {error}')
        elif own:
            self._tell('There is no preset of your own yet: genaudio plugin preset FILE. The band plays duet.')
        name = 'duet' if own else chosen
        text = find_preset(name).read_text()
        if not own:
            self._used_name, self._used, self.changed = chosen, text, True
        return parse_preset(tomllib.loads(text), name)

    def _tell(self, line: str) -> None:
        if line != self._bad:
            self._bad = line
            self._say(line)
