"""Whether a file is what an export would give now. No torch: a batch with nothing to do ends before torch loads."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from export.kinds import SOURCES
from export.manifest import Job
from genaudio_core.errors import GenaudioError
from genaudio_core.model_card import read_card

_ROOT = Path(__file__).resolve().parent.parent
_ALWAYS = ('export/graph.py', 'export/job.py', 'genaudio_core/model_card.py')
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
        raise GenaudioError(f'there is no checkpoint {path}: train it, or take the model out of the list') from None
    except OSError as error:
        raise GenaudioError(f'cannot read {path}: {error.strerror}') from error


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
    for name in (*_ALWAYS, *SOURCES.get(job.kind, ())):
        digest.update((_ROOT / name).read_bytes())
    return digest.hexdigest()


def is_up_to_date(job: Job, wanted: str) -> bool:
    """Whether the job's file is there, whole, and made from these sources."""
    if not job.output.exists():
        return False
    try:
        return read_card(job.output).source_hash == wanted
    except GenaudioError:
        return False  # damaged or foreign: export it again
