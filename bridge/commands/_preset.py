"""The arguments of the commands that play a preset, and the settings that help lists under them."""

import argparse
import textwrap

from bridge.settings.band_preset import available, own_presets
from bridge.settings.parameters import PARAMETERS, short_name
from genaudio_core.completion import completed_by


def add_preset_arguments(parser: argparse.ArgumentParser) -> None:
    """Add PRESET and --set; the shell completes both."""
    preset = parser.add_argument('preset', help="name of a preset (see 'genaudio presets') or path of a .toml file")
    completed_by(preset, lambda: [*available(), *own_presets()])
    changes = parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE', help='change a setting')
    completed_by(changes, lambda: [f'{short_name(name)}={value}' for name in PARAMETERS for value in _values(name)])


def _values(name: str) -> list[str]:
    parameter = PARAMETERS[name]
    if parameter.kind is bool:
        return ['true', 'false']
    return [str(choice) for choice in parameter.choices] or ['']


def settings_listed() -> str:
    """Return the lines that help shows below its options: the names that --set takes."""
    names = ', '.join(short_name(name) for name in PARAMETERS if not name.startswith('about.'))
    return (
        'settings for --set (genaudio presets NAME explains them):\n'
        + textwrap.fill(names, 78, initial_indent='  ', subsequent_indent='  ', break_on_hyphens=False)
        + '\n\n'
    )
