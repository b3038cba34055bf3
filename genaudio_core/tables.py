"""One checker for whatever a person sets: presets, pads, plug-ins, manifests, voices, options of a command.

A table is described once, and the description checks what was written::

    PAD = Table({
        'file': Setting(kind=str, example='"kick.wav"'),
        'gain_db': Setting(0.0, 'level', -60, 12, unit='dB'),
        'hold': Setting(False, 'sound only while the note is held'),
    }, short='file')
    PADS = Numbered(PAD, 'a MIDI note', 0, 127)
    PADS.check('pads', {'36': 'kick.wav', '42': {'file': 'hat.wav', 'gain_db': -3}})

What is wrong is one line that says where, what is right (kind, range, unit, choices) and what was written; a misspelt
name gets the nearest one. Whatever a table leaves out has its default in what `check` returns. Nothing here knows of
files but `read_checked`.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from genaudio_core.errors import GenaudioError, did_you_mean, one_line
from genaudio_core.files import read_toml

T = TypeVar('T')
NEEDED: Any = object()  # the default of a setting that has none
_SWITCHES = {'true': True, 'on': True, 'yes': True, '1': True, 'false': False, 'off': False, 'no': False, '0': False}
_WHAT = {
    bool: 'true or false', str: 'text', dict: 'a table', float: 'a number', int: 'a whole number',
    object: 'a number, text, true or false',
}  # fmt: skip


class Checker(Protocol):
    """Checks one thing that was written; `Setting`, `Table`, `Rows` and `Numbered` do."""

    def check(self, name: str, value: Any) -> Any:
        """Return `value` as it is used; `name` is where it stands, such as 'pads.36.gain_db'.

        Raises
        ------
        GenaudioError
            One line, if it is wrong.
        """
        ...

    def missing(self, name: str) -> Any:
        """Return what stands in where nothing was written; raises if something must be."""
        ...


@dataclass(frozen=True)
class Setting:
    """One value: a number, text, a switch, a list of names.

    Parameters
    ----------
    default
        Gives the kind, too. A setting without one must be written.
    low, high
        Smallest and largest number, or length of a list.
    above
        Instead of `low`: numbers must be more than this.
    silence
        Whether a level may be ``-inf`` (dB), too.
    unit
        For messages, such as 'dB'.
    kind
        bool, int, float, str, tuple (of names), dict, or object (any single value); needed where the default is None
        or there is none.
    example
        How a value is written, for whoever left it out.
    valid
        Raises GenaudioError for text that means nothing, such as the name of an unknown instrument.
    """

    default: Any = NEEDED
    help: str = ''
    low: float | None = None
    high: float | None = None
    choices: tuple[Any, ...] = ()
    above: float | None = None
    silence: bool = False
    unit: str = ''
    kind: Any = None
    example: str = ''
    valid: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.kind is None:
            object.__setattr__(self, 'kind', type(self.default))

    @property
    def right(self) -> str:
        """A description of right values: 'a number from -60 to 12 dB'."""
        if self.choices and self.kind is not tuple:
            return 'one of ' + ', '.join(map(str, self.choices))
        if self.kind is tuple:
            if self.low and self.high:
                return f'a list of {self.low:g} to {self.high:g} names'
            return 'a list of names' + (f', at least {self.low:g}' if self.low else '')
        what = _WHAT[self.kind]
        if self.kind not in (int, float):
            return what
        low, high, unit = self.low, self.high, f' {self.unit}' if self.unit else ''
        unit += f', or {-math.inf:g}' if self.silence else ''
        if self.above is not None:
            return f'{what} over {_text(self.above)}' + (f', at most {_text(high)}' if high is not None else '') + unit
        if low is not None and high is not None:
            return f'{what} from {_text(low)} to {_text(high)}{unit}'
        if low is not None:
            return f'{what}, {_text(low)} or more{unit}'
        return what + (f', at most {_text(high)}' if high is not None else '') + unit

    def missing(self, name: str) -> Any:
        """Return the default; see `Checker`."""
        if self.default is NEEDED:
            key = name.rpartition('.')[2]
            raise GenaudioError(f'{name} is missing' + (f'; write {key} = {self.example}.' if self.example else '.'))
        return dict(self.default) if self.kind is dict else self.default

    def check(self, name: str, value: Any) -> Any:
        """Return `value` in the right type; text may stand for numbers and switches. See `Checker`."""
        found, hint = None, ''
        if self.kind in (int, float):
            found = self._number(value)
        elif self.kind is bool:
            found = _SWITCHES.get(value.lower()) if isinstance(value, str) else value
            found = found if isinstance(found, bool) else None
        elif self.kind is tuple:
            return self._names(name, value)
        elif self.kind is object:
            finite = not isinstance(value, float) or math.isfinite(value)
            found = value if isinstance(value, (str, int, float)) and finite else None
        elif isinstance(value, self.kind):
            found = value
        if self.choices and found is not None and found not in self.choices:
            hint, found = did_you_mean(str(found), map(str, self.choices)), None
        if found is None:
            raise GenaudioError(f'{name} must be {self.right}, not {_shown(value)}.{hint}')
        if self.valid is not None:
            try:
                self.valid(found)
            except GenaudioError as error:
                raise GenaudioError(f'{name}: {one_line(error)}') from None
        return found

    def _number(self, value: Any) -> int | float | None:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            return None
        try:
            number = float(value)
            if self.kind is int:
                if not number.is_integer():
                    return None
                number = _whole(value)
        except (ValueError, OverflowError):  # an infinity as well
            return None
        if self.silence and number == -math.inf and not (isinstance(value, str) and 'inf' not in value.lower()):
            return number
        if not math.isfinite(number):
            return None
        if self.above is not None:
            below = number <= self.above
        else:
            below = self.low is not None and number < self.low
        return None if below or (self.high is not None and number > self.high) else number

    def _names(self, name: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) and one for one in value):
            raise GenaudioError(f'{name} must be {self.right}, not {_shown(value)}.')
        for one in value:
            if self.choices and one not in self.choices:
                hint = did_you_mean(one, self.choices)
                raise GenaudioError(f'{name}: {_shown(one)} is not one of {", ".join(self.choices)}.{hint}')
            if value.count(one) > 1:
                raise GenaudioError(f'{name} names {_shown(one)} twice.')
        if not (self.low or 0) <= len(value) <= (self.high or math.inf):
            raise GenaudioError(f'{name} must be {self.right}, not {len(value)}.')
        return tuple(value)


def _whole(value: str | float) -> int:
    """The whole number that a float, or text such as '7' or '7.0', stands for; '7' loses no digits on the way."""
    try:
        return int(value)
    except ValueError:
        return int(float(value))


def _text(number: float) -> str:
    return str(int(number)) if number == int(number) else f'{number:g}'


def _shown(value: Any) -> str:
    """The value as it was written, on one line and not endless; a number as it was typed."""
    with_quotes = repr(value)
    try:
        if isinstance(value, str) and math.isfinite(float(value)):
            with_quotes = value.strip()
    except ValueError:
        pass
    return with_quotes if len(with_quotes) <= 60 else f'{with_quotes[:60]}...'


def unknown(what: str, name: str, key: str, known: Any) -> GenaudioError:
    """Return the error for a `key` that is not among `known`, with the nearest or, where none is near, all of them."""
    hint = did_you_mean(key, known) or f' There are: {", ".join(known)}.'
    return GenaudioError(f"unknown {what} '{_within(name, key)}'.{hint}")


def _within(name: str, key: str) -> str:
    """The name of a table's key in messages, on one line whatever it holds."""
    shown = repr(str(key))[1:-1]
    shown = shown if len(shown) <= 60 else f'{shown[:60]}...'
    return f'{name}.{shown}' if name else shown


