"""`genaudio-train fit remi`: the REMI+ baseline of the MMT paper (training/fit/baselines.py does the work)."""

import argparse

from genaudio_core.training.fit.baselines import add_token_arguments, train

HELP = 'the REMI+ baseline of the MMT paper (words by MidiTok)'
EXAMPLE = 'genaudio-train fit remi --data data/scores.safetensors --out runs/remi --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_token_arguments(parser)


def run(args: argparse.Namespace) -> dict:
    return train('remi', args)
