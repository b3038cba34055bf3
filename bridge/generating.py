"""What `continue`, `generate` and `arrange` share: arguments, loading, progress, the result."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genaudio_core.command import notice
from genaudio_core.continuation import Decoder
from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_writable, find_model
from genaudio_core.generation import Generated
from genaudio_core.instruments import find_instruments
from genaudio_core.keys import chord_pitch_classes, pitch_classes
from genaudio_core.sampling import Controls
from genaudio_core.score import write_midi

DEFAULT_MODEL = 'live'


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-o', '--out', type=Path, required=True, help='MIDI file to write')
    parser.add_argument('--picture', type=Path, help='also draw a piano roll (.png, .svg or .pdf)')
    parser.add_argument('--model', default=DEFAULT_MODEL, help=f'bundled name or .onnx file (default: {DEFAULT_MODEL})')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=0, help='the same seed makes the same music')


def add_sampling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--temperature', type=float, default=1.0, help='under 1 safer, over 1 wilder')
    parser.add_argument('--top-p', type=float, default=0.98, help='leave out the unlikeliest 1 - P of every choice')
    parser.add_argument('--top-k', type=int, default=0, help='choose among the K likeliest (default: all)')
    parser.add_argument('--min-p', type=float, default=0.0, help='leave out what is under P times the likeliest')
    parser.add_argument('--key', help="only notes of this key, such as 'D minor'")
    parser.add_argument('--chord', help="only notes of this chord, such as 'Am7'")
    parser.add_argument('--density', type=float, default=0.0, help='-2 sparse .. 2 dense')
    parser.add_argument('--lowest', type=int, default=0, metavar='NOTE', help='0..127')
    parser.add_argument('--highest', type=int, default=127, metavar='NOTE', help='0..127')


def add_length(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--beats', type=float, default=16, help='quarter notes to make (default: 16)')
    parser.add_argument('--takes', type=int, default=1, help='several, written to OUT-1.mid, OUT-2.mid, ...')


def controls_of(args: argparse.Namespace, instruments: str | None) -> Controls:
    """Controls from the arguments; raises GenaudioError for what makes no sense."""
    allowed = pitch_classes(args.key) if args.key else None
    if args.chord:
        chord = chord_pitch_classes(args.chord)
        allowed = chord if allowed is None else chord & allowed
        if not allowed:
            raise GenaudioError(f"The chord '{args.chord}' has no note in the key '{args.key}'.")
    return Controls(
        temperature=args.temperature, top_p=args.top_p, top_k=args.top_k, min_p=args.min_p, density=args.density,
        lowest=args.lowest, highest=args.highest, pitch_classes=allowed,
        instruments=tuple(find_instruments(instruments)) if instruments else None,
    )  # fmt: skip


def check_length(args: argparse.Namespace) -> None:
    """Raise GenaudioError unless there is something to make."""
    if not args.beats > 0:
        raise GenaudioError(f'--beats must be more than 0, not {args.beats:g}.')
    if args.takes < 1:
        raise GenaudioError(f'--takes must be 1 or more, not {args.takes}.')


def load(args: argparse.Namespace) -> Decoder:
    """Check what is to be written, then load the model."""
    check_writable(args.out)
    if args.picture:
        check_writable(args.picture)
        if args.picture.suffix.lower() not in ('.png', '.svg', '.pdf'):
            raise GenaudioError(f'--picture must end in .png, .svg or .pdf, not {args.picture.name}.')
    return Decoder.load(find_model(args.model), provider=args.provider, threads=args.threads)


@contextmanager
def progress_bar(what: str, beats: float) -> Iterator:
    """A bar on stderr; yields the function to call with the beats done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=beats)
        yield lambda done: bar.update(task, completed=done)


def finish(
    args: argparse.Namespace, made: Generated | list[Generated], notes_in: int, decoder: Decoder, began: float
) -> dict:
    """Write the files, one for each take, and report."""
    takes = made if isinstance(made, list) else [made]
    outs = [args.out] if len(takes) == 1 else [numbered(args.out, i) for i in range(1, len(takes) + 1)]
    for name in takes[0].dropped:
        notice(f"{decoder.model.path.stem} has no '{name}': it is kept as it is and not continued.")
    for i, (take, out) in enumerate(zip(takes, outs, strict=True), 1):
        write_midi(take.score, out)
        if args.picture:
            from genaudio_core.piano_roll import draw_continuation

            picture = args.picture if len(takes) == 1 else numbered(args.picture, i)
            draw_continuation(picture, take.score, take.start, title=out.name)
    notes = [take.notes for take in takes]
    result = {
        'notes_in': notes_in, 'notes_out': notes[0], 'beats': getattr(args, 'beats', takes[0].score.end),
        'start_beat': takes[0].start, 'seconds': round(time.monotonic() - began, 3),
        'model': str(decoder.model.path), 'provider': decoder.provider, 'seed': args.seed, 'out': str(outs[0]),
    }  # fmt: skip
    return result if len(takes) == 1 else result | {'notes_out': notes, 'out': [str(out) for out in outs]}


def numbered(path: Path, number: int) -> Path:
    """``song.mid`` -> ``song-2.mid``."""
    return path.with_name(f'{path.stem}-{number}{path.suffix}')
