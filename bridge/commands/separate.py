"""`genaudio separate`: see HELP."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.command import notice
from genaudio_core.errors import GenaudioError, did_you_mean

HELP = 'Pull sounds out of recordings, by words, by example or by picture.'
EXAMPLE = 'genaudio separate song.flac -q violin -q "drums, not cymbals" --residual -o stems'
FORMATS = ('wav', 'flac', 'mp3')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('files', nargs='+', type=Path, metavar='IN', help='audio files (wav, flac, mp3, ogg, aiff)')
    parser.add_argument('-q', '--query', action='append', default=[], metavar='WORDS',
                        help='what to pull out, such as "0.7 violin + 0.3 flute, not cymbals"; again for another stem')
    parser.add_argument('--not', dest='negative', action='append', default=[], metavar='WORDS',
                        help='what to leave out of every stem')  # fmt: skip
    parser.add_argument('--example', action='append', default=[], type=Path, metavar='CLIP',
                        help='a recording of the sound to pull out: one more stem each')  # fmt: skip
    parser.add_argument('--image', action='append', default=[], type=Path, metavar='PICTURE',
                        help='a picture of what sounds (needs a --model trained on CLIP, and --encoder)')
    parser.add_argument('--sharpness', type=float, default=1.0, metavar='X',
                        help='above 1 less of other sounds stays in a stem, and more of its own is lost (0.1 to 10)')
    parser.add_argument('--residual', action='store_true', help='also write what is left')
    parser.add_argument('-o', '--out', type=Path, default=Path('.'), metavar='DIR', help='folder for the stems')
    parser.add_argument('-f', '--format', default='wav', help=f'{", ".join(FORMATS)} (default: wav, 32-bit float)')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--encoder', '--clip-weights', type=Path, metavar='WEIGHTS',
                        help='your own CLIP or CLAP, for models trained on it (open_clip file, transformers folder)')
    parser.add_argument('--encoder-model', default='ViT-B-32', help="open_clip's name of the model in that file")


def _slug(name: str) -> str:
    return re.sub(r'[^\w-]+', '-', name.lower()).strip('-')[:60] or 'stem'


def _queries(args: argparse.Namespace, separator: Any) -> list:
    if not args.query and not args.example and not args.image:
        raise GenaudioError('Nothing to listen for. Say it in words (-q "violin") or by --example CLIP.')
    for path in args.image:
        if not path.is_file():
            raise GenaudioError(f'There is no picture {path}.')
    source = separator.asked
    if not source.bundled:
        return _foreign_queries(args, separator)
    if args.image:
        raise GenaudioError(
            'This model has never seen a picture. Pictures need a model trained on CLIP (--model, docs/queries.md says '
            'how) and your CLIP weights (--encoder); or use words: -q "violin".'
        )
    if args.encoder is not None:
        raise GenaudioError('This model is asked through the bundled encoders; it has no use for an --encoder.')
    from genaudio_core.query import QueryEncoder

    encoder = QueryEncoder()
    found = [encoder.query(text, negative=args.negative) for text in args.query]
    return found + [encoder.query(examples=[p], negative=args.negative, name=p.stem) for p in args.example]


def _foreign_queries(args: argparse.Namespace, separator: Any) -> list:
    """Queries through the encoder that the separator was trained on, which is the user's own."""
    from genaudio_core.query import Query, parse
    from genaudio_core.query_process import PROBE, EncoderProcess

    source = separator.asked
    family = source.encoder.upper()
    if args.image and 'image' not in source.inputs:
        raise GenaudioError(f'This model was trained on {family}, whose space has no pictures: use words or --example.')
    if args.example and 'audio' not in source.inputs:
        raise GenaudioError(f'This model was trained on {family}, which does not hear: use words or --image.')
    if args.encoder is None:
        raise GenaudioError(
            f'This model was trained on {family}: give its weights by --encoder, a file of open_clip or a folder of '
            'transformers.'
        )
    parsed = [parse(text) for text in args.query]
    for text, (positive, _) in zip(args.query, parsed, strict=True):
        if not positive:
            raise GenaudioError(f"The query '{text}' says nothing to listen for, such as -q \"violin\".")
    words = sorted({words for sides in parsed for side in sides for _, words in side} | {*args.negative, PROBE})
    asked: dict[str, list] = {'text': words}
    if args.image:
        asked['image'] = args.image
    if args.example:
        asked['audio'] = args.example
    told = EncoderProcess(args.encoder, args.encoder_model).ask(**asked)
    vectors = dict(zip(words, told['text'], strict=True))
    if told['family'] != source.encoder:
        raise GenaudioError(f'{args.encoder} holds {told["family"].upper()}; this model was trained on {family}.')
    if len(vectors[PROBE]) != separator.query_dim:
        raise GenaudioError(
            f'The vectors of {args.encoder} have {len(vectors[PROBE])} numbers; the {family} that this model was '
            f'trained on gives {separator.query_dim}.'
        )
    if not source.describes(vectors[PROBE]):
        notice(f'{args.encoder} places words elsewhere than the {family} this model was trained on; other weights?')

    def side(parts: list[tuple[float, str]]) -> tuple[tuple[float, np.ndarray], ...]:
        return tuple((weight, vectors[words]) for weight, words in parts)

    normalise, left_out = source.normalised, side([(1.0, words) for words in args.negative])
    found = [
        Query(text, side(positive), side(minus) + left_out, normalise=normalise)
        for text, (positive, minus) in zip(args.query, parsed, strict=True)
    ]
    for name, paths in (('audio', args.example), ('image', args.image)):
        for path, vector in zip(paths, told.get(name, ()), strict=True):
            found.append(Query(path.stem, ((1.0, vector),), left_out, normalise=normalise))
    return found


