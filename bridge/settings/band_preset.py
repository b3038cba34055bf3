"""Presets: flat TOML that a musician can read and edit; a typo is answered at once with the nearest right word."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from platformdirs import user_config_path

from bridge.midi.sounding_notes import MAX_OUTPUTS
from bridge.settings.instrument_table import INSTRUMENT, Instrument, parse_instrument
from bridge.settings.pads_table import PADS, Pad, parse_pads
from bridge.settings.parameters import PARAMETERS, check_live, defaults, find_parameter, set_checked
from bridge.settings.voice import OF_PART, PartVoice, find_target, is_of_part, part_names, set_parts
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import presets_dir
from genaudio_core.score.instruments import CODE_TO_PROGRAM, DRUMS, find_instrument, instrument_code
from genaudio_core.tables import Numbered, Rows, Setting, Table, read_checked


def drum_keys(text: str) -> tuple[int, ...]:
    """Return the notes of a list such as '36, 37, 38'; nothing for an empty one.

    Raises
    ------
    GenaudioError
        If one is not a MIDI note.
    """
    words = [word.strip() for word in text.split(',') if word.strip()]
    if not all(word.isdecimal() and int(word) < 128 for word in words):
        raise GenaudioError(f"'{text}' is not a list of MIDI notes (0 to 127), such as '36, 37, 38'.")
    return tuple(dict.fromkeys(int(word) for word in words))


_PARTS = Rows(
    Table(
        {
            'instrument': Setting(kind=str, example='"piano"', valid=find_instrument),
            'channel': Setting(None, 'MIDI channel', 1, 16, kind=int),
            'output': Setting(1, 'number of one of ports.outputs', 1, MAX_OUTPUTS),
            'program': Setting(None, 'General MIDI program, counted from 0', 0, 127, kind=int),
            'drum_keys': Setting('', 'notes that drums have, if not a whole kit: those of a cajon', valid=drum_keys),
            **{name: Setting(None, one.help, one.low, one.high, kind=one.kind) for name, one in OF_PART.items()},
        }
    )
)
_SECTIONS = dict.fromkeys(name.split('.')[0] for name in PARAMETERS)
PRESET = Table(
    {
        **{
            section: Table({n.split('.')[1]: one for n, one in PARAMETERS.items() if n.startswith(f'{section}.')})
            for section in _SECTIONS
        },
        'parts': _PARTS,
        'cc': Numbered(
            Setting(kind=str), 'a controller number', 0, 127, 'write [cc] and below it lines such as 74 = "temperature"'
        ),
        'pads': PADS,
        'instrument': INSTRUMENT,
    }
)
"""All that the file of a preset may say."""


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
    part_values: Mapping[str, Any] = field(default_factory=dict)  # knobs of parts that were turned: density.bass

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return self['transport.beats_per_bar'] * 4 / self['transport.beat_unit']

    def with_values(self, changes: Mapping[str, Any]) -> 'Preset':
        """Return the preset with other settings, those of its parts among them, checked."""
        values, parts = _sorted_out(changes)
        names = [voice.instrument for voice in self.voices]
        return replace(
            self, values=set_checked(self.values, values), part_values=set_parts(names, self.part_values, parts)
        )

    def of_part(self, knob: str, part: int) -> Any:
        """How a knob of `OF_PART` stands for a part; None where it was not turned."""
        return self.part_values.get(f'{knob}.{part_names([voice.instrument for voice in self.voices])[part]}')

    def range_of(self, part: int) -> tuple[int, int]:
        """Lowest and highest note of a part as its knobs say; 0 and 127 for one that has none."""
        low, high = (self.of_part(end, part) for end in ('low', 'high'))
        return 0 if low is None else low, 127 if high is None else high

    @property
    def ranges(self) -> dict[PartVoice, tuple[int, int]]:
        """`range_of` of the parts that have one for themselves."""
        found = {voice: self.range_of(part) for part, voice in enumerate(self.voices)} if self.part_values else {}
        return {voice: ends for voice, ends in found.items() if ends != (0, 127)}

    def with_live_values(self, changes: Mapping[str, Any]) -> 'Preset':
        """Return the preset with other settings, as `with_values` does, while the music plays.

        Raises
        ------
        GenaudioError
            If one cannot change without a restart, is unknown, or its value is wrong.
        """
        for name in changes:
            if not is_of_part(name):
                check_live(*find_parameter(name))
        return self.with_values(changes)

    def reloaded(self, new: 'Preset') -> tuple['Preset', list[str]]:
        """Return `new` as far as a running session can use it, and a line about what waits for a restart."""
        values, waits = dict(new.values), []
        for name, parameter in PARAMETERS.items():
            if not parameter.live and not name.startswith('about.') and new[name] != self[name]:
                values[name] = self[name]
                waits.append(name)
        voices, parts = new.voices, new.part_values
        absent = sorted({voice.output + 1 for voice in voices if voice.output >= len(self['ports.outputs'])})
        if absent:
            voices, parts = self.voices, self.part_values
            waits.append(f'the parts (output {", ".join(map(str, absent))} is not open)')
        line = f'Restart genaudio to change {", ".join(waits)}; until then that stays as it was.'
        return replace(new, values=values, voices=voices, part_values=parts), [line] if waits else []


def available() -> dict[str, Path]:
    """Return the bundled presets by name."""
    # Those of live isolation lie beside them and are read by stems_preset.py.
    return {path.stem: path for path in sorted(presets_dir().glob('*.toml')) if not path.stem.startswith('isolate-')}


def own_folder() -> Path:
    """The folder of the user's own presets; it may not be there yet."""
    return user_config_path('genaudio', appauthor=False) / 'presets'


