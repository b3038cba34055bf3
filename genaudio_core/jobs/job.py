"""A whole job: what is done already is passed over, what fails is told and counted, and the rest goes on."""

import contextlib
import functools
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from genaudio_core.errors import GenaudioError, printable
from genaudio_core.files import lock_of, make_folder
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.items import Item, Step, TravellingStep, in_shard
from genaudio_core.jobs.journal import Journal, failed_last, journals_of
from genaudio_core.jobs.machine import Carried
from genaudio_core.jobs.places import in_portions, is_address, list_files, read_each
from genaudio_core.jobs.pool import each
from genaudio_core.jobs.records import FOLDER, is_done, plain, read_record, side_car
from genaudio_core.jobs.work import Card, NotReady, Outcome, close_tools, do_item
from genaudio_core.progress import progress_bar

TOLD = 10_000  # items whose results are kept in memory
SHOWN = 20  # failures that are told one by one; all are in the journal
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a job is done; none of it changes what comes out."""

    workers: int | None = None  # processes; None: this one
    shard: tuple[int, int] = (1, 1)  # the first, second ... of so many
    retry_failed: bool = False  # only what failed when it was last tried
    dry_run: bool = False  # only say what there is to do
    force: bool = False  # also what is done
    debug: bool = False  # the first failure ends it
    cluster: Cluster | None = None  # whose nodes do it, instead of this machine


@dataclass
class Report:
    """The result of a job: numbers of items, and labels of those that failed or are still to do."""

    asked: int = 0  # items of this run: those of its shard, and those that failed where only these are wanted
    done: int = 0
    already: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # label of the item -> why
    told: list[dict[str, Any]] = field(default_factory=list)  # of the items that are done, now or before: the first
    to_do: list[str] | None = None  # of a dry run: labels of what is not done

    @property
    def exit_code(self) -> int:
        """Of the command: 1 if anything failed."""
        return 1 if self.failed else 0

    def as_dict(self) -> dict[str, Any]:
        """For a command to return."""
        if self.to_do is not None:
            return {'to_do': len(self.to_do), 'already_done': self.already, 'items': self.to_do[:TOLD]}
        return {'done': self.done, 'already_done': self.already, 'skipped': list(self.failed),
                'exit_code': self.exit_code}  # fmt: skip


def run_job(
    root: str | Path, step: Step, items: Iterable[Item], asked: Mapping[str, Any], options: Options | None = None,
    *, doing: str = 'working',
) -> Report:  # fmt: skip
    """Do every item of a job that is not done.

    Parameters
    ----------
    root
        Folder of the outputs: a path or an address.
    asked
        What decides the outputs of all items: models (by their hash), queries, settings; JSON can say it.
    doing
        For the progress bar.

    Raises
    ------
    GenaudioError
        If nothing can be done: no folder, no model. What goes wrong with one item is in the report.
    """
    root, options, asked = str(root), options or Options(), plain(asked)
    wanted = failed_last(journals_of(root)) if options.retry_failed else None
    mine = [
        item for item in items
        if in_shard(item.name, options.shard) and (wanted is None or item.name in wanted)
    ]  # fmt: skip
    report = Report(len(mine))
    todo = _not_done(root, mine, asked, options.force, report)
    if options.dry_run:
        report.to_do = [item.label for item in todo]
        return report
    with contextlib.ExitStack() as stack:
        run = secrets.token_hex(4)
        stage = stack.enter_context(_stage(root, run))
        journal = stack.enter_context(Journal(root, run, stage))
        show = stack.enter_context(progress_bar(doing, len(mine)))
        stack.callback(close_tools)
        card = Card(
            run, root, None if is_address(root) else str(stage), step, asked, options.debug,
            _carried(step) if options.cluster else None,
        )  # fmt: skip
        pace = _Pace(doing, len(mine), report, show)
        work = functools.partial(do_item, card)
        if options.workers is None and options.cluster is None:
            work = functools.partial(work, share=pace.show)
        cluster = options.cluster
        if cluster is not None and card.stage is not None:
            cluster = replace(cluster, sees={root: card.stage})
        outcomes = stack.enter_context(contextlib.closing(each(work, todo, options.workers, cluster)))
        try:
            for item, outcome in outcomes:
                _note(item, outcome, report, journal, options)
                pace.show()
        except KeyboardInterrupt:
            _log.warning('%d of %d are done; the same command goes on from here.', report.done + report.already,
                         report.asked)  # fmt: skip
            raise
    if len(report.failed) > SHOWN:
        _log.warning('%d more could not be done; the journal in %s/%s tells why.', len(report.failed) - SHOWN, root,
                     FOLDER)  # fmt: skip
    return report


def _carried(step: Step) -> tuple[Carried, ...]:
    """The files that a step takes along to other machines."""
    try:
        return tuple(map(Carried.of, step.files())) if isinstance(step, TravellingStep) else ()
    except OSError as error:
        raise GenaudioError(f'Cannot read {error.filename}: {error.strerror}.') from error


def _not_done(root: str, items: list[Item], asked: Mapping[str, Any], force: bool, report: Report) -> Iterator[Item]:
    """The items that are to be done, found as they are asked for; the others are counted."""
    remote = is_address(root)
    listed = list_files(root) if remote else None
    for portion in in_portions(items, 256 if remote else 1):
        records = read_each([side_car(root, item.name) for item in portion]) if not force else [None] * len(portion)
        for item, data in zip(portion, records, strict=True):
            found = read_record(data)
            if found is None or not is_done(found, item, asked, root, listed):
                yield item
                continue
            report.already += 1
            _keep(report, found.get('told'))


def _keep(report: Report, told: Any) -> None:
    if isinstance(told, dict) and told and len(report.told) < TOLD:
        report.told.append(told)


def _note(item: Item, outcome: Outcome | Exception, report: Report, journal: Journal, options: Options) -> None:
    if isinstance(outcome, NotReady) or (isinstance(outcome, Exception) and options.debug):
        raise outcome
    if isinstance(outcome, Exception):  # its process ended
        outcome = Outcome(None, [], f'{item.label}: {outcome}', 0.0, 0.0, '')
    for line in outcome.lines:
        name = PurePath(item.label).name
        _log.warning('%s', line if name in line else f'{name}: {line}')
    state = 'done' if outcome.why is None else 'failed'
    journal.write(
        item=item.name, state=state, seconds=round(outcome.seconds, 3), peak_mb=outcome.peak_mb, where=outcome.where,
        **({} if outcome.why is None else {'why': outcome.why}),
    )  # fmt: skip
    if outcome.why is None:
        report.done += 1
        _keep(report, outcome.told)
        return
    report.failed[item.label] = outcome.why
    if len(report.failed) <= SHOWN:
        _log.warning('skipped: %s', printable(outcome.why))


class _Pace:
    """How far a job is, how fast, and how long it will take; a line a minute where there is no terminal to draw on."""

    def __init__(self, doing: str, total: int, report: Report, bar: Any) -> None:
        self._doing, self._total, self._report, self._bar = doing, total, report, bar
        self._began = self._said = time.monotonic()

    def show(self, part: float = 0.0) -> None:
        """Show it; `part` of one more item is done."""
        report, now = self._report, time.monotonic()
        worked = report.done + len(report.failed) + part
        handled = worked + report.already
        rate = worked / max(now - self._began, 1e-6)
        left = (self._total - handled) / rate if rate else 0.0
        text = f'{self._doing} {int(handled)} of {self._total}, {rate * 60:.3g} a minute, {_spoken(left)} left'
        if report.failed:
            text += f', {len(report.failed)} failed'
        self._bar(handled, what=text)
        if now - self._said > 60:
            self._said = now
            _log.warning('%s', text)


def _spoken(seconds: float) -> str:
    if seconds < 100:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 100 * 60 else f'{seconds / 3600:.0f} h'


@contextlib.contextmanager
def _stage(root: str, run: str) -> Iterator[Path]:
    """A folder for what is not finished, gone afterwards; those that killed runs have left are taken away, too."""
    if is_address(root):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    make_folder(root)
    runs = make_folder(Path(root, FOLDER, 'runs'))
    for other in runs.glob('[!.]*'):
        with lock_of(other / 'lock') as is_free:  # nobody holds it any more
            if is_free:
                shutil.rmtree(other, ignore_errors=True)
    # Others take away what nobody holds: until it is held it bears a name that they pass over.
    new, folder = runs / f'.{run}', runs / run
    try:
        new.mkdir(mode=0o755)
    except OSError as error:
        raise GenaudioError(f'Cannot write in {root}: {error.strerror}.') from error
    try:
        with lock_of(new / 'lock'):
            new.rename(folder)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
