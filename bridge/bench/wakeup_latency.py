"""Measures how late the system wakes a bare thread that sleeps a millisecond: the baseline for our own jitter figures.

A figure of ours says nothing where a virtual machine stands still now and then, or the kernel is busy elsewhere. This
is what cyclictest does, in a process of its own (so that our interpreter is not measured), in real time where the user
may.
"""

import contextlib
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from bridge.system.real_time import real_time
from genaudio_core.processes.child_process import ChildProcess, begin

PERIOD = 0.001  # seconds
START, LAST_WORDS = 60.0, 10.0  # seconds that are waited for it at most
KEPT = 1_000_000  # the last values: over a quarter of an hour


def _watch(cells: Any, pipe: Connection) -> None:
    begin(cells, grace=0.0)
    real_time()
    late: list[float] = []
    pipe.send(('ready', None))
    while not pipe.poll(0):
        due = time.perf_counter() + PERIOD
        time.sleep(PERIOD)
        late.append(time.perf_counter() - due)
        if len(late) > 2 * KEPT:
            del late[:-KEPT]
    with contextlib.suppress(OSError):  # there is nobody any more
        pipe.send(('late', late))


@contextlib.contextmanager
def probe() -> Iterator[list[float]]:
    """Watch the machine inside the block; the list holds seconds of lateness after it."""
    process = ChildProcess(_watch, name='genaudio probe')
    late: list[float] = []
    process.wait(START)
    try:
        yield late
    finally:
        process.send('quit')
        until = time.monotonic() + LAST_WORDS
        while not late and process.is_alive() and time.monotonic() < until:
            process.wait(0.1)
            late += [one for kind, value in process.receive() if kind == 'late' for one in value]
        process.close(0.0)
