"""Where the bundled files are, and writing files so that nothing half-written is ever left."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import select
import stat
import time
import tomllib
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genaudio_core.errors import GenaudioError, did_you_mean, one_line

if TYPE_CHECKING:
    import numpy as np


def presets_dir() -> Path:
    """The folder of bundled presets; ``models/`` in it holds the bundled .onnx files."""
    return Path(str(files('presets')))


def where_checkpoints_are(path: str | Path = '') -> str:
    """Return where to get the checkpoints of bundled models, if `path` is one of them, or '' (or no path is given).

    The wheel has none: only training, fine-tuning and exporting read them.
    """
    if path and Path(path).absolute().parent != (presets_dir() / 'models').absolute():
        return ''
    return (
        ' Checkpoints of the bundled models are not in the wheel: in a clone of the repository, pip install -e . finds '
        'them; else take them out of presets/models in the source distribution (pip download --no-deps --no-binary '
        ':all: genaudio).'
    )


def no_checkpoint(path: str | Path) -> GenaudioError:
    """The error for a checkpoint that is not there: how to get it."""
    return GenaudioError(
        f'No checkpoint at {path}.{where_checkpoints_are(path) or " Train one: genaudio-train fit --help"}'
    )


def check_writable(path: str | Path) -> Path:
    """Return `path` if a file can be made there. Commands call this before long work starts.

    Raises
    ------
    GenaudioError
        If the folder is missing or not writable, or the path is a folder or a device.
    """
    path = Path(path)
    try:
        if '\0' in str(path):
            raise ValueError('no name has a zero byte in it')
        if path.is_dir():
            raise GenaudioError(f'{path} is a folder; give the name of a file to write.')
        if path.exists() and not path.is_file():  # a device, a pipe: the finished file would take its place
            raise GenaudioError(f'{path} is a device; give the name of a file to write.')
        if not path.parent.is_dir():
            raise GenaudioError(f'Cannot write {path}: the folder {path.parent} does not exist.')
        if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
            raise GenaudioError(f'Cannot write {path}: permission denied.')
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero byte in it
        raise GenaudioError(f'Cannot write {path}: {getattr(error, "strerror", None) or error}.') from error
    return path


_made: list[Path] = []  # folders that `make_folder` made, those above before those in them


def make_folder(path: str | Path) -> Path:
    """Make a folder with those above it, if it is not there, and return it. Called before long work starts.

    `leave_no_empty_folder` takes it away again where the work came to nothing.

    Raises
    ------
    GenaudioError
        If it cannot be made, or nothing can be written in it.
    """
    path = Path(path)
    try:
        whole = Path(os.path.abspath(path))
        missing = [folder for folder in (whole, *whole.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        _made.extend(reversed(missing))
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        why = 'there is a file of this name' if isinstance(error, FileExistsError) else None
        raise GenaudioError(
            f'Cannot make the folder {path}: {why or getattr(error, "strerror", None) or error}.'
        ) from error
    if not os.access(path, os.W_OK):
        raise GenaudioError(f'Cannot write in {path}: permission denied.')
    return path


def leave_no_empty_folder() -> None:
    """Remove what `make_folder` has made and nothing was put into: a command that fails calls this."""
    while _made:
        with contextlib.suppress(OSError):  # there is something in it
            _made.pop().rmdir()


def check_readable(path: str | Path, what: str = 'file') -> Path:
    """Return `path` if there is such a file.

    Raises
    ------
    GenaudioError
        If there is none, or it is a folder, a pipe or a device, or the name is none.
    """
    path = Path(path)
    try:
        if path.is_file():
            return path
        why = f'There is no {what} {path}.'
        if path.is_dir():
            why = f'{path} is a folder, not a {what}.'
        elif path.exists():  # a device has no end, and a pipe may never begin
            why = f'{path} is a pipe or a device, not a {what}; save what it gives to a file first.'
    except (OSError, ValueError) as error:
        why = f'There is no {what} {path}: {getattr(error, "strerror", None) or error}.'
    raise GenaudioError(why)


MAX_TOML_BYTES = 1 << 20


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Return the table of a TOML file, with or without a byte order mark. `what` it is, for messages.

    Raises
    ------
    GenaudioError
        If it cannot be read, is a pipe, a device or too large, or is not TOML.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would keep us waiting for ever
            raise GenaudioError(f'{path}: a pipe or device is not a {what}; name a file.')
        with open(path, 'rb') as file:
            raw = file.read(MAX_TOML_BYTES + 1)
        if len(raw) > MAX_TOML_BYTES:
            raise GenaudioError(f'{path}: too large for a {what}.')
        return tomllib.loads(raw.decode('utf-8-sig'))
    except OSError as error:
        raise GenaudioError(f'Cannot read {path}: {error.strerror}.') from error
    except RecursionError as error:
        raise GenaudioError(f'{path}: not a {what}: too many brackets inside each other.') from error
    except ValueError as error:  # not only TOMLDecodeError: a number of 5,000 digits has an error of its own
        raise GenaudioError(f'{path}: not a TOML file: {one_line(error)}.') from error


def read_json(path: str | Path, what: str) -> Any:
    """Return what a JSON file says. `what` it is, for messages.

    Raises
    ------
    GenaudioError
        If it cannot be read or is not JSON.
    """
    try:
        return json.loads(check_readable(path, what).read_text(encoding='utf-8-sig'))
    except OSError as error:
        raise GenaudioError(f'Cannot read {path}: {error.strerror}.') from error
    except (ValueError, RecursionError) as error:
        raise GenaudioError(f'{path} is not a {what}: {one_line(error)}.') from error


def read_arrays(path: str | Path, what: str) -> 'dict[str, np.ndarray]':
    """Return the arrays of an .npz file, of any shape, by name; code in it is never run. `what` it is, for messages.

    Raises
    ------
    GenaudioError
        If it cannot be read, or is damaged or something else.
    """
    import numpy as np

    try:
        # numpy leaves a damaged file open that it has opened itself.
        with open(check_readable(path, what), 'rb') as file, np.load(file, allow_pickle=False) as data:
            found = {name: data[name] for name in data.files}
        if not all(isinstance(array, np.ndarray) for array in found.values()):  # torch's files are zipped, too
            raise ValueError('it contains something other than arrays')
        return found
    except OSError as error:
        raise GenaudioError(f'Cannot read {path}: {error.strerror or error}.') from error
    except (ValueError, LookupError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        why = one_line(error)
        if 'pickle' in why:  # what numpy advises then is no advice
            why = 'it contains something other than arrays'
        raise GenaudioError(f'{path} is not a {what} (.npz), or it is damaged ({why}).') from error


WRITER_SECONDS = 5.0  # for somebody to begin to write into a pipe with a name


def read_bytes(path: str | Path, limit: int, *, begins: tuple[bytes, ...], what: str) -> bytes:
    """Return what is in a file, or comes through a pipe, however it is called (``/dev/stdin``).

    No more than `limit` bytes are taken, and only the first few of what does not begin as one of `begins`: devices have
    no end. A pipe that nobody writes into is waited for `WRITER_SECONDS`.

    Raises
    ------
    GenaudioError
        If it cannot be read, or is no `what` by its length or its beginning. What is empty is returned empty.
    """
    data, head = b'', max(map(len, begins))
    try:
        with open(path, 'rb', opener=_without_waiting) as file:
            if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
                data = _first_byte(file.fileno(), path)
            while len(data) < head and (more := file.read(head - len(data))):
                data += more
            if data and not data.startswith(begins) and not any(begin.startswith(data) for begin in begins):
                raise GenaudioError(f'{path} is not a {what}.')
            parts, length = [data], len(data)
            while length <= limit and (more := file.read(1 << 20)):
                parts.append(more)
                length += len(more)
    except (OSError, ValueError) as error:
        raise GenaudioError(f'Cannot read {path}: {getattr(error, "strerror", None) or error}.') from error
    if length > limit:
        raise GenaudioError(f'{path} is too long for a {what} (over {limit >> 20} MiB).')
    return b''.join(parts)


def _without_waiting(path: str, flags: int) -> int:
    is_pipe = hasattr(os, 'mkfifo') and stat.S_ISFIFO(os.stat(path).st_mode)
    return os.open(path, flags | os.O_NONBLOCK if is_pipe else flags)


def _first_byte(descriptor: int, path: str | Path) -> bytes:
    """Return the first byte of a pipe, or none at its end; while somebody has its other end open, wait for it."""
    deadline = time.monotonic() + WRITER_SECONDS
    while True:
        try:
            byte = os.read(descriptor, 1)
        except BlockingIOError:  # there is a writer, who has not said anything yet
            os.set_blocking(descriptor, True)
            return os.read(descriptor, 1)
        if byte or select.select([descriptor], [], [], 0)[0]:  # nothing to read, and ready: its writer came and went
            os.set_blocking(descriptor, True)
            return byte
        if time.monotonic() > deadline:
            raise GenaudioError(f'Nobody writes into the pipe {path}; give a file, or start what writes into it.')
        time.sleep(0.02)


def check_targets(targets: Iterable[str | Path], sources: Iterable[str | Path] | Mapping[Path, str]) -> None:
    """Refuse to write over what is read, or one file twice. Commands call this before anything is written.

    Parameters
    ----------
    targets : paths
        All files (and folders) that will be written.
    sources : paths, or a mapping of paths
        All that are read: recordings, examples, models; and what to call them.

    Raises
    ------
    GenaudioError
        If two of them are one file, whatever they are called (links, upper and lower case).
    """

    def marks(path: Path) -> set:
        name = os.path.normcase(path)
        try:
            name = os.path.normcase(os.path.realpath(path))
            state = path.stat()
        except (OSError, ValueError):  # there is none, or there can be none: a zero byte
            return {name}
        return {name, (state.st_dev, state.st_ino)}

    called: dict[Path, str] = {}
    for source in sources:
        called[Path(source)] = sources[Path(source)] if isinstance(sources, Mapping) else 'the input itself'
    read = {mark: source for source in called for mark in marks(source)}
    written: dict = {}
    for target in map(Path, targets):
        for mark in marks(target):
            if mark in read:
                same = '' if Path(target) == read[mark] else f' ({read[mark]})'
                raise GenaudioError(
                    f'{target} is {called[read[mark]]}{same}, which would be overwritten; give another name or folder '
                    '(`targets`). Nothing was written.'
                )
            if mark in written:
                raise GenaudioError(
                    f'{target} would be written twice (also as {written[mark]}); give names that differ. '
                    'Nothing was written.'
                )
        written |= dict.fromkeys(marks(target), target)


MAX_NAME = 255  # bytes, of nearly all file systems


def fitting_name(stem: str, rest: str, limit: int = MAX_NAME) -> str:
    """Return ``stem + rest`` as a file name; a long stem is cut and gets a hash, so that two stay two.

    Raises
    ------
    GenaudioError
        If `rest` alone is too long.
    """
    if len(os.fsencode(stem + rest)) <= limit:
        return stem + rest
    mark = f'~{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}'
    room = limit - len(os.fsencode(mark + rest))
    if room < 1:
        raise GenaudioError(f'No file can be called like that: {rest} is too long.')
    return _cut(stem, room) + mark + rest


def _cut(name: str, room: int) -> str:
    """As much of the beginning of a name as fits into `room` bytes, in whole letters and in the system's encoding."""
    name = name[: max(room, 0)]
    while len(os.fsencode(name)) > room:
        name = name[:-1]
    return name


