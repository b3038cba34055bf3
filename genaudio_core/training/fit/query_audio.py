"""`genaudio-train fit query-audio`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.training.loops.arguments import add_run_arguments, limit_threads
from genaudio_core.training.loops.time_limit import TimeLimit

HELP = 'the bundled audio encoder: "more like this"'
EXAMPLE = 'genaudio-train fit query-audio --space runs/query/space.npz --sounds data/sounds --out runs/query-audio'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--space', type=Path, required=True, help='made by genaudio-train query-space')
    parser.add_argument('--sounds', type=Path, required=True, help='made by genaudio-train prepare-sounds')
    add_run_arguments(parser, rate=2e-3, batch=24, minutes_each=15, start_from=True)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.queries.audio_encoder import train_audio
    from genaudio_core.training.queries.space import QuerySpace

    limit_threads(args.threads)
    return train_audio(
        QuerySpace.load(args.space), args.sounds, args.out, TimeLimit.of(args), batch=args.batch, rate=args.rate,
        seed=args.seed, steps=args.steps, start_from=args.start_from,
    )  # fmt: skip
