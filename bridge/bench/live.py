"""`genaudio bench live`: the whole live side, clock in to notes out."""

import argparse
import time
from typing import Any

from bridge.system.clock import MAX_TEMPO, MIN_TEMPO
from genaudio_core.command_line import number, seed, whole

HELP = 'measure the live side on this machine'
EXAMPLE = 'genaudio bench live --minutes 10 --jitter-ms 2 --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=number('--minutes', above=0, high=600), default=1.0,
                        help='how long (default: 1)')  # fmt: skip
    parser.add_argument('--tempo', type=number('--tempo', MIN_TEMPO, MAX_TEMPO, unit='BPM'), default=160.0,
                        help='quarter notes a minute (default: 160)')  # fmt: skip
    parser.add_argument('--tracks', type=whole('--tracks', 1, 8), default=8,
                        help='parts of the band, 1..8 (default: 8)')  # fmt: skip
    parser.add_argument('--jitter-ms', type=number('--jitter-ms', 0, 1000), default=0.0,
                        help='by how much the MIDI clock jitters, each way')  # fmt: skip
    parser.add_argument('--backend', choices=['process', 'jack'], default='process',
                        help='in-process ports with the precise sender, or JACK with frame offsets')  # fmt: skip
    parser.add_argument('--model', default='', help="model file, or 'rules'")
    parser.add_argument('--seed', type=seed(), default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.bench.live_run import bench_live  # not while the command line is built

    began = time.monotonic()
    result = bench_live(
        args.minutes, args.tempo, args.tracks, args.jitter_ms / 1000, args.backend, args.model, args.seed
    )
    return result | {'seconds': round(time.monotonic() - began, 1)}
