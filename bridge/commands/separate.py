"""`genaudio separate`: see HELP."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

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
                        help='a picture of what sounds (needs --clip-weights and a model trained on CLIP)')
    parser.add_argument('--residual', action='store_true', help='also write what is left')
    parser.add_argument('-o', '--out', type=Path, default=Path('.'), metavar='DIR', help='folder for the stems')
    parser.add_argument('-f', '--format', default='wav', help=f'{", ".join(FORMATS)} (default: wav, 32-bit float)')
    parser.add_argument('--model', type=Path, help='.onnx file (default: the bundled one)')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--clip-weights', type=Path, help='your own CLIP weights, for models trained on CLIP')
    parser.add_argument('--clip-model', default='ViT-B-32', help="open_clip's name of the model")


def _slug(name: str) -> str:
    return re.sub(r'[^\w-]+', '-', name.lower()).strip('-')[:60] or 'stem'


class ClipProcess:
    """CLIP in a process of its own (torch stays out of this one), with the interface of `QueryEncoder`'s parts."""

    def __init__(self, weights: Path, model: str):
        self.weights, self.model = weights, model

    def _ask(self, *arguments: str) -> np.ndarray:
        command = [sys.executable, '-m', 'genaudio_core.models.clip_encoder', '--model', self.model,
                   '--weights', str(self.weights), *arguments]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise GenaudioError(lines[-1] if lines else 'CLIP could not be run.')
        return np.array(json.loads(done.stdout)[0], np.float32)

    def encode(self, text: str) -> np.ndarray:
        return self._ask('--text', text)

    def image(self, path: str | Path) -> np.ndarray:
        return self._ask('--image', str(path))


def _queries(args: argparse.Namespace, query_dim: int) -> list:
    from genaudio_core.query import QUERY_DIM, Query, QueryEncoder, parse

    if query_dim != QUERY_DIM and args.clip_weights is None:
        raise GenaudioError('This model was trained on CLIP: give --clip-weights FILE (and --clip-model).')
    if query_dim == QUERY_DIM and args.image:
        raise GenaudioError(
            'The bundled model has never seen a picture. Pictures need a model trained on CLIP (--model, made by '
            'genaudio-export import clipsep) and --clip-weights; or use words: -q "violin".'
        )
    for path in args.image:
        if not path.is_file():
            raise GenaudioError(f'There is no picture {path}.')
    if not args.query and not args.example and not args.image:
        raise GenaudioError('Nothing to listen for. Say it in words (-q "violin") or by --example CLIP.')
    if query_dim == QUERY_DIM:
        encoder = QueryEncoder()
        found = [encoder.query(text, negative=args.negative) for text in args.query]
        return found + [encoder.query(examples=[p], negative=args.negative, name=p.stem) for p in args.example]
    if args.example:
        raise GenaudioError('CLIP does not hear: an --example needs the bundled model.')
    clip = ClipProcess(args.clip_weights, args.clip_model)

    def weighted(parts: list[tuple[float, str]]) -> tuple[tuple[float, np.ndarray], ...]:
        return tuple((weight, clip.encode(words)) for weight, words in parts)

    negative = weighted([(1.0, words) for words in args.negative])
    found = []
    for text in args.query:
        positive, minus = parse(text)
        if not positive:
            raise GenaudioError(f"The query '{text}' is empty. Say what to listen for.")
        found.append(Query(text, weighted(positive), weighted(minus) + negative, normalise=False))
    return found + [Query(p.stem, ((1.0, clip.image(p)),), negative, normalise=False) for p in args.image]


def run(args: argparse.Namespace) -> dict:
    import time

    from genaudio_core.separation import Separator, separate_file

    kind = args.format.lower().lstrip('.')
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise GenaudioError(f"Cannot write '{args.format}'.{hint} There are: {', '.join(FORMATS)}.")
    separator = Separator.load(args.model, provider=args.provider, threads=max(1, args.threads))
    queries = _queries(args, separator.query_dim)
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
