"""Every setting of the live side in one table: presets, --set, MIDI controllers, OSC and keys all read it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from genaudio_core.errors import GenaudioError, did_you_mean


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting: its default tells its type."""

    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = True  # may change while the music plays

    @property
    def movable(self) -> bool:
        """Whether a controller 0..127 can cover its range."""
        return bool(isinstance(self.default, bool) or self.choices or (self.low is not None and self.high is not None))

    def check(self, name: str, value: Any) -> Any:
        """Return `value` in the right type.

        Raises
        ------
        GenaudioError
            If type, range or choice are wrong; the message names what would be right.
        """
        if isinstance(self.default, bool):
            if isinstance(value, str) and value.lower() in ('true', 'false', 'on', 'off', 'yes', 'no'):
                value = value.lower() in ('true', 'on', 'yes')
            if not isinstance(value, bool):
                raise GenaudioError(f"'{name}' is true or false, not {value!r}.")
            return value
        if isinstance(self.default, (int, float)):
            return self._number(name, value)
        if isinstance(self.default, tuple):
            if isinstance(value, str):
                value = [part.strip() for part in value.split(',') if part.strip()]
            if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
                raise GenaudioError(f"'{name}' is a list of names, not {value!r}.")
            return tuple(value)
        if not isinstance(value, str):
            raise GenaudioError(f"'{name}' is a text, not {value!r}.")
        if self.choices and value not in self.choices:
            hint = did_you_mean(value, self.choices)
            raise GenaudioError(f"'{name}' cannot be '{value}'.{hint} Known are: {', '.join(self.choices)}.")
        return value

    def _number(self, name: str, value: Any) -> int | float:
        kind = type(self.default)
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise ValueError
            number = float(value)
            if number != number or (kind is int and not number.is_integer()):  # not a number, or not a whole one
                raise ValueError
            number = kind(number)
        except (ValueError, OverflowError):
            what = 'a whole number' if kind is int else 'a number'
            raise GenaudioError(f"'{name}' is {what}, not {value!r}.") from None
        if not (self.low is None or self.low <= number) or not (self.high is None or number <= self.high):
            raise GenaudioError(f"'{name}' must be in range {self.low:g}..{self.high:g}, not {number:g}.")
        return number

    def from_controller(self, value: int) -> Any:
        """Return the setting that a controller value 0..127 stands for."""
        share = value / 127
        if isinstance(self.default, bool):
            return value >= 64
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if self.low is None or self.high is None:
            raise GenaudioError('This setting has no range that a controller could cover.')
        number = self.low + share * (self.high - self.low)
        return round(number) if isinstance(self.default, int) else number


MODES = ('respond', 'take_over', 'accompany', 'free', 'arrange')

