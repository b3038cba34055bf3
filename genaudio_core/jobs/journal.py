"""A record of which item ran where: a file of JSON lines for each run, in ``OUT/.genaudio/journal/``.

A run that was killed leaves a last line that may be cut off; whoever reads passes over what is no line.
"""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from genaudio_core.jobs.places import give, is_address, join, list_files, read_each
from genaudio_core.jobs.records import FOLDER

JOURNALS = f'{FOLDER}/journal'
UPLOADED = 60.0  # seconds after which the journal of a run that goes on is where others can read it, too
_log = logging.getLogger(__name__)


class Journal:
    """The journal of one run. Where it cannot be written (a full disk), that is told once and the run goes on.

    Parameters
    ----------
    root
        The job's folder.
    run
        What the run is called.
    beside
        A folder of this machine, for a journal that is then sent to an address.
    """

    def __init__(self, root: str, run: str, beside: Path) -> None:
        name = f'{time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())}-{run}.jsonl'
        self._place = join(root, f'{JOURNALS}/{name}')
        self._path = beside / name if is_address(root) else Path(self._place)
        self._told, self._sent = False, time.monotonic()
        self._file: Any = None
        self._try(self._open)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._path, 'ab', buffering=0)  # noqa: SIM115

    def _try(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:
            if not self._told:
                _log.warning('The journal of this run is not complete: %s', getattr(error, 'strerror', None) or error)
            self._told = True

    def write(self, **entry: Any) -> None:
        """Add a line."""
        if self._file is not None:
            self._try(self._file.write, line_of(entry))
        if self._path != Path(self._place) and time.monotonic() - self._sent > UPLOADED:
            self._try(self._send)

    def _send(self) -> None:
        self._sent = time.monotonic()
        copy = self._path.with_suffix('.sent')
        copy.write_bytes(self._path.read_bytes())
        give(copy, self._place)

    def __enter__(self) -> 'Journal':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        if self._file is not None:
            self._file.close()
        if is_address(self._place):
            self._try(self._send)


def line_of(entry: dict[str, Any]) -> bytes:
    """A line of a journal."""
    return json.dumps({'at': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()), **entry}).encode() + b'\n'


def entries(data: bytes) -> Iterator[dict[str, Any]]:
    """The entries of a journal, whatever was cut off."""
    for line in data.split(b'\n'):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def journals_of(root: str) -> Iterator[bytes]:
    """The journals of a job's folder, oldest first."""
    folder = join(root, JOURNALS)
    if is_address(root):
        found = [join(folder, name) for name in sorted(list_files(folder)) if name.endswith('.jsonl')]
    else:
        found = [str(path) for path in sorted(Path(folder).glob('*.jsonl'))]
    yield from (data for data in read_each(found) if data)


def failed_last(journals: Iterable[bytes]) -> set[str]:
    """Names of the items that were tried and have not been done since."""
    failed: set[str] = set()
    for data in journals:
        for entry in entries(data):
            (failed.add if entry.get('state') == 'failed' else failed.discard)(str(entry.get('item')))
    return failed
