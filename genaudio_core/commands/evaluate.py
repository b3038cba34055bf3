"""`genaudio-train evaluate`: likelihood and the paper's metrics, for the truth and for a model."""

import argparse
import json
import tempfile
from pathlib import Path

from genaudio_core.command_line import check_outputs, number, print_rows, seed, share, threads, whole
from genaudio_core.errors import GenaudioError, printable
from genaudio_core.files import atomic_write, find_model, make_folder
from genaudio_core.progress import counting

HELP = 'Measure a model (.onnx, or .safetensors of any trainer) against held-out music.'
EXAMPLE = 'genaudio-train evaluate live --data data/scores.safetensors --samples 50'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('model', help='.onnx file, name of a bundled model, or best.safetensors of a run')
    parser.add_argument('--data', type=Path, required=True, help='file made by genaudio-train prepare')
    parser.add_argument('--split', choices=('valid', 'test', 'train'), default='test')
    parser.add_argument('--samples', type=whole('--samples', 0, 1_000_000), default=20,
                        help='pieces of each kind to make (0: likelihood alone)')  # fmt: skip
    parser.add_argument('--pieces', type=whole('--pieces', 1), default=8,
                        help='held-out pieces per source for the likelihood')  # fmt: skip
    parser.add_argument('--length', type=whole('--length', 16, 65_536), default=512,
                        help='events of a piece that are scored')  # fmt: skip
    parser.add_argument('--given', type=number('--given', above=0, high=100_000), default=16,
                        help='beats given to a continuation')  # fmt: skip
    parser.add_argument('--beats', type=number('--beats', above=0, high=100_000), default=16,
                        help='beats asked of a continuation')  # fmt: skip
    parser.add_argument('--published-sampling', action='store_true',
                        help="MMT's own sampling instead of ours, for models of its layout")  # fmt: skip
    parser.add_argument('--instrument-informed', action='store_true',
                        help='also make pieces for the instruments of held-out ones (always with '
                        '--published-sampling)')  # fmt: skip
    parser.add_argument('--save', type=Path, metavar='DIR', help='keep what was made, and the truth, as MIDI files')
    parser.add_argument('--exclude', default='', help='sources to leave out, comma-separated')
    parser.add_argument(
        '--balance', type=share('--balance'), default=0.5,
        help='proportions of the sources in the truth, as the model was trained',
    )  # fmt: skip
    parser.add_argument(
        '--told', type=whole('--told', 0, 1_000_000), default=0, metavar='N',
        help='of a described model: likelihood with all described, and whether N pieces keep to their chords',
    )  # fmt: skip
    parser.add_argument('--seed', type=seed(), default=1)
    parser.add_argument('--threads', type=threads(), default=1)
    parser.add_argument('--out', type=Path, help='write the report as JSON, too')


def run(args: argparse.Namespace) -> dict | None:
    from genaudio_core.training.scores.packed_scores import ScoreData

    if args.save and not args.samples:
        raise GenaudioError('--save keeps what is made, and --samples 0 makes nothing: leave one of them out.')
    check_outputs(args, 'out', folders=['save'])
    if args.save:
        make_folder(args.save)
    data = ScoreData(args.data)
    report = {'model': str(args.model), 'data': str(args.data), 'split': args.split}
    if Path(args.model).suffix == '.safetensors':
        report |= _checkpoint(args, data)
    else:
        report |= _decoder(args, data, find_model(args.model))
    if args.out:
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + '\n')
    if args.json:
        return report
    _print(report)
    return None


def _excluded(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in args.exclude.split(',') if name)


def _windows(args: argparse.Namespace, data, encoding, length: int, *, told: bool = False) -> dict:
    from genaudio_core.training.scores.batches import fixed_windows

    windows = fixed_windows(
        data, encoding, length, args.split, per_source=args.pieces, exclude=_excluded(args), told=told
    )
    if not windows:
        raise GenaudioError(f'{args.data} has no {args.split} pieces. Try another --split.')
    return windows


def _decoder(args: argparse.Namespace, data, path: Path, *, with_likelihood: bool = True) -> dict:
    from genaudio_core.analysis.evaluation import likelihood, measure
    from genaudio_core.continuation.decoder import Decoder, nll

    decoder = Decoder.load(path, threads=args.threads)
    report: dict = {}
    if with_likelihood:
        windows = _windows(args, data, decoder.encoding, min(args.length, decoder.context))
        report['nll'] = likelihood(windows, lambda sequence: nll(decoder, [sequence]))
    if args.told:
        from genaudio_core.analysis.obedience import obedience

        with counting() as progress:
            report['obedience'] = obedience(
                decoder, data, args.split, args.told, seed=args.seed, exclude=_excluded(args), progress=progress
            )
    if args.samples:
        with counting() as progress:
            report |= measure(
                decoder, data, args.split, args.samples, given=args.given, beats=args.beats, seed=args.seed,
                balance=args.balance, exclude=_excluded(args), as_published=args.published_sampling,
                with_informed=args.instrument_informed, save=args.save, progress=progress,
            )  # fmt: skip
    return report


