"""How long a run may go on: minutes from the command to its end, and signals that ask it to stop."""

import argparse
import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator

LATE = 5.0  # seconds that what has begun may go on beyond the minutes


class TimeLimit:
    """The minutes that a command may take, from where it `began` (on the monotonic clock) or where this is made.

    Loading, the last validation and the last save are among them: what a run does at its end is timed (`ending`), and
    that much is kept back, as is the time of a step, and `after` seconds for what comes when training is over. As a
    context manager it turns SIGTERM and Ctrl-C into `is_up`, so that the step is finished and saved; a second Ctrl-C
    ends it at once.
    """

    def __init__(self, minutes: float | None = None, began: float | None = None, after: float = 0.0):
        self.seconds = math.inf if minutes is None else minutes * 60
        self.after = after
        self.step = 0.0  # seconds that a step takes
        self.stopped = False
        self.kept_back = 0.0  # seconds for the end; 0: not known yet
        self._began = time.monotonic() if began is None else began
        self._before: dict[int, object] = {}

    @classmethod
    def of(cls, args: argparse.Namespace, after: float = 0.0) -> 'TimeLimit':
        """Return the limit that --minutes sets, from where the command began, `after` seconds less."""
        return cls(args.minutes, getattr(args, 'began', None), after)

    def __enter__(self) -> 'TimeLimit':
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _stop(self, number: int, _: object) -> None:
        if self.stopped and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stopped = True

    @property
    def spent(self) -> float:
        """Minutes since it began."""
        return (time.monotonic() - self._began) / 60

    @property
    def is_up(self) -> bool:
        """Whether no other step can be taken."""
        return self.stopped or self.spent * 60 + self.kept_back + self.after + self.step > self.seconds

    @property
    def left(self) -> float:
        """Seconds until whatever is going on is too late."""
        return self.seconds - self.after + LATE - self.spent * 60

    @property
    def must_learn_its_end(self) -> bool:
        """Whether half of the time is over, and how long the end takes is still not known."""
        return not self.kept_back and self.spent * 120 >= self.seconds

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Time what is done at the end, and now and then before: that long is kept back."""
        began = time.monotonic()
        yield
        self.kept_back = time.monotonic() - began