def run(args: argparse.Namespace) -> dict:
    import time

    from genaudio_core.separation import Separator, separate_file

    kind = args.format.lower().lstrip('.')
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise GenaudioError(f"Cannot write '{args.format}'.{hint} There are: {', '.join(FORMATS)}.")
    separator = Separator.load(args.model, provider=args.provider, threads=max(1, args.threads),
                              sharpness=args.sharpness)
    queries = _queries(args, separator)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenaudioError(f'Cannot make the folder {args.out}: {error.strerror}.') from error
    names: list[str] = []
    for query in queries:
        slug = _slug(query.name)
        names.append(slug if slug not in names and slug != 'residual' else f'{slug}-{len(names) + 1}')
    results, failed, stems_seen = [], [], set()
    for path in args.files:
        # Two inputs of one name ('a/take.wav', 'b/take.wav') must not overwrite each other's stems.
        stem = path.stem
        while stem in stems_seen:
            stem += '-2'
        stems_seen.add(stem)
        outputs = [args.out / f'{stem}.{name}.{kind}' for name in names]
        residual = args.out / f'{stem}.residual.{kind}' if args.residual else None
        for target in [*outputs, *([residual] if residual else [])]:
            if target.exists() and path.exists() and target.samefile(path):
                raise GenaudioError(f'{target} is the input itself; give another folder with -o.')
        began, shown = time.monotonic(), -1

        def progress(share: float, name: str = path.name) -> None:
            nonlocal shown
            if sys.stderr.isatty() and int(share * 100) != shown:
                shown = int(share * 100)
                bar = '#' * (shown // 4)
                print(f'\r{name} [{bar:<25}] {shown:3d}%', end='', file=sys.stderr, flush=True)

        try:
            told = separate_file(separator, path, outputs, queries, residual=residual, on_progress=progress)
        except GenaudioError as error:
            if len(args.files) == 1:
                raise
            notice(f'skipped: {error}')  # the other files are still worth having
            failed.append(str(path))
            continue
        finally:
            if shown >= 0:
                print(file=sys.stderr)
        seconds = time.monotonic() - began
        levels = dict(zip([*names, *(['residual'] if residual else [])], told['level_db'], strict=True))
        results.append({
            'input': str(path), 'stems': [str(o) for o in outputs], 'residual': str(residual) if residual else None,
            'seconds': round(told['seconds'], 3), 'sample_rate': told['sample_rate'], 'channels': told['channels'],
            'level_db': levels, 'times_real_time': round(told['seconds'] / max(seconds, 1e-6), 1),
        })  # fmt: skip
        for name, db in levels.items():
            if db < -50 and name != 'residual':
                notice(f"'{name}' seems not to be in {path.name}: its stem is {-db:.0f} dB below the input.")
    if not results:
        raise GenaudioError(f'None of the {len(args.files)} files could be separated.')
    return {'files': results, 'skipped': failed, 'exit_code': 1 if failed else 0}
