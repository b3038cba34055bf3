"""`genaudio-export all`: every model of a manifest, in parallel, only what is not up to date."""

import argparse
from pathlib import Path
from typing import Any

from export.batch import export_all, report
from export.manifest import read_manifest
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import check_targets
from genaudio_core.jobs.options import add_worker_options, cluster_of, workers_of

HELP = (
    'Export every model of a manifest. Files that are up to date are skipped; one that fails does not stop the others.'
)
EXAMPLE = 'genaudio-export all presets/models/manifest.toml --json'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('manifest', type=Path, help='TOML file; see export/manifest.py for its keys')
    parser.add_argument('--only', default='', help='names of models, comma-separated')
    add_worker_options(parser)
    parser.add_argument('--force', action='store_true', help='export files that are up to date, too')


def run(args: argparse.Namespace) -> dict[str, Any]:
    jobs, faults = read_manifest(args.manifest)
    only = [name for name in args.only.split(',') if name]
    known = [job.name for job in jobs] + [fault.label for fault in faults]
    for name in only:
        if name not in known:
            raise GenaudioError(f"{args.manifest} has no model '{name}'.{did_you_mean(name, known)}")
    if only:
        jobs = [job for job in jobs if job.name in only]
        faults = [fault for fault in faults if fault.label in only]
    for job in jobs:
        check_targets([job.output], [args.manifest, job.checkpoint])
    results = export_all(jobs, faults, workers=workers_of(args), cluster=cluster_of(args), force=args.force)
    return report(results, as_json=args.json)
