"""Signals that end a command: whatever cleans up at Ctrl-C cleans up at SIGTERM and SIGHUP, too."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Stopped(KeyboardInterrupt):
    """A signal asks us to end: whatever cleans up at Ctrl-C cleans up now."""

    def __init__(self, number: int):
        super().__init__()
        self.number, self.exit_code = number, 128 + number


_ending: list[int] = []  # the signal that ends the command, from when it comes until the command has ended


def raise_if_stopped() -> None:
    """Go on ending where a signal came: a module that is being imported turns an interruption into an ImportError.

    What passes over failures of single files calls this first.
    """
    if _ending:
        raise Stopped(_ending[0])


@contextlib.contextmanager
def signals_clean_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP (a closed window) end the command as Ctrl-C does: no half-written file, no child is left.

    Commands that play have handlers of their own, and a signal that is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, before = os.getpid(), {}

    def stop(number: int, _: object) -> None:
        if os.getpid() != owner:  # a child that was forked: it ends as if this were not here
            signal.signal(number, before[number])
            os.kill(os.getpid(), number)
            return
        # One is enough: what cleans up must not be cut short. A second Ctrl-C is meant.
        for other, usual in before.items():
            signal.signal(other, usual if other == signal.SIGINT else signal.SIG_IGN)
        _ending.append(number)
        raise Stopped(number)

    for name in ('SIGINT', 'SIGTERM', 'SIGHUP'):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, stop)
    usual_hook = sys.unraisablehook

    def swallowed(unraisable: Any) -> None:
        """A callback of the interpreter (a weak reference, `__del__`) was in the way: Python drops what it raises."""
        error = unraisable.exc_value
        if not isinstance(error, Stopped):
            usual_hook(unraisable)
            return
        while True:
            try:
                signal.signal(error.number, stop)
                again = threading.Timer(0.02, _thread.interrupt_main, [error.number])  # when the callback is over
                again.daemon = True
                again.start()
                return
            except Stopped:  # a busy machine took longer over `start` than that: it came in here
                continue

    sys.unraisablehook = swallowed
    try:
        yield
    except Exception:
        raise_if_stopped()
        raise
    finally:
        _ending.clear()  # what runs next in this process is not meant
        sys.unraisablehook = usual_hook
        for number, handler in before.items():
            if signal.getsignal(number) in (stop, signal.SIG_IGN):
                signal.signal(number, handler)
