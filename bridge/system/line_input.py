"""Lines from a text stream and from a pipe, whichever has some; also where nothing can wait for both at once.

A thread reads the stream, past Python's own buffer: two lines that arrive together are both there at once, and it works
on Windows, where only sockets can be waited for.
"""

import contextlib
import os
import queue
import threading
import time
import weakref
from multiprocessing.connection import Connection
from typing import Any

MAX_LINE = 65536  # bytes; more is no line
RETRY = 0.5  # seconds; a terminal gives nothing to a program in the background, until it comes to the front


class LineInput:
    """Whole lines, without blanks and empty ones.

    Parameters
    ----------
    stream
        A text stream, such as ``sys.stdin``; None for none. Make one reader only for each: two would take lines from
        each other (see `reader_of`).
    orders
        A pipe end over which the parent sends ('line', text); ('quit', None) or its end mean 'quit'. None for none.
    """

    def __init__(self, stream: Any = None, orders: Connection | None = None):
        self._orders, self._rest = orders, b''
        # Not a SimpleQueue: before Python 3.13 a signal that comes while its `get` waits, and whose handler outlasts
        # the timeout, makes it wait for ever, and the main loop would never look at what the signal asked for.
        self._waiting: queue.Queue[str] = queue.Queue()
        if stream is not None:
            self._start(self._read, stream)
        if orders is not None:
            self._start(self._hear, orders)
        self._has_source = stream is not None or orders is not None

    def _start(self, body: Any, source: Any) -> None:
        threading.Thread(target=body, args=(source,), name='genaudio-lines', daemon=True).start()

    def wait(self, seconds: float) -> list[str]:
        """Return the lines that are there, or come within `seconds`. From one thread."""
        if not self._has_source:
            time.sleep(seconds)
            return []
        lines = []
        with contextlib.suppress(queue.Empty):
            lines.append(self._waiting.get(seconds > 0, seconds))
            while True:
                lines.append(self._waiting.get_nowait())
        return lines

    # --- threads

    def _read(self, stream: Any) -> None:
        """Read until the other end closes; then there is nothing more to obey, and that is no reason to end."""
        try:
            number = stream.fileno()
        except (AttributeError, OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):  # it is closed
                for line in stream:  # a stream in memory
                    self._put(line)
            return
        passed_over = False  # the rest of a line that is too long belongs to it
        while True:
            try:
                data = os.read(number, 65536)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            except OSError:  # in the background; or the terminal is gone, and we are ended by other means
                if stream.closed or not os.isatty(number):
                    return
                time.sleep(RETRY)
                continue
            *whole, self._rest = (self._rest + data).split(b'\n')
            if not data:
                whole, self._rest = [self._rest], b''
            for line in whole:
                if not passed_over and len(line) <= MAX_LINE:
                    self._put(line.decode(errors='replace'))
                passed_over = False
            if len(self._rest) > MAX_LINE:
                self._rest, passed_over = b'', True
            if not data:
                return

    def _hear(self, orders: Connection) -> None:
        try:
            while True:
                kind, text = orders.recv()
                self._put(str(text) if kind == 'line' else kind)
        except (EOFError, OSError):  # the parent is gone
            self._put('quit')

    def _put(self, line: str) -> None:
        if line := line.strip():
            self._waiting.put(line)


_readers: weakref.WeakKeyDictionary[Any, LineInput] = weakref.WeakKeyDictionary()


def reader_of(stream: Any) -> LineInput:
    """Return the one reader of a stream; it lives as long as the stream."""
    if stream not in _readers:
        _readers[stream] = LineInput(stream)
    return _readers[stream]
