"""Where inputs and outputs lie: a path, or an address such as ``s3://bucket/song.flac`` (fsspec, extra `cloud`).

A place is a text. A file that is written appears under its name whole or not at all: by renaming where there is such a
thing, and in one piece on object stores, which know nothing else.
"""

import datetime
import errno
import functools
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.files import hidden_beside

_ADDRESS = re.compile(r'[a-z][a-z0-9+.-]+://', re.IGNORECASE)  # not C:\
_RENAMING = {'sftp', 'ssh', 'ftp', 'smb', 'hdfs', 'file', 'local'}  # others make a file whole by themselves
PAUSES = (0.5, 3.0)  # seconds after which a connection that failed is tried again
_NOT_THERE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)  # no fault of a connection
T = TypeVar('T')
TICK = 2.0  # seconds
_STAMPS = ('ETag', 'etag', 'md5Hash', 'generation', 'mtime', 'LastModified', 'last_modified')


class State(NamedTuple):
    """Size and stamp of a file: a cheap way to see that it has changed."""

    bytes: int
    stamp: str  # of the system it lies on: time of its last change, or a hash of its content


class Unreached(GenaudioError):
    """There is no connection to where a place lies."""


def is_address(place: str | Path) -> bool:
    """Whether a place is not of this machine's files."""
    return _ADDRESS.match(str(place)) is not None


def join(root: str, name: str) -> str:
    """The place called `name` (parts joined by ``/``) in the folder `root`."""
    return f'{root.rstrip("/")}/{name}' if is_address(root) else str(Path(root, name))


