"""`genaudio-train fit MODEL`: one trainer per model, each a module with HELP, EXAMPLE, add_arguments and run."""

import argparse
import importlib

from genaudio_core.command_line import check_outputs
from genaudio_core.help_text import example, wrapped

HELP = 'Train a model from prepared data; a run that was stopped continues where it was.'
EXAMPLE = 'genaudio-train fit mmt --data data/scores.safetensors --out runs/live --minutes 60'
TRAINERS = {
    'mmt': 'genaudio_core.training.fit.mmt',
    'arranger': 'genaudio_core.training.fit.arranger',
    'clipsep': 'genaudio_core.training.fit.clipsep',
    'stems': 'genaudio_core.training.fit.stems',
    'clipsonic': 'genaudio_core.training.fit.synth_denoiser',
    'vocoder': 'genaudio_core.training.fit.synth_vocoder',
    'synth-prior': 'genaudio_core.training.fit.synth_prior',
    'query-text': 'genaudio_core.training.fit.query_text',
    'query-audio': 'genaudio_core.training.fit.query_audio',
    'remi': 'genaudio_core.training.fit.remi',
    'mmm': 'genaudio_core.training.fit.mmm',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    models = parser.add_subparsers(dest='model', required=True, metavar='MODEL', help=', '.join(TRAINERS))
    for name, module_name in TRAINERS.items():
        module = importlib.import_module(module_name)
        trainer = models.add_parser(
            name, help=module.HELP, description=wrapped(module.HELP), epilog=example(module.EXAMPLE),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_arguments(trainer)
        # Also after MODEL, where people write them; the default must not undo one given before it.
        trainer.add_argument('--json', action='store_true', default=argparse.SUPPRESS)
        trainer.add_argument('--debug', action='store_true', default=argparse.SUPPRESS)
        trainer.set_defaults(trainer=module)


def run(args: argparse.Namespace) -> dict:
    check_outputs(args, folders=['out'])
    return args.trainer.run(args)
