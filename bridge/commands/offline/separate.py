"""`genaudio separate`: see HELP."""

import argparse
import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.commands.offline._job_options import add_job_options, is_asked_for, job_options, threads_of
from bridge.commands.offline._many import told_of
from bridge.commands.offline._queries import add_query_options, check_pictures, check_sounds
from genaudio_core.command_line import notice, number, threads
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import check_targets, fitting_name, make_folder, names_apart, slug
from genaudio_core.jobs.inputs import Found, find_inputs, is_many
from genaudio_core.jobs.items import Item, Task
from genaudio_core.jobs.job import run_job
from genaudio_core.jobs.places import is_address, join
from genaudio_core.progress import progress_bar

HELP = 'Pull sounds out of recordings, by words, by example or by picture.'
EXAMPLE = 'genaudio separate song.flac -q violin -q "drums, not cymbals" --residual -o stems'
ARGUMENTS = {'queries': '-q', 'targets': '-o'}
FORMATS = ('wav', 'flac', 'mp3')
_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('files', nargs='+', metavar='IN', help='audio files (wav, flac, mp3, ogg, aiff), folders or '
                        'addresses of them, patterns, @LIST.txt')  # fmt: skip
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
                        help='listen forwards only, not both ways: half the work, less clean stems')  # fmt: skip
    parser.add_argument('--residual', action='store_true', help='also write what is in no stem')
    parser.add_argument('-o', '--out', default='.', metavar='DIR', help='folder for the stems, or its address')
    parser.add_argument('-f', '--format', default='wav', help=f'{", ".join(FORMATS)} (default: wav, 32-bit float)')
    parser.add_argument('--model', type=Path, help='.onnx file of an offline separator (default: the bundled models)')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=threads(), help='for each worker (default: as many as help)')
    add_job_options(parser)


def _items(args: argparse.Namespace, found: Sequence[Found], names: Sequence[str], kind: str) -> list[Item]:
    """One item per input: the files of its stems, with the residual last.

    Raises
    ------
    GenaudioError
        If one of them is an input, of this file or of any other.
    """
    stems = [*names, *(['residual'] if args.residual else [])]
    items = []
    for one in found:
        folder, slash, name = one.name.rpartition('/')
        outputs = [fitting_name(name, f'.{stem}.{kind}') for stem in stems]
        if not all(output.startswith(f'{name}.') for output in outputs):
            notice(f'{name}: the name is too long for its stems; it is shortened to {outputs[0]}.')
        items.append(Item(tuple(folder + slash + output for output in outputs), (one.place,)))
    if not is_address(args.out):
        sources = [*(one.place for one in found if not is_address(one.place)), *args.example, *args.image]
        check_targets(
            [Path(args.out, output) for item in items for output in item.outputs],
            [*map(Path, sources), *([args.model] if args.model else [])],
        )
    return items


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
        raise GenaudioError(f'This model was trained on {family}, which does not see pictures: use words or --example.')
    if args.example and 'audio' not in source.inputs:
        raise GenaudioError(f'This model was trained on {family}, which does not hear sounds: use words or --image.')
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
        notice(f'{args.encoder} does not place words where the {family} of this model does; are these other weights?')
    return found


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.separation.offline import Separator
    from genaudio_core.sound.audio_files import READABLE

    kind = args.format.lower().lstrip('.')
    if kind not in FORMATS:
        hint = did_you_mean(kind, FORMATS)
        raise GenaudioError(f"Cannot write '{args.format}'.{hint} There are: {', '.join(FORMATS)}.")
    many = is_many(args.files) or is_asked_for(args) or is_address(args.out)
    # Of many files one that cannot be read is passed over.
    check_sounds([*([] if many else map(Path, args.files)), *args.example])
    found = find_inputs(args.files, READABLE, args.out)
    settings = {
        'path': args.model, 'provider': args.provider, 'threads': threads_of(args), 'sharpness': args.sharpness,
        'fast': args.fast,
    }  # fmt: skip
    with Separator.load(**settings) as separator:
        queries = _queries(args, separator)
        names = names_apart((slug(query.name, 'stem') for query in queries), ['residual'])
        items = _items(args, found, names, kind)
        step = Separating(settings, queries, names, args.residual)
        if many:
            step.separator = separator
            report = run_job(args.out, step, items, step.asked(separator), job_options(args), doing='separating')
            return told_of(args, report, 'file', 'separated', [_placed(one, args.out) for one in report.told])
        make_folder(args.out)
        with progress_bar(Path(args.files[0]).name, 1.0) as progress:
            outputs = [Path(args.out, name) for name in items[0].outputs]
            told = step.do(separator, Task(items[0], [Path(args.files[0])], outputs, [], progress))
    return {'files': [_placed(told, args.out)], 'skipped': [], 'exit_code': 0}