def own_presets() -> dict[str, Path]:
    """Return the user's own presets by name."""
    return {path.stem: path for path in sorted(own_folder().glob('*.toml')) if path.stem not in available()}


def find_named(name: str) -> Path:
    """Return the file of a bundled preset or of one's own; a name is no path.

    Raises
    ------
    GenaudioError
        If there is none; the message offers the nearest name or lists all.
    """
    known = own_presets() | available()
    if name not in known:
        hint = did_you_mean(name, known) or f' There are: {", ".join(known)}.'
        raise GenaudioError(f"No preset '{name}'.{hint}")
    return known[name]


def find_preset(name: str) -> Path:
    """Return the file of a preset by its name, or by its path; errors of `find_named`."""
    path = Path(name)
    if path.suffix == '.toml' or '/' in name:
        if not path.is_file():
            raise GenaudioError(f'No preset file {name}.')
        return path
    return find_named(name)


def load_preset(path: str | Path, changes: Mapping[str, Any] | None = None) -> Preset:
    """Read a preset file and apply `changes` (from --set).

    Raises
    ------
    GenaudioError
        With the file, the key, and what would be right.
    """
    path = Path(path)
    return read_checked(path, 'preset', lambda table: parse_preset(table, path.stem, path, changes))


def parse_preset(
    table: Mapping[str, Any], name: str = 'preset', path: Path | None = None, changes: Mapping[str, Any] | None = None
) -> Preset:
    """Check a parsed TOML table; see `load_preset`."""
    found, folder = PRESET.check('', table), path.parent if path else Path()
    changed, turned = _sorted_out(changes or {})
    values = set_checked({full: found[full.split('.')[0]][full.split('.')[1]] for full in PARAMETERS}, changed)
    rows = found['parts'] or _PARTS.check('parts', [{'instrument': 'piano'}])
    voices = _voices(rows, values)
    instruments = [voice.instrument for voice in voices]
    written = {f'{knob}.{part}': row[knob] for part, row in zip(part_names(instruments), rows, strict=True)
               for knob in OF_PART if row[knob] is not None}  # fmt: skip
    controllers = {}
    for number, target in found['cc'].items():
        try:
            controllers[number] = find_target(target, instruments)
        except GenaudioError as error:
            raise GenaudioError(f'cc.{number}: {error}') from None
    return Preset(
        name, values, voices, controllers,
        path, parse_pads(found['pads'], folder), found['instrument'] and parse_instrument(found['instrument'], folder),
        set_parts(instruments, {}, written | turned),
    )  # fmt: skip


def _sorted_out(changes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Changes of settings, and of knobs of parts."""
    parts = {name: value for name, value in changes.items() if is_of_part(name)}
    return {name: value for name, value in changes.items() if name not in parts}, parts


def _voices(parts: list[dict[str, Any]], values: Mapping[str, Any]) -> tuple[PartVoice, ...]:
    n_outputs = len(values['ports.outputs'])
    taken = {part['channel'] - 1 for part in parts if part['channel'] is not None}
    free = (channel for channel in range(16) if channel != 9 and channel not in taken)
    voices = []
    for number, part in enumerate(parts, 1):
        instrument, channel, program = find_instrument(part['instrument']), part['channel'], part['program']
        if channel is None and (channel := 10 if instrument == DRUMS else next(free, -2) + 1) < 0:
            raise GenaudioError('parts: there are more parts than MIDI channels; give some of them another output.')
        if program is None and values['player.programs'] and instrument != DRUMS:
            program = CODE_TO_PROGRAM[instrument_code(instrument)]
        if part['output'] > n_outputs:
            raise GenaudioError(
                f'parts.{number}.output must be one of the {n_outputs} ports.outputs, counted from 1, '
                f'not {part["output"]}.'
            )
        keys = drum_keys(part['drum_keys'])
        if keys and instrument != DRUMS:
            raise GenaudioError(f'parts.{number}.drum_keys is for drums; {instrument} has none.')
        voices.append(PartVoice(instrument, part['output'] - 1, channel - 1, program, keys))
    return tuple(voices)
