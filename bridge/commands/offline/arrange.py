"""`genaudio arrange`: the notes of a MIDI file on other instruments."""

import argparse
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from bridge.commands.offline._progress import progress_bar
from genaudio_core.command_line import number
from genaudio_core.continuation.arranging import arrange
from genaudio_core.score.instruments import find_instruments

HELP = 'Spread the notes of a MIDI file over the given instruments (automatic instrumentation).'
EXAMPLE = 'genaudio arrange piano.mid --instruments "violin,viola,cello" -o trio.mid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--instruments', required=True, help='such as "violin,viola,cello"')
    parser.add_argument('--temperature', type=number('--temperature', 0, 100), default=0.5,
                        help='0: always the likeliest instrument')  # fmt: skip
    parser.add_argument(
        '--free',
        action='store_true',
        help='every note stays as it is, also where an instrument has no such note or no hand free',
    )
    generating.add_output(parser)


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    instruments = find_instruments(args.instruments)
    score = generating.read(args.input)
    decoder = generating.load(args)
    with progress_bar('arranging', score.end) as progress:
        made = arrange(
            decoder, score, instruments, temperature=args.temperature, seed=args.seed, listen=not args.free,
            progress=progress,
        )  # fmt: skip
    return generating.finish(args, made, score.n_notes, decoder, began, instruments=made.score.instruments)
