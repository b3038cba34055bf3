"""Which files of ours decide what an export looks like: read out of their imports, so that none is missed.

No module is imported for it, only parsed: whether anything is to be done is known before torch is loaded.
"""

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ('export', 'genaudio_core')
# What only reads, writes and tells, and what trains: weights are hashed themselves.
NO_PART = (
    'genaudio_core/command_line.py', 'genaudio_core/errors.py', 'genaudio_core/files.py', 'genaudio_core/programs.py',
    'genaudio_core/sound/audio_files.py', 'genaudio_core/sound/audio_containers.py', 'genaudio_core/tables.py',
    'genaudio_core/training/',
)  # fmt: skip


def _file_of(module: str) -> str | None:
    """The file of a module of ours, as a path from the root; None for any other."""
    if module.split('.')[0] not in _PACKAGES:
        return None
    base = module.replace('.', '/')
    return next((name for name in (f'{base}.py', f'{base}/__init__.py') if (ROOT / name).is_file()), None)


@functools.cache
def _imports(name: str) -> tuple[str, ...]:
    """The files of ours that a file imports at its top."""
    found: list[str] = []
    for node in ast.parse((ROOT / name).read_bytes()).body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f'{node.module}.{alias.name}' for alias in node.names)]
    files = {file for module in found if (file := _file_of(module)) is not None}
    return tuple(sorted(file for file in files if not file.startswith(NO_PART)))


@functools.cache
def sources_of(module: str) -> tuple[str, ...]:
    """The file of `module` and all of ours that it stands on, as paths from the root, sorted."""
    first = _file_of(module)
    if first is None:
        raise ValueError(f'{module} is not one of our modules')
    found, todo = {first}, [first]
    while todo:
        for file in _imports(todo.pop()):
            if file not in found:
                found.add(file)
                todo.append(file)
    return tuple(sorted(found))
