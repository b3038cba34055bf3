"""`genaudio-train evaluate-stems`: see HELP."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import seed, whole

HELP = 'Measure the live separator: SI-SDR improvement on unseen four-part bands, and on real songs.'
EXAMPLE = 'genaudio-train evaluate-stems --sounds data/bands --real shared/data/audio/dev-real'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, help='folder made by prepare-bands; its test split is used')
    parser.add_argument('--real', type=Path, help='folder of songs as folders of stems')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('-n', '--number', type=whole('--number', 1, 1_000_000), default=60, help='four-part windows')
    parser.add_argument('--by-instrument', action='store_true',
                        help="ask bands for 'violin' where it is all the strings there are")  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.analysis.separation import song_folders
    from genaudio_core.analysis.stems import bands, real, summary
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import find_model
    from genaudio_core.separation.streaming import MaskNetwork
    from genaudio_core.training.sounds.packed_clips import SoundSet

    if args.sounds is None and args.real is None:
        raise GenaudioError('Give --sounds, --real or both.')
    if args.real is not None:
        song_folders(args.real)  # what is wrong with it is said before the long work
    network = MaskNetwork.load(args.model or find_model('stems-live'))
    result: dict[str, Any] = {'model': network.card.name, 'sha256': network.card.sha256[:16]}
    if args.sounds:
        sounds = SoundSet(args.sounds)
        scores = bands(network, sounds, args.number, args.seed, by_instrument=args.by_instrument)
        result['bands'] = summary(scores)
    if args.real:
        result['real'] = summary(real(network, args.real))
    return result
