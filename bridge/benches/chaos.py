"""`genaudio bench chaos`: everything that can go wrong, and no note hangs."""

import argparse
import time
from typing import Any

from genaudio_core.errors import GenaudioError

HELP = 'disturb the running daemon at random and count notes that hang (JACK, dummy driver)'
EXAMPLE = 'genaudio bench chaos --minutes 5 --seed 1 --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=float, default=1.0, help='how long (default: 1)')
    parser.add_argument('--seed', type=int, default=0, help='what happens, and when')
    parser.add_argument('--model', default='rules', help="model file, '' for the bundled one (default: rules)")
    parser.add_argument('--server', metavar='NAME', help='JACK server to use (default: one is started)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not 0 < args.minutes <= 600:
        raise GenaudioError(f'--minutes must be in range 0..600, not {args.minutes:g}.')
    from bridge.chaos import run_chaos  # not while the command line is built

    began = time.monotonic()
    result = run_chaos(args.minutes, args.seed, args.model, args.server)
    return result | {'seconds': round(time.monotonic() - began, 1)}
