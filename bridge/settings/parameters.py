"""Every setting of the live side in one table: presets, --set, MIDI controllers, OSC and keys all read it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.midi.sounding_notes import MAX_OUTPUTS
from bridge.settings.key import wanted_key
from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.music.keys import parse_chart
from genaudio_core.score.instruments import find_instrument
from genaudio_core.tables import Setting


@dataclass(frozen=True)
class Parameter(Setting):
    """A setting that MIDI controllers, OSC and keys can move, too.

    Parameters
    ----------
    live
        Whether it may change while the music plays.
    fader
        What a controller covers, where that is less than `low` to `high`; below it, silence.
    """

    live: bool = True
    fader: tuple[float, float] | None = None

    @property
    def span(self) -> tuple[float, float] | None:
        """Numbers that a controller covers from its lowest to its highest position; None where it has no range."""
        if self.fader is not None:
            return self.fader
        return None if self.low is None or self.high is None or self.kind is tuple else (self.low, self.high)

    @property
    def movable(self) -> bool:
        """Whether a controller 0..127 can cover its range."""
        return self.kind is bool or bool(self.choices) or self.span is not None

    def check(self, name: str, value: Any) -> Any:
        """Return `value` in the right type, as `Setting.check`; a list may also be text with commas, as --set gives."""
        if self.kind is tuple and isinstance(value, str):
            value = [part.strip() for part in value.split(',') if part.strip()]
        return super().check(name, value)

    def from_controller(self, value: int, span: tuple[float, float] | None = None) -> Any:
        """Return the setting that a controller value 0..127 stands for; `span` instead of its own."""
        share = value / 127
        if self.kind is bool:
            return value >= 64
        if self.choices:
            return self.choices[min(int(share * len(self.choices)), len(self.choices) - 1)]
        if span is None and self.fader is not None and not value:
            return -math.inf
        low, high = span or self.span or (0.0, 1.0)
        number = low + share * (high - low)
        return round(number) if self.kind is int else number


def _chart(chords: str) -> None:
    if chords.strip():
        parse_chart(chords)


GROOVES = ('auto', 'backbeat', 'half-time', 'four-on-the-floor', 'swing', 'off')
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
    'ports.outputs': Parameter(('genaudio out',), 'the same for outputs', 1, MAX_OUTPUTS, live=False),
    'ports.connect': Parameter((), 'JACK ports to connect to, by part of their names', live=False),
    'transport.leader': Parameter(
        'auto',
        'who gives tempo and position; auto: MIDI clock as soon as it comes, our own tempo until then',
        choices=('auto', 'midi', 'jack', 'link', 'internal'),
        live=False,
    ),
    'transport.tempo': Parameter(120.0, 'quarter notes a minute, unless followed', MIN_TEMPO, MAX_TEMPO, unit='BPM'),
    'transport.beats_per_bar': Parameter(4, 'upper figure of the meter', 1, 32, live=False),
    'transport.beat_unit': Parameter(4, 'lower figure of the meter', choices=(1, 2, 4, 8, 16), live=False),
    'transport.latency_ms': Parameter(0.0, 'send this much early', -100, 500, unit='ms'),
    'transport.song_position': Parameter(
        'auto',
        'how song position is counted; Ardour 7 sends beats times 24',
        choices=('auto', 'standard', 'times24'),
        live=False,
    ),
    'player.mode': Parameter('respond', 'how the band plays with you', choices=MODES),
    'player.instrument': Parameter(
        'piano', 'what you play, as the music model hears it', valid=find_instrument, live=False
    ),
    'player.bars_heard': Parameter(2, 'respond: bars you play', 1, 64, unit='bars'),
    'player.bars_answered': Parameter(2, 'respond, take_over: bars of an answer', 1, 64, unit='bars'),
    'player.pause_beats': Parameter(1.0, 'take_over: silence after which the band goes on', 0.25, 16, unit='beats'),
    'player.yields': Parameter(True, 'take_over: fall silent when you play again'),
    'player.programs': Parameter(False, 'send program changes for the parts'),
    'player.thru': Parameter(False, 'send what you play to the first part as well'),
    'player.autosave': Parameter(True, 'live: save every answer, and what you played to it, as a MIDI file'),
    'music.model': Parameter('', 'model file; empty: the bundled one', live=False),
    'music.temperature': Parameter(1.0, 'how adventurous', 0.1, 2),
    'music.top_p': Parameter(0.95, 'share of the likely choices that stay open', 0.1, 1),
    'music.density': Parameter(0.5, '0 sparse, 0.5 as it comes, 1 dense', 0, 1),
    'music.key': Parameter('auto', "'auto', 'off' or a key such as 'D dorian'", valid=wanted_key),
    'music.chords': Parameter(
        '', "chords to play over, round and round, such as 'C Am F G' or 'C | Am D7 | G'", valid=_chart
    ),
    'music.groove': Parameter('auto', 'what the drums keep to; auto: by meter and what you play', choices=GROOVES),
    'music.low': Parameter(0, 'lowest note', 0, 127),
    'music.high': Parameter(127, 'highest note', 0, 127),
    'music.velocity': Parameter(1.0, 'loudness of the band', 0.1, 2),
    'music.touch': Parameter(0.7, 'how much your loudness shapes the answer', 0, 1),
    'music.timing': Parameter(0.7, 'how much your micro-timing shapes the answer', 0, 1),
    'music.takes': Parameter(1, 'takes of each answer to choose from', 1, 8),
    'music.seed': Parameter(0, 'same seed, same notes', 0, 2**31 - 1),
    'engine.margin_ms': Parameter(30.0, 'how long before its bar the music must be ready', 0, 500, unit='ms'),
    'engine.leaning': Parameter(False, 'show on the panel which notes an answer leans on; works beside the music'),
}
"""Full name -> parameter. The part before the dot is the section of the preset file."""

COMMANDS: dict[str, str] = {
    'panic': 'end every note at once',
    'play': 'continue what I just played',
    'hush': 'end the answer that plays',
    'next_take': 'play the next take',
    'undo': 'forget the last answer',
    'again': 'compose what is still to come of the answer again',
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
    full = name if name in PARAMETERS else _BY_SHORT_NAME.get(name, '')
    if not full:
        raise GenaudioError(f"unknown setting '{name}'.{did_you_mean(name, [*PARAMETERS, *_BY_SHORT_NAME])}")
    return full, PARAMETERS[full]


def short_name(name: str) -> str:
    """Return the name that --set, controllers and OSC take: without its section where that is enough."""
    short = name.split('.')[1]
    return short if _BY_SHORT_NAME.get(short) == name else name


_SHORT = [name.split('.')[1] for name in PARAMETERS]
_BY_SHORT_NAME = {short: full for short, full in zip(_SHORT, PARAMETERS, strict=True) if _SHORT.count(short) == 1}


def find_target(name: Any) -> str:
    """Return the full name of what a controller, OSC address or key may move: a live parameter or a command.

    Raises
    ------
    GenaudioError
        If there is none of this name, it needs a restart, or no controller can move it.
    """
    if not isinstance(name, str):
        raise GenaudioError(f'{name!r} is not the name of a setting or command.')
    if name in COMMANDS:
        return name
    try:
        full, parameter = find_parameter(name)
    except GenaudioError:
        live = [full.split('.')[1] for full, parameter in PARAMETERS.items() if parameter.live]
        raise GenaudioError(f"unknown setting or command '{name}'.{did_you_mean(name, [*live, *COMMANDS])}") from None
    check_live(full, parameter)
    if not parameter.movable:
        raise GenaudioError(f"'{full}' has no range, so a controller cannot move it.")
    return full


def check_live(name: str, parameter: Parameter) -> None:
    """Refuse a setting that needs a restart.

    Raises
    ------
    GenaudioError
        If it cannot change while the music plays.
    """
    if not parameter.live:
        raise GenaudioError(f"'{name}' cannot change while the music plays: set it in the preset and restart genaudio.")


def defaults() -> dict[str, Any]:
    """Return every setting as it is where nothing is set: full name -> value."""
    return {name: parameter.default for name, parameter in PARAMETERS.items()}


def set_checked(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with `changes` (full or short names) checked and applied.

    Raises
    ------
    GenaudioError
        If a name or value is wrong, or two settings contradict each other.
    """
    result = dict(values)
    for name, value in changes.items():
        full, parameter = find_parameter(name)
        result[full] = parameter.check(full, value)
    if result['music.low'] > result['music.high']:
        raise GenaudioError(
            f'music.low ({result["music.low"]}) is above music.high ({result["music.high"]}), the highest.'
        )
    return result


def parse_changes(items: Sequence[str], option: str = '--set') -> dict[str, Any]:
    """Return NAME=VALUE items of an option as a mapping; values stay text, settings know their types.

    Raises
    ------
    GenaudioError
        If an item has no '='.
    """
    changes = {}
    for item in items:
        name, equals, value = item.partition('=')
        if not equals:
            raise GenaudioError(f"{option} takes NAME=VALUE, such as temperature=0.9, not '{item}'.")
        changes[name.strip()] = value.strip()
    return changes
