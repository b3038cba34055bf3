"""``genaudio isolate``: pull sounds out of a live input while they play."""

import argparse
import sys
from dataclasses import replace
from typing import Any

from bridge.panel.panel import add_panel_arguments, panel_address
from bridge.settings.stem_knobs import OF_MONITOR, OF_REST, OF_STEM, number_or_text
from genaudio_core.command_line import MAX_SECONDS, number, taken, whole
from genaudio_core.errors import GenaudioError

HELP = 'pull sounds out of a live input while they play'
ARGUMENTS = {'queries': '--query'}
EXAMPLE = 'genaudio isolate --query drums --query bass --rest -6  or  genaudio isolate drum-practice --set wet=0.8'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('preset', nargs='?', help="preset (see 'genaudio presets') or path of a .toml file")
    parser.add_argument('-q', '--query', action='append', default=[], metavar='WORDS', help='what to hear; up to 8')
    parser.add_argument('--model', metavar='FILE', help='live separator (default: the bundled one)')
    parser.add_argument('--device', metavar='NAME', help='part of an audio device name (default: JACK)')
    parser.add_argument('--input-channels', metavar='N,N', help='channels of the device to listen to (default: 1,2)')
    parser.add_argument('--sample-rate', type=whole('--sample-rate', 8000, 768000, unit='Hz'), default=48000,
                        help='Hz, for --device (default: 48000)')  # fmt: skip
    parser.add_argument('--block-size', type=whole('--block-size', 16, unit='samples'), default=256,
                        help='samples, for --device (default: 256)')  # fmt: skip
    parser.add_argument('--margin', type=number('--margin', 0, 10_000, unit='ms'), metavar='MS',
                        help='pin the extra latency (default: one hop or more)')  # fmt: skip
    parser.add_argument(
        '--low-latency',
        action='store_true',
        help='half the delay (6 ms and a block) for a little less quality',
    )
    parser.add_argument('--gain', type=taken('--gain', OF_STEM['gain']), action='append', metavar='DB',
                        help='level of each stem in the monitor')  # fmt: skip
    parser.add_argument('--rest', type=taken('--rest', OF_REST['gain']), metavar='DB',
                        help='level of everything else there (default: off)')  # fmt: skip
    parser.add_argument('--wet', type=taken('--wet', OF_MONITOR['wet']), help=f'{OF_MONITOR["wet"].help} (default: 1)')
    parser.add_argument(
        '--effect',
        action='append',
        default=[],
        metavar='PAIR=EFFECT',
        help='an effect on an output pair: drums=Reverb,room_size=0.4 or monitor=/path/x.vst3,drive=6; may be repeated',
    )
    parser.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='gain.drums=-6, mute.bass=on, wet=0.5, effect.drums.1.room_size=0.4; the same names as for [cc]',
    )
    parser.add_argument('--midi', metavar='PORT', help='MIDI controllers: part of a port name')
    add_panel_arguments(parser)
    parser.add_argument('--state', metavar='FILE', help='restore what was set last time, and save it at the end')
    parser.add_argument('--connect', action='append', default=[], metavar='FROM=TO', help='JACK ports to connect')
    parser.add_argument('--name', default='genaudio-stems', help='JACK client name (default: genaudio-stems)')
    parser.add_argument(
        '--seconds', type=number('--seconds', above=0, high=MAX_SECONDS), help='stop after this many seconds'
    )


def pairs(items: list[str]) -> list[tuple[str, str]]:
    """Return FROM=TO items as pairs.

    Raises
    ------
    GenaudioError
        If an item has no '='.
    """
    found = []
    for item in items:
        source, equals, sink = item.partition('=')
        if not (source and equals and sink):
            raise GenaudioError(f"--connect takes FROM=TO, such as system:capture_1=in_1, not '{item}'.")
        found.append((source, sink))
    return found


def effects(items: list[str], names: list[str]) -> dict[int, tuple[Any, ...]]:
    """Return PAIR=EFFECT[,NAME=VALUE...] items as chains by number of the output pair.

    Raises
    ------
    GenaudioError
        If an item is malformed or names no pair.
    """
    from bridge.settings.effects_table import EffectSpec
    from genaudio_core.tables import unknown

    chains: dict[int, tuple[Any, ...]] = {}
    for item in items:
        pair, equals, rest = item.partition('=')
        what, *settings = rest.split(',')
        if not (equals and what) or any('=' not in setting for setting in settings):
            raise GenaudioError(
                f"--effect takes PAIR=EFFECT,NAME=VALUE, such as drums=Reverb,room_size=0.4, not '{item}'."
            )
        if pair not in names:
            raise unknown('output', '', pair, names)
        parameters = {name: number_or_text(value) for name, _, value in (one.partition('=') for one in settings)}
        is_file = '/' in what or '\\' in what or what.endswith(('.vst3', '.component'))
        link = (
            EffectSpec(path=what, parameters=parameters) if is_file else EffectSpec(effect=what, parameters=parameters)
        )
        i = names.index(pair)
        chains[i] = (*chains.get(i, ()), link)
    return chains


def preset_of(args: argparse.Namespace) -> Any:
    """Return the preset with what the options say on top; options win.

    Raises
    ------
    GenaudioError
        If a name or value is wrong.
    """
    from bridge.settings.parameters import parse_changes
    from bridge.settings.stems_preset import StemsPreset, load

    preset = load(args.preset) if args.preset else StemsPreset()
    preset = preset.with_queries(args.query)
    if args.low_latency:
        preset = replace(preset, low_latency=True)
    chains = dict(preset.chains)
    for pair, links in effects(args.effect, preset.names).items():
        chains[pair] = (*chains.get(pair, ()), *links)
    preset = replace(preset, chains=chains)
    levels: dict[str, Any] = {'gains_db': args.gain and tuple(args.gain), 'rest_db': args.rest, 'wet': args.wet}
    preset = replace(preset, mix=preset.mix.changed(**{k: v for k, v in levels.items() if v is not None}))
    for name, value in parse_changes(args.set).items():
        preset = preset.with_setting(name, value)
    return preset


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.stems import isolate
    from bridge.stems.audio_host import MAX_BLOCK

    if args.block_size > MAX_BLOCK:
        raise GenaudioError(f'--block-size must be 16 to {MAX_BLOCK} samples, not {args.block_size}.')
    return isolate.run(
        preset=preset_of(args), model=args.model, device=args.device, input_channels=args.input_channels,
        sample_rate=args.sample_rate, block=args.block_size, margin_ms=args.margin, connect=pairs(args.connect),
        name=args.name, midi=args.midi, state=args.state, seconds=args.seconds, panel=panel_address(args),
        lines=sys.stdin if sys.stdin is not None and not sys.stdin.closed else None,
    )  # fmt: skip
