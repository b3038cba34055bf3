"""`genaudio-train write-bands`: see HELP."""

import argparse
import os
from pathlib import Path
from typing import Any

from genaudio_core.command_line import check_outputs, seed, threads, whole
from genaudio_core.progress import progress_bar

HELP = 'Write band music by rule, without end: MIDI files with their chords, to train on.'
EXAMPLE = (
    'genaudio-train write-bands -o data/written -n 20000 --grooves ../shared/data/symbolic/groove_midi_dataset.tar.xz'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '-o', '--out', type=Path, required=True, help='folder of archives to write; an existing one is continued'
    )
    parser.add_argument('-n', '--pieces', type=whole('--pieces', 1), default=1000, help='pieces in all (default: 1000)')
    parser.add_argument('--seed', type=seed(), default=0, help='number of the first piece')
    parser.add_argument('--styles', nargs='+', help='only these (default: all)')
    parser.add_argument('--grooves', nargs='+', type=Path, help='folders or archives of the Groove MIDI Dataset')
    parser.add_argument('--workers', type=threads('--workers'), default=os.cpu_count() or 1,
                        help='processes (default: all cores)')  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.training.band_writer.archive import write_archives

    check_outputs(args, folders=['out'])
    with progress_bar('writing bands', args.pieces) as progress:
        return write_archives(
            args.out, args.pieces, args.seed, styles=args.styles, grooves=args.grooves, workers=args.workers,
            progress=progress,
        )  # fmt: skip
