"""What the machine itself is late by, beside a measurement: a bare thread that sleeps a millisecond, then looks at the
clock.

A figure of ours says nothing where a virtual machine stands still now and then, or the kernel is busy elsewhere. This
is what cyclictest does, in a process of its own (so that our interpreter is not measured), in real time where the user
may.
"""

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from bridge.system.child_watch import end_with_parent
from bridge.system.real_time import real_time
from bridge.system.signals import born_deaf, leave_to_parent

PERIOD = 0.001  # seconds
KEPT = 1_000_000  # the last values: over a quarter of an hour


def _watch(connection: Connection) -> None:
    leave_to_parent()
    end_with_parent(grace=0.0)
    real_time()
    late: list[float] = []
    connection.send(None)
    while not connection.poll(0):
        due = time.perf_counter() + PERIOD
        time.sleep(PERIOD)
        late.append(time.perf_counter() - due)
        if len(late) > 2 * KEPT:
            del late[:-KEPT]
    connection.send(late)


@contextlib.contextmanager
def probe() -> Iterator[list[float]]:
    """Watch the machine inside the block; the list holds seconds of lateness after it."""
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_watch, args=(theirs,), name='genaudio probe', daemon=True)
    with born_deaf():
        process.start()
    theirs.close()
    late: list[float] = []
    with contextlib.suppress(EOFError, OSError):
        ours.recv()
    try:
        yield late
    finally:
        with contextlib.suppress(EOFError, OSError):
            ours.send(None)
            late += ours.recv()
        process.join(timeout=2)
        process.kill()
        ours.close()
