"""Finding and reading scores of any kind: folders, archives, MIDI, MusicXML, Humdrum."""

import json
import lzma
import re
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.score.notes import Score
from genaudio_core.score.reading import MAX_BYTES, read_midi

MIDI_SUFFIXES = ('.mid', '.midi', '.kar', '.rmi')
NOTATION_SUFFIXES = ('.musicxml', '.mxl', '.xml', '.krn')
ARCHIVE_SUFFIXES = ('.tar', '.tar.xz', '.tar.gz', '.tgz', '.tar.bz2', '.zip')
FACTS = 'facts.jsonl'  # in an archive of written music: what is known about each file, a line for each
# What zipfile and tarfile raise where an archive is damaged, cut off, or locked with a password.
_DAMAGE = (
    OSError, EOFError, ValueError, LookupError, RuntimeError,
    zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error,
)  # fmt: skip


class ScoreFile(NamedTuple):
    """One file to read, wherever it lies."""

    source: str  # first folder below the folder given; without one, the archive
    name: str  # path within the source
    data: bytes
    facts: dict[str, Any] | None = None  # of written music: `band_writer.writer.Piece.facts`
    fault: str = ''  # why there are no bytes: `read_score` raises it


def _is_score(name: str) -> bool:
    return name.lower().endswith(MIDI_SUFFIXES + NOTATION_SUFFIXES) and not Path(name).name.startswith('.')


def find_scores(folders: list[Path]) -> Iterator[ScoreFile]:
    """Yield every score in `folders`, archives in them included, in a stable order.

    What cannot be read (a file, a member of an archive, the rest of a damaged archive) is yielded with its fault, and
    everything else goes on. Nothing is unpacked to disk, whatever members are called.

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
                try:
                    yield ScoreFile(source, str(below), path.read_bytes())
                except OSError as error:
                    yield ScoreFile(source, str(below), b'', fault=f'cannot be read: {error.strerror or error}')


def _in_archive(path: Path, source: str) -> Iterator[ScoreFile]:
    try:
        yield from (_in_zip if path.name.lower().endswith('.zip') else _in_tar)(path, source)
    except _DAMAGE as error:
        why = f'the archive is damaged or cut off; what stands before that is read ({one_line(error)})'
        yield ScoreFile(source, path.name, b'', fault=why)


def _in_zip(path: Path, source: str) -> Iterator[ScoreFile]:
    with zipfile.ZipFile(path) as archive:
        names = sorted(set(archive.namelist()))
        facts = {}
        if FACTS in names:
            try:
                facts = {line['file']: line for line in map(json.loads, archive.read(FACTS).decode().splitlines())}
            except (*_DAMAGE, TypeError) as error:
                yield ScoreFile(source, f'{path.name}/{FACTS}', b'', fault=f'is damaged ({one_line(error)})')
        for name in filter(_is_score, names):
            try:
                fault = _too_long(archive.getinfo(name).file_size)
                data = b'' if fault else archive.read(name)
            except _DAMAGE as error:
                data, fault = b'', f'is damaged in the archive ({one_line(error)})'
            yield ScoreFile(source, name, data, facts.get(name), fault)


def _in_tar(path: Path, source: str) -> Iterator[ScoreFile]:
    with tarfile.open(path) as archive:
        for member in archive:  # in the order stored: seeking back in a compressed archive starts it over
            if not _is_score(member.name) or member.isdir():
                continue
            fault = _too_long(member.size) if member.isfile() else 'is a link or device, not a file of the archive'
            extracted = None if fault else archive.extractfile(member)
            yield ScoreFile(source, member.name, extracted.read() if extracted else b'', fault=fault)


def _too_long(size: int) -> str:
    return f'is too long for a score (over {MAX_BYTES >> 20} MiB)' if size > MAX_BYTES else ''


def read_score(file: ScoreFile) -> Score:
    """Read a score of any kind; MusicXML and Humdrum go through music21.

    Raises
    ------
    GenaudioError
        If it cannot be read; the message says why.
    """
    if file.fault:
        raise GenaudioError(file.fault)
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
            raise GenaudioError(f'music21 cannot read it ({type(error).__name__}: {one_line(error)})') from None
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
