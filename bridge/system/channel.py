"""Our end of a pipe to another process, which we never wait for: not when it hangs, not in the middle of a message.

A thread reads and a thread writes. Only these two touch the pipe, so any thread may send, and the order is kept.
"""

import contextlib
import queue
import threading
from multiprocessing.connection import Connection
from typing import Any

MAX_WAITING = 2000  # messages that the other process has not taken; more are refused


class Channel:
    """Messages there and back; owns `connection` from now on.

    Attributes
    ----------
    refused : int
        Messages that were not sent because too many wait already.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._out: queue.Queue[Any] = queue.Queue(MAX_WAITING)
        self._in: queue.Queue[Any] = queue.Queue()  # not a SimpleQueue: see line_input.py
        self._over = False
        self.refused = 0
        self._threads = [
            threading.Thread(target=work, name=f'pipe {work.__name__}', daemon=True)
            for work in (self._read, self._write)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: Any) -> bool:
        """Have `message` sent, from any thread; False if too many wait."""
        try:
            self._out.put_nowait(message)
        except queue.Full:
            self.refused += 1
            return False
        return True

    def receive(self, timeout: float = 0.0) -> Any:
        """Return the next message, for one thread.

        Raises
        ------
        TimeoutError
            If none came in `timeout` seconds.
        EOFError
            If the other process is gone and all that it said was returned.
        """
        if self._over:
            raise EOFError
        try:
            message = self._in.get(timeout=timeout) if timeout > 0 else self._in.get_nowait()
        except queue.Empty:
            raise TimeoutError from None
        if message is _END:
            self._over = True
            raise EOFError
        return message

    def close(self) -> None:
        """Let go. What waits is sent while the other process takes it; it should have ended, or be about to."""
        with contextlib.suppress(queue.Full):
            self._out.put_nowait(_END)
        for thread in self._threads:
            thread.join(timeout=1)
        if not any(thread.is_alive() for thread in self._threads):
            self._connection.close()

    def _read(self) -> None:
        try:
            while True:
                self._in.put(self._connection.recv())
        except Exception:  # the end of it, or half a message of a process that was killed
            self._in.put(_END)

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (message := self._out.get()) is not _END:
                self._connection.send(message)


_END = object()
