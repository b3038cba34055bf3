"""The parts of a job: its items, and the step that does one of them."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Item:
    """One independent piece of a job.

    Parameters
    ----------
    outputs
        Names of what it makes, at least one, in the job's folder; parts of a path are joined by ``/``.
    inputs
        Places that are read (`places`).
    asked
        What decides the outputs besides inputs and what is asked of the whole job; JSON can say it.
    """

    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the item in the job's own files: its first output."""
        return self.outputs[0]

    @property
    def label(self) -> str:
        """Name of the item in messages: its first input, if it has one."""
        return self.inputs[0] if self.inputs else self.name


class Task(NamedTuple):
    """An item as a step gets it: files of this machine."""

    item: Item
    inputs: list[Path]  # that may be copies
    outputs: list[Path]  # to write; they are put in their places when all are there
    places: list[str]  # which these are
    share: Callable[[float], None]  # to be told how much of it is done, 0..1


class Step(Protocol):
    """The work on one item. A step travels to other processes by pickle; the tools that it opens stay there."""

    def open(self) -> Any:
        """Return the tools (a loaded model, say), once in each process. A fault here is one of the whole job."""
        ...

    def do(self, tools: Any, task: Task) -> Mapping[str, Any] | None:
        """Write the outputs; return what is to be told of the item, as JSON can say it."""
        ...

    def close(self, tools: Any) -> None:
        """Let go of the tools."""
        ...


@runtime_checkable
class TravellingStep(Step, Protocol):
    """A step that other machines can do, too: what it reads goes along, and whether they would do the same is seen."""

    def files(self) -> Iterable[Path]:
        """Return the files that `open` and `do` read besides inputs and what is installed: the user's own models."""
        ...

    def with_files(self, places: Mapping[Path, Path]) -> 'TravellingStep':
        """Return the same step, its `files` elsewhere."""
        ...

    def asked(self, tools: Any) -> dict[str, Any]:
        """Return what decides the outputs of all items, as this machine would have it: models by their hash."""
        ...


def in_shard(name: str, shard: tuple[int, int]) -> bool:
    """Whether an item of this name is in the first, second ... of so many shards. A longer list moves none."""
    number, count = shard
    if count == 1:
        return True
    place = int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], 'big')
    return place % count == number - 1
