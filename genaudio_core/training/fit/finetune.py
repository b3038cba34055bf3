"""A personal model from a handful of files, with a held-out check against over-fitting.

Notable choices

* The check comes first: part of the music is never trained on. With enough files that is whole files, else the last
  fifth of each. The weights that fit it best are kept, and none if the model as it was fits it better.
* A file that nearly repeats another is trained on: held out, it would praise learning by heart.
* A low learning rate and the usual augmentation; `replay` mixes in prepared music, so that the model keeps what it
  knew, and is measured on that too.
"""

import argparse
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import file_sha256, make_folder, no_checkpoint, presets_dir, where_checkpoints_are
from genaudio_core.music.events import bar_steps
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.training.fit.mmt import Loss, evaluate, load_mmt
from genaudio_core.training.loops.checkpoints import save_checkpoint
from genaudio_core.training.loops.sequences import Task, fit, launch
from genaudio_core.training.scores.batches import WindowSampler, bar_line, collate, fixed_windows
from genaudio_core.training.scores.packed_scores import PackedPiece, ScoreData, near_duplicates, pack, read_piece
from genaudio_core.training.scores.score_files import find_scores

MIN_FILE_NOTES = 16
MIN_NOTES = 200  # in all; of less a model learns nothing but the notes themselves
MIN_HELD_OUT = 40  # notes; fewer measure chance
HELD_OUT = 0.2  # share of the notes
ENOUGH_FILES = 5  # to hold out whole ones
TRAIN, VALID = 0, 1


def find_checkpoint(name: str) -> Path:
    """The checkpoint that `name` means: a path, or the name of a bundled model.

    Raises
    ------
    GenaudioError
        If there is none.
    """
    path = Path(name)
    if path.suffix == '.safetensors' or path.parent != Path() or path.is_file():
        if not path.is_file():
            raise no_checkpoint(path)
        return path
    bundled = {file.stem: file for file in sorted((presets_dir() / 'models').glob('*.safetensors'))}
    if name not in bundled:
        listing = f' Bundled: {", ".join(bundled)}.' if bundled else where_checkpoints_are()
        raise GenaudioError(f"No bundled checkpoint '{name}'.{did_you_mean(name, bundled)}{listing}")
    return bundled[name]


def read_pieces(paths: list[Path]) -> tuple[list[PackedPiece], list[tuple[str, str, str]]]:
    """The usable pieces of files and folders, each once, and what was skipped and why."""
    pieces, skipped, seen = [], [], set()
    for file in find_scores(paths):
        found = read_piece(file, MIN_FILE_NOTES)
        if not isinstance(found, PackedPiece):
            skipped.append(found)
            continue
        digest = found.notes.tobytes()
        if digest in seen:
            skipped.append((found.source, found.name, 'the same notes as another file'))
        else:
            seen.add(digest)
            found.source = 'yours'
            pieces.append(found)
    return pieces, skipped


def split(pieces: list[PackedPiece]) -> tuple[list[PackedPiece], np.ndarray, str]:
    """Hold out part of the pieces.

    Returns
    -------
    pieces, splits (n,) (TRAIN or VALID for each), and what was held out, in words

    Raises
    ------
    GenaudioError
        If there is too little music to train on and to check with.
    """
    total = sum(len(piece.notes) for piece in pieces)
    if total < MIN_NOTES:
        raise GenaudioError(
            f'Only {total} usable notes in {len(pieces)} file(s): a personal model needs {MIN_NOTES} at least, and '
            'some thousands to sound like you. Give more files.'
        )
    if len(pieces) >= ENOUGH_FILES:
        splits = _whole_files(pieces, total)
        if _held_out_notes(pieces, splits) >= MIN_HELD_OUT:
            count = int((splits == VALID).sum())
            return pieces, splits, f'{count} of {len(pieces)} files'
    parts: list[PackedPiece] = []
    splits_of_parts: list[int] = []
    for piece in pieces:
        head, tail = _cut(piece)
        parts.append(head)
        splits_of_parts.append(TRAIN)
        if tail is not None:
            parts.append(tail)
            splits_of_parts.append(VALID)
    splits = np.array(splits_of_parts, np.uint8)
    held_out = _held_out_notes(parts, splits)
    if held_out < MIN_HELD_OUT or total - held_out < MIN_NOTES // 2:
        raise GenaudioError(
            f'{total} notes leave only {held_out} to check with, {MIN_HELD_OUT} are needed. Give more or longer files.'
        )
    return parts, splits, f'the last fifth of {"the file" if len(pieces) == 1 else "each file"}'


def _held_out_notes(pieces: list[PackedPiece], splits: np.ndarray) -> int:
    return sum(len(piece.notes) for piece, part in zip(pieces, splits, strict=True) if part == VALID)


def _whole_files(pieces: list[PackedPiece], total: int) -> np.ndarray:
    """Files in the order of a hash of their notes, until a fifth of the notes is held out."""
    order = sorted(range(len(pieces)), key=lambda i: hashlib.sha256(pieces[i].notes.tobytes()).digest())
    splits, held_out = np.zeros(len(pieces), np.uint8), 0
    for i in order:
        n = len(pieces[i].notes)
        # One very long file is worth more in training.
        if held_out < HELD_OUT * total and held_out + n <= 0.4 * total:
            splits[i] = VALID
            held_out += n
    splits[near_duplicates(pieces, splits)] = TRAIN
    return splits


