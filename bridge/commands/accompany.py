"""`genaudio accompany`: the tracks of a MIDI file stay, others are written beside them."""

import argparse
import time
from pathlib import Path

from bridge import generating
from genaudio_core.accompaniment import accompany
from genaudio_core.instruments import find_instruments
from genaudio_core.score import read_midi

HELP = 'Write other instruments beside a MIDI file. What it holds stays as it is.'
EXAMPLE = 'genaudio accompany melody.mid --instruments "piano,contrabass" -o band.mid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--instruments', required=True, help='who plays along, such as "bass,drums"')
    generating.add_output(parser)
    generating.add_sampling(parser)


def run(args: argparse.Namespace) -> dict:
    began = time.monotonic()
    controls = generating.controls_of(args, None)
    instruments = find_instruments(args.instruments)
    score = read_midi(args.input)
    decoder = generating.load(args)
    with generating.progress_bar('accompanying', score.end) as progress:
        made = accompany(decoder, score, instruments, controls=controls, seed=args.seed, progress=progress)
    return generating.finish(args, made, score.n_notes, decoder, began) | {'instruments': made.score.instruments}