def slug(name: str, nothing: str, limit: int = 60) -> str:
    """Return `name` as part of a file name: lower case, words joined by hyphens, `nothing` if none is left.

    `limit` is in bytes; what is longer is cut as `fitting_name` does it.
    """
    return fitting_name(re.sub(r'\W+', '-', name.lower()).strip('-') or nothing, '', limit)


def names_apart(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """The same names, so that they differ from each other and from `taken` in more than case: take, take-2 ..."""
    there = {name.casefold() for name in taken}
    numbers: dict[str, int] = {}
    found = []
    for name in names:
        apart = name
        while apart.casefold() in there:
            numbers[name] = numbers.get(name, 1) + 1
            apart = f'{name}-{numbers[name]}'
        there.add(apart.casefold())
        found.append(apart)
    return found


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal; raises OSError."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place only if the block ends well.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    path = check_writable(path)
    if path.is_symlink():  # what it points to is written, and the link stays one
        path = check_writable(os.path.realpath(path))
    temporary = hidden_beside(path)
    try:
        # Private until it is finished, and gone if a signal ends us anywhere between here and there.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield temporary
        # A finished file gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror or error}.') from error
    except Exception as error:
        if isinstance(error, GenaudioError) or not (why := no_room(error)):
            raise
        raise GenaudioError(f'Cannot write {path}: {why}.') from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def no_room(error: Exception) -> str | None:
    """Return what a library's own error says of a disk that takes no more; None where it speaks of something else."""
    text = str(error)
    if os.strerror(errno.EFBIG) in text:  # a quota, or a disk for small files (FAT)
        return 'the file is too large for this disk'
    full = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), ' unexpected pos ')  # the last is torch's
    return 'the disk is full' if any(sign in text for sign in full) else None


