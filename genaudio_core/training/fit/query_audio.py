"""`genaudio-train fit query-audio`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import minutes, seed, whole

HELP = 'the bundled audio encoder: "more like this"'
EXAMPLE = 'genaudio-train fit query-audio --space runs/query/space.npz --sounds data/sounds --out runs/query'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--space', type=Path, required=True, help='made by genaudio-train query-space')
    parser.add_argument('--sounds', type=Path, required=True, help='made by genaudio-train prepare-sounds')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--minutes', type=minutes(), default=15)
    parser.add_argument('--steps', type=whole('--steps', 1), default=float('inf'), help='stop at this many, in all')
    parser.add_argument('--start-from', type=Path, help='checkpoint to begin with')
    parser.add_argument('--seed', type=seed(), default=1)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.queries.audio_encoder import train_audio
    from genaudio_core.training.queries.space import QuerySpace

    return train_audio(
        QuerySpace.load(args.space),
        args.sounds,
        args.out,
        minutes=args.minutes,
        seed=args.seed,
        steps=args.steps,
        start_from=args.start_from,
    )
