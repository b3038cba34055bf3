"""`genaudio-train fit mmm`: the MMM baseline of the MMT paper (training/fit/baselines.py does the work)."""

import argparse

from genaudio_core.training.fit.baselines import add_token_arguments, train

HELP = 'the MMM baseline of the MMT paper (words by MidiTok)'
EXAMPLE = 'genaudio-train fit mmm --data data/scores.safetensors --out runs/mmm --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_token_arguments(parser)


def run(args: argparse.Namespace) -> dict:
    return train('mmm', args)
