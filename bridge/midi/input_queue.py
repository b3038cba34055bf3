"""From the threads of the MIDI drivers into the one thread of the session: a queue that wakes its reader."""

import contextlib
from collections import deque
from multiprocessing import Pipe

from bridge.midi.messages import ENDS_NOTES, RESET_CONTROLLERS, SUSTAIN

LOST = b''  # in place of a message: others before it were lost, nobody knows which
MAX_WAITING = 20_000  # messages; beyond it a flood loses everything but ends of notes, and beyond ten times that, these


class Inbox:
    """`put` from any thread, also from a real-time callback: no lock, no wait. `drain` from one.

    `reader` becomes readable when something waits (for ``multiprocessing.connection.wait``, on every system).
    """

    def __init__(self) -> None:
        self._messages: deque[tuple[int, bytes, float]] = deque()
        self.reader, self._writer = Pipe(duplex=False)
        self._woken = False  # one byte is in the pipe, or about to be: more would only fill it
        self.lost = 0
        self._missed_ends: set[int] = set()

    def put(self, source: int, message: bytes, time: float) -> None:
        """Add bytes that came at bridge time `time` (seconds). Any thread; never blocks."""
        waiting = len(self._messages)
        if waiting >= MAX_WAITING and (waiting >= 10 * MAX_WAITING or not ends_a_note(message)):
            self.lost += 1
            if ends_a_note(message):
                self._missed_ends.add(source)
            return
        self._messages.append((source, message, time))
        self.wake()

    def wake(self) -> None:
        """Make `reader` readable. Any thread."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # closed while a driver still sends
                self._writer.send_bytes(b'.')

    def drain(self, most: int | None = None) -> list[tuple[int, bytes, float]]:
        """Take what waits, at most so many: (source, bytes, bridge time), in order of arrival."""
        while self.reader.poll():
            self.reader.recv_bytes()
        self._woken = False  # before the queue is read: what is put from here on wakes again
        found = []
        with contextlib.suppress(IndexError):
            while most is None or len(found) < most:
                found.append(self._messages.popleft())
        if self._messages:
            self.wake()
        return found

    def missed_ends(self) -> set[int]:
        """Inputs of which the end of a note was lost since the last call: what they hold must be let go."""
        missed, self._missed_ends = self._missed_ends, set()
        return missed

    def close(self) -> None:
        """Close both ends of the pipe; what still comes is dropped."""
        self._woken = True
        self.reader.close()
        self._writer.close()


def ends_a_note(message: bytes) -> bool:
    """Whether it is a note-off, lifts the pedal, or is a controller that ends notes."""
    kind = message[0] & 0xF0 if message else 0
    if kind == 0xB0 and len(message) > 2:
        lifts = message[1] == SUSTAIN and message[2] < 64
        return lifts or message[1] == RESET_CONTROLLERS or message[1] in ENDS_NOTES
    return kind == 0x80 or (kind == 0x90 and len(message) > 2 and not message[2])


def starts_a_note(message: bytes) -> bool:
    """Whether it is a note-on."""
    return len(message) > 2 and message[0] & 0xF0 == 0x90 and message[2] > 0
