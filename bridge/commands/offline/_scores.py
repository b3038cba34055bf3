"""Shared by `continue`, `generate`, `accompany`, `infill` and `arrange`: arguments, loading, progress, the result."""

import argparse
import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.commands._midi_outputs import SUFFIXES, check_names
from bridge.commands.offline._job_options import place
from bridge.commands.offline._many import over_files
from genaudio_core.arranging.part_model import PartModel
from genaudio_core.command_line import check_outputs, number, seed, show, threads, whole
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import MAX_BEATS, Generated
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.files import find_model
from genaudio_core.score.notes import Score
from genaudio_core.score.reading import midi_bytes, read_midi, write_midi

DEFAULT_MODEL = 'live'
STDOUT = Path('-')
INPUT = 'MIDI files, folders or addresses of them, patterns, @LIST.txt'
_log = logging.getLogger(__name__)


def add_output(parser: argparse.ArgumentParser, model: str = DEFAULT_MODEL, *, many: bool = False) -> None:
    """Add the options of whatever writes a score."""
    for_many = '; for many a folder, or its address' if many else ''
    parser.add_argument('-o', '--out', type=place if many else Path, required=True,
                        help=f'MIDI file to write; - writes it to stdout{for_many}')  # fmt: skip
    parser.add_argument('--picture', type=Path, help='also draw a piano roll (.png, .svg or .pdf)')
    parser.add_argument('--model', default=model, help=f'bundled name or .onnx file (default: {model})')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=threads(), default=1)
    parser.add_argument('--seed', type=seed(), default=0, help='the same seed makes the same music')


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of `Controls`."""
    parser.add_argument('--temperature', type=number('--temperature', 0.001, 100), default=1.0,
                        help='below 1 is safer, above 1 wilder')  # fmt: skip
    parser.add_argument('--top-p', type=number('--top-p', above=0, high=1), default=0.98,
                        help='keep only the likeliest choices that add up to P')  # fmt: skip
    parser.add_argument('--top-k', type=whole('--top-k'), default=0, help='choose among the K likeliest (default: all)')
    parser.add_argument('--min-p', type=number('--min-p', 0, 0.999), default=0.0,
                        help='leave out choices less likely than P times the likeliest')  # fmt: skip
    parser.add_argument('--key', help="only notes of this key, such as 'D minor'")
    parser.add_argument('--chord', help="only notes of this chord, such as 'Am7'")
    parser.add_argument('--density', type=number('--density', 0, 1), default=0.5,
                        help='0 sparse, 0.5 as it comes (default), 1 dense')  # fmt: skip
    parser.add_argument('--lowest', type=whole('--lowest', 0, 127), default=0, metavar='NOTE', help='0..127')
    parser.add_argument('--highest', type=whole('--highest', 0, 127), default=127, metavar='NOTE', help='0..127')


def add_listening(parser: argparse.ArgumentParser) -> None:
    """Add --free."""
    parser.add_argument('--free', action='store_true',
                        help='what the model plays by itself: no part is called in, no chords, no rules')  # fmt: skip


def add_length(parser: argparse.ArgumentParser) -> None:
    """Add --beats and --takes."""
    parser.add_argument('--beats', type=number('--beats', above=0, high=MAX_BEATS), default=16,
                        help='quarter notes to make (default: 16)')  # fmt: skip
    parser.add_argument('--takes', type=whole('--takes', 1, 1000), default=1,
                        help='how many versions, written to OUT-1.mid, OUT-2.mid, ...')  # fmt: skip


def add_published(parser: argparse.ArgumentParser, *others: str) -> None:
    """``--published-sampling``, added last: options that it has no use for, `others` too, may not be given with it."""
    parser.add_argument('--published-sampling', action='store_true',
                        help="MMT's own sampling, as its paper was made with, for models of its layout")  # fmt: skip
    ours = ('top_p', 'top_k', 'min_p', 'key', 'chord', 'density', 'lowest', 'highest', *others)
    parser.set_defaults(not_published={name: parser.get_default(name) for name in ours})


def check_published_alone(args: argparse.Namespace) -> None:
    """Raise GenaudioError if an option of ours is given with ``--published-sampling``. To be called before any work."""
    given = [name for name, default in args.not_published.items() if getattr(args, name) != default]
    if args.published_sampling and given:
        options = ', '.join(f'--{name.replace("_", "-")}' for name in given)
        raise GenaudioError(f'--published-sampling is exactly the published sampling: leave {options} out.')


def controls_of(args: argparse.Namespace, instruments: str | None) -> Controls:
    """Controls from the arguments; raises GenaudioError for what makes no sense."""
    return Controls.of(
        temperature=args.temperature, top_p=args.top_p, top_k=args.top_k, min_p=args.min_p, density=args.density,
        lowest=args.lowest, highest=args.highest, key=args.key, chord=args.chord, instruments=instruments,
    )  # fmt: skip


def check_output(args: argparse.Namespace) -> None:
    """Raise GenaudioError unless the files asked for can be written. To be called before any work."""
    takes = getattr(args, 'takes', 1)
    if args.out == STDOUT:
        if takes > 1:
            raise GenaudioError('-o - writes one file to stdout. Give a file name for several takes.')
        if sys.stdout is None:
            raise GenaudioError('-o - writes to stdout, which is closed here: give a file name.')
        if sys.stdout.isatty():
            raise GenaudioError('-o - writes a MIDI file to stdout, which is a terminal here: add > FILE or | PROGRAM.')
    check_names(None if args.out == STDOUT else args.out, args.picture)
    outs = [out for out in (args.out, args.picture) if out is not None]
    files = [out if takes == 1 else numbered(out, i) for out in outs for i in range(1, takes + 1) if out != STDOUT]
    check_outputs(args, 'out', 'picture', files=files)


def files(command: str, args: argparse.Namespace, *, doing: str) -> dict:
    """Run a command with many MIDI files."""
    if args.picture:
        raise GenaudioError('--picture draws the roll of a single file.')
    takes = getattr(args, 'takes', 1)

    def outputs(name: str) -> list[str]:
        return [f'{name}.mid'] if takes == 1 else [f'{name}-{i}.mid' for i in range(1, takes + 1)]

    return over_files(command, args, [suffix for suffix in SUFFIXES if suffix], outputs, doing=doing)


def read_by(args: argparse.Namespace) -> dict[str, Path | None]:
    """Return the files that every item depends on, by the argument that names them."""
    return {'model': find_model(args.model)}


def read(path: Path) -> Score:
    """Read a MIDI file, and tell the person what of it could not be read."""
    score = read_midi(path)
    for text in (*score.warnings, *score.remarks):
        _log.warning('%s', text)
    return score


def load(args: argparse.Namespace) -> Decoder:
    """Load the model."""
    return Decoder.load(find_model(args.model), provider=args.provider, threads=args.threads)


def finish(
    args: argparse.Namespace, made: Generated | list[Generated], notes_in: int, decoder: Decoder | PartModel,
    began: float, **more: Any,
) -> dict | None:  # fmt: skip
    """Write the files, one for each take, and report (with `more`); on stderr where the file went to stdout."""
    takes = made if isinstance(made, list) else [made]
    outs = [args.out] if len(takes) == 1 else [numbered(args.out, i) for i in range(1, len(takes) + 1)]
    for i, (take, out) in enumerate(zip(takes, outs, strict=True), 1):
        shown = take if i == 1 else replace(take, dropped=(), remarks=())  # what holds for all is said once
        for line in shown.told(decoder.model.path.stem, f' in take {i}' if len(takes) > 1 else ''):
            _log.warning('%s', line)
        write(out, take.score)
        if args.picture:
            from genaudio_core.music.piano_roll import draw_made

            picture = args.picture if len(takes) == 1 else numbered(args.picture, i)
            draw_made(picture, take.score, title=out.name)
    notes = [take.notes for take in takes]
    result = {
        'notes_in': notes_in, 'notes_out': notes[0], 'beats': getattr(args, 'beats', takes[0].score.end),
        'start_beat': takes[0].start, 'seconds': round(time.monotonic() - began, 3),
        'model': str(decoder.model.path), 'provider': decoder.provider, 'seed': args.seed, 'out': str(outs[0]),
    }  # fmt: skip
    if all(take.by_rule is not None for take in takes):  # shares of the new notes
        count = max(sum(notes), 1)
        for name in ('cued', 'by_rule'):
            result[name] = round(sum(getattr(take, name) * take.notes for take in takes) / count, 4)
    if len(takes) > 1:
        result |= {'notes_out': notes, 'out': [str(out) for out in outs]}
    result |= more
    if args.out == STDOUT:
        show(result, args.json, sys.stderr)
        return None
    return result


def write(out: Path, score: Score) -> None:
    """Write a MIDI file, or its bytes to stdout for `STDOUT`."""
    if out == STDOUT:
        sys.stdout.buffer.write(midi_bytes(score))
        sys.stdout.buffer.flush()
    else:
        write_midi(score, out)


def numbered(path: Path, number: int) -> Path:
    """``song.mid`` -> ``song-2.mid``."""
    return path.with_name(f'{path.stem}-{number}{path.suffix}')
