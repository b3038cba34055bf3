"""`genaudio separate`: see HELP."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.commands.offline._queries import add_query_options, check_pictures, check_sounds
from genaudio_core.command_line import notice, number, threads
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import check_targets, fitting_name, free_name, make_folder, slug
from genaudio_core.interruption import raise_if_stopped
from genaudio_core.progress import progress_bar

HELP = 'Pull sounds out of recordings, by words, by example or by picture.'
EXAMPLE = 'genaudio separate song.flac -q violin -q "drums, not cymbals" --residual -o stems'
ARGUMENTS = {'queries': '-q', 'targets': '-o'}
FORMATS = ('wav', 'flac', 'mp3')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('files', nargs='+', type=Path, metavar='IN', help='audio files (wav, flac, mp3, ogg, aiff)')
    parser.add_argument(
        '-q',
        '--query',
        action='append',
        default=[],
        metavar='WORDS',
        help='what to pull out, such as "0.7 violin + 0.3 flute, not cymbals"; repeat for more stems',
    )
    add_query_options(
        parser, example='a recording of the sound to pull out: one more stem each',
        without='what to leave out of every stem',
    )  # fmt: skip
    parser.add_argument(
        '--sharpness',
        type=number('--sharpness', 0.1, 10),
        default=1.0,
        metavar='X',
        help='above 1, stems keep less of other sounds and lose more of their own (0.1 to 10)',
    )
    parser.add_argument('--fast', action='store_true',
                        help='listen with one model, not two: half the time, and less clean stems')  # fmt: skip
    parser.add_argument('--residual', action='store_true', help='also write what is in no stem')
    parser.add_argument('-o', '--out', type=Path, default=Path('.'), metavar='DIR', help='folder for the stems')
    parser.add_argument('-f', '--format', default='wav', help=f'{", ".join(FORMATS)} (default: wav, 32-bit float)')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=threads(), default=2)


def _targets(args: argparse.Namespace, names: Sequence[str], kind: str) -> list[list[Path]]:
    """The files to write for each input: its stems, and what is left at the end.

    Raises
    ------
    GenaudioError
        If one of them is an input, of this file or of any other.
    """
    taken: set[str] = set()
    found = []
    for path in args.files:
        # Two inputs of one name ('a/take.wav', 'b/take.wav') must not overwrite each other's stems.
        stem = free_name(path.stem, taken)
        taken.add(stem)
        stems = [*names, *(['residual'] if args.residual else [])]
        targets = [args.out / fitting_name(stem, f'.{name}.{kind}') for name in stems]
        if not all(target.name.startswith(f'{stem}.') for target in targets):
            notice(f'{path.name}: the name is too long for its stems; it is shortened to {targets[0].name}.')
        found.append(targets)
    sources = [*args.files, *args.example, *args.image, *([args.model] if args.model else [])]
    check_targets([target for targets in found for target in targets], sources)
    return found


def _queries(args: argparse.Namespace, separator: Any) -> list:
    if not args.query and not args.example and not args.image and args.negative:  # all but that
        args.query, args.negative = [f'no {" or ".join(args.negative)}'], []
    if not args.query and not args.example and not args.image:
        raise GenaudioError('Nothing to listen for. Give words (-q "violin") or a sound (--example CLIP).')
    source = separator.asked
    check_pictures(args, source.bundled, '-q "violin"')
    if not source.bundled:
        return _foreign_queries(args, separator)
    if args.encoder is not None:
        raise GenaudioError('This model uses the bundled encoders; leave --encoder out.')
    from genaudio_core.query.encoder import QueryEncoder

    encoder = QueryEncoder()
    found = [encoder.query(text, negative=args.negative) for text in args.query]
    return found + [encoder.query(examples=[p], negative=args.negative, name=p.stem) for p in args.example]


def _foreign_queries(args: argparse.Namespace, separator: Any) -> list:
    """Queries through the encoder that the separator was trained on, which is the user's own."""
    from genaudio_core.query.own_encoder import EncoderProcess
    from genaudio_core.query.parsing import parse

    source = separator.asked
    family = source.encoder.upper()
    if args.image and 'image' not in source.inputs:
        raise GenaudioError(f'This model was trained on {family}, which has no pictures: use words or --example.')
    if args.example and 'audio' not in source.inputs:
        raise GenaudioError(f'This model was trained on {family}, which knows no sounds: use words or --image.')
    if args.encoder is None:
        raise GenaudioError(
            f'This model was trained on {family}: give its weights by --encoder, a file of open_clip or a folder of '
            'transformers.'
        )
    for text in args.query:
        if not any(parse(text)):
            raise GenaudioError(f'The query \'{text}\' does not say what to listen for, such as -q "violin".')
    found, told = EncoderProcess(args.encoder, args.encoder_model).queries(
        args.query, args.negative, audio=args.example, image=args.image, normalise=source.normalised, probe=True
    )
    if told['family'] != source.encoder:
        raise GenaudioError(
            f'{args.encoder} is a {told["family"].upper()} encoder; this model was trained on {family}.'
        )
    probe = told['text'][-1]
    if len(probe) != separator.query_dim:
        raise GenaudioError(
            f'The vectors of {args.encoder} have {len(probe)} numbers; the {family} that this model was '
            f'trained on gives {separator.query_dim}.'
        )
    if not source.describes(probe):
        notice(f'{args.encoder} places words elsewhere than the {family} this model was trained on; other weights?')
    return found


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.separation.offline import Separator

    kind = args.format.lower().lstrip('.')
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise GenaudioError(f"Cannot write '{args.format}'.{hint} There are: {', '.join(FORMATS)}.")
    # Of many files one that cannot be read is passed over.
    check_sounds([*(args.files if len(args.files) == 1 else []), *args.example])
    with Separator.load(
        args.model, provider=args.provider, threads=args.threads, sharpness=args.sharpness, fast=args.fast
    ) as separator:
        return _run(args, separator, kind)


