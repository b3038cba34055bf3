"""`genaudio arrange`: the notes of a MIDI file on other instruments."""

import argparse
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from genaudio_core.arranging.instrumentation import instrument
from genaudio_core.arranging.part_model import PartModel, find_parts
from genaudio_core.command_line import number
from genaudio_core.files import find_model
from genaudio_core.progress import progress_bar

HELP = 'Spread the notes of a MIDI file over the given instruments (automatic instrumentation).'
EXAMPLE = 'genaudio arrange piano.mid --instruments "violin,violin,viola,cello" -o quartet.mid'
DEFAULT_MODEL = 'arranger'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--instruments', required=True, help='one for each part, such as "violin,violin,viola,cello"')
    parser.add_argument('--temperature', type=number('--temperature', 0, 100), default=0.0,
                        help='0: always the likeliest part (default)')  # fmt: skip
    parser.add_argument(
        '--free',
        action='store_true',
        help='every note stays as it is, also where an instrument has no such note or no hand free',
    )
    generating.add_output(parser, DEFAULT_MODEL)


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    parts = find_parts(args.instruments)
    score = generating.read(args.input)
    model = PartModel.load(find_model(args.model), provider=args.provider, threads=args.threads)
    with progress_bar('arranging', score.end) as progress:
        made = instrument(
            model, score, parts, temperature=args.temperature, seed=args.seed, free=args.free, progress=progress
        )
    return generating.finish(args, made, score.n_notes, model, began, instruments=made.score.instruments)
