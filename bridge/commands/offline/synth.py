"""`genaudio synth`: see HELP."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.commands.offline._job_options import add_job_options, place, threads_of
from bridge.commands.offline._many import Bar, run_items, told_of
from bridge.commands.offline._queries import add_query_options, check_pictures, check_sounds
from genaudio_core.command_line import number, seed, threads, whole
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_readable, names_apart, presets_dir, slug
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.places import is_address
from genaudio_core.progress import progress_bar

HELP = 'Make a sound from words, from an example or from a picture: 44.1 kHz, as many takes as you like.'
EXAMPLE = 'genaudio synth "snare drum" --seconds 1 --takes 4 --seed 7 -o snare.wav'
ARGUMENTS = {'targets': '-o', "way='words'": '--no-prior'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('words', nargs='?', default='',
                        help='what to make, such as "snare drum" or "0.6 rain + 0.4 snare, not cymbals"')  # fmt: skip
    add_query_options(
        parser, example='a recording of such a sound; again for a blend', without='what it must not sound like'
    )
    parser.add_argument('--seconds', type=number('--seconds', above=0, high=3600), default=2.0,
                        help='length (default: 2)')  # fmt: skip
    parser.add_argument('--takes', type=whole('--takes'), default=1, help='how many different ones to make')
    parser.add_argument('--seed', type=seed(), default=1, help='the same seed makes the same sound')
    parser.add_argument('--guidance', type=number('--guidance', 0, 20), default=3.0,
                        help='how strictly to keep to the query: 1 freely, 3 usual, 6 very')  # fmt: skip
    parser.add_argument('--pitch', type=number('--pitch', -120, 120), default=0.0,
                        help='semitones to transpose the sound by, like a tape')  # fmt: skip
    parser.add_argument('--prior', action=argparse.BooleanOptionalAction, default=False,
                        help='lead words through the diffusion prior: more variety between takes')  # fmt: skip
    parser.add_argument('--steps', type=whole('--steps', 2, 500),
                        help='steps of the sampler: more is cleaner and slower')  # fmt: skip
    parser.add_argument(
        '-o',
        '--out',
        type=place,
        required=True,
        metavar='FILE',
        help='wav, flac, aiff, ogg or mp3; several takes are numbered FILE-1, FILE-2, ...; of a list a folder',
    )
    parser.add_argument('--model', type=Path, help='.onnx file of a denoiser (default: the bundled one)')
    parser.add_argument('--vocoder', type=Path, help='.onnx file of a vocoder (default: the bundled one)')
    parser.add_argument('--threads', type=threads(), help='for each worker (default: 2, or one with --workers)')
    parser.add_argument('--list', type=Path, metavar='FILE', help='many sounds: the words of one on each line')
    parser.add_argument('-f', '--format', default='wav', help='of the sounds of a list (default: wav)')
    add_job_options(parser)


def outputs(path: Path, takes: int) -> list[Path]:
    """Return the files to write: `path` itself, or numbered ones beside it."""
    if takes == 1:
        return [path]
    return [path.with_name(f'{path.stem}-{n:0{len(str(takes))}d}{path.suffix}') for n in range(1, takes + 1)]


def _query(args: argparse.Namespace, query_dim: int):
    from genaudio_core.query.encoder import QueryEncoder
    from genaudio_core.query.vector import QUERY_DIM, Query

    if not args.words.strip() and not args.example and not args.image:
        raise GenaudioError('Nothing to make. Say it in words (genaudio synth "snare drum") or by --example CLIP.')
    bundled = query_dim == QUERY_DIM
    check_pictures(args, bundled, 'genaudio synth "violin"')
    if bundled:
        if args.encoder is not None:
            raise GenaudioError('This model uses the bundled encoders; leave --encoder out.')
        return QueryEncoder().query(args.words, examples=args.example, negative=args.negative)
    if args.encoder is None:
        raise GenaudioError('This model was trained on CLIP: give its weights by --encoder FILE (and --encoder-model).')
    if args.example:
        raise GenaudioError('CLIP does not hear: an --example needs the bundled model.')
    from genaudio_core.query.own_encoder import EncoderProcess

    texts = [args.words] if args.words.strip() else []
    found, _ = EncoderProcess(args.encoder, args.encoder_model).queries(texts, args.negative, image=args.image)
    positive = [part for query in found for part in query.positive]
    return Query(found[0].name, tuple(positive), found[0].negative, n_words=len(found[0].positive) if texts else 0)


def run(args: argparse.Namespace) -> dict:
    from genaudio_core.files import check_targets, check_writable
    from genaudio_core.sound.audio_files import WRITABLE
    from genaudio_core.synthesis.synthesizer import MAX_TAKES

    args.threads = threads_of(args)
    if not 1 <= args.takes <= MAX_TAKES:
        raise GenaudioError(f'{args.takes} takes are too many to make at once (1 to {MAX_TAKES}).')
    if args.list is not None:
        return _of_list(args)
    if is_address(args.out):
        raise GenaudioError('A single sound is written on this machine; --list writes many into a folder.')
    if args.out.suffix.lower() not in WRITABLE:
        raise GenaudioError(f"Cannot write '{args.out.suffix}' files; use one of {', '.join(WRITABLE)}.")
    files = [check_writable(path) for path in outputs(args.out, args.takes)]
    models = [path for path in (args.model, args.vocoder, args.encoder) if path is not None]
    check_targets(files, [*args.example, *args.image, *models])
    check_sounds(args.example)
    return make(args, lambda: load(args), progress_bar)


def _of_list(args: argparse.Namespace) -> dict:
    """Each line is an item of a job."""
    from genaudio_core.sound.audio_files import WRITABLE

    if args.words.strip():
        raise GenaudioError('Give either words or a --list of them, not both.')
    suffix = '.' + args.format.lower().lstrip('.')
    if suffix not in WRITABLE:
        raise GenaudioError(f"Cannot write '{args.format}'; use one of {', '.join(WRITABLE)}.")
    check_sounds(args.example)
    try:
        text = check_readable(args.list, 'list').read_text(encoding='utf-8-sig')
    except (OSError, ValueError) as error:
        raise GenaudioError(f'Cannot read {args.list}: {getattr(error, "strerror", None) or error}.') from error
    lines = list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    items = []
    for words, name in zip(lines, names_apart(slug(words, 'sound') for words in lines), strict=True):
        files = outputs(Path(name + suffix), args.takes)
        items.append(Item(tuple(file.name for file in files), asked={'words': words}))
    for name in ('words', 'format'):  # of the items now
        delattr(args, name)
    return told_of(args, run_items(__name__, args, items, doing='making'), 'sound')


def load(args: argparse.Namespace) -> Any:
    """Load the models."""
    from genaudio_core.synthesis.synthesizer import Synthesizer

    return Synthesizer.load(args.model, vocoder=args.vocoder, threads=args.threads)


def read_by(args: argparse.Namespace) -> dict[str, Path | None]:
    """Return the files that every sound depends on, by the argument that names them."""
    models = presets_dir() / 'models'
    return {
        'model': args.model or models / 'synth-denoiser.onnx', 'vocoder': args.vocoder or models / 'synth-vocoder.onnx',
        'prior_model': models / 'synth-prior.onnx' if args.prior else None, 'encoder': args.encoder,
        'text_encoder': models / 'query-text.onnx',
    }  # fmt: skip


def make(args: argparse.Namespace, loaded: Callable[[], Any], bar: Bar) -> dict:
    """Make one sound, in one or several takes."""
    from genaudio_core.sound.audio_files import write_audio

    began = time.monotonic()
    files = outputs(args.out, args.takes)
    synthesizer = loaded()
    query = _query(args, synthesizer.query_dim)
    if query.is_complement:
        raise GenaudioError(f"'{query.name}' only says what not to make; name something to make, too.")
    with bar(query.name, 1.0) as progress:
        audio = synthesizer.make(
            query, args.seconds, args.takes, args.seed, args.guidance, args.steps, args.pitch,
            way='prior' if args.prior else 'words', on_progress=progress,
        )  # fmt: skip
    for path, take in zip(files, audio, strict=True):
        write_audio(path, take[None], synthesizer.sample_rate)
    return {
        'files': [str(path) for path in files], 'query': query.name, 'seconds': audio.shape[1] / 44100,
        'sample_rate': synthesizer.sample_rate, 'seed': args.seed, 'took_s': round(time.monotonic() - began, 2),
    }  # fmt: skip