def _section(name: str) -> str:
    """'stems.1.effects' -> 'stems.effects', as it stands in brackets."""
    return re.sub(r'\.\d+', '', name)


@dataclass(frozen=True)
class Table:
    """Keys and what each may hold.

    Parameters
    ----------
    settings
        Key -> what checks it.
    others
        Checks what other keys hold; without it, other keys are refused.
    short
        Key that a bare value stands for: ``36 = "kick.wav"`` instead of ``36 = {file = "kick.wav"}``.
    example
        How it is written, for whoever wrote something else.
    optional
        Where nothing was written, it is None and not a table of defaults.
    """

    settings: Mapping[str, Checker]
    others: Checker | None = None
    short: str = ''
    example: str = ''
    optional: bool = False

    def missing(self, name: str) -> dict[str, Any] | None:
        """Return the defaults; see `Checker`."""
        return None if self.optional else self.check(name, {})

    def check(self, name: str, value: Any) -> dict[str, Any]:
        """Return key -> checked value, of every key that there is; see `Checker`. The name of a whole file is ''."""
        if self.short and not isinstance(value, (Mapping, list)):
            value = {self.short: value}
        if not isinstance(value, Mapping):
            how = self.example or f'write [{_section(name)}] above its settings'
            raise GenaudioError(f'{name} must be a table, not {_shown(value)}: {how}.')
        strange = [key for key in value if key not in self.settings]
        if strange and self.others is None:
            raise unknown('key' if name else 'section', name, strange[0], self.settings)
        found: dict[str, Any] = {}
        for key, checker in self.settings.items():
            full = _within(name, key)
            found[key] = checker.check(full, value[key]) if value.get(key) is not None else checker.missing(full)
        for key in strange:
            found[key] = self.others.check(_within(name, key), value[key])  # type: ignore[union-attr]
        return found


