"""``genaudio serve``: the engine of the plug-ins. They start it themselves where none runs."""

import argparse
from typing import Any

from bridge.panel.panel import add_panel_arguments, panel_address
from genaudio_core.command_line import MAX_SECONDS, number

HELP = 'serve the plug-ins that play in a DAW (they start it themselves)'
EXAMPLE = 'genaudio serve --idle 600 --panel'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--idle', type=number('--idle', above=0, high=MAX_SECONDS), default=60.0, metavar='SECONDS',
        help='end when no plug-in has been there for so long (default: 60)',
    )  # fmt: skip
    parser.add_argument('--detached', action='store_true', help='let go of the program that started it')
    add_panel_arguments(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.daw import server

    if args.detached:
        server.let_go_of_the_host()
    return server.serve(args.idle, panel=panel_address(args))
