"""Presets: flat TOML that a musician can read and edit; a typo is answered at once with the nearest right word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bridge.midi.sounding_notes import MAX_OUTPUTS
from bridge.settings.instrument_table import Instrument, parse_instrument
from bridge.settings.key import wanted_key
from bridge.settings.pads_table import Pad, parse_pads
from bridge.settings.parameters import COMMANDS, PARAMETERS, Parameter, defaults, find_parameter, set_checked
from bridge.settings.voice import PartVoice
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import presets_dir, read_toml
from genaudio_core.music.keys import parse_chart
from genaudio_core.score.instruments import CODE_TO_PROGRAM, DRUMS, find_instrument, instrument_code

_PART_KEYS = ('instrument', 'channel', 'output', 'program')
_SECTIONS = (*dict.fromkeys(name.split('.')[0] for name in PARAMETERS), 'parts', 'cc', 'pads', 'instrument')


@dataclass(frozen=True)
class Preset:
    """A checked preset."""

    name: str
    values: Mapping[str, Any] = field(default_factory=defaults)  # full parameter name -> value
    voices: tuple[PartVoice, ...] = (PartVoice('piano'),)
    controllers: Mapping[int, str] = field(default_factory=dict)  # CC number -> parameter or command
    path: Path | None = None
    pads: tuple[Pad, ...] = ()
    instrument: Instrument | None = None

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return self['transport.beats_per_bar'] * 4 / self['transport.beat_unit']

    def with_values(self, changes: Mapping[str, Any]) -> 'Preset':
        """Return the preset with other settings, checked."""
        values = set_checked(dict(self.values), changes)
        _check_values(values)
        return replace(self, values=values)

    def with_live_values(self, changes: Mapping[str, Any]) -> 'Preset':
        """Return the preset with other settings, as `with_values` does, while the music plays.

        Raises
        ------
        GenaudioError
            If one cannot change without a restart, is unknown, or its value is wrong.
        """
        for name in changes:
            check_live(*find_parameter(name))
        return self.with_values(changes)

    def reloaded(self, new: 'Preset') -> tuple['Preset', list[str]]:
        """Return `new` as far as a running session can use it, and a line about what waits for a restart."""
        values, waits = dict(new.values), []
        for name, parameter in PARAMETERS.items():
            if not parameter.live and not name.startswith('about.') and new[name] != self[name]:
                values[name] = self[name]
                waits.append(name)
        voices = new.voices
        absent = sorted({voice.output + 1 for voice in voices if voice.output >= len(self['ports.outputs'])})
        if absent:
            voices = self.voices
            waits.append(f'the parts (output {", ".join(map(str, absent))} is not open)')
        line = f'Restart genaudio to change {", ".join(waits)}; until then that stays as it was.'
        return replace(new, values=values, voices=voices), [line] if waits else []


def available() -> dict[str, Path]:
    """Return the bundled presets by name."""
    # Those of live isolation lie beside them and are read by stems_preset.py.
    return {path.stem: path for path in sorted(presets_dir().glob('*.toml')) if not path.stem.startswith('isolate-')}


def find_preset(name: str) -> Path:
    """Return the file of a bundled preset, or of a path to one's own.

    Raises
    ------
    GenaudioError
        If there is no such preset; the message offers the nearest or lists all.
    """
    path = Path(name)
    if path.suffix == '.toml' or '/' in name:
        if not path.is_file():
            raise GenaudioError(f'No preset file {name}.')
        return path
    known = available()
    if name not in known:
        hint = did_you_mean(name, known) or f' There are: {", ".join(known)}.'
        raise GenaudioError(f"No preset '{name}'.{hint}")
    return known[name]


def load_preset(path: str | Path, changes: Mapping[str, Any] | None = None) -> Preset:
    """Read a preset file and apply `changes` (from --set).

    Raises
    ------
    GenaudioError
        With the file, the key, and what would be right.
    """
    path = Path(path)
    table = read_toml(path, 'preset')
    try:
        return parse_preset(table, path.stem, path, changes)
    except GenaudioError as error:
        raise GenaudioError(f'{path}: {error}') from error


def parse_preset(
    table: Mapping[str, Any], name: str = 'preset', path: Path | None = None, changes: Mapping[str, Any] | None = None
) -> Preset:
    """Check a parsed TOML table; see `load_preset`."""
    values = defaults()
    for section, content in table.items():
        if section not in _SECTIONS:
            raise GenaudioError(f"unknown section '{section}'.{did_you_mean(section, _SECTIONS)}")
        if section in ('parts', 'cc', 'pads', 'instrument'):
            continue
        if not isinstance(content, dict):
            raise GenaudioError(f"'{section}' is a section: write [{section}] above its settings.")
        for key, value in content.items():
            full = f'{section}.{key}'
            if full not in PARAMETERS:
                keys = [name.split('.')[1] for name in PARAMETERS if name.startswith(section + '.')]
                raise GenaudioError(
                    f"unknown key '{full}'.{did_you_mean(key, keys) or ' Known: ' + ', '.join(keys) + '.'}"
                )
            values[full] = PARAMETERS[full].check(full, value)
    values = set_checked(values, changes or {})
    _check_values(values)
    voices = _voices(table.get('parts', [{'instrument': 'piano'}]), values)
    pads = parse_pads(table.get('pads', {}), path.parent if path else Path())
    instrument = None
    if 'instrument' in table:
        instrument = parse_instrument(table['instrument'], path.parent if path else Path())
    return Preset(name, values, voices, _controllers(table.get('cc', {})), path, tuple(pads.values()), instrument)


def _check_values(values: Mapping[str, Any]) -> None:
    for name in ('ports.inputs', 'ports.outputs'):
        twice = sorted({port for port in values[name] if values[name].count(port) > 1})
        if twice:
            raise GenaudioError(f"'{name}' names '{twice[0]}' twice.")
    if not 1 <= len(values['ports.outputs']) <= MAX_OUTPUTS:
        raise GenaudioError(f"'ports.outputs' names 1 to {MAX_OUTPUTS} outputs, not {len(values['ports.outputs'])}.")
    wanted_key(values['music.key'])
    if values['music.chords'].strip():
        parse_chart(values['music.chords'])
    find_instrument(values['player.instrument'])
    if values['music.low'] > values['music.high']:
        raise GenaudioError("'music.low' is above 'music.high'.")
    if values['transport.beat_unit'] not in (1, 2, 4, 8, 16):
        raise GenaudioError("'transport.beat_unit' is 1, 2, 4, 8 or 16.")


def _voices(parts: Any, values: Mapping[str, Any]) -> tuple[PartVoice, ...]:
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        raise GenaudioError('parts: write [[parts]] once for each part.')
    n_outputs = len(values['ports.outputs'])
    free = (channel for channel in range(16) if channel != 9)
    taken = {part['channel'] - 1 for part in parts if isinstance(part, dict) and isinstance(part.get('channel'), int)}
    voices = []
    for number, part in enumerate(parts, 1):
        if not isinstance(part, dict):
            raise GenaudioError('parts: write [[parts]] once for each part.')
        for key in part:
            if key not in _PART_KEYS:
                raise GenaudioError(f"unknown key 'parts.{key}'.{did_you_mean(key, _PART_KEYS)}")
        if not isinstance(part.get('instrument'), str):
            raise GenaudioError(f"part {number} needs an instrument, such as instrument = 'piano'.")
        instrument = find_instrument(part['instrument'])
        channel = _whole(part, 'channel', 1, 16)
        if channel is None:
            chosen = 9 if instrument == DRUMS else next((c for c in free if c not in taken), None)
            if chosen is None:
                raise GenaudioError('parts: more parts than channels; give some an output of their own.')
        else:
            chosen = channel - 1
        program = _whole(part, 'program', 0, 127)
        if program is None and values['player.programs'] and instrument != DRUMS:
            program = CODE_TO_PROGRAM[instrument_code(instrument)]
        output = _whole(part, 'output', 1, n_outputs) or 1
        voices.append(PartVoice(instrument, output - 1, chosen, program))
    return tuple(voices)


def _whole(part: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    value = part.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise GenaudioError(f"'parts.{key}' is a whole number in range {low}..{high}, not {value!r}.")
    return value


def _controllers(table: Any) -> dict[int, str]:
    if not isinstance(table, dict):
        raise GenaudioError('cc: write [cc] and below it lines such as 74 = "temperature".')
    found: dict[int, str] = {}
    for key, target in table.items():
        if not key.isdecimal() or int(key) > 127:
            raise GenaudioError(f"cc: '{key}' is no controller number 0..127.")
        found[int(key)] = find_target(target)
    return found


def find_target(name: Any) -> str:
    """Return the full name of what a controller, OSC address or key may move: a live parameter or a command."""
    if not isinstance(name, str):
        raise GenaudioError(f'{name!r} is neither a setting nor a command.')
    if name in COMMANDS:
        return name
    try:
        full, parameter = find_parameter(name)
    except GenaudioError:
        live = [full.split('.')[1] for full, parameter in PARAMETERS.items() if parameter.live]
        raise GenaudioError(f"unknown setting or command '{name}'.{did_you_mean(name, [*live, *COMMANDS])}") from None
    check_live(full, parameter)
    if not parameter.movable:
        raise GenaudioError(f"'{full}' has no range that a controller could cover.")
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
