"""Many written pieces on disk: archives of MIDI files and of what is known about them."""

import functools
import io
import json
import random
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import atomic_write, make_folder
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.pool import each
from genaudio_core.score.reading import write_midi
from genaudio_core.training.band_writer.performances import Performances
from genaudio_core.training.band_writer.styles import STYLES
from genaudio_core.training.band_writer.writer import write_piece
from genaudio_core.training.scores.score_files import FACTS

PER_ARCHIVE = 200


@functools.cache
def _performances(folders: tuple[Path, ...]) -> Performances:
    return Performances(folders)  # read once in each process


def _archive(seeds: range, styles: tuple[str, ...], grooves: tuple[Path, ...]) -> tuple[bytes, Counter[str]]:
    """Write the pieces of `seeds`; return their archive, and notes and pieces by style."""
    performances = _performances(grooves) if grooves else None
    counts: Counter[str] = Counter()
    lines, whole = [], io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(whole, 'w', zipfile.ZIP_DEFLATED) as archive:
        for seed in seeds:
            style = random.Random(f'style {seed}').choice(styles)
            piece = write_piece(seed, style, performances=performances)
            name = f'{style}-{seed:08d}.mid'
            write_midi(piece.score, Path(folder) / name)
            archive.write(Path(folder) / name, name)
            lines.append(json.dumps({'file': name} | piece.facts()))
            counts['notes'] += piece.score.n_notes
            counts[style] += 1
        archive.writestr(FACTS, '\n'.join(lines) + '\n')
    return whole.getvalue(), counts


def _write(task: tuple[Path, range, tuple[str, ...], tuple[Path, ...]]) -> tuple[bytes, Counter[str]]:
    return _archive(*task[1:])


def write_archives(
    folder: Path,
    n_pieces: int,
    first: int = 0,
    *,
    styles: Sequence[str] | None = None,
    grooves: Sequence[Path] | None = None,
    workers: int | None = 1,
    cluster: Cluster | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Write pieces `first` to `first + n_pieces` into archives of `folder`; archives that are there are left alone.

    Processes do it, or the nodes of a cluster, which must see `grooves` and nothing else.

    Raises
    ------
    GenaudioError
        If a style is unknown, `n_pieces` is not positive, or a folder of grooves holds none.
    """
    for style in styles or ():
        if style not in STYLES:
            raise GenaudioError(f"Unknown style '{style}'.{did_you_mean(style, STYLES)} Styles: {', '.join(STYLES)}.")
    if n_pieces < 1:
        raise GenaudioError('-n must be 1 or more.')
    chosen, places = tuple(styles or sorted(STYLES)), tuple(grooves or ())
    if places:
        _performances(places)  # what is wrong with them is said here, once
    make_folder(folder)
    jobs = []
    for start in range(first, first + n_pieces, PER_ARCHIVE):
        seeds = range(start, min(start + PER_ARCHIVE, first + n_pieces))
        path = folder / f'{seeds.start:08d}-{seeds.stop - 1:08d}.zip'
        if not path.exists():
            jobs.append((path, seeds, chosen, places))
    done = n_pieces - sum(len(seeds) for _, seeds, *_ in jobs)
    counts: Counter[str] = Counter()
    progress(done)
    if cluster is not None:
        cluster = replace(cluster, sees={str(place): str(place) for place in places})
    for (path, seeds, *_), result in each(_write, jobs, workers and min(workers, len(jobs)), cluster):
        if isinstance(result, Exception):
            raise result
        data, of_these = result
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        counts += of_these
        done += len(seeds)
        progress(done)
    return {
        'folder': str(folder),
        'pieces': n_pieces,
        'written_now': sum(len(seeds) for _, seeds, *_ in jobs),
        'notes_now': counts.pop('notes', 0),
        'by_style': dict(sorted(counts.items())),
    }
