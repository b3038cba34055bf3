"""A terminal signals all of its processes at once: all but one of ours must not hear it."""

import contextlib
import os
import signal
from collections.abc import Iterator

_PARENTS = (
    'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGUSR1', 'SIGUSR2', 'SIGALRM', 'SIGVTALRM',
    'SIGPROF', 'SIGIO', 'SIGPWR', 'SIGXCPU', 'SIGPIPE',
)  # fmt: skip


def known_signals(names: tuple[str, ...]) -> list[signal.Signals]:
    """Those of the signals that this system has."""
    return [signal.Signals[name] for name in names if hasattr(signal, name)]


def leave_to_parent() -> None:
    """Let the parent decide what Ctrl-C, Ctrl-Z and a closed terminal mean; for the main thread of a child process.

    SIGTERM is left as it is: whoever sends it means this very process.
    """
    for number in known_signals(_PARENTS):
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def born_deaf() -> Iterator[None]:
    """A process that is started inside the block does not hear what is the parent's to decide, from its first moment.

    It inherits what is blocked. Until `leave_to_parent` it would fall over Ctrl-C with a traceback, while it imports.
    What comes to us meanwhile comes at the end of the block.
    """
    if os.name == 'nt':
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, known_signals(_PARENTS))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def keep_tracker() -> None:
    """Let Python's own process that clears up shared memory outlive what is sent to the whole group.

    It ignores Ctrl-C and SIGTERM only: a closed terminal would end it before us, and what it knew with it. To be called
    in the main thread before there is shared memory or a child; children share it.
    """
    if os.name != 'nt':
        from multiprocessing import resource_tracker

        with born_deaf():
            resource_tracker.ensure_running()
