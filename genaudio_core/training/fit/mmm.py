"""`genaudio-train fit mmm`: a model of the kind of MMM (training/fit/baselines.py does the work)."""

import argparse

from genaudio_core.training.fit.baselines import add_token_arguments, train

HELP = "a model of the kind of MMM, beside MMT (MidiTok's words, not those of the paper's baseline)"
EXAMPLE = 'genaudio-train fit mmm --data data/scores.safetensors --out runs/mmm --minutes 60'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_token_arguments(parser)


def run(args: argparse.Namespace) -> dict:
    return train('mmm', args)
