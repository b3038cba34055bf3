"""`genaudio-train write-bands`: see HELP."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import check_outputs, seed, whole
from genaudio_core.jobs.options import add_worker_options, cluster_of, workers_of
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
    add_worker_options(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.training.band_writer.archive import write_archives

    check_outputs(args, folders=['out'])
    with progress_bar('writing bands', args.pieces) as progress:
        return write_archives(
            args.out, args.pieces, args.seed, styles=args.styles, grooves=args.grooves, workers=workers_of(args),
            cluster=cluster_of(args), progress=progress,
        )  # fmt: skip
