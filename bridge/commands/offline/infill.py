"""`genaudio infill`: bars of a MIDI file, rewritten to fit what comes before and after."""

import argparse
import re
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from genaudio_core.command_line import whole
from genaudio_core.continuation.accompaniment import beats_of_bars, infill
from genaudio_core.errors import GenaudioError
from genaudio_core.music.keys import parse_chart
from genaudio_core.progress import progress_bar
from genaudio_core.score.notes import Score

HELP = 'Rewrite some bars of a MIDI file; what comes before and after them stays.'
EXAMPLE = 'genaudio infill song.mid --bars 5-8 -o new.mid --candidates 8'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--bars', required=True, help='first and last bar, counted from 1, such as 5-8')
    parser.add_argument('--candidates', type=whole('--candidates', 1, 1000), default=4,
                        help='how many to try; the best is kept')  # fmt: skip
    generating.add_output(parser)
    generating.add_sampling(parser)
    generating.add_listening(parser)
    parser.add_argument('--chords', help="a chord for each of these bars, such as 'C Am F G', or bars of one or two, "
                        "such as 'C | Am D7 | G'; they come round (default: found)")  # fmt: skip
    parser.add_argument('--instruments', help='who plays in these bars (default: those of the input)')


def bar_range(score: Score, text: str) -> tuple[float, float]:
    """Beats of the first bar's beginning and the last bar's end; raises GenaudioError."""
    match = re.fullmatch(r'(\d{1,9})(?:-(\d{1,9}))?', text.strip())
    if not match:
        raise GenaudioError(f"--bars must be a bar or a range of bars such as 5-8, not '{text}'.")
    first, last = int(match[1]), int(match[2] or match[1])
    return beats_of_bars(score, first, last)


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    controls = generating.controls_of(args, args.instruments)
    chart = parse_chart(args.chords) if args.chords is not None else ()
    if chart and args.free:
        raise GenaudioError('--free leaves the harmony to the model: leave out --chords, or --free.')
    score = generating.read(args.input)
    begin, end = bar_range(score, args.bars)
    decoder = generating.load(args)
    with progress_bar('filling in', end - begin) as progress:
        made = infill(
            decoder, score, begin, end, controls=controls, candidates=args.candidates, seed=args.seed,
            listen=not args.free, chart=chart, progress=progress,
        )  # fmt: skip
    return generating.finish(args, made, score.n_notes, decoder, began, end_beat=end)
