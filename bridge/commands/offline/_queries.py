"""Shared by `separate` and `synth`: options that describe a sound by other means than words."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_readable


def add_query_options(parser: argparse.ArgumentParser, *, example: str, without: str) -> None:
    """Add what says by other means than words what to listen for, or to make; `example` and `without` are help."""
    parser.add_argument('--not', dest='negative', action='append', default=[], metavar='WORDS', help=without)
    parser.add_argument('--example', action='append', default=[], type=Path, metavar='CLIP', help=example)
    parser.add_argument('--image', action='append', default=[], type=Path, metavar='PICTURE',
                        help='a picture of what sounds (needs a --model trained on CLIP, and --encoder)')  # fmt: skip
    parser.add_argument('--encoder', '--clip-weights', type=Path, metavar='WEIGHTS',
                        help='your own CLIP or CLAP, for models trained on it (file of open_clip, folder)')  # fmt: skip
    parser.add_argument('--encoder-model', '--clip-model', default='ViT-B-32',
                        help="open_clip's name of the model in that file")  # fmt: skip


def check_sounds(paths: Iterable[Path]) -> None:
    """Say now, before models are loaded, which recording cannot be read.

    Raises
    ------
    GenaudioError
        If one is missing, or no sound.
    """
    from genaudio_core.sound.audio_files import AudioReader

    for path in paths:
        AudioReader(path, on_notice=lambda _: None).close()


def check_pictures(args: argparse.Namespace, bundled: bool, words: str) -> None:
    """Say now what is wrong with the pictures; `bundled`: nor can this model be asked by one, only by `words`.

    Raises
    ------
    GenaudioError
        If one cannot be read, or there is one and the model has never seen any.
    """
    for path in args.image:
        check_readable(path, 'picture')
    if bundled and args.image:
        raise GenaudioError(
            'This model has never seen a picture. Pictures need a model trained on CLIP (--model, docs/queries.md says '
            f'how) and your CLIP weights (--encoder); or use words: {words}.'
        )