def reached(place: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it.

    Raises
    ------
    GenaudioError
        If fsspec or what it needs for this kind of address is not installed, or it cannot be reached.
    """
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(place)
    except ImportError as error:
        raise GenaudioError(f"{place} needs more packages: pip install 'genaudio[cloud]' ({one_line(error)})") from None
    except ValueError as error:  # no kind of address that there is
        raise GenaudioError(f'{place} cannot be reached: {one_line(error)}') from error
    except Exception as error:
        raise Unreached(f'{place} cannot be reached: {one_line(error)}') from error


def _again(work: Callable[[str], T]) -> Callable[[str], T]:
    """The same, tried again where a connection fails: it may be one that was kept and is no more."""

    def tried(place: str) -> T:
        for pause in PAUSES:
            try:
                return work(place)
            except (*_NOT_THERE, GenaudioError) as error:
                if not isinstance(error, Unreached):
                    raise
            except Exception:
                with suppress(Exception):
                    type(reached(place)[0]).clear_instance_cache()
            time.sleep(pause)
        return work(place)

    return tried


def state(place: str) -> State | None:
    """Size and stamp of the file there; None if there is none."""
    if is_address(place):
        return _state(place)
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return None
    return State(found.st_size, str(found.st_mtime_ns))


def changed(before: State | None, now: State | None) -> bool:
    """Whether a file is seen to be another one. Of one that was too new for a stamp only its bytes tell."""
    if before is None or now is None:
        return before is not now
    return before.bytes != now.bytes or bool(before.stamp and before.stamp != now.stamp)


@_again
def _state(place: str) -> State | None:
    system, path = reached(place)
    system.invalidate_cache()  # of what others may have written since
    try:
        return state_of(system.info(path))
    except FileNotFoundError:
        return None


def state_of(info: dict[str, Any]) -> State:
    """The state that fsspec's `info` of a file tells; without a stamp if that may be the same after another change."""
    name = next((name for name in _STAMPS if info.get(name)), '')
    return State(int(info.get('size') or 0), f'{name} {info[name]}' if name and not _is_new(info[name]) else '')


def _is_new(stamp: Any) -> bool:
    """Whether a stamp is a time that has only just passed: many systems tell whole seconds."""
    seconds = stamp.timestamp() if isinstance(stamp, datetime.datetime) else stamp
    return isinstance(seconds, int | float) and abs(time.time() - seconds) < TICK


def read_each(places: Sequence[str]) -> list[bytes | None]:
    """The contents of small files, None for one that is not there; of a store many are asked for at once.

    Raises
    ------
    GenaudioError
        If an address does not answer: what it holds would be done again.
    """
    if not places or not is_address(places[0]):
        return [_read(place) for place in places]

    @_again
    def read(first: str) -> list[bytes | None]:
        system, _ = reached(first)
        paths = [system._strip_protocol(place) for place in places]
        found = system.cat(paths, on_error='return')
        found = found if isinstance(found, dict) else {paths[0]: found}
        for fault in found.values():
            if isinstance(fault, Exception) and not isinstance(fault, _NOT_THERE):
                raise fault
        return [data if isinstance(data := found.get(path), bytes) else None for path in paths]

    with _told_of(places[0]):
        return read(places[0])


@contextmanager
def _told_of(place: str) -> Iterator[None]:
    """Say in one line what libraries raise of a connection."""
    try:
        yield
    except GenaudioError:
        raise
    except Exception as error:
        raise GenaudioError(f'{place} cannot be read: {one_line(error)}') from error


def _read(place: str) -> bytes | None:
    try:
        return Path(place).read_bytes()
    except (OSError, ValueError):
        return None


def fetch(place: str, folder: Path) -> Path:
    """The file at a place as one of this machine: itself, or a copy in `folder`.

    Raises
    ------
    OSError, GenaudioError
        If it does not come whole.
    """
    if not is_address(place):
        return Path(place)
    folder.mkdir(parents=True, exist_ok=True)

    @_again
    def get(place: str) -> Path:
        system, path = reached(place)
        copy = folder / (path.rstrip('/').rpartition('/')[2] or 'file')
        wanted = system.info(path).get('size')
        system.get_file(path, str(copy))
        if wanted is not None and copy.stat().st_size != wanted:  # https may not say how long it is
            raise OSError(errno.EIO, f'only {copy.stat().st_size} of {wanted} bytes came')
        return copy

    return get(place)


def give(path: Path, place: str) -> None:
    """Let a finished file, or folder, of this machine take its place; whoever looks finds the old one or the new.

    Raises
    ------
    OSError, GenaudioError
        If it cannot be written there.
    """
    if is_address(place):
        _again(functools.partial(_send, path))(place)
        return
    target = Path(place)
    if target.is_symlink():  # what it points to is written, and the link stays one
        target = Path(os.path.realpath(target))
    if path.is_dir() and target.is_dir():
        shutil.rmtree(target)
    try:
        try:
            os.replace(path, target)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # it does not lie on another disk
            raise
        beside = hidden_beside(target)
        try:
            shutil.copy(path, beside)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


def _send(path: Path, place: str) -> None:
    system, there = reached(place)
    if path.is_dir():
        raise GenaudioError(f'{place} is to be a folder, and folders are written only on this machine.')
    protocols = {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)
    if not protocols & _RENAMING:
        system.put_file(str(path), there)
        return
    folder, _, name = there.rpartition('/')
    system.makedirs(folder, exist_ok=True)
    half = f'{folder}/.{name}.part'
    try:
        system.put_file(str(path), half)
        system.mv(half, there)
    except BaseException:
        with suppress(Exception):  # the same fault may be in the way; the next try writes over it
            system.rm_file(half)
        raise


def list_files(folder: str) -> dict[str, State]:
    """Every file under an address, by its name in there, from as few questions as its system takes.

    Raises
    ------
    GenaudioError
        If it cannot be listed.
    """

    @_again
    def listed(folder: str) -> dict[str, State]:
        system, path = reached(folder)
        system.invalidate_cache()
        above = f'{path.rstrip("/")}/'
        try:
            return {name.removeprefix(above): state_of(info) for name, info in system.find(path, detail=True).items()}
        except FileNotFoundError:
            return {}

    with _told_of(folder):
        return listed(folder)


def in_portions(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items each, the last one of what is left."""
    portion: list[Any] = []
    for item in items:
        portion.append(item)
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion
