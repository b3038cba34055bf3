"""Requests to the system of a thread that must not be late.

A process at a good niceness is still made to wait while another one that has the processor finishes its slice: 3 ms on
Linux with two processors, seen between the engine's first note and the session that was asleep waiting for it. A
real-time thread takes the processor at once. Audio users are allowed real-time threads (``@audio - rtprio 95``);
where this user is not, niceness is what is left, and `genaudio doctor` tells.
"""

import contextlib
import gc
import os
from collections.abc import Iterator

SWITCH = 0.0005  # seconds a thread of a live process may keep the interpreter while another one wants it
REAL_TIME_ADVICE = "allow your user real-time threads ('@audio - rtprio 95' in /etc/security/limits.conf)"
REALTIME = 5  # of 1..99: below JACK's clients and far below its server, which wait for nobody


def keep_what_is_loaded() -> None:
    """Leave what there is now out of garbage collections: one that looked through all of it would be heard."""
    gc.collect()
    gc.freeze()


def raise_priority(niceness: int) -> bool:
    """Raise this process's priority (POSIX niceness, -20 first). Return False if the system refuses."""
    if hasattr(os, 'setpriority'):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
            return True
    return False


def real_time() -> bool:
    """Make the calling thread a real-time thread, for good; whether the system agreed.

    Threads and processes that it starts are ordinary ones again: what computes for long must ask for itself, if at all.
    """
    if not hasattr(os, 'sched_setscheduler'):
        return False
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(REALTIME))
    except OSError:
        return False
    return True


def real_time_or_preferred() -> bool:
    """Make the calling thread a real-time thread, or else have this process preferred; whether either was granted."""
    return real_time() or raise_priority(-10)


def may_be_real_time() -> bool:
    """Whether this user may have real-time threads."""
    with in_real_time() as agreed:
        return agreed


def ordinary() -> None:
    """Make the calling thread an ordinary one again."""
    if hasattr(os, 'sched_setscheduler'):
        with contextlib.suppress(OSError):  # the flag stays: only the superuser may take it back
            os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))


@contextlib.contextmanager
def in_real_time() -> Iterator[bool]:
    """Make the calling thread a real-time thread inside the block; whether the system agreed."""
    agreed = real_time()
    try:
        yield agreed
    finally:
        if agreed:
            ordinary()
