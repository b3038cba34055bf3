"""`genaudio-train prepare-synthesis`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import check_outputs, number, seed, whole
from genaudio_core.progress import counting

HELP = 'pack mel spectrograms of single sounds, with what the audio encoder hears in them, to train synthesis on'
EXAMPLE = (
    'genaudio-train prepare-synthesis --sounds data/sounds --recordings shared/data/audio -o data/synthesis.safetensors'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, required=True, help='folder made by prepare-sounds')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv of labelled recordings')
    parser.add_argument('--notes', type=whole('--notes', 0, 100_000), default=10,
                        help='one-shots of each sound and SoundFont (0: none)')  # fmt: skip
    parser.add_argument('--size', type=number('--size', above=0, high=1000), default=1.0,
                        help='share of the prepared clips to use')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('-o', '--out', type=Path, required=True, help='.safetensors to write')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.training.sounds.packed_clips import SoundSet
    from genaudio_core.training.sounds.packed_mels import prepare_synthesis

    check_outputs(args, 'out')
    with counting() as progress:
        result = prepare_synthesis(
            args.out,
            SoundSet(args.sounds),
            args.recordings,
            per_font=args.notes,
            scale=args.size,
            seed=args.seed,
            progress=progress,
        )
    return {'out': str(args.out), **result}
