"""`genaudio arrange`: the notes of a MIDI file on other instruments."""

import argparse
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from bridge.commands.offline._progress import progress_bar
from genaudio_core.arranging.instrumentation import instrument
from genaudio_core.arranging.part_model import KIND, PartModel, find_parts
from genaudio_core.command_line import number
from genaudio_core.continuation.arranging import arrange
from genaudio_core.files import find_model
from genaudio_core.inference.model_card import read_card

HELP = 'Spread the notes of a MIDI file over the given instruments (automatic instrumentation).'
EXAMPLE = 'genaudio arrange piano.mid --instruments "violin,violin,viola,cello" -o quartet.mid'
DEFAULT_MODEL = 'arranger'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--instruments', required=True, help='one for each part, such as "violin,violin,viola,cello"')
    parser.add_argument('--temperature', type=number('--temperature', 0, 100),
                        help='0: always the likeliest instrument (default; for a music model 0.5)')  # fmt: skip
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
    path = find_model(args.model)
    if read_card(path).kind != KIND:  # a music model, which knows no parts but what is likely on an instrument
        decoder = generating.load(args)
        temperature = 0.5 if args.temperature is None else args.temperature
        with progress_bar('arranging', score.end) as progress:
            made = arrange(
                decoder, score, parts, temperature=temperature, seed=args.seed, listen=not args.free, progress=progress
            )
        return generating.finish(args, made, score.n_notes, decoder, began, instruments=made.score.instruments)
    model = PartModel.load(path, provider=args.provider, threads=args.threads)
    with progress_bar('arranging', score.end) as progress:
        made = instrument(
            model, score, parts, temperature=args.temperature or 0.0, seed=args.seed, free=args.free, progress=progress
        )
    return generating.finish(args, made, score.n_notes, model, began, instruments=made.score.instruments)
