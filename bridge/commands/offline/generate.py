"""`genaudio generate`: music for chosen instruments, or from nothing."""

import argparse
import time

from bridge.commands.offline import _scores as generating
from genaudio_core.command_line import number
from genaudio_core.continuation.generation import generate, meter_of
from genaudio_core.continuation.published import generate_as_published
from genaudio_core.progress import progress_bar

HELP = 'Make new music, for the given instruments or for an ensemble that the model chooses.'
EXAMPLE = 'genaudio generate --instruments "church organ,viola,contrabass" --beats 32 -o new.mid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    generating.add_output(parser)
    generating.add_length(parser)
    generating.add_sampling(parser)
    generating.add_listening(parser)
    parser.add_argument('--instruments', help='such as "church organ,viola,contrabass" (default: the model chooses)')
    parser.add_argument('--tempo', type=number('--tempo', 4, 1000, unit='BPM'), default=100.0,
                        help='BPM written to the file (default: 100)')  # fmt: skip
    parser.add_argument('--meter', default='4/4', help='such as 3/4 (default: 4/4)')
    generating.add_published(parser, 'meter')


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    generating.check_published_alone(args)
    controls = generating.controls_of(args, args.instruments)
    meter = meter_of(args.meter)
    decoder = generating.load(args)
    takes = []
    with progress_bar('generating', args.beats * args.takes) as progress:
        for take in range(args.takes):
            if args.published_sampling:
                takes.append(generate_as_published(
                    decoder, args.beats, instruments=controls.instruments or (), temperature=args.temperature,
                    tempo=args.tempo, seed=args.seed + take,
                    progress=lambda done, take=take: progress(take * args.beats + done),
                ))  # fmt: skip
                continue
            made = generate(
                decoder, args.beats, instruments=controls.instruments or (), controls=controls, tempo=args.tempo,
                meter=meter, seed=args.seed + take, listen=not args.free,
                progress=lambda done, take=take: progress(take * args.beats + done),
            )  # fmt: skip
            takes.append(made)
    return generating.finish(args, takes, 0, decoder, began, instruments=takes[0].score.instruments)