def _placed(told: Mapping[str, Any], out: str) -> dict[str, Any]:
    """The summary of one file, with the paths of its stems inside folder `out`."""
    residual = told['residual'] and join(out, told['residual'])
    return {**told, 'stems': [join(out, name) for name in told['stems']], 'residual': residual}


class Separating:
    """The step of a job: one file into its stems.

    Parameters
    ----------
    settings
        Of `Separator.load`.
    queries, names
        What to listen for, and what the stems are called; `residual`: what is left is the last output.
    """

    def __init__(self, settings: Mapping[str, Any], queries: Sequence, names: Sequence[str], residual: bool) -> None:
        self.settings, self.queries, self.residual = dict(settings), list(queries), residual
        self.names = [*names, *(['residual'] if residual else [])]
        self.separator: Any = None  # one that is loaded already, for this process

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {'separator': None}

    def asked(self, separator: Any) -> dict[str, Any]:
        """Return everything that decides the stems, for the side-car: models, sharpness, queries."""
        networks = [network for network in (separator, separator.live, separator.back) if network is not None]
        return {
            'command': 'separate', 'models': [network.card.sha256 for network in networks],
            'sharpness': self.settings['sharpness'],
            'queries': [[name, _fingerprint(query)] for name, query in zip(self.names, self.queries, strict=False)],
        }  # fmt: skip

    def files(self) -> list[Path]:
        """Return the model, if it is the user's own."""
        return [self.settings['path']] if self.settings['path'] else []

    def with_files(self, places: Mapping[Path, Path]) -> 'Separating':
        """Return the same with a copy of the model."""
        path = self.settings['path']
        settings = {**self.settings, 'path': places.get(path, path)}
        return Separating(settings, self.queries, self.names[: len(self.queries)], self.residual)

    def open(self) -> Any:
        """Load the model, unless there is one."""
        from genaudio_core.separation.offline import Separator

        return self.separator or Separator.load(**self.settings)

    def close(self, tools: Any) -> None:
        """End its threads."""
        tools.close()

    def do(self, tools: Any, task: Task) -> dict[str, Any]:
        """Separate one file, and say how it went."""
        from genaudio_core.separation.offline import separate_file

        n, label = len(self.queries), task.item.label
        began = time.monotonic()
        told = separate_file(tools, task.inputs[0], task.outputs[:n], self.queries,
                             residual=task.outputs[n] if self.residual else None, on_progress=task.share)  # fmt: skip
        seconds = time.monotonic() - began
        levels = dict(zip(self.names, told['level_db'], strict=True))
        for name, db in levels.items():
            if not db >= -50 and name != 'residual':
                _log.warning("'%s' is probably not in %s: its stem is %.0f dB below the input.", name, Path(label).name,
                             -db)  # fmt: skip
        return {
            'input': label, 'stems': list(task.item.outputs[:n]),
            'residual': task.item.outputs[n] if self.residual else None, 'seconds': round(told['seconds'], 3),
            'sample_rate': told['sample_rate'], 'channels': told['channels'], 'level_db': levels,
            'times_real_time': round(told['seconds'] / max(seconds, 1e-6), 1),
        }  # fmt: skip


def _fingerprint(query: Any) -> str:
    """A hash of all that a query asks for."""
    digest = hashlib.sha256(f'{query.normalise} {query.n_words}'.encode())
    for parts in (query.positive, query.negative):
        digest.update(b'|')
        for weight, vector in parts:
            digest.update(f'{weight} '.encode() + vector.tobytes())
    return digest.hexdigest()