def _checkpoint(args: argparse.Namespace, data) -> dict:
    import torch

    from genaudio_core.analysis.evaluation import likelihood
    from genaudio_core.training.fit.mmt import evaluate, load_mmt
    from genaudio_core.training.loops.arguments import limit_threads
    from genaudio_core.training.loops.checkpoints import read_checkpoint

    path = Path(args.model)
    limit_threads(args.threads)
    if read_checkpoint(path)[1].get('kind') == 'tokens':
        from genaudio_core.analysis.baseline_evaluation import baseline_likelihood, measure_baseline
        from genaudio_core.training.fit.baselines import load_tokens

        baseline, tokenizer, _ = load_tokens(path)
        report = {'nll': baseline_likelihood(baseline, tokenizer, data, args.split, args.pieces)}
        if args.samples:
            with torch.no_grad(), counting() as progress:
                report |= measure_baseline(
                    baseline, tokenizer, data, args.split, args.samples, args.seed, args.balance, _excluded(args),
                    progress, args.save,
                )  # fmt: skip
        return report
    model, _ = load_mmt(path)
    windows = _windows(args, data, model.config.layout, min(args.length, model.config.context))
    report = {'nll': likelihood(windows, lambda sequence: evaluate(model, {'piece': [sequence]})['piece'])}
    if args.told and model.config.layout.has_descriptions:
        all_told = _windows(args, data, model.config.layout, min(args.length, model.config.context), told=True)
        found = evaluate(model, windows, told=all_told)['mean']
        report['told'] = {key: found[key] for key in ('note', 'note_told', 'description')}
    if args.samples or args.told:
        # What is measured is what plays: the graph that would be shipped.
        from export.job import export
        from export.manifest import Job
        from export.up_to_date import source_hash

        with tempfile.TemporaryDirectory() as folder:
            job = Job(name='evaluated', kind='decoder', checkpoint=path, output=Path(folder) / 'evaluated.onnx')
            export(job, source_hash(job))
            report |= _decoder(args, data, job.output, with_likelihood=False)
    return report


_COLUMNS = (
    ('pitch_class_entropy', 'entropy', 1), ('scale_consistency', 'scale %', 100),
    ('groove_consistency', 'groove %', 100), ('repeated_share', 'copied %', 100),
)  # fmt: skip
_ROWS = {'truth': 'truth', 'unconditional': 'unconditional', 'instrument_informed': 'instrument-informed',
         'truth_continuation': 'truth, continuation', 'continuation': 'continuation'}  # fmt: skip


def _print(report: dict) -> None:
    nll = report['nll']
    print(printable(f'{report["model"]}: NLL in nats ({report["split"]}, {nll["pieces"]} pieces)'))
    rows = [['source', 'pieces', 'per note', 'per event', *nll['fields']]]
    for source, row in [*sorted(nll['sources'].items()), ('mean', nll)]:
        values = (row['per_note'], row['per_event'], *row.get('fields', {}).values())
        rows.append([source, str(row['pieces']), *(f'{value:.3f}' for value in values)])
    print_rows(rows)
    if 'told' in report:
        told = report['told']
        print(f'\nnats per note: {told["note"]:.3f} told nothing, {told["note_told"]:.3f} told chords and parts; '
              f'per description {told["description"]:.3f}')  # fmt: skip
    if 'obedience' in report:
        kept = report['obedience']
        print(f'\nchord tones on strong beats, {kept["pieces"]} pieces: {kept["told"]:.1%} told the chords, '
              f'{kept["untold"]:.1%} not told, {kept["true"]:.1%} in the pieces themselves')  # fmt: skip
    kinds = [name for name in _ROWS if name in report]
    if not kinds:
        return
    print('\nMetrics with 95% intervals (pieces of 64 beats; continuations without what was given)')
    titles = [title for _, title, _ in _COLUMNS]
    rows = [['music', 'pieces', 'notes', *titles, 'loops %', 'stops early %', 'notes/s']]
    for kind in kinds:
        row = report[kind]
        cells = [f'{row[k][0] * by:.2f}±{row[k][1] * by:.2f}' if k in row else '' for k, _, by in _COLUMNS]
        cells += [f'{row[k] * 100:.0f}' if k in row else '' for k in ('repeats_verbatim', 'stops_early')]
        cells.append(f'{row["notes_per_second"]:.0f}' if 'notes_per_second' in row else '')
        rows.append([_ROWS[kind], str(row['pieces']), str(row['notes']), *cells])
    print_rows(rows)
