"""Putting the plug-ins where hosts look for them, and taking them away again."""

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from bridge.daw import building
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, make_folder, no_room
from genaudio_core.processes.programs import run_program

PLACES = {'.vst3': '.vst3', '.clap': '.clap', '.lv2': '.lv2'}
"""Suffix of a bundle -> folder below the user's home where hosts look."""


def record() -> Path:
    """The file that tells plug-ins which interpreter runs the engine; as in plugin/link.cpp."""
    if named := os.environ.get('GENAUDIO_ENGINE'):
        return Path(named)
    home = os.environ.get('XDG_DATA_HOME') or str(Path.home() / '.local' / 'share')
    return Path(home) / 'genaudio' / 'engine.json'


def installed(to: Path | None = None) -> list[Path]:
    """Return the bundles of ours where hosts look, below the user's home or `to`."""
    home = to or Path.home()
    return sorted(path for place in PLACES.values() for path in (home / place).glob('genaudio-*'))


def why_not_loaded(bundle: Path) -> str:
    """Open a bundle as a host does, in a process of its own; return '' or why it cannot be opened."""
    binary = next((path for path in sorted(bundle.rglob('*.so')) if path.is_file()), bundle)
    entry = {'.vst3': 'GetPluginFactory', '.clap': 'clap_entry', '.lv2': 'lv2_descriptor'}[bundle.suffix]
    code = f'import ctypes, sys; ctypes.CDLL(sys.argv[1]).{entry}'
    try:
        done = run_program([sys.executable, '-c', code, str(binary)], timeout=30)
    except GenaudioError as error:
        return str(error)
    told = done.stderr.decode(errors='replace').strip()
    return told.splitlines()[-1] if done.returncode and told else 'it crashes' if done.returncode else ''


def check() -> str:
    """One line on the plug-ins for `genaudio doctor`; it begins with 'ok', 'note' or 'FIX'."""
    bundles = installed()
    if not bundles:
        return 'note: no plug-ins for a DAW; for those: genaudio plugin install'
    for bundle in bundles:
        if reason := why_not_loaded(bundle):
            return f'FIX: {bundle} does not load ({reason}): genaudio plugin install'
    try:
        python = json.loads(record().read_text())['python']
    except (OSError, ValueError, KeyError, TypeError):
        python = ''
    if not isinstance(python, str) or not os.access(python, os.X_OK):
        return 'FIX: the plug-ins do not find their engine: genaudio plugin install'
    names = sorted({bundle.stem.removeprefix('genaudio-') for bundle in bundles})
    return f'ok: {" and ".join(names)}: {len(bundles)} bundles load'


def install(to: Path | None = None) -> list[Path]:
    """Build the plug-ins if need be, put them below the user's home, or `to`; return the bundles.

    Raises
    ------
    GenaudioError
        If they cannot be built or written.
    """
    built, home, done = building.build(), to or Path.home(), []
    for bundle in sorted(built.glob('genaudio-*')):
        folder = make_folder(home / PLACES[bundle.suffix])
        target, beside = folder / bundle.name, folder / f'.{bundle.name}.new'
        try:
            _remove(beside)
            (shutil.copytree if bundle.is_dir() else shutil.copy2)(bundle, beside)
            _remove(target)  # a host that has it open keeps the old file
            beside.rename(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                _remove(beside)
            raise GenaudioError(f'{target} cannot be written: {no_room(error) or error.strerror or error}.') from None
        done.append(target)
    write_record(record())
    return done


def write_record(path: Path) -> None:
    """Write which interpreter runs the engine, and from where it takes this package.

    Raises
    ------
    GenaudioError
        If the file cannot be written.
    """
    found: dict[str, Any] = {'python': sys.executable}
    root = Path(__file__).parents[2]
    if root.name != 'site-packages':  # from a source tree
        found['path'] = str(root)
    make_folder(path.parent)
    with atomic_write(path) as temporary:  # a host may be about to read it
        temporary.write_text(json.dumps(found) + '\n')


def uninstall(to: Path | None = None) -> list[Path]:
    """Remove what `install` put there; return it.

    Raises
    ------
    GenaudioError
        If something cannot be removed.
    """
    found = installed(to)
    for path in found:
        try:
            _remove(path)
        except OSError as error:
            raise GenaudioError(f'{path} cannot be removed: {error.strerror}.') from None
    record().unlink(missing_ok=True)
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
