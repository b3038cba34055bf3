"""The files that a command line means: files, folders, patterns, addresses of all three, and lists of them."""

import glob
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import check_readable, names_apart, read_bytes
from genaudio_core.jobs.places import is_address, join, list_files, reached

MAX_LIST_BYTES = 1 << 31
_PATTERN = set('*?[')


class Found(NamedTuple):
    """A file to read."""

    place: str
    name: str  # without its suffix, parts joined by '/': how it lies in the folder or pattern that was given


def find_inputs(words: Iterable[str | Path], suffixes: Collection[str], out: str | Path | None = None) -> list[Found]:
    """Every file that the words of a command line mean, each once, in their order; those of a folder by name.

    A folder stands for what is in it and ends in one of `suffixes`, a pattern (``'songs/**/*.wav'``) for what fits,
    ``@list.txt`` for the places in a file: one a line (or divided by zero bytes), or the column 'path' of a .parquet
    file. What lies in the folder `out`, where that lies in such a folder, is not meant. Two files never get one name.

    Raises
    ------
    GenaudioError
        If a folder or pattern holds nothing, or a list or an address cannot be read.
    """
    found: list[Found] = []
    for word in map(str, words):
        several = _several(word, {suffix.lower() for suffix in suffixes}, str(out) if out is not None else None)
        if several is None:
            found.append(Found(word, _stem(PurePosixPath(word).name if is_address(word) else Path(word).name)))
        else:
            found += several
    return _apart(found)


def is_many(words: Sequence[str | Path]) -> bool:
    """Whether a command line means more than one file of this machine: then what it does is a job."""
    return len(words) != 1 or _means_several(str(words[0])) or is_address(words[0])


def _means_several(word: str) -> bool:
    if is_address(word):
        return word.endswith('/') or bool(_PATTERN & set(word))
    if os.path.lexists(word):
        return os.path.isdir(word)
    return word.startswith('@') or bool(_PATTERN & set(word))


def _several(word: str, suffixes: set[str], out: str | None) -> list[Found] | None:
    """The files that a word means, or None: it means itself."""
    if is_address(word):
        return _of_address(word, suffixes, out)
    if not _means_several(word):
        return None
    if word.startswith('@') and not os.path.isdir(word):
        return [Found(place, _stem(PurePosixPath(place).name)) for place in _listed(Path(word[1:]))]
    if os.path.isdir(word):
        above, files = word, _files_in(word, suffixes, out)
    else:
        above, files = _steady(word), (file for file in sorted(glob.glob(word, recursive=True)) if os.path.isfile(file))
    found = [Found(file, _stem(Path(os.path.relpath(file, above or '.')).as_posix())) for file in files]
    if not found:
        what = f'no {", ".join(sorted(suffixes))} file' if os.path.isdir(word) else 'nothing of this name'
        raise GenaudioError(f'{word}: there is {what}.')
    return found


def _files_in(folder: str, suffixes: set[str], out: str | None) -> Iterator[str]:
    """Files with one of the suffixes under a folder, but for hidden ones and what is in `out`."""
    left_out = os.path.realpath(out) if out is not None else None
    within = os.path.realpath(folder)
    for place, folders, files in os.walk(folder, followlinks=False):
        # The folder itself may be where the outputs go: then only what it holds already is meant, stems and all.
        if os.path.realpath(place) == left_out != within:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (
            os.path.join(place, name) for name in sorted(files)
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in suffixes
        )  # fmt: skip


def _of_address(word: str, suffixes: set[str], out: str | None) -> list[Found] | None:
    if _PATTERN & set(word):
        system, path = reached(word)
        try:
            paths = sorted(system.glob(path))
        except Exception as error:
            raise GenaudioError(f'{word} cannot be listed: {one_line(error)}') from error
        above = _steady(path)
        found = [Found(system.unstrip_protocol(name), _stem(name.removeprefix(above).lstrip('/'))) for name in paths]
        found = [one._replace(place=_with_host(word, one.place)) for one in found]
    elif word.endswith('/'):
        inner = f'{out.rstrip("/")}/' if out is not None and out != word.rstrip('/') else None
        places = {name: join(word, name) for name in sorted(list_files(word))}
        found = [
            Found(place, _stem(name)) for name, place in places.items()
            if os.path.splitext(name)[1].lower() in suffixes and not (inner and place.startswith(inner))
            and not any(part.startswith('.') for part in name.split('/'))
        ]  # fmt: skip
    else:
        return None
    if not found:
        raise GenaudioError(f'{word}: there is nothing there that is meant.')
    return found


def _with_host(word: str, place: str) -> str:
    """An address with the host of `word`: fsspec leaves out those of sftp."""
    protocol, _, rest = place.partition('://')
    host, slash, _ = word.partition('://')[2].partition('/')
    return f'{protocol}://{host}{rest}' if slash and rest.startswith('/') else place


def _steady(pattern: str) -> str:
    """The folder of a pattern above its first star."""
    parts = pattern.split('/')
    first = next(i for i, part in enumerate(parts) if _PATTERN & set(part))
    return '/'.join(parts[:first]) or ('/' if pattern.startswith('/') else '')


def _listed(path: Path) -> list[str]:
    """The places that a list names."""
    if path.suffix == '.parquet':
        return _column(path)
    text = os.fsdecode(read_bytes(check_readable(path, 'list'), MAX_LIST_BYTES, begins=(b'',), what='list'))
    return [line for line in text.split('\0' if '\0' in text else '\n') if line.strip()]


def _column(path: Path) -> list[str]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise GenaudioError(f"{path} needs the package 'pyarrow': pip install 'genaudio[cloud]'") from None
    try:
        return [str(place) for place in parquet.read_table(path, columns=['path'])['path'].to_pylist() if place]
    except Exception as error:
        raise GenaudioError(f"{path} has no column 'path' that can be read: {one_line(error)}") from error


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition('/')
    return folder + slash + (os.path.splitext(last)[0] or last)


def _apart(found: Iterable[Found]) -> list[Found]:
    """The same files, each once, with names of their own."""
    once = list({one.place: one for one in reversed(list(found))}.values())[::-1]
    return [one._replace(name=name) for one, name in zip(once, names_apart(one.name for one in once), strict=True)]
