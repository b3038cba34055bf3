"""`genaudio-train finetune`: a personal model from your own files."""

import argparse
from pathlib import Path

from genaudio_core.command_line import check_outputs, number, whole
from genaudio_core.training.loops.arguments import add_process_arguments, add_run_arguments

HELP = (
    'Make a personal model from a handful of your own files. Part of them is held out; a step is kept only if it helps.'
)
EXAMPLE = 'genaudio-train finetune --files my/*.mid --out runs/mine --minutes 10'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='live', help='checkpoint to begin from, or a bundled name (default: live)')
    parser.add_argument('--files', nargs='+', type=Path, required=True, help='MIDI, MusicXML or Humdrum, or folders')
    add_run_arguments(parser, rate=3e-4, batch=8, minutes_each=10, steps=5000)
    add_process_arguments(parser)
    parser.add_argument('--length', type=whole('--length', 16, 65_536), default=512, help='events in a sequence')
    parser.add_argument('--keep', action='store_true',
                        help='keep the model though it fits the held-out music no better')  # fmt: skip
    parser.add_argument(
        '--patience', type=whole('--patience', 1), default=6, help='validations without gain, then it stops'
    )
    parser.add_argument('--validate-every', type=whole('--validate-every', 1), default=20, help='steps')
    parser.add_argument('--replay', type=Path, help='prepared data to mix in, so that nothing is forgotten')
    parser.add_argument('--replay-share', type=number('--replay-share', 0, 0.99), default=0.25,
                        help='share of each batch (default: 0.25)')  # fmt: skip
    parser.set_defaults(optimizer='muon', warmup=20, decay_at=None, decay_steps=0, bf16='no')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.fit.finetune import finetune

    check_outputs(args, folders=['out'])
    return finetune(args)
