"""Whether a file is what an export would give now. No torch: a batch with nothing to do ends before torch loads."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from export.kinds import SOURCES
from export.kinds.sources import ROOT, sources_of
from export.manifest import Job
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, where_checkpoints_are
from genaudio_core.inference.model_card import read_card

_ROOT = ROOT
_ALWAYS = sources_of('export.job')
TOOLS = ('torch', 'onnx', 'onnxscript', 'onnxruntime-gpu', 'onnxruntime', 'genaudio')


def tool_versions() -> dict[str, str]:
    """Versions of what an export depends on, as far as installed."""
    found = {}
    for name in TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_hash(path: Path) -> str:
    """SHA-256 of a file.

    Raises
    ------
    GenaudioError
        If it cannot be read.
    """
    try:
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest()
    except FileNotFoundError:
        advice = where_checkpoints_are(path)
        or_else = f'.{advice}' if advice else ': train it, or take the model out of the list'
        raise GenaudioError(f'the checkpoint {path} does not exist{or_else}') from None
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        raise GenaudioError(f'cannot read {path}: {getattr(error, "strerror", None) or error}') from error


def source_hash(job: Job) -> str:
    """Hash of the weights, of what is asked for, and of the code that exports this kind.

    The data that a quantised model is measured on is named, not hashed: it is large, and only judges.
    """
    digest = hashlib.sha256(file_hash(job.checkpoint).encode())
    asked = {
        'name': job.name, 'kind': job.kind, 'variant': job.variant, 'target': job.target, 'max_loss': job.max_loss,
        'held_out': job.held_out.name if job.held_out else None, 'licence': job.licence,
        'training_data': job.training_data, 'options': job.options, 'measured': job.measured,
    }  # fmt: skip
    digest.update(json.dumps(asked, sort_keys=True, default=str).encode())
    for name in sorted({*_ALWAYS, *SOURCES.get(job.kind, ())}):
        digest.update((_ROOT / name).read_bytes())
    return digest.hexdigest()


def is_up_to_date(job: Job, wanted: str) -> bool:
    """Whether the job's file is there, whole, and what these sources give."""
    if not job.output.exists():
        return False
    try:
        card = read_card(job.output)
    except GenaudioError:
        return False  # damaged or foreign: export it again
    return card.source_hash == wanted or _noted(job.output).get(job.output.name) == [card.sha256, wanted]


SIDE_FILE = 'sources.json'
"""Beside models: file -> [its hash, the source hash that gives these very weights and this graph].

A source that changes without changing what is exported leaves the file as it is, since each version of a model is kept
for ever in a repository, and is noted here.
"""


def _noted(output: Path) -> dict[str, list[str]]:
    try:
        found = json.loads((output.parent / SIDE_FILE).read_text(encoding='utf-8'))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def note(output: Path, sha256: str, wanted: str) -> None:
    """Note in the side file that the file at `output`, of this hash, is what the sources `wanted` give."""
    side = output.parent / SIDE_FILE
    with locked(side):  # the others of a batch note theirs at the same time
        noted = _noted(output) | {output.name: [sha256, wanted]}
        kept = {name: noted[name] for name in sorted(noted) if (output.parent / name).exists()}
        with atomic_write(side) as temporary:
            temporary.write_text(json.dumps(kept, indent=1) + '\n', encoding='utf-8')


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process of this program holds `path`, and hold it (nothing on Windows: one worker notes)."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
