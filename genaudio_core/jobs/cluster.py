"""Tasks on the nodes of a Ray cluster (extra `ray`): what a node that dies was at work on is done by another.

* All nodes see the same files at the same paths (a shared disk), or everything has an address; each has this genaudio.
* What all tasks share (a step, its models) is put into the cluster's object store once: it travels to each node once.
* Only so many tasks are handed out as the cluster has room for, and as many again, which wait: a list of ten million
  is asked for as it is worked on, and a node that comes later finds work.
"""

import atexit
import contextlib
import importlib
import itertools
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from genaudio_core import __version__
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.interruption import raise_if_stopped
from genaudio_core.jobs.machine import call_this_machine, check_machine

T = TypeVar('T')
AHEAD = 2  # tasks for each place in the cluster that are handed out: one at work, one that waits
RETRIES = 3  # times that a task is begun again when its node or its process has ended
LOOK = 2.0  # seconds between looks at how large the cluster is
GRACE = 20.0  # seconds for a cluster to hear that a run was ended; what it does not hear it sees by itself
ANSWERED = 10.0  # seconds within which a cluster takes a connection
_ADDRESS = re.compile(r'(?:ray://)?\[?(?P<host>[^/\s\[\]]+)\]?:(?P<port>\d{1,5})')
_NONE: Any = object()
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what one task needs of a node.

    Raises
    ------
    GenaudioError
        If the address is none.
    """

    address: str  # 'auto': $RAY_ADDRESS, or one that runs on this machine; HOST:PORT of its head; ray://HOST:PORT
    cpus: float = 1
    gpus: float = 0  # graphics cards; a share of one where several tasks may have it together
    # What every node must see as this machine does: what a person calls it -> a file or folder that shows it.
    sees: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.address != 'auto' and _ADDRESS.fullmatch(self.address) is None:
            raise GenaudioError(f"A cluster is at auto, HOST:PORT or ray://HOST:PORT, not at '{self.address}'.")


def each_on(
    cluster: Cluster, work: Callable[[T], Any], tasks: Iterable[T], at_most: int | None = None
) -> Generator[tuple[T, Any], None, None]:
    """As `pool.each`, on the nodes of a cluster.

    Parameters
    ----------
    work
        Travels by pickle; NumPy arrays in it lie in the object store of a node once, for all of its processes.
    at_most
        Tasks that are at work at once; None: as many as there is room for.

    Raises
    ------
    GenaudioError
        If there is no such cluster, or its nodes cannot do such work at all.
    """
    source = iter(tasks)
    first = next(source, _NONE)
    if first is _NONE:
        return
    with _reached(cluster.address) as ray:
        yield from _all(ray, cluster, work, itertools.chain([first], source), at_most)


def _all(
    ray: Any, cluster: Cluster, work: Callable[[T], Any], source: Iterator[T], at_most: int | None
) -> Iterator[tuple[T, Any]]:
    do = ray.remote(num_cpus=cluster.cpus, num_gpus=cluster.gpus, max_retries=RETRIES)(_do)
    room = _Room(ray, cluster, at_most)
    shared, needed = ray.put(work), (os.getcwd(), __version__, dict(cluster.sees))
    under_way: dict[Any, T] = {}
    try:
        while True:
            while len(under_way) < room.now() and (task := next(source, _NONE)) is not _NONE:
                under_way[do.remote(shared, task, *needed)] = task
            if not under_way:
                return
            done, _ = ray.wait(list(under_way), timeout=LOOK)
            raise_if_stopped()  # Ray may have been where an interruption is dropped
            if len(under_way) > 1 and done:  # and what else there is: a question for each would take its time
                done, _ = ray.wait(list(under_way), num_returns=len(under_way), timeout=0)
            for reference in done:
                yield under_way.pop(reference), _result(ray, reference)
    finally:
        if under_way:  # Ctrl-C, or a fault: of no use any more
            _in_time(lambda: _cancel(ray, under_way))


def _cancel(ray: Any, references: Iterable[Any]) -> None:
    for reference in references:
        with contextlib.suppress(Exception):
            ray.cancel(reference, force=True)


def _do(work: Callable[[T], Any], task: T, folder: str, version: str, sees: Mapping[str, str]) -> tuple[bool, Any]:
    """On a node: the result, or what it ended in."""
    import ray

    call_this_machine(ray.util.get_node_ip_address())
    with contextlib.suppress(OSError):  # paths on the command line are seen from there
        os.chdir(folder)
    check_machine(version, sees)
    try:
        return True, work(task)
    except Exception as error:
        return False, error


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)[1]
    except ray.exceptions.RayTaskError as error:  # the node could not begin
        if isinstance(error.cause, GenaudioError):
            raise error.cause from None
        why = one_line(error.cause if isinstance(error.cause, Exception) else error)
        raise GenaudioError(f'A node of the cluster cannot do this work (is the same genaudio there?): {why}') from None
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError):
        return GenaudioError('its process ended (too little memory?)')
    except ray.exceptions.RayError as error:
        return GenaudioError(f'its node was lost, {RETRIES + 1} times: {one_line(error)}')


class _Room:
    """How many tasks a cluster takes, looked at from time to time: nodes come and go."""

    def __init__(self, ray: Any, cluster: Cluster, at_most: int | None) -> None:
        self._ray, self._cluster, self._at_most = ray, cluster, at_most
        self._looked, self._count, self._told = float('-inf'), 0, False

    def now(self) -> int:
        """Tasks that may be handed out, at least one: a cluster that grows by need must see one."""
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._count = places_in(self._ray.nodes(), self._cluster)
            if not self._count and not self._told:
                self._told = True
                _log.warning('No node of the cluster has %s: waiting for one.', _spoken(self._cluster))
        return min(max(1, self._count * AHEAD), self._at_most or 1 << 30)


def places_in(nodes: Iterable[dict[str, Any]], cluster: Cluster) -> int:
    """Return how many tasks nodes (as `ray.nodes` tells them) have room for at once."""
    count = 0
    for node in nodes:
        if node.get('Alive'):
            has = node.get('Resources', {})
            needs = [('CPU', cluster.cpus), ('GPU', cluster.gpus)]
            count += min((int(has.get(kind, 0) / much) for kind, much in needs if much), default=1)
    return count


def _spoken(cluster: Cluster) -> str:
    cards = f' and {cluster.gpus:g} of a graphics card' if cluster.gpus else ''
    return f'{cluster.cpus:g} free processor{"s" if cluster.cpus != 1 else ""}{cards}'


@contextlib.contextmanager
def _reached(address: str) -> Iterator[Any]:
    """The package, connected to the cluster; whoever was connected already stays so."""
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')  # what Ray will do anyway, said in its warning
    try:
        ray = importlib.import_module('ray')
    except ImportError:
        raise GenaudioError("A cluster needs the package 'ray': pip install 'genaudio[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    with _own_signals():
        try:
            if (place := _ADDRESS.fullmatch(address)) is not None:  # Ray itself gives up after minutes
                socket.create_connection((place['host'], int(place['port'])), ANSWERED).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, namespace='genaudio')
        except Exception as error:
            start = ' The command ray can start one.' if address == 'auto' else ''
            raise GenaudioError(f'No Ray cluster answers at {address}.{start} ({one_line(error)})') from None
    try:
        yield ray
    except BaseException:
        if not _in_time(ray.shutdown):
            atexit.unregister(ray.shutdown)  # where it would be waited for once more
        raise
    with _own_signals():
        ray.shutdown()


def _in_time(work: Callable[[], Any]) -> bool:
    """Whether `work` was over within `GRACE`: who ends a run does not wait for a cluster that does not answer."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            work()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(GRACE)
    return not thread.is_alive()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray sets a handler for SIGTERM in the process that connects: ours cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
