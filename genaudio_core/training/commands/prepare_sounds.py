"""`genaudio-train prepare-sounds`: see HELP."""

import argparse
import sys
import time
from pathlib import Path

HELP = 'render scores through SoundFonts and pack them with recordings: labelled sounds to train separators on'
EXAMPLE = 'genaudio-train prepare-sounds --scores data --recordings shared/data/audio -o data/sounds'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--scores', type=Path, required=True, help='folder of folders of MIDI files')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv of labelled recordings')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder to make')
    parser.add_argument('--size', type=float, default=1.0, help='1 makes about five hours, 0.01 a toy for tests')
    parser.add_argument('--seed', type=int, default=1)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.prepare import prepare_sounds

    last = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            of = f' of {total}' if total else ''
            print(f'\r{stage}: {done}{of}   ', end='', file=sys.stderr, flush=True)

    result = prepare_sounds(
        args.out, args.scores, args.recordings, seed=args.seed, size=args.size, progress=progress
    )
    print(file=sys.stderr)
    return {'folder': str(args.out), **result}
