"""`genaudio-train prepare-sounds`: see HELP."""

import argparse
from pathlib import Path

from genaudio_core.command_line import check_outputs, number, seed
from genaudio_core.progress import counting

HELP = 'Pack labelled sounds to train separators on: scores rendered and sung, recordings, your own stems.'
EXAMPLE = """genaudio-train prepare-sounds --scores data --recordings shared/data/audio -o data/sounds
  genaudio-train prepare-sounds --own mine -o data/mine     (mine/violin/*.wav, mine/my song/drums.wav, videos too)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--scores', type=Path, help='folder of folders of MIDI files')
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv of labelled recordings')
    parser.add_argument(
        '--own', type=Path, nargs='+', default=[], help='folders of sounds named by folder, and of songs as stems'
    )
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder to make')
    parser.add_argument(
        '--singing',
        action='store_true',
        help='only synthetic singing (of --scores, by --recordings), added to what the folder holds',
    )
    parser.add_argument('--size', type=number('--size', above=0, high=1000), default=1.0,
                        help='1 makes about five hours, 0.01 a toy for tests')  # fmt: skip
    parser.add_argument('--vary', action='store_true', help='a different instrument for every rendered training solo')
    parser.add_argument('--seed', type=seed(), default=1)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.command_line import notice
    from genaudio_core.errors import GenaudioError
    from genaudio_core.training.sounds.own_sounds import pack_own_sounds
    from genaudio_core.training.sounds.packed_clips import SoundWriter
    from genaudio_core.training.sounds.prepare import prepare_singing, prepare_sounds

    if args.scores is None and not args.own:
        raise GenaudioError('Give --scores, --own or both.')
    if (args.out / 'index.jsonl').exists() and not args.singing:
        raise GenaudioError(f'{args.out} already holds sounds. Give another folder, or remove it first.')
    check_outputs(args, folders=['out'])
    result: dict = {'folder': str(args.out)}
    if args.singing:
        if args.scores is None or args.recordings is None or args.own or args.vary:
            raise GenaudioError('--singing needs --scores (melodies) and --recordings (voices), and nothing else.')
        with counting() as progress:
            result |= prepare_singing(
                args.out, args.scores, args.recordings, seed=args.seed, size=args.size, progress=progress
            )
    elif args.scores is not None:
        with counting() as progress:
            result |= prepare_sounds(
                args.out, args.scores, args.recordings, seed=args.seed, size=args.size, vary=args.vary,
                progress=progress,
            )  # fmt: skip
    if args.own:
        with SoundWriter(args.out) as writer:
            result['own'] = pack_own_sounds(writer, args.own, notice)
    return result
