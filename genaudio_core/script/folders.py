"""Folders that are ours to replace, and appear whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from genaudio_core.errors import GenaudioError
from genaudio_core.files import check_writable, hidden_beside

MARKER = 'made-by-genaudio.txt'  # a folder with this in it is ours to replace


def check_folder(path: Path) -> Path:
    """Return `path` if a folder can be made there, or one that we made before can be replaced.

    Raises
    ------
    GenaudioError
        If something else is there, or nothing can be written.
    """
    try:
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror}.') from error
    if path.exists() and not (path / MARKER).is_file():
        raise GenaudioError(
            f'{path} exists already and was not made by genaudio; move it away, or give another `folder`.'
        )
    if path.exists() and (changed := _changed(path)):
        raise GenaudioError(
            f'{path} was changed since it was made ({changed.name} is new); move it away, or give another `folder`.'
        )
    check_writable(path.parent / f'{path.name}.part')
    return path


def _changed(folder: Path) -> Path | None:
    """Files that somebody changed or added in a folder of ours: Ardour saves over its session file, and makes more."""
    try:
        listed = dict(line.rsplit('\t', 1) for line in (folder / MARKER).read_text().splitlines()[1:])
    except (OSError, ValueError):
        return folder / MARKER
    for file in sorted(folder.rglob('*')):
        if file.is_file() and file.name != MARKER:
            state = file.stat()
            if listed.get(str(file.relative_to(folder))) != f'{state.st_size} {state.st_mtime_ns}':
                return file
    return None


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which takes its place only if the block ends well.

    Raises
    ------
    GenaudioError
        As `check_folder`, or if the disk is full or goes away.
    """
    check_folder(path)
    temporary = hidden_beside(path)
    try:
        temporary.mkdir(mode=0o700)
        yield temporary
        lines = ['Made by genaudio compose, which replaces this folder as long as nobody works in it.']
        for file in sorted(temporary.rglob('*')):
            if file.is_file():
                state = file.stat()
                lines.append(f'{file.relative_to(temporary)}\t{state.st_size} {state.st_mtime_ns}')
        (temporary / MARKER).write_text('\n'.join(lines) + '\n')
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror or error}.') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
