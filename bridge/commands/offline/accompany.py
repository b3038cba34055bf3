"""`genaudio accompany`: the tracks of a MIDI file stay, others are written beside them."""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.commands.offline import _scores as generating
from bridge.commands.offline._job_options import add_job_options
from bridge.commands.offline._many import Bar, is_job
from bridge.commands.offline._scores import load, read_by  # noqa: F401 (of a command for many files)
from genaudio_core.continuation.accompaniment import accompany
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.music.keys import Chord, parse_chart
from genaudio_core.progress import progress_bar
from genaudio_core.score.instruments import find_instruments

HELP = 'Add other instruments to a MIDI file. Its own notes stay as they are.'
EXAMPLE = 'genaudio accompany melody.mid --instruments "piano,contrabass" -o band.mid'
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', nargs='+', help=generating.INPUT)
    parser.add_argument('--instruments', required=True, help='who plays along, such as "bass,drums"')
    generating.add_output(parser, many=True)
    generating.add_sampling(parser)
    parser.add_argument('--chords', help="a chord for each bar from the first with notes on, such as 'C Am F G', or "
                        "bars of one or two, such as 'C | Am D7 | G'; they come round (default: found)")  # fmt: skip
    generating.add_listening(parser)
    add_job_options(parser)


def run(args: argparse.Namespace) -> dict | None:
    if is_job(args, args.input):
        _asked(args)
        return generating.files(__name__, args, doing='accompanying')
    args.input = Path(args.input[0])
    generating.check_output(args)
    return make(args, lambda: load(args), progress_bar)


def _asked(args: argparse.Namespace) -> tuple[Controls, Sequence[str], tuple[tuple[Chord, ...], ...]]:
    """Controls, instruments and chords; raises GenaudioError for what makes no sense."""
    controls, instruments = generating.controls_of(args, None), find_instruments(args.instruments)
    chart = parse_chart(args.chords) if args.chords is not None else ()
    if chart and args.free:
        raise GenaudioError('--free leaves the harmony to the model: leave out --chords, or --free.')
    return controls, instruments, chart


def make(args: argparse.Namespace, loaded: Callable[[], Decoder], bar: Bar) -> dict | None:
    """Accompany one file."""
    began = time.monotonic()
    controls, instruments, chart = _asked(args)
    score = generating.read(args.input)
    there = [name for name in instruments if name in score.instruments]
    if 0 < len(there) < len(instruments):
        _log.warning('%s %s in the file already; nothing is added.', ' and '.join(there),
                     'plays' if len(there) == 1 else 'play')  # fmt: skip
    decoder = loaded()
    with bar('accompanying', score.end) as progress:
        made = accompany(
            decoder, score, instruments, controls=controls, seed=args.seed, listen=not args.free, chart=chart,
            progress=progress,
        )  # fmt: skip
    return generating.finish(args, made, score.n_notes, decoder, began, instruments=made.score.instruments)
