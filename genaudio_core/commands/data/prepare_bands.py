"""`genaudio-train prepare-bands`: see HELP."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import check_outputs, number, seed, share

HELP = 'render windows of MIDI bands as stems, to train the live separator on'
EXAMPLE = 'genaudio-train prepare-bands data/freedoom data/easyrpg_rtp -o data/bands'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', type=Path, help='folders of .mid files with several instruments')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder to make')
    parser.add_argument('--seconds', type=number('--seconds', above=0, high=3600), default=8.0,
                        help='length of a window')  # fmt: skip
    parser.add_argument('--per-minute', type=number('--per-minute', above=0, high=1000), default=3.0,
                        help='windows for each minute of music')  # fmt: skip
    parser.add_argument('--vary', action='store_true', help='a different instrument for every training stem')
    parser.add_argument('--synthesizer', action='store_true', help='our own synthesizers, guitars, basses too')
    parser.add_argument('--fonts', nargs='+', type=Path, help='SoundFonts to train with instead of the usual three')
    parser.add_argument('--test-fonts', nargs='+', type=Path, help='SoundFonts of the test split')
    parser.add_argument('--synths', type=share('--synths'), default=0.0, metavar='SHARE',
                        help='of parts that synthesizers play')  # fmt: skip
    parser.add_argument('--sung', type=share('--sung'), default=0.0, metavar='SHARE',
                        help='of windows whose highest melody is sung; needs --recordings')  # fmt: skip
    parser.add_argument('--drum-parts', type=share('--drum-parts'), default=0.0, metavar='SHARE',
                        help='of windows whose kit is a stem for each of its parts')  # fmt: skip
    parser.add_argument('--recordings', type=Path, help='folder with a manifest.csv of labelled recordings: the voices')
    parser.add_argument('--splits', nargs='+', metavar='SPLIT', choices=('train', 'valid', 'test'),
                        default=['train', 'valid', 'test'], help='train, valid, test (default: all)')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=1)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.errors import GenaudioError
    from genaudio_core.sound.soundfont import find_font
    from genaudio_core.training.sounds.bands import render_bands
    from genaudio_core.training.sounds.soundfont_clips import TEST_FONT, TRAIN_FONTS

    if args.sung and args.recordings is None:
        raise GenaudioError('--sung needs voices: give --recordings, the folder with their manifest.csv.')
    check_outputs(args, folders=['out'])
    fonts = args.fonts or [find_font(file, package) for package, file in TRAIN_FONTS.items()]
    counts = render_bands(
        args.folders, args.out, train_fonts=fonts,
        test_fonts=args.test_fonts or [find_font(TEST_FONT[1], TEST_FONT[0])], seconds=args.seconds,
        per_minute=args.per_minute, seed=args.seed, vary=args.vary, own=args.synthesizer, splits=args.splits,
        synths=args.synths, sung=args.sung, drum_parts=args.drum_parts, recordings=args.recordings,
    )  # fmt: skip
    return {'folder': str(args.out), **counts}
