"""Many jobs at once, in processes of their own; a failure stops nothing but itself."""

import contextlib
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from export.job import Result
from export.manifest import Fault, Job
from export.up_to_date import is_up_to_date, source_hash
from genaudio_core.command_line import notice
from genaudio_core.errors import GenaudioError, one_line, printable
from genaudio_core.files import make_folder
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.pool import each


def export_all(
    jobs: Sequence[Job], faults: Sequence[Fault] = (), *, workers: int | None = None, cluster: Cluster | None = None,
    force: bool = False,
) -> list[Result]:  # fmt: skip
    """Export what is not up to date, and tell what became of every job, in their order.

    Parameters
    ----------
    workers : int, optional
        Processes, no more than jobs; None: as many as the cluster has room for, or this one.
    cluster : Cluster, optional
        Whose nodes do it instead of this machine. They must see the same files.
    force : bool
        Export also what is up to date.
    """
    results: dict[str, Result] = {}
    todo: list[tuple[Job, str]] = []
    for job in jobs:
        try:
            wanted = source_hash(job)
        except GenaudioError as error:
            results[str(job.output)] = Result(job.label, str(job.output), 'failed', str(error))
            continue
        if not force and is_up_to_date(job, wanted):
            size = job.output.stat().st_size
            results[str(job.output)] = Result(
                job.label, str(job.output), 'up to date', megabytes=size / 1e6,
                ratio=job.checkpoint.stat().st_size / size,
            )  # fmt: skip
        else:
            todo.append((job, wanted))
    with _shown_to(cluster, {job.output.parent for job, _ in todo}) as cluster:
        for result in _run(todo, workers and min(len(todo), workers), cluster):
            results[result.file] = result
    failed = [Result(fault.label, '', 'failed', fault.why) for fault in faults]
    return [results[str(job.output)] for job in jobs] + failed


@contextlib.contextmanager
def _shown_to(cluster: Cluster | None, folders: Iterable[Path]) -> Iterator[Cluster | None]:
    """The cluster, with something in each folder that its nodes must see: the folders themselves they may have, too."""
    with contextlib.ExitStack() as stack:
        if cluster is not None:
            shown = {at: tempfile.TemporaryDirectory(prefix='.genaudio-', dir=make_folder(at)) for at in folders}
            cluster = replace(cluster, sees={str(at): stack.enter_context(inner) for at, inner in shown.items()})
        yield cluster


def _run(todo: Sequence[tuple[Job, str]], workers: int | None, cluster: Cluster | None) -> Iterator[Result]:
    """Yield a result for each job as it is done."""
    for n_done, ((job, _), result) in enumerate(each(_work, todo, workers, cluster), 1):
        if isinstance(result, Exception):
            why = str(result) if isinstance(result, GenaudioError) else f'its process ended ({one_line(result)})'
            result = Result(job.label, str(job.output), 'failed', why)
        notice(f'[{n_done}/{len(todo)}] {result.label}: {result.why or result.state}')
        yield result


def _work(task: tuple[Job, str]) -> Result:
    from export.job import export

    job, wanted = task
    try:
        if source_hash(job) != wanted:
            raise GenaudioError('its checkpoint has changed meanwhile, or a node of the cluster has other sources')
        return export(job, wanted)
    except GenaudioError as error:
        return Result(job.label, str(job.output), 'failed', str(error))
    except Exception as error:
        if '--debug' in sys.argv:
            raise
        return Result(job.label, str(job.output), 'failed', f'{type(error).__name__}: {one_line(error)}')


def report(results: Sequence[Result], *, as_json: bool) -> dict[str, Any]:
    """The result of a command: exit code 1 if anything failed; the table goes to stderr where people read."""
    failed = [result for result in results if result.state == 'failed']
    answer: dict[str, Any] = {
        'models': len(results), 'failed': len(failed),
        'exported': sum(result.state == 'exported' for result in results), 'exit_code': 1 if failed else 0,
    }  # fmt: skip
    if as_json:
        answer['results'] = [asdict(result) for result in results]
    else:
        _show_table(results)
    return answer


def _show_table(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for column in ('model', 'state', 'MB', 'of checkpoint', 'seconds', 'measured'):
        table.add_column(column, overflow='fold')
    for r in results:
        measured = ', '.join(f'{k} {v:.3g}' for k, v in r.metrics.items() if isinstance(v, float))
        table.add_row(
            Text(printable(r.label)), r.state, f'{r.megabytes:.1f}' if r.megabytes else '',
            f'1/{r.ratio:.1f}' if r.ratio else '', f'{r.seconds:.0f}' if r.seconds else '',
            Text(printable(r.why or measured)),
        )  # fmt: skip
    Console(stderr=True).print(table)
