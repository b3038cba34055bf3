"""Care of a child process that runs code of others: does it live, does it still move, how often may it die?

* `Heartbeat`: a few numbers in shared memory. The child counts, and says what it is at; the parent sees it stand still
  even when the child cannot say anything any more, and whom to blame.
* `Patience`: a time limit that does not run while the parent itself stood still (Ctrl-Z, a sleeping laptop).
* `RestartLimit`: dying now and then through a long evening is forgiven, dying again and again is not.
* `end_with_parent`: for the child. A plug-in that hangs does not hear that the parent is gone.
"""

import contextlib
import ctypes
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawArray
from typing import Any

STEP = 0.5  # seconds of one look that count at most: longer than that, the looker was away


class Heartbeat:
    """Shared numbers: how often the child went round, and what it is at (0: nothing that could hold it up).

    The memory has no name: nothing is left of it, whoever is killed.

    Parameters
    ----------
    cells
        Those of another one, to beat for it; they travel to a child only with its arguments.
    """

    _BEATS, _AT, _SIZE = 0, 1, 2

    def __init__(self, cells: Any = None) -> None:
        self.cells = RawArray(ctypes.c_int64, self._SIZE) if cells is None else cells

    @property
    def beats(self) -> int:
        """How often `beat` was called."""
        return self.cells[self._BEATS]

    @property
    def at(self) -> int:
        """The child's current work."""
        return self.cells[self._AT]

    @at.setter
    def at(self, number: int) -> None:
        self.cells[self._AT] = number

    def beat(self) -> None:
        """The child lives and moves."""
        self.cells[self._BEATS] += 1


class Patience:
    """A time limit in seconds, looked at again and again."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Begin again."""
        self._left, self._looked = self.seconds, time.monotonic()

    def is_over(self) -> bool:
        """Whether it has run out; a look counts `STEP` seconds at most."""
        now = time.monotonic()
        self._left -= min(now - self._looked, STEP)
        self._looked = now
        return self._left <= 0


class RestartLimit:
    """At most `times` restarts within `seconds`."""

    def __init__(self, times: int = 5, seconds: float = 60.0) -> None:
        self.times, self.seconds = times, seconds
        self._at: deque[float] = deque()

    def allows(self) -> bool:
        """Count one more; False if that is too many."""
        now = time.monotonic()
        while self._at and now - self._at[0] > self.seconds:
            self._at.popleft()
        self._at.append(now)
        return len(self._at) <= self.times


def send_now(pipe: Connection, message: Any) -> bool:
    """Send unless the other side is gone or does not read: never wait for it. Whether it was sent."""
    try:
        if os.name != 'nt' and not select.select([], [pipe], [], 0)[1]:
            return False
        pipe.send(message)
        return True
    except (OSError, ValueError):
        return False


def die_with_parent(wanted: bool) -> None:
    """On Linux: have the system kill this process when its parent ends. For the time in which nothing else would."""
    if sys.platform == 'linux':
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL if wanted else 0)  # PR_SET_PDEATHSIG


def end_with_parent(grace: float = 3.0, on_orphaned: Callable[[], None] = lambda: None) -> None:
    """For the child: `grace` seconds after the parent has ended, end without asking anyone. Starts a thread."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        on_orphaned()
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name='genaudio-parent', daemon=True).start()
