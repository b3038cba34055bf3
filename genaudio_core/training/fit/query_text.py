"""`genaudio-train fit query-text`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.training.loops.arguments import add_run_arguments, limit_threads
from genaudio_core.training.loops.time_limit import TimeLimit

HELP = 'the bundled text encoder, distilled from a teacher (extra "teacher")'
EXAMPLE = 'genaudio-train fit query-text --space runs/query/space.npz --out runs/query-text'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--space', type=Path, required=True, help='made by genaudio-train query-space')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv whose labels are learned too')
    add_run_arguments(parser, rate=0.01, batch=256, steps=1000)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.queries.space import QuerySpace
    from genaudio_core.training.queries.text_encoder import train_text
    from genaudio_core.training.sounds.recordings import read_manifest

    labels = sorted({r.label for r in read_manifest(args.recordings)}) if args.recordings else []
    limit_threads(args.threads)
    return train_text(
        QuerySpace.load(args.space), labels, args.out, TimeLimit.of(args), steps=args.steps, batch=args.batch,
        rate=args.rate, seed=args.seed,
    )  # fmt: skip
