"""Many jobs at once, in processes of their own; a failure stops nothing but itself."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from export.job import Result
from export.manifest import Fault, Job
from export.up_to_date import is_up_to_date, source_hash
from genaudio_core.command_line import notice, printable
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.jobs.pool import each


def export_all(
    jobs: Sequence[Job], faults: Sequence[Fault] = (), *, workers: int | None = None, force: bool = False
) -> list[Result]:
    """Export what is not up to date, and tell what became of every job, in their order.

    Parameters
    ----------
    workers : int, optional
        Processes; by default one for each CPU, and no more than jobs.
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
    for result in _run(todo, workers or min(len(todo), os.cpu_count() or 1)):
        results[result.file] = result
    failed = [Result(fault.label, '', 'failed', fault.why) for fault in faults]
    return [results[str(job.output)] for job in jobs] + failed


def _run(todo: Sequence[tuple[Job, str]], workers: int) -> Iterator[Result]:
    """Yield a result for each job as it is done."""
    for n_done, ((job, _), result) in enumerate(each(_work, todo, workers), 1):
        if isinstance(result, Exception):
            why = str(result) if isinstance(result, GenaudioError) else f'its process ended ({one_line(result)})'
            result = Result(job.label, str(job.output), 'failed', why)
        notice(f'[{n_done}/{len(todo)}] {result.label}: {result.why or result.state}')
        yield result


def _work(task: tuple[Job, str]) -> Result:
    from export.job import export

    job, wanted = task
    try:
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
