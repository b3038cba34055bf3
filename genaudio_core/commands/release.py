"""`genaudio-train release`: the best weights of a run as a compact checkpoint, to be exported and shipped."""

import argparse
import platform
from pathlib import Path

from genaudio_core.command_line import check_outputs
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_targets, read_json

HELP = 'Pack the best weights of a run, in half precision, with what a model card needs.'
EXAMPLE = 'genaudio-train release runs/live -o presets/models/live.safetensors --note "2 cores, 100 minutes"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, help='run folder of genaudio-train fit, or a checkpoint in it')
    parser.add_argument('-o', '--out', type=Path, required=True, help='.safetensors to write')
    parser.add_argument('--note', default='', help='hardware and time, for the card')


def run(args: argparse.Namespace) -> dict:
    import torch

    from genaudio_core.training.loops.checkpoints import read_checkpoint, write_checkpoint

    check_outputs(args, 'out')
    if not args.run.exists():
        raise GenaudioError(f'No run folder at {args.run}.')
    checkpoint = args.run / 'best.safetensors' if args.run.is_dir() else args.run
    check_targets([args.out], [checkpoint])
    weights, config, info = read_checkpoint(checkpoint)
    settings = checkpoint.parent / 'config.json'
    told = read_json(settings, 'table of settings') if settings.exists() else {}
    if not isinstance(told, dict):
        raise GenaudioError(f'{settings} is not a table of settings.')
    info |= {
        'settings': told,
        'hardware': args.note or f'{platform.processor() or platform.machine()}, torch {torch.__version__}',
    }
    halved = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    write_checkpoint(args.out, halved, config, info)
    size = args.out.stat().st_size
    return {'out': str(args.out), 'step': info.get('step'), 'loss': info.get('loss'), 'megabytes': round(size / 1e6, 2)}
