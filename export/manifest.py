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
from genaudio_core.errors import GenaudioError
from genaudio_core.tables import Anything, Rows, Setting, Table, read_checked

VARIANTS, TARGETS = ('fp32', 'fp16', 'int8'), ('cpu', 'cuda')
ROW = Table(
    {
        'name': Setting(kind=str),
        'file': Setting('', 'instead of NAME-VARIANT.onnx, where there is one variant'),
        'kind': Setting(kind=str, choices=tuple(KINDS)),
        'checkpoint': Setting(kind=str),
        'variants': Setting(('fp32',), 'precisions', low=1, choices=VARIANTS),
        'target': Setting('cpu', 'what it runs on', choices=TARGETS),
        'held_out': Setting('', 'data that quantised variants are judged on'),
        'max_loss': Setting(None, "what they may lose, in the kind's metric", 0, kind=float),
        'licence': Setting(''),
        'training_data': Setting((), 'sources, with their licences'),
        'options': Setting({}, 'what only this kind understands'),
        'measured': Setting({}, 'what an evaluation found, for the card'),
    },
    example='write [[model]] above its settings',
)
"""One [[model]]."""
_MANIFEST = Table({'model': Rows(Anything(), 1)})  # each row on its own: one that is wrong stops no other


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
    rows = read_checked(path, 'manifest', lambda table: _MANIFEST.check('', table))['model']
    jobs: list[Job] = []
    faults: list[Fault] = []
    taken: dict[Path, str] = {}
    for number, row in enumerate(rows, start=1):
        label = str(row.get('name', f'model {number}'))
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
    told = ROW.check('model', row)
    variants, file = told.pop('variants'), told.pop('file')
    if file and len(variants) != 1:
        raise GenaudioError("'file' goes with one variant; leave it out, and the files are NAME-VARIANT.onnx.")
    if file and not file.endswith('.onnx'):
        raise GenaudioError(f"'file' must end in .onnx, not {file}.")
    told |= {
        'checkpoint': folder / told['checkpoint'], 'training_data': list(told['training_data']),
        'held_out': folder / told['held_out'] if told['held_out'] else None,
    }  # fmt: skip
    return [
        Job(**told, output=folder / (file or f'{told["name"]}-{variant}.onnx'), variant=variant) for variant in variants
    ]
