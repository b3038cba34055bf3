"""`genaudio-train attention`: mean relative attention and its gain, as figures."""

import argparse
from pathlib import Path

from genaudio_core.command_line import check_outputs, threads, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import make_folder

HELP = 'Draw what each attention head of a music model looks at: by beat, position, pitch, duration, instrument.'
EXAMPLE = 'genaudio-train attention runs/live/best.safetensors --data data/scores.safetensors -o figures'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', type=Path, help='checkpoint (.safetensors)')
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('-o', '--out', type=Path, required=True, help='folder for the figures')
    parser.add_argument('--split', choices=('valid', 'test', 'train'), default='test')
    parser.add_argument('--pieces', type=whole('--pieces', 1), default=8, help='held-out pieces per source')
    parser.add_argument('--length', type=whole('--length', 16, 65_536), default=512, help='events of each piece')
    parser.add_argument('--format', choices=('png', 'svg', 'pdf'), default='png')
    parser.add_argument('--threads', type=threads(), default=1)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.analysis.attention import draw, draw_tables, save, strongest, study_with_tables
    from genaudio_core.analysis.embeddings import cosines, draw_cosines
    from genaudio_core.training.fit.mmt import load_mmt
    from genaudio_core.training.loops.arguments import limit_threads
    from genaudio_core.training.scores.batches import fixed_windows
    from genaudio_core.training.scores.packed_scores import ScoreData

    limit_threads(args.threads)
    check_outputs(args, folders=['out'])
    model, _ = load_mmt(args.model)
    length = min(args.length, model.config.context)
    windows = fixed_windows(ScoreData(args.data), model.config.layout, length, args.split, per_source=args.pieces)
    sequences = [sequence[:length] for found in windows.values() for sequence in found]
    if not sequences:
        raise GenaudioError(f'{args.data} has no {args.split} pieces. Try another --split.')
    make_folder(args.out)
    result, tables = study_with_tables(model, sequences)
    figures = []
    for layers in ('last', 'all'):
        path = args.out / f'attention-{layers}.{args.format}'
        which = 'last layer' if layers == 'last' else 'all layers'
        draw(result, path, layers=layers, title=f'{args.model}, {len(sequences)} pieces, {which}')
        figures.append(str(path))
    similar = cosines(model)
    for path, draw_it in (
        (args.out / f'attention-tables.{args.format}', lambda path: draw_tables(tables, path, title=str(args.model))),
        (args.out / f'embeddings.{args.format}', lambda path: draw_cosines(similar, path, title=str(args.model))),
    ):
        draw_it(path)
        figures.append(str(path))
    save(result, args.out / 'attention.npz', tables, similar)
    return {'figures': figures, 'numbers': str(args.out / 'attention.npz'), 'pieces': len(sequences),
            'strongest': strongest(result)}  # fmt: skip
