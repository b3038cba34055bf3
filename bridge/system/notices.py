"""Lines for the person: to the log unless somebody else shows them, and of a flood of wrong messages only a few."""

import logging
import re
import time
from collections.abc import Callable

_log = logging.getLogger('bridge')
_DIFFERENT = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d[\d.,]*|Did you mean .*")  # what differs between lines of one kind


def notice(line: str) -> None:
    """Log a line for the person, to the logger 'bridge'; without any set-up it appears on stderr. From any thread."""
    _log.warning('%s', line)


class Sparing:
    """Passes lines on: of one kind a few, the rest is counted and told later.

    Lines are of one kind that differ only in numbers and in what stands in quotation marks. For one thread.

    Parameters
    ----------
    notify : callable
        Gets the lines.
    times, seconds
        So many lines of a kind in so many seconds.
    most
        So many lines of all kinds in these seconds.
    """

    def __init__(
        self, notify: Callable[[str], None], times: int = 3, seconds: float = 5.0, most: int = 20, *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._notify, self._times, self._seconds, self._most, self._clock = notify, times, seconds, most, clock
        self._begun = clock()
        self._told: dict[str, int] = {}
        self._left_out: dict[str, tuple[int, str]] = {}  # kind -> how many, the last of them
        self._all = self._others = 0

    def __call__(self, line: str) -> None:
        self.look()
        kind = _DIFFERENT.sub('', line)
        told = self._told.get(kind, 0)
        if told < self._times and self._all < self._most:
            self._told[kind] = told + 1
            self._all += 1
            self._notify(line)
        elif kind in self._left_out or len(self._left_out) < self._most:
            self._left_out[kind] = (self._left_out.get(kind, (0, ''))[0] + 1, line)
        else:
            self._others += 1

    def look(self) -> None:
        """Tell what was left out, when the time is over. Call it now and then."""
        if self._clock() - self._begun >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Tell what was left out, now."""
        self._begun = self._clock()
        self._told.clear()
        self._all = 0
        left_out, self._left_out = self._left_out, {}
        for number, line in left_out.values():
            self._notify(line if number == 1 else f'{line} (and {number - 1} more like this)')
        if self._others:
            self._notify(f'{self._others} more lines of other kinds were left out.')
            self._others = 0
