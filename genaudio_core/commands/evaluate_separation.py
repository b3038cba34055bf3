"""`genaudio-train evaluate-separation`: see HELP."""

import argparse
import functools
from pathlib import Path

from genaudio_core.command_line import check_outputs, number, say, seed, whole
from genaudio_core.progress import counting

HELP = 'Measure a separator on unseen mixtures (SDR, SIR, SAR, SI-SDR improvement), beside the mixture and ideal masks.'
EXAMPLE = 'genaudio-train evaluate-separation --sounds data/sounds --real shared/data/audio/dev-real -n 100'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--sounds', type=Path, help='packed sounds; their test split is used')
    parser.add_argument('--real', type=Path, help='folder of songs as folders of stems')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('--text-model', type=Path, help='.onnx text encoder (default: the bundled one)')
    parser.add_argument('--audio-model', type=Path, help='.onnx audio encoder (default: the bundled one)')
    parser.add_argument('-n', '--number', type=whole('--number', 1, 1_000_000), default=100, help='mixtures')
    parser.add_argument('--seconds', type=number('--seconds', above=0, high=3600), default=6.0)
    parser.add_argument('--split', default='test', choices=('train', 'valid', 'test'))
    parser.add_argument('--noise', action='store_true', help='add unlabelled noise to every mixture')
    parser.add_argument('--no-examples', action='store_true', help='words only')
    parser.add_argument('--all-sounds', action='store_true', help='everyday sounds too, not only rendered instruments')
    parser.add_argument('--seed', type=seed(), default=0)
    parser.add_argument('--report', type=Path, help='.md file to write the table to')


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.analysis.separation import as_table, evaluate_mixtures, evaluate_real, song_folders
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import atomic_write
    from genaudio_core.query.audio_encoder import AudioEncoder
    from genaudio_core.query.encoder import QueryEncoder
    from genaudio_core.query.text_encoder import TextEncoder
    from genaudio_core.separation.offline import Separator
    from genaudio_core.training.sounds.packed_clips import SoundSet

    if args.sounds is None and args.real is None:
        raise GenaudioError('Give --sounds, --real or both.')
    check_outputs(args, 'report')
    if args.real is not None:
        song_folders(args.real)  # what is wrong with it is said before the long work
    separator = Separator.load(args.model)
    encoder = QueryEncoder(
        TextEncoder.load(args.text_model), None if args.no_examples else AudioEncoder.load(args.audio_model)
    )

    card = (separator.live or separator).card
    result: dict = {'model': card.name or str(args.model), 'sha256': card.sha256[:16]}
    lines: list[str] = []
    if args.sounds is not None:
        with counting() as show:
            ways = evaluate_mixtures(
                separator, encoder, SoundSet(args.sounds), split=args.split, n=args.number, seconds=args.seconds,
                noise=args.noise, examples=not args.no_examples, music_only=not args.all_sounds, seed=args.seed,
                progress=functools.partial(show, 'mixtures'),
            )  # fmt: skip
        result['mixtures'] = ways
        lines += as_table(ways)
    if args.real is not None:
        with counting() as show:
            result['real'] = evaluate_real(separator, encoder, args.real, progress=functools.partial(show, 'songs'))
        lines += ['', '| song | stem | query | mixture SI-SDR | SI-SDRi | all asked |']
        lines += ['| --- | --- | --- | --- | --- | --- |']
        lines += [
            f'| {song} | {stem} | {row["query"]} | {row["mixture_si_sdr"]:.2f} | {row["si_sdri"]:.2f} '
            f'| {row["si_sdri_all_asked"]:.2f} |'
            for song, stems in result['real'].items() for stem, row in stems.items()
        ]  # fmt: skip
    for line in lines:
        say(line)
    if args.report:
        with atomic_write(args.report) as temporary:
            temporary.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return result
