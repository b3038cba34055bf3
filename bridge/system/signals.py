"""End when told: one way for every command that plays until it is stopped.

A person ends a program with Ctrl-C, `kill`, or by closing the terminal window, and lets it wait with Ctrl-Z. The
system sends each of these to a whole group of processes at once, in no particular order. So one process, the one that
the person started, decides: it is `SignalWatch`, ends the others in their order and ends itself last. The others call
`leave_to_parent` first of all and hear of it through their pipes; when the parent is gone, the pipe ends.

::

    with SignalWatch() as told:
        while not told.ended:
            told.look(pause=..., resume=...)
            ...
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from genaudio_core.processes.deafness import keep_tracker, known_signals
from genaudio_core.standard_streams import lead_nowhere

_ENDS = ('SIGINT', 'SIGTERM', 'SIGHUP')
IMPATIENT = 3  # the same wish so many times: something hangs, and the system's own way of ending is given back


class _Stream:
    """A text stream that may die: what is written to it then is lost, and nothing else happens."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Inside the block a terminal, file or pipe that no longer takes what we print ends nothing."""
    before = sys.stdout, sys.stderr
    if sys.stdout is not None:
        sys.stdout = _Stream(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = _Stream(sys.stderr)
    try:
        yield
    finally:
        for stream, old in zip((sys.stdout, sys.stderr), before, strict=True):
            if isinstance(stream, _Stream):
                stream.flush()
                lead_nowhere(old)
        sys.stdout, sys.stderr = before


class SignalWatch:
    """Wishes of the person, or of the system, for this program. Make and use it in the main thread.

    Inside its ``with`` block SIGINT, SIGTERM and SIGHUP only set `ended`, Ctrl-Z is kept for `look`, and output that
    nobody takes any more is lost without a fault. SIGHUP stays ignored where it was (``nohup``). The third time that
    one of them comes it acts as if we were not here, in case something hangs.

    Attributes
    ----------
    ended : str
        Name of the signal that told us to end, or ''.
    """

    def __init__(self) -> None:
        self.ended = ''
        self._times: dict[int, int] = {}
        self._pause = False
        self._before: dict[signal.Signals, Any] = {}
        self._output = contextlib.ExitStack()

    def __enter__(self) -> 'SignalWatch':
        self._output.enter_context(lasting_output())
        if threading.current_thread() is threading.main_thread():  # elsewhere (a test, a library) nothing is sent to us
            for number in known_signals(_ENDS):
                if number.name == 'SIGHUP' and signal.getsignal(number) is signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._end)
            for number in known_signals(('SIGTSTP',)):
                if signal.getsignal(number) is signal.SIG_DFL:  # a shell without job control ignores it
                    self._before[number] = signal.signal(number, self._want_pause)
                    self._before[signal.SIGCONT] = signal.signal(signal.SIGCONT, self._go_on)
            for number in known_signals(('SIGTTIN', 'SIGTTOU')):  # in the background: go without the terminal
                self._before[number] = signal.signal(number, signal.SIG_IGN)
            keep_tracker()
        return self

    def __exit__(self, *args: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        self._output.close()

    def _end(self, number: int, frame: object) -> None:
        self.ended = self.ended or signal.Signals(number).name
        self._times[number] = self._times.get(number, 0) + 1
        if self._times[number] == IMPATIENT - 1:
            signal.signal(number, signal.SIG_DFL)

    def _want_pause(self, number: int, frame: object) -> None:
        self._pause = True

    def _go_on(self, number: int, frame: object) -> None:
        self._pause = False  # by whoever did not wait until we had stopped: nobody would wake us

    def end(self, why: str = 'quit') -> None:
        """End as if a signal had come: the person pressed q, the time is over."""
        self.ended = self.ended or why

    def look(self, pause: Callable[[], None] = lambda: None, resume: Callable[[], None] = lambda: None) -> bool:
        """If Ctrl-Z was pressed, call `pause`, stop until continued, and call `resume`; whether that happened.

        Call it in every turn of the main loop. `pause` ends what sounds and gives the terminal back. Processes that
        called `leave_to_parent` run on meanwhile, in silence, so that JACK and other programs need not wait for them.
        """
        if not self._pause:
            return False
        pause()
        if self._pause:
            self._pause = False  # pressed twice until here: once is enough; what comes once we go on counts
            os.kill(os.getpid(), signal.SIGSTOP)  # not SIGTSTP: that is caught, and the shell sees no difference
        resume()
        return True