def _cut(piece: PackedPiece) -> tuple[PackedPiece, PackedPiece | None]:
    """A piece before and from the bar line where its last fifth begins."""
    notes = piece.notes
    meters = [(int(step), int(code)) for step, code in piece.meters]
    wanted = int(notes['step'][int(len(notes) * (1 - HELD_OUT))])
    line = bar_line(wanted, meters)
    if line <= int(notes['step'][0]):
        code = next((code for at, code in reversed(meters) if at <= line), 1)
        line += bar_steps(code)
    at = int(np.searchsorted(notes['step'], line))
    if at == 0 or len(notes) - at < MIN_FILE_NOTES:
        return piece, None
    head = replace(piece, notes=notes[:at], published=_part(piece.published, slice(at)))
    name = f'{piece.name}, from beat {line / RESOLUTION:g}'
    return head, replace(piece, name=name, notes=notes[at:], published=_part(piece.published, slice(at, None)))


def _part(rows: np.ndarray | None, part: slice) -> np.ndarray | None:
    return None if rows is None else rows[part]


def finetune(args: argparse.Namespace) -> dict[str, Any]:
    """Make a personal model; `args` are those of the command.

    Raises
    ------
    GenaudioError
        If the checkpoint is none, or the files hold too little music.
    """
    start = find_checkpoint(args.model)
    model, _ = load_mmt(start)
    layout, length = model.config.layout, min(args.length, model.config.context)
    pieces, skipped = read_pieces(args.files)
    for _, name, why in skipped:
        notice(f'skipped {name}: {why}')
    pieces, splits, held_out = split(pieces)
    make_folder(args.out)
    digest = hashlib.sha256(b''.join(piece.notes.tobytes() for piece in pieces)).hexdigest()[:16]
    path = args.out / f'scores-{digest[:8]}.safetensors'  # another call with other files must not change a run's data
    settings = {
        'finetuned_from': file_sha256(start)[:16], 'files': digest, 'rate': args.rate,
        'batch': args.batch, 'seed': args.seed, 'length': length,
        'replay': str(args.replay) if args.replay else None, 'replay_share': args.replay_share,
    }  # fmt: skip
    pack(pieces, splits, path, skipped)
    data = ScoreData(path)
    windows = fixed_windows(data, layout, length, 'valid', per_source=64)
    if not windows:
        raise GenaudioError('The music that would be held out has no bar this model can read. Give more files.')
    sampler = WindowSampler(data, layout, length, balance=1.0)
    general: dict[str, list[np.ndarray]] = {}
    replay = None
    if args.replay:
        old = ScoreData(args.replay)
        replay = WindowSampler(old, layout, length)
        general = fixed_windows(old, layout, length, 'valid', per_source=4)
    replayed = round(args.batch * args.replay_share) if replay else 0

    def batch(step: int, rank: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([args.seed, step, rank])
        sequences = [sampler.sequence(rng) for _ in range(args.batch - replayed)]
        sequences += [replay.sequence(rng) for _ in range(replayed)] if replay else []
        return collate(sequences, layout)

    fabric = launch(args)
    began = time.monotonic()
    before = evaluate(model, windows)['mean']['nll']
    general_before = evaluate(model, general)['mean']['nll'] if general else None
    held_out_notes = _held_out_notes(pieces, splits)
    notice(f'held out: {held_out} ({held_out_notes} notes); the model as it is: {before:.3f} nats per event')
    task = Task(
        model.train(), Loss(model), batch, lambda: evaluate(model, windows), model.config.to_dict(), settings
    )  # fmt: skip
    measuring = time.monotonic() - began  # which comes once more, afterwards
    report = fit(fabric, task, args, patience=args.patience, to_beat=before, after=measuring)
    best = args.out / 'best.safetensors'
    result: dict[str, Any] = {
        'improved': best.exists(), 'nll_before': before, 'nll_after': report['best_valid_nll'],
        'step': report['step'], 'seconds': report['seconds'], 'held_out': held_out,
        'files': len({piece.name.split(', from beat')[0] for piece in pieces}),
        'notes': sum(len(piece.notes) for piece in pieces), 'skipped': len(skipped),
    }  # fmt: skip
    if not best.exists() and args.keep:
        after = evaluate(model, windows)['mean']['nll']
        save_checkpoint(best, model, model.config.to_dict(), loss=after, step=report['step'], settings=settings)
        notice(f'No step of training fits the held-out music better ({before:.3f} before, {after:.3f} now); kept all '
               'the same, as --keep asks.')  # fmt: skip
        result |= {'improved': False, 'nll_after': after}
    if not best.exists():
        notice('No step of training fits the held-out music better than the model as it was, so nothing was kept. '
               'Give more files, or a lower --rate; --keep keeps it all the same.')  # fmt: skip
        return result | {'model': str(start)}
    tuned, info = load_mmt(best)
    result['best_step'] = info.get('step')
    if general_before is not None:
        result |= {'general_before': general_before, 'general_after': evaluate(tuned, general)['mean']['nll']}
    name = f'{args.out.name}.onnx'
    next_ = f'genaudio-export one {best} {name} --kind decoder'
    if layout.has_meter:
        next_ += f', then genaudio continue in.mid -o out.mid --model ./{name}'
    return result | {'model': str(best), 'next': next_}
