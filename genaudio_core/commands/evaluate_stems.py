"""`genaudio-train evaluate-stems`: see HELP."""

import argparse
from pathlib import Path
from typing import Any

from genaudio_core.command_line import say, seed, whole

HELP = 'Measure both separators, live and offline, by query: on unseen four-part bands, and on real songs.'
EXAMPLE = """genaudio-train evaluate-stems --real shared/data/audio/dev-real --report table.md
  genaudio-train evaluate-stems --sounds data/bands --only live"""
WAYS = ('live', 'offline', 'fast')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, help='folder made by prepare-bands; its test split is used')
    parser.add_argument('--real', type=Path, nargs='+', help='folders of songs as folders of stems, or such songs')
    parser.add_argument('--model', type=Path, help='.onnx file of the live separator (default: the bundled one)')
    parser.add_argument('--offline-model', type=Path,
                        help='.onnx file of an offline one (default: the live one, and another backwards)')  # fmt: skip
    parser.add_argument('--only', choices=WAYS, help='one of the two, or offline as `separate --fast` does it')
    parser.add_argument('-n', '--number', type=whole('--number', 1, 1_000_000), default=60, help='four-part windows')
    parser.add_argument('--excerpts', type=whole('--excerpts', 1, 100_000), default=6, help='of each song (6)')
    parser.add_argument('--by-instrument', action='store_true',
                        help="ask bands for 'violin' where it is all the strings there are")  # fmt: skip
    parser.add_argument('--report', type=Path, metavar='FILE', help='write the table as Markdown, too')
    parser.add_argument('--page', type=Path, metavar='FOLDER',
                        help='write a page of ten seconds of each real song: spectrograms, sounds')  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from genaudio_core.analysis import stems
    from genaudio_core.analysis.listening_page import write_page
    from genaudio_core.analysis.separation import song_folders
    from genaudio_core.command_line import check_outputs
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import atomic_write, find_model, make_folder
    from genaudio_core.separation.offline import Separator
    from genaudio_core.separation.streaming import MaskNetwork
    from genaudio_core.training.sounds.packed_clips import SoundSet

    if args.sounds is None and args.real is None:
        raise GenaudioError('Give --sounds, --real or both.')
    if args.page is not None and args.real is None:
        raise GenaudioError('--page shows real songs: give --real, too.')
    for folder in args.real or ():
        song_folders(folder)  # what is wrong with it is said before the long work
    check_outputs(args, 'report')
    if args.page is not None:
        make_folder(args.page)
    network = MaskNetwork.load(args.model or find_model('stems-live'))
    separator = Separator.load(args.offline_model, fast=args.only == 'fast')
    if args.offline_model is None:
        separator.live = network
    ways = {'live': stems.live(network), 'offline': stems.offline(separator), 'fast': stems.offline(separator)}
    ways = {name: ways[name] for name in ([args.only] if args.only else ['live', 'offline'])}
    cards = {name: network.card if name == 'live' else (separator.live or separator).card for name in ways}
    result: dict[str, Any] = {name: {'model': card.name, 'sha256': card.sha256[:16]} for name, card in cards.items()}
    if separator.back is not None and 'offline' in result:
        result['offline']['back'] = separator.back.card.sha256[:16]
    found: dict[str, Any] = {}
    if args.sounds:
        sounds = SoundSet(args.sounds)
        scores = stems.bands(ways, sounds, args.number, args.seed, by_instrument=args.by_instrument)
        found['bands'] = stems.summary(scores)
    for folder in args.real or ():
        found[folder.name] = stems.summary(stems.real(ways, [folder], separator.sample_rate, args.excerpts))
    lines = stems.as_table(found)
    for line in lines:
        say(line)
    if args.report:
        with atomic_write(args.report) as temporary:
            temporary.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    if args.page:
        write_page(ways, args.real, separator.sample_rate, args.page)
        result['page'] = str(args.page / 'index.html')
    return result | found
