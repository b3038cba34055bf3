"""Facts for a page that do not change: parameters with range and unit, commands, presets; in plain data."""

from collections.abc import Mapping
from typing import Any

from bridge.settings.band_preset import available, load_preset
from bridge.settings.parameters import COMMANDS, PARAMETERS, Parameter

_KINDS = {bool: 'switch', int: 'whole', float: 'number', str: 'text', tuple: 'text'}


def band_facts() -> dict[str, Any]:
    """Facts of a band. Reads the titles of the bundled presets."""
    return {
        'parameters': told_of(PARAMETERS),
        'commands': dict(COMMANDS),
        'presets': {name: load_preset(path)['about.title'] or name for name, path in available().items()},
    }


def told_of(parameters: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """Those parameters that can be turned while it plays: name -> what they are."""
    return {
        name: {
            'help': one.help, 'kind': 'choice' if one.choices else _KINDS[one.kind], 'choices': list(one.choices),
            'low': one.low, 'high': one.high, 'unit': one.unit, 'default': one.default, 'right': one.right,
            'learns': one.movable,
        }
        for name, one in parameters.items() if one.live
    }  # fmt: skip