@dataclass(frozen=True)
class Rows:
    """Tables of one kind, one after the other: ``[[parts]]``."""

    row: Checker
    least: int = 0
    most: int = 10_000

    def missing(self, name: str) -> list[dict[str, Any]]:
        """Return no rows, if there may be none; see `Checker`."""
        return self.check(name, [])

    def check(self, name: str, value: Any) -> list[dict[str, Any]]:
        """Return the checked rows; see `Checker`."""
        if not (isinstance(value, list) and self.least <= len(value) <= self.most and
                all(isinstance(row, Mapping) for row in value)):  # fmt: skip
            times = f', {self.least} to {self.most} times' if self.most < 10_000 else ''
            raise GenaudioError(f'{name}: write [[{_section(name)}]] above the settings of each one{times}.')
        return [self.row.check(f'{name}.{number}', row) for number, row in enumerate(value, 1)]


@dataclass(frozen=True)
class Numbered:
    """Keys that are numbers: ``[cc]``, ``[pads]``."""

    entry: Checker
    what: str  # with its article, for messages
    low: int
    high: int
    example: str = ''

    def missing(self, name: str) -> dict[int, Any]:
        """Return nothing; see `Checker`."""
        return {}

    def check(self, name: str, value: Any) -> dict[int, Any]:
        """Return number -> checked value; see `Checker`."""
        content = Table({}, Anything(), example=self.example).check(name, value)
        found: dict[int, Any] = {}
        for key, one in content.items():
            number = int(key) if str(key).isdecimal() and len(str(key)) < 9 else -1
            if not self.low <= number <= self.high:
                raise GenaudioError(f'{name}: {_shown(str(key))} is not {self.what} ({self.low} to {self.high}).')
            if number in found:
                raise GenaudioError(f'{name}: {number} is there twice.')
            found[number] = self.entry.check(f'{name}.{key}', one)
        return found


class Anything(Checker):
    """Takes what is there, to be checked elsewhere."""

    def missing(self, name: str) -> None:
        return None

    def check(self, name: str, value: Any) -> Any:
        return value


def read_checked(path: Path, what: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """Return what `parse` makes of a TOML file. `what` it is, for messages.

    Raises
    ------
    GenaudioError
        With the file, the key, and what would be right.
    """
    table = read_toml(path, what)
    try:
        return parse(table)
    except GenaudioError as error:
        raise GenaudioError(f'{path}: {error}') from error
