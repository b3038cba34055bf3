"""Facts for a page that do not change: parameters with range and unit, commands, presets, words; in plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.settings.band_preset import available, load_preset, own_presets
from bridge.settings.parameters import COMMANDS, PARAMETERS, Parameter
from bridge.settings.stem_knobs import EFFECT_SPANS, OF_MONITOR, OF_REST, OF_STEM
from bridge.settings.voice import part_knobs
from genaudio_core.errors import GenaudioError

_KINDS = {bool: 'switch', int: 'whole', float: 'number', str: 'text', tuple: 'text'}


def band_facts() -> dict[str, Any]:
    """Facts of a band."""
    return {'parameters': told_of(PARAMETERS), 'commands': dict(COMMANDS)}


def part_facts(snapshot: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Knobs of the parts that a session's snapshot tells, as `told_of`."""
    return told_of(part_knobs(snapshot.get('parts', ())))


def presets() -> dict[str, dict[str, Any]]:
    """Presets by name, bundled ones first: what each is, or why it cannot be played. Reads their files."""
    own, found = own_presets(), {}
    for name, path in (available() | own).items():
        try:
            preset = load_preset(path)
        except GenaudioError as error:
            found[name] = {'title': name, 'text': str(error), 'own': name in own}
            continue
        found[name] = {
            'title': preset['about.title'] or name, 'text': preset['about.text'], 'own': name in own,
            'mode': preset['player.mode'], 'parts': [voice.instrument for voice in preset.voices],
        }  # fmt: skip
    return found


def stems_facts(words: Sequence[str]) -> dict[str, Any]:
    """Facts of stems, whose model was trained with these words."""
    return {
        'knobs': {'stem': told_of(OF_STEM), 'rest': told_of(OF_REST), 'monitor': told_of(OF_MONITOR)},
        'spans': {name: list(span) for name, span in EFFECT_SPANS.items()}, 'words': list(words),
    }  # fmt: skip


def told_of(parameters: Mapping[str, Parameter]) -> dict[str, dict[str, Any]]:
    """Those parameters that can be turned while it plays: name -> what they are."""
    return {
        name: {
            'help': one.help, 'kind': 'choice' if one.choices else _KINDS[one.kind], 'choices': list(one.choices),
            'low': one.low, 'high': one.high, 'unit': one.unit, 'default': one.default, 'right': one.right,
            'learns': one.movable, 'fader': one.fader and list(one.fader),
        }
        for name, one in parameters.items() if one.live
    }  # fmt: skip