PARAMETERS: dict[str, Parameter] = {
    'about.title': Parameter('', 'what the preset is called', live=False),
    'about.text': Parameter('', 'when to use it', live=False),
    'ports.backend': Parameter(
        'auto', 'jack where its server runs, else rtmidi', choices=('auto', 'jack', 'rtmidi'), live=False
    ),
    'ports.inputs': Parameter(
        ('genaudio in',), 'part of a port name, or the name of a virtual port to make', live=False
    ),
    'ports.outputs': Parameter(('genaudio out',), 'the same for outputs', live=False),
    'ports.connect': Parameter((), 'JACK ports to connect to, by part of their names', live=False),
    'transport.leader': Parameter(
        'auto',
        'who gives tempo and position; auto: MIDI clock as soon as it comes, our own tempo until then',
        choices=('auto', 'midi', 'jack', 'link', 'internal'),
        live=False,
    ),
    'transport.tempo': Parameter(120.0, 'quarter notes a minute where nobody else tells', MIN_TEMPO, MAX_TEMPO),
    'transport.beats_per_bar': Parameter(4, 'upper figure of the meter', 1, 32, live=False),
    'transport.beat_unit': Parameter(4, 'lower figure of the meter', 1, 16, live=False),
    'transport.latency_ms': Parameter(0.0, 'send this much early', -100, 500),
    'transport.song_position': Parameter(
        'auto',
        'how song position is counted; Ardour 7 sends beats times 24',
        choices=('auto', 'standard', 'times24'),
        live=False,
    ),
    'player.mode': Parameter('respond', 'how the band plays with you', choices=MODES),
    'player.instrument': Parameter('piano', 'what you play, as the music model hears it', live=False),
    'player.bars_heard': Parameter(2, 'respond: bars you play', 1, 64),
    'player.bars_answered': Parameter(2, 'respond, take_over: bars of an answer', 1, 64),
    'player.pause_beats': Parameter(1.0, 'take_over: silence after which the band goes on', 0.25, 16),
    'player.yields': Parameter(True, 'take_over: fall silent when you play again'),
    'player.programs': Parameter(False, 'send program changes for the parts'),
    'player.thru': Parameter(False, 'send what you play to the first part as well'),
    'music.model': Parameter('', 'model file; empty: the bundled one', live=False),
    'music.temperature': Parameter(1.0, 'how adventurous', 0.1, 2),
    'music.top_p': Parameter(0.95, 'share of the likely choices that stay open', 0.1, 1),
    'music.density': Parameter(0.5, '0 sparse, 0.5 as it comes, 1 dense', 0, 1),
    'music.key': Parameter('auto', "'auto', 'off' or a key such as 'D dorian'"),
    'music.chords': Parameter('', "chords to play over, round and round, such as 'C Am F G' or 'C | Am D7 | G'"),
    'music.low': Parameter(0, 'lowest note', 0, 127),
    'music.high': Parameter(127, 'highest note', 0, 127),
    'music.velocity': Parameter(1.0, 'loudness of the band', 0.1, 2),
    'music.touch': Parameter(0.7, 'how much your loudness shapes the answer', 0, 1),
    'music.timing': Parameter(0.7, 'how much your micro-timing shapes the answer', 0, 1),
    'music.takes': Parameter(1, 'takes of each answer to choose from', 1, 8),
    'music.seed': Parameter(0, 'same seed, same notes', 0, 2**31 - 1),
    'engine.margin_ms': Parameter(30.0, 'how long before its bar the music must be ready', 0, 500),
}
"""Full name -> parameter. The part before the dot is the section of the preset file."""

COMMANDS: dict[str, str] = {
    'panic': 'end every note at once',
    'play': 'continue what I just played',
    'hush': 'end the answer that plays',
    'next_take': 'play the next take',
    'undo': 'forget the last answer',
    'keep': 'write the last answer as a MIDI file',
    'tap': 'tap the tempo',
    'start': 'start our own transport',
    'stop': 'stop our own transport',
    'learn': 'bind the next controller moved to a parameter or command',
}
"""Things that happen when told to, by controller, OSC or key."""


def find_parameter(name: str) -> tuple[str, Parameter]:
    """Return the full name and the parameter for a full or unique short name such as 'temperature'.

    Raises
    ------
    GenaudioError
        If there is none; the message offers the nearest.
    """
    if name in PARAMETERS:
        return name, PARAMETERS[name]
    short = [full for full in PARAMETERS if full.split('.')[1] == name]
    if len(short) == 1:
        return short[0], PARAMETERS[short[0]]
    nearest = did_you_mean(name, [*PARAMETERS, *(full.split('.')[1] for full in PARAMETERS)])
    raise GenaudioError(f"unknown setting '{name}'.{nearest}")


def defaults() -> dict[str, Any]:
    return {name: parameter.default for name, parameter in PARAMETERS.items()}


def set_checked(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `changes` (full or short names) checked and applied."""
    result = dict(values)
    for name, value in changes.items():
        full, parameter = find_parameter(name)
        result[full] = parameter.check(full, value)
    return result
