"""`genaudio bench live`: the whole live side, clock in to notes out."""

import argparse
import time
from typing import Any

from bridge.clock import MAX_TEMPO, MIN_TEMPO
from genaudio_core.errors import GenaudioError

HELP = 'measure the live side on this machine'
EXAMPLE = 'genaudio bench live --minutes 10 --jitter-ms 2 --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=float, default=1.0, help='how long (default: 1)')
    parser.add_argument('--tempo', type=float, default=160.0, help='quarter notes a minute (default: 160)')
    parser.add_argument('--tracks', type=int, default=8, help='parts of the band, 1..8 (default: 8)')
    parser.add_argument('--jitter-ms', type=float, default=0.0, help='by how much the MIDI clock jitters, each way')
    parser.add_argument('--backend', choices=['process', 'jack'], default='process',
                        help='in-process ports with the precise sender, or JACK with frame offsets')  # fmt: skip
    parser.add_argument('--model', default='', help="model file, or 'rules'")
    parser.add_argument('--seed', type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if not 0 < args.minutes <= 600:
        raise GenaudioError(f'--minutes must be in range 0..600, not {args.minutes:g}.')
    if not 1 <= args.tracks <= 8:
        raise GenaudioError(f'--tracks must be in range 1..8, not {args.tracks}.')
    if not MIN_TEMPO <= args.tempo <= MAX_TEMPO:
        raise GenaudioError(f'--tempo must be in range {MIN_TEMPO:g}..{MAX_TEMPO:g}, not {args.tempo:g}.')
    from bridge.live_bench import bench_live  # not while the command line is built

    began = time.monotonic()
    result = bench_live(
        args.minutes, args.tempo, args.tracks, args.jitter_ms / 1000, args.backend, args.model, args.seed
    )
    return result | {'seconds': round(time.monotonic() - began, 1)}
