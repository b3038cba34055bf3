"""Many independent tasks: here, on processes of their own, on a cluster; one that ends its process costs no other."""

import itertools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.cluster import Cluster, each_on
from genaudio_core.processes.worker_pool import WorkerPool

T = TypeVar('T')
AHEAD = 2  # tasks for each worker that are handed out: one at work, one that waits
_NONE: Any = object()


def each(
    work: Callable[[T], Any], tasks: Iterable[T], workers: int | None = None, cluster: Cluster | None = None
) -> Generator[tuple[T, Any], None, None]:
    """Yield each task with its result, or with the exception that it ended in, as they are done.

    Parameters
    ----------
    work : callable
        Of a module, or a partial of one: it travels by pickle.
    tasks
        Asked for one by one, a little ahead of the workers.
    workers
        Processes, each with one thread for arithmetic; None: this one, or all that the cluster has room for.
    cluster
        Who does it instead of this machine.
    """
    if cluster is not None:
        yield from each_on(cluster, work, tasks, workers)
        return
    if workers is None:
        for task in tasks:
            try:
                yield task, work(task)
            except Exception as error:
                yield task, error
        return
    source, doubtful = iter(tasks), list[T]()
    while True:
        yield from _until_broken(work, source, workers, AHEAD, doubtful)
        if not doubtful:
            return
        # One worker takes all with it, and nobody knows whose task it was: now one by one.
        alone, dead = iter(doubtful), list[T]()
        while True:
            yield from _until_broken(work, alone, 1, 1, dead)
            if not dead:
                break
            yield dead.pop(), GenaudioError('its process ended (too little memory?)')
        doubtful = []


def _until_broken(
    work: Callable[[T], Any], source: Iterator[T], workers: int, ahead: int, left: list[T]
) -> Iterator[tuple[T, Any]]:
    """As `each`, until a worker dies: what was under way then goes into `left`."""
    futures: dict[Future[Any], T] = {}
    first = next(source, _NONE)
    if first is _NONE:
        return
    source = itertools.chain([first], source)
    with WorkerPool(workers, _one_thread) as pool:
        while not left:
            while len(futures) < workers * ahead and (task := next(source, _NONE)) is not _NONE:
                try:
                    futures[pool.submit(work, task)] = task
                except BrokenProcessPool:
                    left.append(task)
                    break
            if not futures:
                return
            for future in wait(futures, return_when=FIRST_COMPLETED).done:
                task, error = futures.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    left.append(task)
                else:
                    yield task, future.result() if error is None else error
        for future, task in futures.items():  # the pool has given them up, but for those that were done before
            if (error := future.exception()) is None:
                yield task, future.result()
            else:
                left.append(task)


def _one_thread() -> None:
    os.environ.setdefault('OMP_NUM_THREADS', '1')
