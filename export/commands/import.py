"""`genaudio-export import`: a checkpoint that its authors published, to .onnx, and to .safetensors to study or tune."""

import argparse
import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.commands.one import add_job_arguments
from export.job import export
from export.manifest import Job
from export.up_to_date import source_hash
from genaudio_core.files import check_readable, check_targets, check_writable

HELP = 'Convert a published checkpoint that you downloaded. It is read without running code in it.'
EXAMPLE = 'genaudio-export import mmt ~/Downloads/best_model.pt mmt-sod.onnx'
IMPORTERS = {
    'mmt': ('decoder', 'export.published:load_published_mmt'),
    'arranger': ('arranger', 'export.published_arranger:load_published_arranger'),
    'clipsep': ('clipsep', 'export.kinds.clipsep:load_published_clipsep'),
}
"""Name -> kind, and the function that loads the authors' layout."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', choices=IMPORTERS, help='whose checkpoint it is')
    parser.add_argument('checkpoint', type=Path, help="the authors' file (.pt, .hdf5)")
    parser.add_argument('output', type=Path, nargs='?', help='.onnx file to write (default: next to the checkpoint); '
                        'the .safetensors next to it is for attention, finetune, fit --init and evaluate')  # fmt: skip
    add_job_arguments(parser, licence="the authors' own")


def run(args: argparse.Namespace) -> dict[str, Any]:
    kind, where = IMPORTERS[args.model]
    output = args.output or args.checkpoint.with_suffix('.onnx')
    weights = output.with_suffix('.safetensors')
    check_writable(output)
    check_writable(weights)
    check_readable(args.checkpoint, 'checkpoint')
    check_targets([output, weights], filter(None, [args.checkpoint, args.held_out]))
    if args.held_out:
        check_readable(args.held_out, 'data file')
    job = Job(
        name=output.stem, kind=kind, checkpoint=args.checkpoint, output=output, variant=args.variant,
        target=args.target, held_out=args.held_out, max_loss=args.max_loss, licence=args.licence,
        training_data=['see the publication'], published=True,
    )  # fmt: skip
    wanted = source_hash(job)
    module, _, function = where.partition(':')
    source = getattr(importlib.import_module(module), function)(args.checkpoint)
    result = export(job, wanted, source)
    from genaudio_core.training.loops.checkpoints import save_checkpoint  # loads torch

    save_checkpoint(weights, source, source.config.to_dict(), published=args.checkpoint.name, licence=args.licence)
    return {**asdict(result), 'checkpoint': str(weights)}
