"""`genaudio-train fit remi`: a model of the kind of REMI+ (training/fit/baselines.py does the work)."""

import argparse

from genaudio_core.training.fit.baselines import add_token_arguments, train

HELP = "a model of the kind of REMI+, beside MMT (MidiTok's words, not those of the paper's baseline)"
EXAMPLE = 'genaudio-train fit remi --data data/scores.safetensors --out runs/remi --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_token_arguments(parser)


def run(args: argparse.Namespace) -> dict:
    return train('remi', args)
