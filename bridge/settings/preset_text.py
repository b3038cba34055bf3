"""A preset as the text of a file: every setting with what it means and may be, ready to be edited; and as a file."""

import re
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from bridge.settings.band_preset import Preset, available, own_folder, own_presets
from bridge.settings.parameters import PARAMETERS, short_name
from bridge.settings.stems_preset import PREFIX
from bridge.settings.voice import OF_PART
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder

_WIDTH = 80
_NAME = re.compile(r'\w(?:[\w -]{0,58}\w)?')  # no path, nothing hidden, nothing that a shell or another system reads


def save_preset(preset: Preset, name: str) -> Path:
    """Write `preset` into the folder of the user's own under a new name, which is its title, too; return the file.

    Raises
    ------
    GenaudioError
        If the name is none or taken, or the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise GenaudioError(
            f'A preset cannot be called {name[:60]!r}: use letters, digits, spaces, - and _, 60 of them at most.'
        )
    if name.casefold().startswith(PREFIX):
        raise GenaudioError(f"'{name}' would be a preset of stems: let it begin with something other than {PREFIX}.")
    taken = {other.casefold(): other for other in (*available(), *own_presets())}
    if (other := taken.get(name.casefold())) is not None:
        raise GenaudioError(f"There is a preset '{other}' already: choose another name.")
    path = make_folder(own_folder()) / f'{name}.toml'
    text = preset_text(preset.with_values({'about.title': name}))
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding='utf-8')
    return path


def preset_text(preset: Preset) -> str:
    """Return the whole preset as TOML that loads as the same preset, with a comment over each setting.

    Raises
    ------
    GenaudioError
        If the preset came from a file that cannot be read any more.
    """
    document = tomlkit.document()
    for name, parameter in PARAMETERS.items():
        section, short = name.split('.')
        if section not in document:
            document.add(tomlkit.nl())
            document.add(section, tomlkit.table())
        table: Any = document[section]
        right = '' if parameter.kind is str and not parameter.choices else f'; {parameter.right}'
        explained = f'{parameter.help}{right}{"" if parameter.live else "; needs a restart"}'
        for line in textwrap.wrap(explained, _WIDTH - 2):
            table.add(tomlkit.comment(line))
        value = preset[name]
        table.add(short, list(value) if isinstance(value, tuple) else value)
    for name, rows in _tables(preset).items():
        document.add(tomlkit.nl())
        document.add(name, tomlkit.item(rows))
    return tomlkit.dumps(document).lstrip()


def _tables(preset: Preset) -> dict[str, Any]:
    """Parts, controllers, pads and instrument: as they are written, or as they are without a file.

    Files are named from the root on: the text may be written anywhere.
    """
    controllers = {
        str(number): short_name(target) if target in PARAMETERS else target
        for number, target in preset.controllers.items()
    }
    if preset.path is None:
        parts = [
            {
                'instrument': voice.instrument, 'channel': voice.channel + 1, 'output': voice.output + 1,
                **({} if voice.program is None else {'program': voice.program}),
                **({'drum_keys': ', '.join(map(str, voice.drum_keys))} if voice.drum_keys else {}),
                **_turned(preset, i),
            }
            for i, voice in enumerate(preset.voices)
        ]  # fmt: skip
        return {'parts': parts, 'cc': controllers}
    try:
        written: Mapping[str, Any] = tomllib.loads(preset.path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise GenaudioError(f'{preset.path}: cannot be read any more ({error}).') from error
    sections = {name.split('.')[0] for name in PARAMETERS}
    tables: dict[str, Any] = {name: rows for name, rows in written.items() if name not in sections}
    tables['cc'] = controllers
    if preset.part_values:
        tables.setdefault('parts', [{'instrument': voice.instrument} for voice in preset.voices])
    for i, row in enumerate(tables.get('parts', [])):
        tables['parts'][i] = {name: value for name, value in row.items() if name not in OF_PART} | _turned(preset, i)
    folder = preset.path.absolute().parent
    for note, pad in tables.get('pads', {}).items():
        tables['pads'][note] = _placed(pad, folder, 'file') if isinstance(pad, Mapping) else str(folder / pad)
    if 'instrument' in tables:
        effects = [_placed(effect, folder, 'plugin') for effect in tables['instrument'].get('effects', [])]
        tables['instrument'] = _placed(tables['instrument'], folder, 'plugin', 'state') | (
            {'effects': effects} if effects else {}
        )
    return tables


def _turned(preset: Preset, part: int) -> dict[str, Any]:
    """Knobs of a part that are not as they are without any."""
    values = {knob: preset.of_part(knob, part) for knob in OF_PART}
    return {knob: value for knob, value in values.items() if value is not None}


def _placed(row: Mapping[str, Any], folder: Path, *names: str) -> dict[str, Any]:
    return {
        name: str(folder / Path(value).expanduser()) if name in names and value else value
        for name, value in row.items()
    }
