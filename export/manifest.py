"""The list of models to be exported: a TOML file, read without torch.

    [[model]]
    name = "live"                                # files are NAME-VARIANT.onnx beside the manifest ...
    file = "live.onnx"                           # ... or this one, where there is one variant
    kind = "decoder"
    checkpoint = "../../runs/live/best.safetensors"
    variants = ["int8"]                          # fp32, fp16, int8
    target = "cpu"                               # or "cuda"
    held_out = "../../runs/scores.safetensors"   # what quantised variants are judged on
    max_loss = 0.02                              # what they may lose, in the kind's metric
    licence = "CC BY 4.0"
    training_data = ["Mutopia (public domain, CC BY)", "Groove MIDI (CC BY 4.0)"]
    options = { window = 512 }                   # what only this kind understands
    measured = { si_sdr_improvement_db = 5.1 }   # what genaudio-train evaluate found, for the card

Paths are relative to the manifest.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.kinds import KINDS
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.files import read_toml

VARIANTS, TARGETS = ('fp32', 'fp16', 'int8'), ('cpu', 'cuda')
_TYPES: dict[str, type | tuple[type, ...]] = {
    'name': str, 'file': str, 'kind': str, 'checkpoint': str, 'variants': list, 'target': str, 'held_out': str,
    'max_loss': (int, float), 'licence': str, 'training_data': list, 'options': dict,
    'measured': dict,
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One file to be made."""

    name: str
    kind: str
    checkpoint: Path
    output: Path
    variant: str = 'fp32'
    target: str = 'cpu'
    held_out: Path | None = None
    max_loss: float | None = None
    licence: str = ''
    training_data: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    published: bool = False  # the checkpoint is in its authors' layout

    @property
    def label(self) -> str:
        return f'{self.name} ({self.variant})'


@dataclass(frozen=True)
class Fault:
    """A row of the manifest that cannot be exported; the others can."""

    label: str
    why: str


def read_manifest(path: str | Path) -> tuple[list[Job], list[Fault]]:
    """Return the files to be made, and what is wrong with the other rows.

    Raises
    ------
    GenaudioError
        If the manifest itself cannot be read, or names no model.
    """
    path = Path(path)
    content = read_toml(path, 'manifest')
    for key in content:
        if key != 'model':
            raise GenaudioError(f"{path}: unknown key '{key}'.{did_you_mean(key, ['model'])} Models are [[model]].")
    rows = content.get('model', [])
    if not isinstance(rows, list) or not rows:
        raise GenaudioError(f'{path} names no model; each is a table [[model]].')
    jobs: list[Job] = []
    faults: list[Fault] = []
    taken: dict[Path, str] = {}
    for number, row in enumerate(rows, start=1):
        label = str(row.get('name', f'model {number}')) if isinstance(row, dict) else f'model {number}'
        try:
            made = _jobs(row, path.parent)
            for job in made:
                if job.output in taken:
                    raise GenaudioError(f'{job.output.name} is already the file of {taken[job.output]}')
            taken |= {job.output: job.label for job in made}
            jobs += made
        except GenaudioError as error:
            faults.append(Fault(label, str(error)))
    return jobs, faults


def _jobs(row: Any, folder: Path) -> list[Job]:
    if not isinstance(row, dict):
        raise GenaudioError('must be a table [[model]]')
    for key, value in row.items():
        if key not in _TYPES:
            raise GenaudioError(f"unknown key '{key}'.{did_you_mean(key, _TYPES)}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise GenaudioError(f"'{key}' has the wrong type: {value!r}")
    for key in ('name', 'kind', 'checkpoint'):
        if key not in row:
            raise GenaudioError(f"'{key}' is missing")
    if row['kind'] not in KINDS:
        raise GenaudioError(
            f"unknown kind '{row['kind']}'.{did_you_mean(row['kind'], KINDS)} There are: {', '.join(KINDS)}"
        )
    variants, target = row.get('variants', ['fp32']), row.get('target', 'cpu')
    for word, options in [(v, VARIANTS) for v in variants] + [(target, TARGETS)]:
        if word not in options:
            raise GenaudioError(f"'{word}' is none of {', '.join(options)}.{did_you_mean(str(word), options)}")
    if not variants or len(set(variants)) != len(variants):
        raise GenaudioError("'variants' must name each variant once")
    if 'file' in row and len(variants) != 1:
        raise GenaudioError("'file' goes with one variant; leave it out, and the files are NAME-VARIANT.onnx")
    name = row['name']
    jobs = []
    for variant in variants:
        output = folder / row.get('file', f'{name}-{variant}.onnx')
        if output.suffix != '.onnx':
            raise GenaudioError(f"'file' must end in .onnx, not {output.name}")
        job = Job(
            name=name, kind=row['kind'], checkpoint=folder / row['checkpoint'], output=output, variant=variant,
            target=target, held_out=folder / row['held_out'] if 'held_out' in row else None,
            max_loss=row.get('max_loss'), licence=row.get('licence', ''),
            training_data=[str(item) for item in row.get('training_data', [])], options=row.get('options', {}),
            measured=row.get('measured', {}),
        )  # fmt: skip
        jobs.append(job)
    return jobs
