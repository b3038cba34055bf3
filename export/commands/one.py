"""`genaudio-export one`: a single checkpoint, without a manifest."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.job import export
from export.kinds import KINDS, find_kind
from export.manifest import TARGETS, VARIANTS, Job
from export.up_to_date import source_hash
from genaudio_core.command_line import number
from genaudio_core.files import check_readable, check_targets

HELP = 'Export one checkpoint. The file is checked against torch before it is written.'
EXAMPLE = 'genaudio-export one runs/live/best.safetensors live.onnx --kind decoder'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', type=Path, help='best.safetensors of a run')
    parser.add_argument('output', type=Path, help='.onnx file to write')
    parser.add_argument('--kind', required=True, help=', '.join(KINDS))
    parser.add_argument('--name', help='name in the model card (default: that of the file)')
    add_job_arguments(parser)


def add_job_arguments(parser: argparse.ArgumentParser, licence: str = '') -> None:
    """Add what `one` and `import` share; `licence` is the default."""
    parser.add_argument('--variant', choices=VARIANTS, default='fp32')
    parser.add_argument('--target', choices=TARGETS, default='cpu')
    parser.add_argument('--held-out', type=Path, help='data file that int8 is judged on')
    parser.add_argument('--max-loss', type=number('--max-loss', 0, 1e6), help='what int8 may lose, by its metric')
    parser.add_argument('--licence', default=licence, help='licence of the weights, for the card')


def run(args: argparse.Namespace) -> dict[str, Any]:
    find_kind(args.kind)
    if args.checkpoint.exists():
        check_readable(args.checkpoint, 'checkpoint')  # its hash would wait for a pipe, or have no end
    check_targets([args.output], filter(None, [args.checkpoint, args.held_out]))
    if args.held_out:
        check_readable(args.held_out, 'data file')
    job = Job(
        name=args.name or args.output.stem, kind=args.kind, checkpoint=args.checkpoint, output=args.output,
        variant=args.variant, target=args.target, held_out=args.held_out, max_loss=args.max_loss, licence=args.licence,
    )  # fmt: skip
    return asdict(export(job, source_hash(job)))
