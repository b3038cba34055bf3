"""`genaudio generate`: music for chosen instruments, or from nothing."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from bridge.commands.offline import _scores as generating
from bridge.commands.offline._job_options import add_job_options, is_asked_for
from bridge.commands.offline._many import Bar, run_items, told_of
from bridge.commands.offline._scores import load, read_by  # noqa: F401 (of a command for many files)
from genaudio_core.command_line import number
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import generate, meter_of
from genaudio_core.continuation.published import generate_as_published
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.places import is_address
from genaudio_core.progress import progress_bar

HELP = 'Make new music, for the given instruments or for an ensemble that the model chooses.'
EXAMPLE = 'genaudio generate --instruments "church organ,viola,contrabass" --beats 32 -o new.mid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    generating.add_output(parser, many=True)
    generating.add_length(parser)
    generating.add_sampling(parser)
    generating.add_listening(parser)
    parser.add_argument('--instruments', help='such as "church organ,viola,contrabass" (default: the model chooses)')
    parser.add_argument('--tempo', type=number('--tempo', 4, 1000, unit='BPM'), default=100.0,
                        help='BPM written to the file (default: 100)')  # fmt: skip
    parser.add_argument('--meter', default='4/4', help='such as 3/4 (default: 4/4)')
    add_job_options(parser)
    generating.add_published(parser, 'meter')


def run(args: argparse.Namespace) -> dict | None:
    if is_asked_for(args) or is_address(args.out):
        return _takes(args)
    generating.check_output(args)
    return make(args, lambda: load(args), progress_bar)


def _takes(args: argparse.Namespace) -> dict:
    """Each take is an item of a job; the takes are those that one process makes."""
    if args.picture:
        raise GenaudioError('--picture draws what one process makes: leave out the options for many files.')
    _asked(args)
    folder, _, name = str(args.out).rpartition('/')
    args.out, path, n = folder or '.', Path(name), args.takes
    names = [path.name] if n == 1 else [generating.numbered(path, i).name for i in range(1, n + 1)]
    items = [Item((name,), asked={'seed': args.seed + i, 'takes': 1}) for i, name in enumerate(names)]
    for name in ('seed', 'takes'):  # of the items now
        delattr(args, name)
    return told_of(args, run_items(__name__, args, items, doing='generating'), 'take')


def _asked(args: argparse.Namespace) -> tuple[Controls, tuple[int, int]]:
    """Controls and meter; raises GenaudioError for what makes no sense."""
    generating.check_published_alone(args)
    return generating.controls_of(args, args.instruments), meter_of(args.meter)


def make(args: argparse.Namespace, loaded: Callable[[], Decoder], bar: Bar) -> dict | None:
    """Make music once, or in several takes."""
    began = time.monotonic()
    controls, meter = _asked(args)
    decoder = loaded()
    takes = []
    with bar('generating', args.beats * args.takes) as progress:
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
