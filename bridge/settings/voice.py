"""Where a part of the band plays (output, channel, program), and the knobs that it has for itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.settings import parameters
from bridge.settings.parameters import Parameter
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.score.instruments import DRUMS, RANGE

OCTAVE = 11  # semitones from the lowest to the highest note of a range at least: it holds a tone of every chord


@dataclass(frozen=True, slots=True)
class PartVoice:
    """Where a part sounds."""

    instrument: str
    output: int = 0
    channel: int = 0
    program: int | None = None  # sent when the part first plays, if the preset wants it
    drum_keys: tuple[int, ...] = ()  # all that drums have, such as the three of a cajon; empty: a whole kit


OF_PART: dict[str, Parameter] = {
    'density': Parameter(0.5, 'of this part beside the band: 0 sparser, 0.5 as dense as the band, 1 denser', 0, 1),
    'low': Parameter(0, 'lowest note of this part', 0, 127),
    'high': Parameter(127, 'highest note of this part', 0, 127),
}
"""Knobs of each part, beside mute and solo; drums have no range. In a preset they stand in [[parts]]."""


def part_names(instruments: Sequence[str]) -> list[str]:
    """What the knobs of parts are called by: two violins are violin and violin_2."""
    names = [name if name not in instruments[:i] else f'{name}_{instruments[: i + 1].count(name)}'
             for i, name in enumerate(instruments)]  # fmt: skip
    return [name.replace(' ', '_') for name in names]


def is_of_part(name: str) -> bool:
    """Whether something is called as a knob of a part: density.bass."""
    return '.' in name and name.partition('.')[0] in OF_PART


def part_knobs(instruments: Sequence[str]) -> dict[str, Parameter]:
    """Return the knobs of these parts by full name; a range is that of the instrument at most."""
    found = {}
    for instrument, name in zip(instruments, part_names(instruments), strict=True):
        found[f'density.{name}'] = OF_PART['density']
        if instrument != DRUMS:
            low, high = RANGE[instrument]
            found[f'low.{name}'] = Parameter(low, OF_PART['low'].help, low, high - OCTAVE)
            found[f'high.{name}'] = Parameter(high, OF_PART['high'].help, low + OCTAVE, high)
    return found


def check_part(name: str, knobs: Mapping[str, Parameter]) -> None:
    """Refuse what is not among the `knobs` of parts.

    Raises
    ------
    GenaudioError
        If it is not; the message offers the nearest.
    """
    if name not in knobs:
        raise GenaudioError(f"'{name}' is not something that can be set.{did_you_mean(name, knobs)}")


def find_target(name: Any, instruments: Sequence[str] = ()) -> str:
    """Return the full name of what a controller may move in a band with these parts; see `parameters.find_target`."""
    if isinstance(name, str) and is_of_part(name):
        check_part(name, part_knobs(instruments))
        return name
    return parameters.find_target(name)


def set_parts(instruments: Sequence[str], values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` of knobs with `changes` checked and applied; what is as without any is left out.

    Raises
    ------
    GenaudioError
        If a part is not there, a value is wrong, or a range is narrower than an octave.
    """
    knobs, result = part_knobs(instruments), dict(values)
    for name, value in changes.items():
        check_part(name, knobs)
        result[name] = knobs[name].check(name, value)
    for full in knobs:
        end, _, name = full.partition('.')
        if end == 'low':
            low, high = (result.get(f'{each}.{name}', knobs[f'{each}.{name}'].default) for each in ('low', 'high'))
            if high - low < OCTAVE:
                raise GenaudioError(f'low.{name} ({low}) and high.{name} ({high}): a part needs an octave, 12 notes.')
    return {name: value for name, value in result.items() if value != knobs[name].default}
