"""``genaudio presets``: what there is to play with."""

import argparse
from typing import Any

from bridge.panel.facts import presets
from bridge.settings import stems_preset
from bridge.settings.band_preset import available, find_preset, load_preset, own_presets
from bridge.settings.parameters import COMMANDS, PARAMETERS
from bridge.settings.preset_text import preset_text
from bridge.settings.stem_knobs import mix_knobs
from bridge.settings.voice import OF_PART
from genaudio_core.command_line import notice
from genaudio_core.completion import completed_by

HELP = 'list the presets, or check and show one'
EXAMPLE = 'genaudio presets duet'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    preset = parser.add_argument(
        'preset', nargs='?', help='name or path of a preset to check and show, with every setting explained'
    )
    completed_by(preset, lambda: [*available(), *own_presets(), *stems_preset.available()])
    parser.add_argument('--settings', action='store_true', help='explain every setting and command')


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    if args.settings:
        told = {}
        for name, parameter in PARAMETERS.items():
            told[name] = f'{parameter.help}; {parameter.right} (default: {parameter.default!r})'
        told |= {f'{name}.PART': f'{one.help}; {one.right} (default: {one.default!r})' for name, one in OF_PART.items()}
        told |= {f'command {name}': text for name, text in COMMANDS.items()}
        knobs = mix_knobs(['STEM', 'rest', 'monitor']) | stems_preset.SETTINGS
        return told | {
            f'isolate {name}': f'{one.help}; {one.right} (default: {one.default!r})' for name, one in knobs.items()
        }
    if args.preset and (args.preset in stems_preset.available() or args.preset.startswith(stems_preset.PREFIX)):
        stems = stems_preset.load(args.preset)
        effects = {
            f'effect.{stems.names[pair]}.{i}': link.effect or link.path
            for pair, links in stems.chains.items() for i, link in enumerate(links, 1)
        }  # fmt: skip
        return {'queries': list(stems.queries), 'text': stems.text, **effects, 'cc': dict(stems.controllers)}
    if args.preset:
        preset = load_preset(find_preset(args.preset))
        if not args.json:
            print(preset_text(preset), end='')
            notice("A preset of your own: write this into a file ('> mine.toml'), edit it, play it with its path.")
            return None
        parts = [f'{voice.instrument} on channel {voice.channel + 1}' for voice in preset.voices]
        values = {**preset.values, **preset.part_values}
        return {'file': str(preset.path), **values, 'parts': parts, 'cc': dict(preset.controllers)}
    notice("Play one with 'genaudio live NAME'.")
    told = {name: one['title'] if 'mode' in one else one['text'] for name, one in presets().items()}
    return told | {f'isolate {name}': stems_preset.load(name).title for name in stems_preset.available()}
