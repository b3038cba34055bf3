"""`genaudio-train evaluate-arranger`: parts that are known, told again, beside the baselines of the paper."""

import argparse
from pathlib import Path

HELP = "Measure a model of parts as its paper does: accuracy on known parts, beside the paper's baselines."
EXAMPLE = 'genaudio-train evaluate-arranger presets/models/arranger.onnx --data data/scores.safetensors'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='bundled name or .onnx file of kind arranger')
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--notes', type=Path, metavar='NOTES.npz',
                        help='judge by these pieces, and not by the test split of the data: arrays (n, 4) named '
                        'quartet/..., chorale/... or band/...: 24ths of a beat, pitch, length, part')  # fmt: skip
    parser.add_argument('-o', '--out', type=Path, help='write the table as JSON')


def run(args: argparse.Namespace) -> dict:
    import json

    from genaudio_core.analysis.instrumentation import (
        ENSEMBLES,
        LONGEST,
        evaluate,
        pieces_of_data,
        pieces_of_notes,
    )
    from genaudio_core.arranging.part_model import PartModel
    from genaudio_core.command_line import check_outputs, notice
    from genaudio_core.files import atomic_write, find_model
    from genaudio_core.training.scores.packed_scores import ScoreData

    check_outputs(args, 'out')
    model, data = PartModel.load(find_model(args.model)), ScoreData(args.data)
    wanted = [name for name, parts in ENSEMBLES.items() if not model.is_published or len(parts) == len(model.own_parts)]
    if args.notes:
        pieces = {name: some for name, some in pieces_of_notes(args.notes).items() if name in wanted}
    else:
        pieces = {name: [one.rows(slice(LONGEST)) for one in pieces_of_data(data, name, 'test')] for name in wanted}
    train = {name: pieces_of_data(data, name, 'train', 300) for name in pieces}
    rows = evaluate(model, pieces, train)
    for row in rows:
        notice(
            f'{row["ensemble"]:8} {row["way"]:16} {row["accuracy"]:6.2f}%  like parts as one {row["merged"]:6.2f}%  '
            f'crossings {row["crossings"]:5.2f}%  ({row["pieces"]} pieces, {row["notes"]} notes)'
        )
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(rows, indent=1) + '\n')
    return {'rows': len(rows), 'best': {row['ensemble']: round(max(
        one['accuracy'] for one in rows if one['ensemble'] == row['ensemble']), 2) for row in rows}}  # fmt: skip
