"""From a checkpoint to a checked file: build, write aside, run against torch, and only then give it its name."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.explained import reading
from export.kinds import Options, ParityError, find_kind, strays
from export.manifest import Job
from export.up_to_date import note, tool_versions
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, check_writable, make_folder
from genaudio_core.inference.model_card import (
    ModelFile,
    nan_weight,
    read_card,
    read_model,
    with_card,
    without_card,
    write_model,
)

READING_KEY = 'reading'  # of a card's details: what the graph's inputs and outputs are
WEIGHT_TOLERANCE = 1e-4  # relative; folding weights together rounds differently from version to version
RECORDED_FACTOR, RECORDED_FLOOR = 30.0, 2e-5  # inputs are drawn anew, and machines add up in other orders


@dataclass(frozen=True)
class Result:
    """The outcome of a job."""

    label: str
    file: str
    state: str  # 'exported', 'up to date', 'verified', 'not compared' (sound, without its checkpoint) or 'failed'
    why: str = ''  # it failed
    megabytes: float = 0.0
    ratio: float = 0.0  # size of the checkpoint over size of the file
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)


def export(job: Job, source_hash: str, source: Any = None) -> Result:
    """Export one file. Nothing is written if the graph strays from torch.

    Parameters
    ----------
    source : optional
        The loaded model, where the checkpoint is not one of ours.

    Raises
    ------
    GenaudioError
        If the checkpoint cannot be read, the kind has no such variant, or the graph strays.
    """
    started = time.monotonic()
    kind = find_kind(job.kind)
    if job.variant not in kind.variants:
        raise GenaudioError(f"a {job.kind} has no variant '{job.variant}', only {', '.join(kind.variants)}")
    make_folder(job.output.parent)
    check_writable(job.output)
    options = Options(job.variant, job.target, job.held_out, job.max_loss, job.options)
    source = kind.load(job.checkpoint) if source is None else source
    data = kind.build(source, options)
    _check_weights(data)
    card = kind.card(source, options)
    if training := training_of(job.checkpoint):
        card = replace(card, details={**card.details, 'training': training})
    card = replace(card, details={**card.details, READING_KEY: reading(card)})
    card = replace(
        card, name=job.name, variant=job.variant, target=job.target, licence=job.licence,
        training_data=job.training_data, source_hash=source_hash, tools=tool_versions(),
    )  # fmt: skip
    with atomic_write(job.output) as temporary:
        write_model(temporary, data, card)
        # What is checked is the file itself, through the loader that everybody uses.
        metrics = {**job.measured, **kind.check(source, temporary, options)}
        temporary.write_bytes(with_card(data, replace(card, metrics=metrics)))
        new = read_model(temporary, job.kind)
        kept = _as_before(job, new)
        if kept is not None:  # the same graph and weights under the same card: the file stays, for it is kept for ever
            note(job.output, kept.card.sha256, source_hash)
            temporary.write_bytes(kept.data)
    return Result(
        job.label, str(job.output), 'exported', megabytes=_megabytes(job.output),
        ratio=job.checkpoint.stat().st_size / job.output.stat().st_size,
        seconds=time.monotonic() - started, metrics=metrics,
    )  # fmt: skip


def _as_before(job: Job, new: ModelFile) -> ModelFile | None:
    """The file that is there, if it says and does the same as the new one, but for when and how it was made."""
    if not job.output.exists():
        return None
    try:
        old = read_model(job.output, job.kind)
    except GenaudioError:
        return None
    if READING_KEY not in old.card.details:  # made before files explained themselves
        return None

    def plain(model: ModelFile) -> tuple[bytes, dict[str, Any]]:
        measured = {name: model.card.metrics.get(name) for name in job.measured}
        # How the graph is read follows from the graph: other words for it come into the file when the weights change.
        details = {name: value for name, value in model.card.details.items() if name != READING_KEY}
        card = replace(model.card, source_hash='', tools={}, metrics=measured, details=details)
        return without_card(model.data), json.loads(card.to_json())

    return old if plain(old) == plain(new) else None


def _check_weights(data: bytes) -> None:
    """Refuse a graph that contains NaN or infinity.

    Raises
    ------
    ParityError
        With the name of the weight.
    """
    if weight := nan_weight(data):
        raise ParityError(f"it has NaN or infinite weights ('{weight}'): train it again")


def training_of(checkpoint: Path) -> dict[str, Any]:
    """Return what a checkpoint of ours says on its training: steps, losses, hardware, settings. Empty for any other."""
    from genaudio_core.training.loops.checkpoints import (
        read_checkpoint_info,  # loads torch: only where something is exported
    )

    try:
        info = read_checkpoint_info(checkpoint)
    except GenaudioError:
        return {}
    # Vocabularies, as lists or long tables, are the kind's own business.
    return {key: v for key, v in info.items() if not isinstance(v, list) and not (isinstance(v, dict) and len(v) > 40)}


def verify(path: Path, job: Job | None) -> Result:
    """Check an existing file again: card, hash, and, if its checkpoint is at hand, every weight and parity.

    Without the checkpoint it is compared with itself alone, and is 'not compared'.

    Raises
    ------
    GenaudioError
        If the file is not sound.
    """
    started = time.monotonic()
    card = read_card(path)
    kind = find_kind(card.kind)
    _check_weights(path.read_bytes())
    if job is not None and job.checkpoint.exists():
        options = Options(card.variant, card.target, job.held_out, job.max_loss, job.options)
        source = kind.load(job.checkpoint)
        metrics = kind.check(source, path, options)
        _check_recorded(metrics, card.metrics, card.variant)
        metrics['weights'] = compare_weights(weights_of(path.read_bytes()), weights_of(kind.build(source, options)))
        state = 'verified'
    else:
        metrics, state = kind.check_alone(path), 'not compared'
    return Result(
        f'{card.name} ({card.variant})', str(path), state, megabytes=_megabytes(path),
        seconds=time.monotonic() - started, metrics=metrics,
    )  # fmt: skip


def _check_recorded(found: dict[str, Any], recorded: dict[str, Any], variant: str) -> None:
    """Refuse a parity far above the one that was measured when the file was made.

    A kind's tolerance is made for its worst network; another network of the kind may be a thousand times closer.

    Raises
    ------
    ParityError
        If it is.
    """
    before, now = recorded.get('parity'), found.get('parity')
    if variant != 'fp32' or not isinstance(before, float) or not isinstance(now, float):
        return
    allowed = max(RECORDED_FACTOR * before, RECORDED_FLOOR)
    if not now <= allowed:
        raise ParityError(
            f'it strays from torch by {now:.2g}, and by {before:.2g} when it was made (allowed: {allowed:.2g})'
        )


def weights_of(data: bytes) -> dict[str, np.ndarray]:
    """The weights of a serialised graph by their names."""
    import onnx
    from onnx import numpy_helper

    return {w.name: numpy_helper.to_array(w) for w in onnx.load_model_from_string(data).graph.initializer}


def compare_weights(ours: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Largest relative difference of the weights of two graphs, those of one name compared.

    Raises
    ------
    ParityError
        If one differs by more than rounding, or a weight of one is missing in the other.
    """
    if ours.keys() != expected.keys():
        name = sorted(ours.keys() ^ expected.keys())[0]
        raise ParityError(f"its weights are not those that its checkpoint gives ('{name}' is in one alone)")
    worst = 0.0
    for name, value in expected.items():
        if value.dtype.kind not in 'fiu' or not value.size:
            continue
        error = strays(ours[name].astype(np.float64), value.astype(np.float64), relative=True)
        if not error <= WEIGHT_TOLERANCE:
            raise ParityError(f"its weight '{name}' differs from the checkpoint's by {error:.2g}")
        worst = max(worst, error)
    return worst


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6
