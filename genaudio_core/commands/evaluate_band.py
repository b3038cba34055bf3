"""`genaudio-train evaluate-band`: see HELP."""

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genaudio_core.command_line import check_outputs, notice, print_rows, threads, whole
from genaudio_core.errors import GenaudioError, did_you_mean, printable
from genaudio_core.files import find_model, make_folder
from genaudio_core.inference.model_card import read_card
from genaudio_core.progress import progress_bar

HELP = 'Measure how a band plays together: to tunes, to band music, to a loop; compared with real and written music.'
EXAMPLE = 'genaudio-train evaluate-band --data data/scores.safetensors --seeds 3 --rolls rolls'
HELD_OUT = 2_000_000_000  # the first seed of written music that nobody trains on: that counts from 0
_SHORT = {
    'presence': 'present', 'silent': 'silent', 'key': 'key', 'clash': 'clash', 'chord fit': 'chord', 'rhythm': 'rhythm',
    'bass on root': 'root', 'backbeat': 'backbeat', 'register': 'register', 'repetition': 'repeats', 'range': 'range',
    'voices': 'voices', 'by rule': 'by rule', 'equal notes': 'equal',
}  # fmt: skip
_BARS = {'copied': 'copied', 'copied from training': 'trained'}  # means in bars; the others are shares


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='', help='bundled name or .onnx file (default: what the commands use)')
    parser.add_argument('--seeds', type=whole('--seeds', 1, 1000), default=3, help='takes of each prompt (default: 3)')
    parser.add_argument(
        '--modes', default='accompany,continue,arrange,rehearse,answer', help='which of these, comma-separated'
    )
    parser.add_argument('--prompts', default='', help='only these, comma-separated (default: all)')
    parser.add_argument('--data', type=Path, help='file made by genaudio-train prepare: real music to compare with')
    parser.add_argument('--split', choices=('valid', 'test', 'train'), default='test', help='of --data (default: test)')
    parser.add_argument(
        '--copies', action='store_true', help='also look for bars copied from the train split of --data'
    )
    parser.add_argument('--written', type=whole('--written', 0, 10_000), default=24,
                        help='pieces of written band music to compare with (default: 24)')  # fmt: skip
    parser.add_argument('--rolls', type=Path, metavar='FOLDER', help='draw a piano roll of the first take of each')
    parser.add_argument('--keep', type=Path, metavar='FOLDER', help='keep the MIDI files')
    parser.add_argument('--workers', type=threads('--workers'), default=1, help='takes made at a time (default: 1)')


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    from genaudio_core.analysis import band_evaluation
    from genaudio_core.analysis.band_prompts import band_prompts

    prompts = band_prompts()
    modes = _chosen(args.modes, band_evaluation.MODES, 'mode')
    names = _chosen(args.prompts, [prompt.name for prompt in prompts], 'prompt')
    if args.copies and not args.data:
        raise GenaudioError('--copies searches the music of --data: give its file.')
    check_outputs(args, folders=['rolls', 'keep'])
    model = str(find_model(args.model).resolve()) if args.model else ''
    if model:
        read_card(model)
    for folder in (args.rolls, args.keep):
        if folder is not None:
            make_folder(folder)
    real, training = [], None
    if args.data:
        from genaudio_core.training.scores.packed_scores import ScoreData

        data = ScoreData(args.data)
        real = [take for score in _pieces(data, args.split) for take in band_evaluation.windows(*score)]
        if not real:
            notice(f'{args.data} has no {args.split} piece with drums, bass and more for {band_evaluation.BARS} bars.')
        training = _index(data) if args.copies else None
    with tempfile.TemporaryDirectory(prefix='genaudio-band-') as folder, progress_bar('takes') as progress:
        takes = band_evaluation.takes_of(
            [prompt for prompt in prompts if prompt.name in names], modes, range(1, args.seeds + 1),
            args.keep or Path(folder), model=model, workers=args.workers,
            progress=progress,
        )  # fmt: skip
    if args.rolls:
        for take in takes:
            if take.seed == 1:
                band_evaluation.draw_take(take, args.rolls / f'{take.mode}-{take.name}.png')
    report: dict[str, Any] = {'model': model or 'default', 'seeds': args.seeds, 'prompts': names, 'music': {}}
    for mode in modes:
        made = [take for take in takes if take.mode == mode]
        if made:
            report['music'][mode] = {
                'takes': len(made), **band_evaluation.table(made, training),
                'by_prompt': {name: band_evaluation.table(of_it, training)
                              for name in names if (of_it := [take for take in made if take.name == name])},
            }  # fmt: skip
    written = [take for piece in _written(args.written) for take in band_evaluation.windows(*piece, most=1)]
    for name, music in (('real', real), ('written', written)):
        if music:
            report['music'][name] = {'takes': len(music), **band_evaluation.table(music, training)}
    if args.json:
        return report
    _print(report)
    return None


def _chosen(text: str, known: Any, what: str) -> list[str]:
    names = [name.strip() for name in text.split(',') if name.strip()]
    for name in names:
        if name not in known:
            raise GenaudioError(f"Unknown {what} '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}.")
    return names or list(known)


def _pieces(data: Any, split: str) -> Iterator[tuple[Any, str]]:
    """Scores of a split, with their names."""
    from genaudio_core.music.events import table_to_tracks
    from genaudio_core.music.layouts import METERS, RESOLUTION
    from genaudio_core.score.notes import Meter, Score

    for index, notes, meters in data.pieces(split):
        found = [Meter(step / RESOLUTION, *METERS[code - 1]) for step, code in meters if code]
        score = Score(
            table_to_tracks(notes), meters=found if found and found[0].beat == 0 else [Meter(0.0, 4, 4), *found]
        )
        yield score, data.names[index]


def _index(data: Any) -> Any:
    """The bars of the training music, in every key, drums left out."""
    from genaudio_core.music import band_metrics as metrics

    index = metrics.CopyIndex()
    for score, _ in _pieces(data, 'train'):
        bars = metrics.bars_of(score, 0.0, score.next_bar(max(score.end - 1e-3, 0.0)))
        for track in score.tracks:
            if not track.is_drum:
                index.add(metrics.contents(track.notes, bars, transposed=True))
    return index


def _written(n: int) -> Iterator[tuple[Any, str]]:
    """Pieces of the band writer that no model was trained on."""
    from genaudio_core.training.band_writer.writer import write_piece

    for seed in range(HELD_OUT, HELD_OUT + n):
        piece = write_piece(seed)
        yield piece.score, f'{piece.style} {seed}'


def _print(report: dict[str, Any]) -> None:
    def cells(row: dict[str, Any]) -> list[str]:
        shares = ['' if row[name] is None else f'{100 * row[name]:.0f}' for name in _SHORT]
        counts = ['' if row[name] is None else f'{row[name]:.1f}' for name in _BARS]
        return [str(row['takes']) if 'takes' in row else '', *shares, *counts]

    print(printable(f'Model: {os.path.basename(report["model"])}. Shares in %, copied runs in bars.'))
    print_rows([['music', 'takes', *_SHORT.values(), *_BARS.values()],
                *([name, *cells(row)] for name, row in report['music'].items())])  # fmt: skip
    for name, row in report['music'].items():
        if 'by_prompt' in row:
            print(f'\n{printable(name)}')
            print_rows([['prompt', '', *_SHORT.values(), *_BARS.values()],
                        *([prompt, *cells(one)] for prompt, one in row['by_prompt'].items())])  # fmt: skip
