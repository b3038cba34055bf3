"""One item done, in whatever process: inputs fetched, outputs made aside and put in their places, its side-car last."""

import contextlib
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.interruption import raise_if_stopped
from genaudio_core.jobs.items import Item, Step, Task, TravellingStep
from genaudio_core.jobs.machine import Carried, put_down, this_machine, this_worker
from genaudio_core.jobs.places import changed, fetch, give, is_address, join, state
from genaudio_core.jobs.records import plain, record, side_car, size_of
from genaudio_core.processes.memory import forget_peak, peak_memory

PACKAGES = ('genaudio_core', 'bridge', 'export')  # whose notices travel back to the person


@dataclass(frozen=True)
class Card:
    """All that a worker process needs to know about a job."""

    run: str  # what this run is called; the tools of a process are its
    root: str
    stage: str | None  # a folder of this run for what is not finished; None: one of the machine that works
    step: Step
    asked: Mapping[str, Any]
    debug: bool = False
    carried: tuple[Carried, ...] | None = None  # files of the step; None: all is done on the machine that began it


class Outcome(NamedTuple):
    """The result of one item."""

    told: dict[str, Any] | None
    lines: list[str]  # notices
    why: str | None  # it failed
    seconds: float
    peak_mb: float | None  # where the system tells
    where: str  # host:pid


class NotReady(GenaudioError):
    """The tools of the job could not be made: no item can be done."""


_tools: dict[str, tuple[Step, Any]] = {}  # of this process, by the run they are for


def tools_of(card: Card) -> tuple[Step, Any]:
    """The step of a job and its tools in this process; those of the job before are let go."""
    if card.run not in _tools:
        close_tools()
        try:
            _tools[card.run] = _opened(card)
        except (GenaudioError, OSError) as error:
            raise NotReady(str(error)) from error
    return _tools[card.run]


def _opened(card: Card) -> tuple[Step, Any]:
    step = card.step
    if card.carried is None:
        return step, step.open()
    if not isinstance(step, TravellingStep):
        return step, step.open()
    step = step.with_files({carried.path: put_down(carried) for carried in card.carried})
    tools = step.open()
    if plain(step.asked(tools)) != card.asked:
        step.close(tools)
        raise GenaudioError(
            f'{this_machine()} has other models, or reads other files, than the machine that began this.'
        )
    return step, tools


def close_tools() -> None:
    """Let go of what this process works with."""
    while _tools:
        step, tools = _tools.popitem()[1]
        step.close(tools)


def do_item(card: Card, item: Item, share: Callable[[float], None] = lambda done: None) -> Outcome:
    """Do one item; what goes wrong with it is told in its outcome.

    Raises
    ------
    NotReady
        If nothing can be done in this process.
    """
    began, told, why = time.monotonic(), None, None
    forget_peak()
    with _notices() as lines:
        step, tools = tools_of(card)
        try:
            told = _do(card, item, step, tools, share, began)
        except Exception as error:
            raise_if_stopped()
            if card.debug:
                raise
            why = _why(error, item)
    return Outcome(told, lines, why, time.monotonic() - began, _peak_mb(), this_worker())


def _why(error: Exception, item: Item) -> str:
    if isinstance(error, GenaudioError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = error.filename2 or error.filename  # of a file that is renamed: where it was to be
        return f'{item.label}: {error.strerror}' + (f' ({place})' if place else '')
    return f'{item.label}: {type(error).__name__}: {one_line(error)}'


def _do(card: Card, item: Item, step: Step, tools: Any, share: Callable[[float], None], began: float) -> dict[str, Any]:
    spent = True
    if card.stage is None:
        stage = Path(tempfile.mkdtemp(prefix='genaudio-'))
    else:  # of this process, for item after item: to take away a folder is what takes longest of an item of nothing
        stage = Path(card.stage, this_worker().replace(':', '-'))
        stage.mkdir(exist_ok=True)
    try:
        before = [state(place) for place in item.inputs]
        inputs = [fetch(place, stage / f'.input-{i}') for i, place in enumerate(item.inputs)]
        places = [join(card.root, name) for name in item.outputs]
        outputs = [stage / name for name in item.outputs]
        for folder in {output.parent for output in outputs} - {stage}:
            folder.mkdir(parents=True, exist_ok=True)
        try:
            told = step.do(tools, Task(item, inputs, outputs, places, share))
        except Exception as error:
            raise _of_its_place(error, stage, card.root) from error
        sizes = {name: size_of(output) for name, output in zip(item.outputs, outputs, strict=True)}
        side = stage / '.side-car'
        side.write_bytes(record(
            item, card.asked, inputs, before, sizes, seconds=round(time.monotonic() - began, 3),
            peak_mb=_peak_mb(), where=this_machine(), told=told,
        ))  # fmt: skip
        if any(changed(was, state(place)) for was, place in zip(before, item.inputs, strict=True)):
            raise GenaudioError(f'{item.label} changed while it was read; the next run does it again.')
        for output, place in zip(outputs, places, strict=True):
            give(output, place)
        give(side, side_car(card.root, item.name))
        spent = card.stage is None or any(map(is_address, item.inputs))  # else nothing is left in it
        return dict(told or {})
    finally:
        if spent:
            shutil.rmtree(stage, ignore_errors=True)


def _of_its_place(error: Exception, stage: Path, root: str) -> Exception:
    """The error as it would be told if the file had been written in its place."""
    if isinstance(error, GenaudioError) and str(stage) in str(error):
        return GenaudioError(str(error).replace(str(stage), root.rstrip('/')))
    return error


@contextlib.contextmanager
def _notices() -> Iterator[list[str]]:
    """Keep what our packages log in the block: it is told where the job was begun, with the name of the item."""
    lines: list[str] = []
    handler, before = logging.Handler(logging.WARNING), []
    handler.emit = lambda record: lines.append(record.getMessage())
    for logger in map(logging.getLogger, PACKAGES):
        before.append((logger, logger.handlers, logger.propagate))
        logger.handlers, logger.propagate = [handler], False
    try:
        yield lines
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate


def _peak_mb() -> float | None:
    most = peak_memory()
    return most if most is None else round(most / 1e6, 1)
