"""The machine that works on a job, where that is not the one which began it: its name, and files that came along."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from genaudio_core import __version__
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, file_sha256, make_folder

_called: list[str] = []


def call_this_machine(name: str) -> None:
    """Give this process' machine another name than it has by itself: in a cluster several may have the same."""
    _called[:] = [name]


def this_worker() -> str:
    """Machine and process, as a journal tells them."""
    return f'{this_machine()}:{os.getpid()}'


def this_machine() -> str:
    """The name of the machine: what it calls itself, or its address in a cluster."""
    return _called[0] if _called else socket.gethostname()


def check_machine(version: str, sees: Mapping[str, str]) -> None:
    """Check that this machine can do what another has begun.

    Parameters
    ----------
    version
        Of genaudio there.
    sees
        Of `cluster.Cluster`.

    Raises
    ------
    GenaudioError
        If it cannot.
    """
    if version != __version__:
        raise GenaudioError(f'{this_machine()} has genaudio {__version__}, and {version} is needed.')
    for place, token in sees.items():
        if not os.path.exists(token):
            raise GenaudioError(f'{this_machine()} does not see {place}, which all nodes must: on a shared disk, at '
                                'the same path (a command that takes addresses may be given one).')  # fmt: skip


class Carried(NamedTuple):
    """A file (a model) that goes along with a step to other machines."""

    path: Path  # as the step names it
    sha256: str
    data: np.ndarray  # uint8: an array lies in the memory that processes share

    @classmethod
    def of(cls, path: Path) -> 'Carried':
        """Read a file.

        Raises
        ------
        OSError
            If that cannot be.
        """
        return cls(path, file_sha256(path), np.fromfile(path, np.uint8))


def put_down(carried: Carried) -> Path:
    """Return where the file lies on this machine: in the cache, once for all processes and jobs.

    Raises
    ------
    GenaudioError
        If it cannot be written.
    """
    import platformdirs

    path = Path(platformdirs.user_cache_dir('genaudio'), 'carried', carried.sha256, carried.path.name)
    try:
        if path.is_file() and file_sha256(path) == carried.sha256:
            return path
        make_folder(path.parent)
        with atomic_write(path) as temporary:
            carried.data.tofile(temporary)
    except OSError as error:
        raise GenaudioError(f'{this_machine()} cannot keep {carried.path.name}: {error.strerror}.') from error
    return path
