"""From the threads of the MIDI drivers into the one thread of the session: a queue that wakes its reader."""

import contextlib
from collections import deque
from multiprocessing import Pipe

MAX_WAITING = 20_000  # messages; beyond it a flood loses what is no note-off


class Inbox:
    """`put` from any thread, also from a real-time callback: no lock, no wait. `drain` from one.

    `reader` becomes readable when something waits (for ``multiprocessing.connection.wait``, on every system).
    """

    def __init__(self) -> None:
        self._messages: deque[tuple[int, bytes, float]] = deque()
        self.reader, self._writer = Pipe(duplex=False)
        self._woken = False  # one byte is in the pipe, or about to be: more would only fill it
        self.lost = 0

    def put(self, source: int, message: bytes, time: float) -> None:
        if len(self._messages) >= MAX_WAITING and not _ends_a_note(message):
            self.lost += 1
            return
        self._messages.append((source, message, time))
        self.wake()

    def wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # closed while a driver still sends
                self._writer.send_bytes(b'.')

    def drain(self) -> list[tuple[int, bytes, float]]:
        """Take what waits: (source, bytes, bridge time), in order of arrival."""
        while self.reader.poll():
            self.reader.recv_bytes()
        self._woken = False  # before the queue is read: what is put from here on wakes again
        found = []
        with contextlib.suppress(IndexError):
            while True:
                found.append(self._messages.popleft())
        return found

    def close(self) -> None:
        self._woken = True
        self.reader.close()
        self._writer.close()


def _ends_a_note(message: bytes) -> bool:
    kind = message[0] & 0xF0 if message else 0
    return kind == 0x80 or (kind == 0x90 and len(message) > 2 and not message[2])
