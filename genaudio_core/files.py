"""Where the bundled files are, and writing files so that nothing half-written is ever left."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from genaudio_core.errors import GenaudioError, did_you_mean


def presets_dir() -> Path:
    """The folder of bundled presets; ``models/`` in it holds the bundled .onnx files."""
    return Path(str(files('presets')))


def check_writable(path: str | Path) -> Path:
    """Return `path` if a file can be made there. Commands call this before long work starts.

    Raises
    ------
    GenaudioError
        If the folder is missing or not writable, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise GenaudioError(f'{path} is a folder; give the name of a file to write.')
    if not path.parent.is_dir():
        raise GenaudioError(f'Cannot write {path}: the folder {path.parent} does not exist.')
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise GenaudioError(f'Cannot write {path}: permission denied.')
    return path


@contextlib.contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which takes its place only if the block ends well.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    path = check_writable(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f'.{path.stem}-', suffix=path.suffix, dir=path.parent)
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror}.') from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; a finished file gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise GenaudioError(f'Cannot write {path}: {error.strerror or error}.') from error
    finally:
        temporary.unlink(missing_ok=True)


def find_model(name: str | Path) -> Path:
    """The .onnx file that `name` means: a path, or the name of a bundled model.

    Raises
    ------
    GenaudioError
        If there is none; the message lists the bundled ones.
    """
    path = Path(name)
    if path.suffix == '.onnx' or path.parent != Path():
        if not path.is_file():
            raise GenaudioError(f'No model file at {path}.')
        return path
    bundled = {file.stem: file for file in sorted((presets_dir() / 'models').glob('*.onnx'))}
    if str(name) not in bundled:
        listing = (
            f' Bundled: {", ".join(bundled)}.' if bundled else ' No model is bundled; give the path of an .onnx file.'
        )
        raise GenaudioError(f"No bundled model '{name}'.{did_you_mean(str(name), bundled)}{listing}")
    return bundled[str(name)]
