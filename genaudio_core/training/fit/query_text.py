"""`genaudio-train fit query-text`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import seed, whole

HELP = 'the bundled text encoder, distilled from a teacher (extra "teacher")'
EXAMPLE = 'genaudio-train fit query-text --space runs/query/space.npz --out runs/query'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--space', type=Path, required=True, help='made by genaudio-train query-space')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv whose labels are learned too')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--steps', type=whole('--steps', 1), default=1000)
    parser.add_argument('--seed', type=seed(), default=1)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.queries.space import QuerySpace
    from genaudio_core.training.queries.text_encoder import train_text
    from genaudio_core.training.sounds.recordings import read_manifest

    labels = sorted({r.label for r in read_manifest(args.recordings)}) if args.recordings else []
    return train_text(QuerySpace.load(args.space), labels, args.out, steps=args.steps, seed=args.seed)