def hidden_beside(path: Path) -> Path:
    """A name beside `path` that nobody has: what is not finished bears it."""
    mark = f'-{secrets.token_hex(4)}{path.suffix}'
    room = MAX_NAME - len(os.fsencode(mark)) - 1
    return path.with_name('.' + _cut(path.stem, room) + mark)


def find_model(name: str | Path) -> Path:
    """The .onnx file that `name` means: a path, or the name of a bundled model.

    Raises
    ------
    GenaudioError
        If there is none; the message lists the bundled ones.
    """
    path = Path(name)
    if path.suffix == '.onnx' or path.parent != Path():
        try:
            found = path.is_file()
        except (OSError, ValueError):  # a name that is too long
            found = False
        if not found:
            raise GenaudioError(f'No model file at {path}.')
        return path
    bundled = {file.stem: file for file in sorted((presets_dir() / 'models').glob('*.onnx'))}
    if str(name) not in bundled:
        listing = (
            f' Bundled: {", ".join(bundled)}.' if bundled else ' No model is bundled; give the path of an .onnx file.'
        )
        raise GenaudioError(f"No bundled model '{name}'.{did_you_mean(str(name), bundled)}{listing}")
    return bundled[str(name)]


@contextlib.contextmanager
def lock_of(path: Path) -> Iterator[bool]:
    """Hold the lock of a file in the block, without waiting for it; yield whether it was free.

    On Windows nobody holds any, and none is free.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with open(path, 'a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
