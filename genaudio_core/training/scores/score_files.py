"""Finding and reading scores of any kind: folders, archives, MIDI, MusicXML, Humdrum."""

import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Score
from genaudio_core.score.reading import read_midi

MIDI_SUFFIXES = ('.mid', '.midi', '.kar', '.rmi')
NOTATION_SUFFIXES = ('.musicxml', '.mxl', '.xml', '.krn')
ARCHIVE_SUFFIXES = ('.tar', '.tar.xz', '.tar.gz', '.tgz', '.tar.bz2', '.zip')
FACTS = 'facts.jsonl'  # in an archive of written music: what is known about each file, a line for each


class ScoreFile(NamedTuple):
    """One file to read, wherever it lies."""

    source: str  # first folder below the folder given; without one, the archive
    name: str  # path within the source
    data: bytes
    facts: dict[str, Any] | None = None  # of written music: `band_writer.writer.Piece.facts`


def _is_score(name: str) -> bool:
    return name.lower().endswith(MIDI_SUFFIXES + NOTATION_SUFFIXES) and not Path(name).name.startswith('.')


def find_scores(folders: list[Path]) -> Iterator[ScoreFile]:
    """Yield every score in `folders`, archives in them included, in a stable order.

    Raises
    ------
    GenaudioError
        If a folder does not exist.
    """
    for folder in folders:
        if not folder.exists():
            raise GenaudioError(f'No such file or folder: {folder}')
        paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob('*') if path.is_file())
        for path in paths:
            below = path.relative_to(folder) if folder.is_dir() else Path(path.name)
            source = below.parts[0] if len(below.parts) > 1 else folder.stem
            if path.name.lower().endswith(ARCHIVE_SUFFIXES):
                yield from _in_archive(path, source if len(below.parts) > 1 else path.name.split('.')[0])
            elif _is_score(path.name):
                yield ScoreFile(source, str(below), path.read_bytes())


def _in_archive(path: Path, source: str) -> Iterator[ScoreFile]:
    if path.name.lower().endswith('.zip'):
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist())
            lines = archive.read(FACTS).decode().splitlines() if FACTS in names else []
            facts = {line['file']: line for line in map(json.loads, lines)}
            for name in names:
                if _is_score(name):
                    yield ScoreFile(source, name, archive.read(name), facts.get(name))
        return
    with tarfile.open(path) as archive:
        for member in archive:  # in the order stored: seeking back in a compressed archive starts it over
            if member.isfile() and _is_score(member.name):
                extracted = archive.extractfile(member)
                if extracted is not None:
                    yield ScoreFile(source, member.name, extracted.read())


def read_score(file: ScoreFile) -> Score:
    """Read a score of any kind; MusicXML and Humdrum go through music21.

    Raises
    ------
    GenaudioError
        If it cannot be read; the message says why.
    """
    suffix = Path(file.name).suffix.lower()
    if suffix in MIDI_SUFFIXES:
        score = read_midi(file.data)
        if score.warnings:  # what is damaged teaches nothing
            raise GenaudioError(score.warnings[0])
        return score
    import warnings

    import music21

    with tempfile.NamedTemporaryFile(suffix=suffix) as temporary:
        temporary.write(file.data)
        temporary.flush()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                stream = music21.converter.parse(temporary.name, forceSource=True)
                data = music21.midi.translate.streamToMidiFile(stream).writestr()
        except Exception as error:  # music21 raises whatever its parsers meet
            raise GenaudioError(f'music21 cannot read it ({type(error).__name__}: {error})') from None
    return read_midi(data)


_MOVEMENT = re.compile(r'(--\d{3}(-\d{3})?|[-_ ](mov|movement|nr|no|op|part)?[-_. ]?\d{1,3})$', re.IGNORECASE)


def work_of(source: str, name: str) -> str:
    """The work a file belongs to; all files of a work go to the same split.

    Polish manuscripts are named ``manuscript--movement_composer--title``; elsewhere the movement number at
    the end of the name, if any, is dropped.
    """
    stem = Path(name).stem
    if source in ('polish_scores', 'chopin_first_editions'):
        stem = stem.split('_')[0]
    elif source == 'groove_midi_dataset':
        stem = '_'.join(stem.split('_')[:2])  # drummer and session
    elif '__' in stem:
        stem = '__'.join(stem.split('__')[:2])  # composer and collection
    return f'{source}/{_MOVEMENT.sub("", stem)}'
