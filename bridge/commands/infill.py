"""`genaudio infill`: bars of a MIDI file, written anew between what stands before and after."""

import argparse
import re
import time
from pathlib import Path

from bridge import generating
from genaudio_core.accompaniment import infill
from genaudio_core.errors import GenaudioError
from genaudio_core.score import Score, read_midi

HELP = 'Write some bars of a MIDI file anew; what is before and after them stays.'
EXAMPLE = 'genaudio infill song.mid --bars 5-8 -o new.mid --candidates 8'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--bars', required=True, help='first and last bar, counted from 1, such as 5-8')
    parser.add_argument('--candidates', type=int, default=4, help='the best of so many stays')
    generating.add_output(parser)
    generating.add_sampling(parser)
    parser.add_argument('--instruments', help='who plays in these bars (default: those of the input)')


def bar_range(score: Score, text: str) -> tuple[float, float]:
    """Beats of the first bar's beginning and the last bar's end; raises GenaudioError."""
    match = re.fullmatch(r'(\d+)(?:-(\d+))?', text.strip())
    if not match:
        raise GenaudioError(f"--bars must be such as 5-8, not '{text}'.")
    first, last = int(match[1]), int(match[2] or match[1])
    lines = [0.0]
    while len(lines) <= last:
        lines.append(score.next_bar(lines[-1] + 1e-3))
    if first < 1 or last < first or lines[first - 1] >= score.end:
        raise GenaudioError(f'--bars {text}: give a range within the piece; it ends in bar {bar_of_end(score)}.')
    return lines[first - 1], lines[last]


def bar_of_end(score: Score) -> int:
    number, beat = 1, 0.0
    while (line := score.next_bar(beat + 1e-3)) < score.end:
        number, beat = number + 1, line
    return number


def run(args: argparse.Namespace) -> dict:
    began = time.monotonic()
    if args.candidates < 1:
        raise GenaudioError(f'--candidates must be 1 or more, not {args.candidates}.')
    controls = generating.controls_of(args, args.instruments)
    score = read_midi(args.input)
    begin, end = bar_range(score, args.bars)
    decoder = generating.load(args)
    with generating.progress_bar('filling in', end - begin) as progress:
        made = infill(
            decoder, score, begin, end, controls=controls, candidates=args.candidates, seed=args.seed, progress=progress
        )
    return generating.finish(args, made, score.n_notes, decoder, began) | {'end_beat': end}
