"""`genaudio-export verify`: existing files once more."""

import argparse
from pathlib import Path
from typing import Any

from export.batch import report
from export.job import Result, verify
from export.manifest import Job, read_manifest
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.inference.model_card import read_card

HELP = 'Check existing .onnx files: card, hash, and weights and parity with torch where the checkpoint is at hand.'
EXAMPLE = 'genaudio-export verify presets/models/*.onnx'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('files', type=Path, nargs='+', metavar='FILE')
    parser.add_argument('--manifest', type=Path, help='names the checkpoints (default: manifest.toml next to the file)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    results = []
    for path in args.files:
        try:
            result = verify(path, _job(path, args.manifest))
        except GenaudioError as error:
            result = Result(path.stem, str(path), 'failed', str(error))
        notice(f'{path}: {result.why or result.state}')
        results.append(result)
    return report(results, as_json=args.json)


def _job(path: Path, manifest: Path | None) -> Job | None:
    """The row of the manifest that this file belongs to, if any; a copy of a bundled model has its row in ours.

    Raises
    ------
    GenaudioError
        If the file has no card.
    """
    beside = path.parent / 'manifest.toml'
    if manifest is not None or beside.exists():
        jobs, _ = read_manifest(manifest or beside)
        return next((job for job in jobs if job.output.resolve() == path.resolve()), None)
    bundled = presets_dir() / 'models' / 'manifest.toml'
    if not bundled.exists():
        return None
    card = read_card(path)
    for job in read_manifest(bundled)[0]:
        # A model of somebody else's may have the name of one of ours, but not what it was made of.
        if job.output.exists() and read_card(job.output).source_hash == card.source_hash:
            return job
    return None
