"""A preset as the text of a file: every setting with what it means and may be, ready to be edited."""

import textwrap
import tomllib
from collections.abc import Mapping
from typing import Any

import tomlkit

from bridge.settings.band_preset import Preset
from bridge.settings.parameters import PARAMETERS
from genaudio_core.errors import GenaudioError

_WIDTH = 80


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
    """Parts, controllers, pads and instrument: as they are written, or as they are without a file."""
    if preset.path is None:
        parts = [
            {
                'instrument': voice.instrument, 'channel': voice.channel + 1, 'output': voice.output + 1,
                **({} if voice.program is None else {'program': voice.program}),
                **({'drum_keys': ', '.join(map(str, voice.drum_keys))} if voice.drum_keys else {}),
            }
            for voice in preset.voices
        ]  # fmt: skip
        return {'parts': parts, 'cc': {str(number): target for number, target in preset.controllers.items()}}
    try:
        written: Mapping[str, Any] = tomllib.loads(preset.path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise GenaudioError(f'{preset.path}: cannot be read any more ({error}).') from error
    sections = {name.split('.')[0] for name in PARAMETERS}
    return {name: rows for name, rows in written.items() if name not in sections}
