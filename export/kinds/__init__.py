"""The kinds of models that can be exported. A new kind is one small class and one row in `KINDS`.

This module imports no torch: whether anything is to be done is known before torch is loaded.
"""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from export.kinds.sources import sources_of
from genaudio_core.errors import GenaudioError, did_you_mean
from genaudio_core.inference.model_card import ModelCard

KINDS = {
    'decoder': 'export.kinds.decoder:DecoderKind',
    'arranger': 'export.kinds.arranger:ArrangerKind',
    'clipsep': 'export.kinds.clipsep:ClipsepKind',
    'query-text': 'export.kinds.query:QueryTextKind',
    'query-audio': 'export.kinds.query:QueryAudioKind',
    'stream_separator': 'export.kinds.stream_separator:StreamSeparatorKind',
    'synth-denoiser': 'export.kinds.synthesis:DenoiserKind',
    'synth-prior': 'export.kinds.synthesis:PriorKind',
    'synth-vocoder': 'export.kinds.synthesis:VocoderKind',
}
"""kind -> where its class is."""

SOURCES = {kind: sources_of(place.partition(':')[0]) for kind, place in KINDS.items()}
"""kind -> files that decide what an export of it looks like; when one changes, its models are exported again."""


class ParityError(GenaudioError):
    """The exported graph does not do what the torch model does; the file is not written."""


def strays(got: Any, expected: Any, *, relative: bool = False) -> float:
    """Return the largest difference of two arrays; infinite where either contains NaN or infinity.

    A comparison with NaN is never true, and `max` passes over it: checks on arrays go through here.

    Parameters
    ----------
    relative : bool
        Over the largest value of `expected`.
    """
    got, expected = np.asarray(got), np.asarray(expected)
    if got.shape != expected.shape or not (np.isfinite(got).all() and np.isfinite(expected).all()):
        return float('inf')
    worst = float(np.abs(got - expected).max(initial=0.0))
    return worst / max(float(np.abs(expected).max(initial=0.0)), 1e-30) if relative else worst


@dataclass(frozen=True)
class Options:
    """What a manifest says on one file to be made."""

    variant: str = 'fp32'  # 'fp32', 'fp16' or 'int8'
    target: str = 'cpu'  # 'cpu' or 'cuda'
    held_out: Path | None = None  # music or audio to measure on, never trained on
    max_loss: float | None = None  # how much worse than fp32 a quantised model may be, in the kind's own metric
    extra: dict[str, Any] | None = None  # what only this kind understands


class Kind(ABC):
    """How one kind of model becomes a file. Instances hold no state."""

    name: ClassVar[str]
    variants: ClassVar[tuple[str, ...]] = ('fp32',)

    @abstractmethod
    def load(self, checkpoint: Path) -> Any:
        """Return the torch model (and what else the methods below need) of a checkpoint.

        Raises
        ------
        GenaudioError
            If the checkpoint is missing, damaged or of another kind.
        """

    @abstractmethod
    def build(self, source: Any, options: Options) -> bytes:
        """Return a serialised ``onnx.ModelProto`` without card."""

    @abstractmethod
    def card(self, source: Any, options: Options) -> ModelCard:
        """Return the card, without metrics, tools and hashes."""

    @abstractmethod
    def check(self, source: Any, path: Path, options: Options) -> dict[str, Any]:
        """Run the file at `path` against torch; return what was measured.

        Raises
        ------
        ParityError
            If it strays.
        """

    def check_alone(self, path: Path) -> dict[str, Any]:
        """Run the file at `path` without its checkpoint, against itself where it can be (blocks equal the whole).

        Raises
        ------
        ParityError
            If it contradicts itself.
        """
        return {}


def find_kind(name: str) -> Kind:
    """Return the kind of this name; imports torch.

    Raises
    ------
    GenaudioError
        If there is none.
    """
    if name not in KINDS:
        raise GenaudioError(f"Unknown kind '{name}'.{did_you_mean(name, KINDS)} There are: {', '.join(KINDS)}.")
    module, _, class_name = KINDS[name].partition(':')
    return getattr(importlib.import_module(module), class_name)()
