"""Side-cars: beside each output, in a hidden folder, what it was made of. They say what need not be done again.

``OUT/.genaudio/song.violin.wav.json`` is of the item whose first output is ``OUT/song.violin.wav``.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genaudio_core import __version__
from genaudio_core.errors import GenaudioError
from genaudio_core.files import file_sha256, fitting_name
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.places import State, fetch, is_address, join, state

FOLDER = '.genaudio'  # in the folder of outputs: side-cars, journals, and what is not finished
FORMAT = 1


def content_sha256(path: str | Path) -> str:
    """SHA-256 of a file, or of all files in a folder and their names.

    Raises
    ------
    GenaudioError
        If there is none, or it cannot be read.
    """
    try:
        if not os.path.isdir(path):
            return file_sha256(path)
        digest = hashlib.sha256()
        for file in sorted(file for file in Path(path).rglob('*') if file.is_file()):
            digest.update(os.fsencode(f'{file.relative_to(path).as_posix()}\0{file_sha256(file)}\n'))
        return digest.hexdigest()
    except (OSError, ValueError) as error:
        raise GenaudioError(f'Cannot read {path}: {getattr(error, "strerror", None) or error}.') from error


def side_car(root: str, name: str) -> str:
    """Where the side-car of an item lies."""
    folder, slash, last = name.rpartition('/')
    return join(root, f'{FOLDER}/{folder}{slash}{fitting_name(last, ".json")}')


def plain(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return `asked` as it comes back from JSON: tuples are lists, and keys are text."""
    return json.loads(json.dumps(asked))


def record(
    item: Item, asked: Mapping[str, Any], files: Sequence[Path], before: Sequence[State | None],
    sizes: Mapping[str, int | None], **told: Any,
) -> bytes:  # fmt: skip
    """The side-car of an item that was made of `files`, whose states were `before`; `sizes` are those of its outputs.

    Raises
    ------
    OSError
        If an input has gone away.
    """
    inputs = [
        {'place': place, 'bytes': was.bytes if was else None, 'stamp': was.stamp if was else '',
         'sha256': file_sha256(file)}
        for place, file, was in zip(item.inputs, files, before, strict=True)
    ]  # fmt: skip
    whole = {
        'genaudio_job': FORMAT, 'version': __version__, 'asked': {**asked, **item.asked}, 'inputs': inputs,
        'outputs': dict(sizes), **told,
    }  # fmt: skip
    return (json.dumps(whole, indent=1) + '\n').encode()


def read_record(data: bytes | None) -> dict[str, Any] | None:
    """Return the content of a side-car; None if it is missing, cut off or something else."""
    try:
        found = json.loads(data or b'')
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get('genaudio_job') == FORMAT else None


def is_done(
    found: Mapping[str, Any] | None, item: Item, asked: Mapping[str, Any], root: str,
    listed: Mapping[str, State] | None = None,
) -> bool:  # fmt: skip
    """Whether an item need not be done: its outputs are there, and its side-car is of this and nothing else.

    An input that is where it was, with the size and the stamp that it had, is not read again.

    Parameters
    ----------
    asked
        Of the whole job, `plain`.
    listed
        What there is under `root`, where that has been asked for (`places.list_files`).
    """
    if found is None or found.get('version') != __version__ or found.get('asked') != {**asked, **plain(item.asked)}:
        return False
    outputs, inputs = found.get('outputs'), found.get('inputs')
    if not isinstance(outputs, dict) or list(outputs) != list(item.outputs):
        return False
    for name, size in outputs.items():
        there = listed.get(name) if listed is not None else state(join(root, name))
        if there is None or (there.bytes != size and size is not None):
            return False
    if not isinstance(inputs, list) or len(inputs) != len(item.inputs):
        return False
    return all(_is_same(was, place) for was, place in zip(inputs, item.inputs, strict=True))


def _is_same(was: Any, place: str) -> bool:
    now = state(place)
    if now is None or not isinstance(was, dict) or was.get('bytes') != now.bytes:
        return False
    if was.get('place') == place and was.get('stamp') == now.stamp and now.stamp:
        return True
    if not is_address(place):
        return file_sha256(place) == was.get('sha256')
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return file_sha256(fetch(place, Path(folder))) == was.get('sha256')


def size_of(path: Path) -> int | None:
    """Bytes of an output; None for a folder."""
    return None if path.is_dir() else os.stat(path).st_size
