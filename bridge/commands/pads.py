"""``genaudio pads``: sound files on MIDI notes."""

import argparse
import sys
from pathlib import Path
from typing import Any

from genaudio_core.command_line import MAX_SECONDS, number, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.tables import read_checked

HELP = 'play sound files by MIDI notes; what appears in a folder goes to the next pad'
EXAMPLE = 'genaudio pads takes/ 36=kick.wav --connect "MPK mini" --connect system:playback'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('what', nargs='+', metavar='FOLDER|NOTE=FILE|PRESET.toml',
                        help='a folder to watch, files on notes, or a file with a [pads] table')  # fmt: skip
    parser.add_argument('--first', type=whole('--first', 0, 127), default=36, metavar='NOTE',
                        help='lowest pad of the folder (default: 36)')  # fmt: skip
    parser.add_argument(
        '--pads',
        type=whole('--pads', 1, 128),
        default=16,
        help='how many pads the folder fills, then again from the first',
    )
    parser.add_argument('--channel', type=whole('--channel', 1, 16),
                        help='listen to one MIDI channel only, 1 to 16 (default: all)')  # fmt: skip
    parser.add_argument('--connect', action='append', default=[], metavar='PORT',
                        help='connect JACK ports by part of their names, MIDI in and audio out')  # fmt: skip
    parser.add_argument('--osc', type=whole('--osc', 1, 65535), metavar='PORT',
                        help='listen for /genaudio/pad NOTE FILE on 127.0.0.1')  # fmt: skip
    parser.add_argument('--name', default='genaudio-pads', help='JACK client name (default: genaudio-pads)')
    parser.add_argument(
        '--seconds', type=number('--seconds', above=0, high=MAX_SECONDS), help='stop after this many seconds'
    )


def read_pads(path: Path) -> list[Any]:
    """Return the pads of a TOML file; its paths count from its own folder.

    Raises
    ------
    GenaudioError
        If there is no right [pads] table in it.
    """
    from bridge.settings.pads_table import parse_pads

    def pads(table: dict[str, Any]) -> list[Any]:
        if 'pads' not in table:
            raise GenaudioError('it has no table [pads].')
        return list(parse_pads(table['pads'], path.parent))

    return read_checked(path, 'preset', pads)


def run(args: argparse.Namespace) -> dict[str, Any]:
    import multiprocessing

    from bridge.live.osc import OscServer
    from bridge.pads import jack_pads
    from bridge.settings.pads_table import Pad, check_note
    from bridge.system.signals import SignalWatch
    from genaudio_core.command_line import notice
    from genaudio_core.processes.child_watch import send_now

    folder, pads = None, []
    for item in args.what:
        note, equals, file = item.partition('=')
        if equals and note.strip().isdecimal():
            pads.append(Pad(check_note(note), Path(file)))
        elif item.endswith('.toml'):
            pads += read_pads(Path(item))
        elif Path(item).is_dir() and folder is None:
            folder = Path(item)
        else:
            raise GenaudioError(f"'{item}' is neither a folder nor NOTE=FILE such as 36=kick.wav (one folder at most).")
    if not 1 <= args.pads <= 128 - args.first:
        raise GenaudioError(f'--pads must be 1 to {128 - args.first}, not {args.pads}.')
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def send(**message: Any) -> None:
        if 'pad' in message:
            send_now(theirs, ('line', f'load {message["pad"]} {message["file"]}'))
        elif message.get('command') == 'panic':
            send_now(theirs, ('line', 'silence'))

    with SignalWatch() as told:
        osc = OscServer(args.osc, send, notice) if args.osc is not None else None
        try:
            return jack_pads.run(
                pads, folder, name=args.name, channel=None if args.channel is None else args.channel - 1,
                first=args.first, n_pads=args.pads, connect=args.connect, seconds=args.seconds, orders=ours, told=told,
                lines=sys.stdin if sys.stdin is not None and not sys.stdin.closed else None,
            )  # fmt: skip
        finally:
            if osc is not None:
                osc.close()
