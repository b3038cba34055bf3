"""`genaudio accompany`: the tracks of a MIDI file stay, others are written beside them."""

import argparse
import time
from pathlib import Path

from bridge.commands.offline import _scores as generating
from genaudio_core.command_line import notice
from genaudio_core.continuation.accompaniment import accompany
from genaudio_core.errors import GenaudioError
from genaudio_core.music.keys import parse_chart
from genaudio_core.progress import progress_bar
from genaudio_core.score.instruments import find_instruments

HELP = 'Add other instruments to a MIDI file. Its own notes stay as they are.'
EXAMPLE = 'genaudio accompany melody.mid --instruments "piano,contrabass" -o band.mid'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', type=Path, help='MIDI file')
    parser.add_argument('--instruments', required=True, help='who plays along, such as "bass,drums"')
    generating.add_output(parser)
    generating.add_sampling(parser)
    parser.add_argument('--chords', help="a chord for each bar from the first with notes on, such as 'C Am F G', or "
                        "bars of one or two, such as 'C | Am D7 | G'; they come round (default: found)")  # fmt: skip
    generating.add_listening(parser)


def run(args: argparse.Namespace) -> dict | None:
    began = time.monotonic()
    generating.check_output(args)
    controls = generating.controls_of(args, None)
    instruments = find_instruments(args.instruments)
    chart = parse_chart(args.chords) if args.chords is not None else ()
    if chart and args.free:
        raise GenaudioError('--free leaves the harmony to the model: leave out --chords, or --free.')
    score = generating.read(args.input)
    there = [name for name in instruments if name in score.instruments]
    if 0 < len(there) < len(instruments):
        notice(f'{" and ".join(there)} {"plays" if len(there) == 1 else "play"} in the file already; nothing is added.')
    decoder = generating.load(args)
    with progress_bar('accompanying', score.end) as progress:
        made = accompany(
            decoder, score, instruments, controls=controls, seed=args.seed, listen=not args.free, chart=chart,
            progress=progress,
        )  # fmt: skip
    return generating.finish(args, made, score.n_notes, decoder, began, instruments=made.score.instruments)
