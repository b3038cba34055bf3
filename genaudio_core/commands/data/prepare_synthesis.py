"""`genaudio-train prepare-synthesis`: see HELP."""

import argparse
import sys
import time
from pathlib import Path

HELP = 'pack mel spectrograms of single sounds, with what the audio encoder hears in them, to train synthesis on'
EXAMPLE = (
    'genaudio-train prepare-synthesis --sounds data/sounds --recordings shared/data/audio -o data/synthesis.safetensors'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, required=True, help='folder made by prepare-sounds')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv of labelled recordings')
    parser.add_argument('--notes', type=int, default=10, help='one-shots of each sound and SoundFont (0: none)')
    parser.add_argument('--size', type=float, default=1.0, help='share of the prepared clips to use')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('-o', '--out', type=Path, required=True, help='.safetensors to write')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.files import check_writable
    from genaudio_core.training.sounds.packed_clips import SoundSet
    from genaudio_core.training.sounds.packed_mels import prepare_synthesis

    check_writable(args.out)
    last = 0.0

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > 2:
            last = time.monotonic()
            print(f'\r{stage}: {done} of {total}   ', end='', file=sys.stderr, flush=True)

    result = prepare_synthesis(
        args.out,
        SoundSet(args.sounds),
        args.recordings,
        per_font=args.notes,
        scale=args.size,
        seed=args.seed,
        progress=progress,
    )
    print(file=sys.stderr)
    return {'out': str(args.out), **result}
