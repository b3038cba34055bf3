"""`genaudio bench chaos`: everything that can go wrong, and no note hangs."""

import argparse
import time
from typing import Any

from genaudio_core.command_line import number, seed

HELP = 'disturb the running daemon at random and count notes that hang (JACK, dummy driver)'
EXAMPLE = 'genaudio bench chaos --minutes 5 --seed 1 --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=number('--minutes', above=0, high=600), default=1.0,
                        help='how long (default: 1)')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=0, help='what happens, and when')
    parser.add_argument('--model', default='rules', help="model file, '' for the bundled one (default: rules)")
    parser.add_argument('--server', metavar='NAME', help='JACK server to use (default: one is started)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.bench.chaos_run import run_chaos  # not while the command line is built
    from bridge.musicians.choose import model_path
    from genaudio_core.inference.model_card import read_card

    began = time.monotonic()
    if (path := model_path(args.model)) is not None:
        read_card(path)  # a daemon that cannot load it would be one fault after the other
    result = run_chaos(args.minutes, args.seed, args.model, args.server)
    return result | {'seconds': round(time.monotonic() - began, 1)}
