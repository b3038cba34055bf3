"""``genaudio instrument``: an instrument plug-in on what a session, or a keyboard, plays."""

import argparse
from pathlib import Path
from typing import Any

from bridge.settings import instrument_table
from genaudio_core.command_line import MAX_SECONDS, number, whole
from genaudio_core.errors import GenaudioError

HELP = 'play an instrument plug-in (VST3, AU) by MIDI, in a process of its own, over JACK'
EXAMPLE = 'genaudio instrument ~/.vst3/Synth.vst3 --connect genaudio: --connect system:playback'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('plugin', type=Path, help='the plug-in, or a preset with an [instrument] table')
    parser.add_argument('--set', action='append', default=[], metavar='NAME=VALUE', help='a parameter of the plug-in')
    parser.add_argument('--cc', action='append', default=[], metavar='NUMBER=NAME', help='a controller for a parameter')
    parser.add_argument('--channel', type=whole('--channel', 1, 16), help='MIDI channel heard, 1 to 16 (default: all)')
    parser.add_argument('--gain', type=number('--gain', -60, 12, unit='dB'), default=0.0, metavar='DB')
    parser.add_argument('--state', help="file of the plug-in's settings, read at the start and saved at the end")
    parser.add_argument('--connect', action='append', default=[], metavar='NAME',
                        help='ports to connect, by part of their names')  # fmt: skip
    parser.add_argument('--name', default='genaudio-instrument', help='JACK client name')
    parser.add_argument(
        '--seconds', type=number('--seconds', above=0, high=MAX_SECONDS), help='stop after this many seconds'
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.plugins import instrument
    from bridge.settings.parameters import parse_changes
    from bridge.settings.stem_knobs import number_or_text
    from bridge.system.signals import SignalWatch

    if args.plugin.suffix == '.toml':
        from bridge.settings.band_preset import load_preset

        found = load_preset(args.plugin).instrument
        if found is None:
            raise GenaudioError(f'{args.plugin} has no table [instrument].')
    else:
        table = {
            'plugin': str(args.plugin), 'gain_db': args.gain, 'connect': args.connect,
            'parameters': {key: number_or_text(value) for key, value in parse_changes(args.set).items()},
            'cc': parse_changes(args.cc, '--cc'),
        }  # fmt: skip
        table |= {key: value for key in ('channel', 'state') if (value := getattr(args, key)) is not None}
        found = instrument_table.parse_instrument(table, Path())
    instrument_table.check_plugin(found.plugin)
    with SignalWatch() as told:
        return instrument.run(found, args.name, seconds=args.seconds, told=told)
