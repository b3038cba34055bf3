"""`genaudio-train prepare`: folders of scores -> one data file."""

import argparse
import json
from pathlib import Path

from genaudio_core.command_line import check_outputs
from genaudio_core.files import atomic_write
from genaudio_core.jobs.options import add_worker_options, cluster_of, workers_of
from genaudio_core.progress import progress_bar

HELP = 'Make one compact data file from folders (or archives) of MIDI, MusicXML or Humdrum.'
EXAMPLE = 'genaudio-train prepare ~/scores -o data/scores.safetensors --report report.json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', type=Path, help='folders, archives or single files')
    parser.add_argument('-o', '--out', type=Path, required=True, help='data file to write (.safetensors)')
    add_worker_options(parser)
    parser.add_argument('--report', type=Path, help='write the whole report, with every skipped file, as JSON')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.scores.packed_scores import prepare

    check_outputs(args, 'out', 'report')
    with progress_bar('reading scores') as progress:
        report = prepare(args.folders, args.out, workers=workers_of(args), cluster=cluster_of(args), progress=progress)
    if args.report:
        with atomic_write(args.report) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + '\n')
    report['skipped_files'] = report['skipped_files'][:10]
    return report | {'out': str(args.out)}
