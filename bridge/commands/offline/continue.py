"""`genaudio continue`: a MIDI file in, the same with its continuation out."""

import argparse
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from genaudio_core.continuation.generation import continue_score
from genaudio_core.continuation.published import continue_as_published
from genaudio_core.music.keys import parse_chart
from genaudio_core.progress import progress_bar

HELP = 'Continue a MIDI file. Its own notes stay as they are; the new part begins where it ends.'
EXAMPLE = 'genaudio continue phrase.mid -o song.mid --beats 16 --seed 1 --picture song.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    generating.add_output(parser)
    generating.add_length(parser)
    generating.add_sampling(parser)
    generating.add_listening(parser)
    parser.add_argument('--chords', help="a chord for each new bar, such as 'C Am F G', or bars of one or two, such as "
                        "'C | Am D7 | G'; they come round")  # fmt: skip
    parser.add_argument('--instruments', help='who plays on, such as "violin,cello" (default: those of the input)')
    generating.add_published(parser, 'chords', 'instruments')


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    generating.check_published_alone(args)
    controls = generating.controls_of(args, args.instruments)
    chart = parse_chart(args.chords) if args.chords is not None else ()
    score = generating.read(args.input)
    decoder = generating.load(args)
    takes = []
    with progress_bar('continuing', args.beats * args.takes) as progress:
        for take in range(args.takes):
            if args.published_sampling:
                takes.append(continue_as_published(
                    decoder, score, args.beats, temperature=args.temperature, seed=args.seed + take,
                    progress=lambda done, take=take: progress(take * args.beats + done),
                ))  # fmt: skip
                continue
            made = continue_score(
                decoder, score, args.beats, controls=controls, seed=args.seed + take, chart=chart,
                listen=not args.free,
                progress=lambda done, take=take: progress(take * args.beats + done),
            )  # fmt: skip
            takes.append(made)
    return generating.finish(args, takes, score.n_notes, decoder, began)
