"""`genaudio continue`: a MIDI file in, the same with its continuation out."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from bridge.commands.offline import _scores as generating
from bridge.commands.offline._job_options import add_job_options
from bridge.commands.offline._many import Bar, is_job
from bridge.commands.offline._scores import load, read_by  # noqa: F401 (of a command for many files)
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import continue_score
from genaudio_core.continuation.published import continue_as_published
from genaudio_core.continuation.sampling import Controls
from genaudio_core.music.keys import Chord, parse_chart
from genaudio_core.progress import progress_bar

HELP = 'Continue a MIDI file. Its own notes stay as they are; the new part begins where it ends.'
EXAMPLE = 'genaudio continue phrase.mid -o song.mid --beats 16 --seed 1 --picture song.png'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', nargs='+', help=generating.INPUT)
    generating.add_output(parser, many=True)
    generating.add_length(parser)
    generating.add_sampling(parser)
    generating.add_listening(parser)
    parser.add_argument('--chords', help="a chord for each new bar, such as 'C Am F G', or bars of one or two, such as "
                        "'C | Am D7 | G'; they come round")  # fmt: skip
    parser.add_argument('--instruments', help='who plays on, such as "violin,cello" (default: those of the input)')
    add_job_options(parser)
    generating.add_published(parser, 'chords', 'instruments')


def run(args: argparse.Namespace) -> dict | None:
    if is_job(args, args.input):
        _asked(args)
        return generating.files(__name__, args, doing='continuing')
    args.input = Path(args.input[0])
    generating.check_output(args)
    return make(args, lambda: load(args), progress_bar)


def _asked(args: argparse.Namespace) -> tuple[Controls, tuple[tuple[Chord, ...], ...]]:
    """Controls and chords; raises GenaudioError for what makes no sense."""
    generating.check_published_alone(args)
    return generating.controls_of(args, args.instruments), parse_chart(args.chords) if args.chords is not None else ()


def make(args: argparse.Namespace, loaded: Callable[[], Decoder], bar: Bar) -> dict | None:
    """Continue one file."""
    began = time.monotonic()
    controls, chart = _asked(args)
    score = generating.read(args.input)
    decoder = loaded()
    takes = []
    with bar('continuing', args.beats * args.takes) as progress:
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