def _run(args: argparse.Namespace, separator: Any, kind: str) -> dict:
    queries = _queries(args, separator)
    names: list[str] = []
    for query in queries:
        names.append(free_name(slug(query.name, 'stem'), ['residual', *names]))
    all_targets = _targets(args, names, kind)
    make_folder(args.out)
    results, failed = [], []
    for path, targets in zip(args.files, all_targets, strict=True):
        try:
            results.append(_separated(separator, path, targets, names, queries, args.residual))
        except Exception as error:
            raise_if_stopped()
            # A file that no library can stand is told too, and the others are still worth having.
            if len(args.files) == 1 or args.debug:
                raise
            line = str(error) if isinstance(error, GenaudioError) else f'{path}: {type(error).__name__}: {error}'
            notice(f'skipped: {" ".join(line.split())}')
            failed.append(str(path))
    if not results:
        raise GenaudioError(f'None of the {len(args.files)} files could be separated.')
    if failed:
        notice(f'{len(failed)} of {len(args.files)} files could not be separated; the others are done.')
    return {'files': results, 'skipped': failed, 'exit_code': 1 if failed else 0}


def _separated(
    separator: Any, path: Path, targets: Sequence[Path], names: Sequence[str], queries: Sequence, residual: bool
) -> dict[str, Any]:
    """Separate one file, and say how it went."""
    from genaudio_core.separation.offline import separate_file

    outputs, left = targets[: len(names)], targets[-1] if residual else None
    began = time.monotonic()
    with progress_bar(path.name, 1.0) as progress:
        told = separate_file(separator, path, outputs, queries, residual=left, on_progress=progress)
    seconds = time.monotonic() - began
    levels = dict(zip([*names, *(['residual'] if residual else [])], told['level_db'], strict=True))
    for name, db in levels.items():
        if not db >= -50 and name != 'residual':
            notice(f"'{name}' is probably not in {path.name}: its stem is {-db:.0f} dB below the input.")
    return {
        'input': str(path), 'stems': [str(o) for o in outputs], 'residual': str(left) if left else None,
        'seconds': round(told['seconds'], 3), 'sample_rate': told['sample_rate'], 'channels': told['channels'],
        'level_db': levels, 'times_real_time': round(told['seconds'] / max(seconds, 1e-6), 1),
    }  # fmt: skip
