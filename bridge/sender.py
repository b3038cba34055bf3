"""The last stage before the wire: messages with a time go in, bytes leave at that time, nothing is left hanging.

`Outbox` holds what is to be sent, in order of time (note-offs before note-ons of the same time). A sender empties
it: `SimulatedSender` when the simulated clock passes, `PrecisionSender` from a thread that sleeps, then spins the
last part of a millisecond. JACK's, with frame offsets, is in `jack_midi.py`.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from bridge.clock import Clock
from bridge.messages import note_off
from bridge.priority import real_time
from bridge.sounding import Sounding

SPIN = 0.0006  # seconds before the due time in which the thread no longer sleeps
_OFF, _OTHER, _ON = 0, 1, 2
Key = tuple[int, int, int]  # output, channel, note


def _rank(message: bytes) -> int:
    kind = message[0] & 0xF0
    if kind == 0x80 or (kind == 0x90 and not message[2]):
        return _OFF
    return _ON if kind == 0x90 else _OTHER


class Outbox:
    """Messages that wait for their time. Not thread-safe: its owner locks."""

    def __init__(self, sounding: Sounding | None = None) -> None:
        self.sounding = sounding or Sounding()
        self._heap: list[tuple[float, int, int, int, bytes]] = []  # time, rank, order, output, message
        self._order = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, time: float, output: int, message: bytes) -> None:
        self._order += 1
        heapq.heappush(self._heap, (time, _rank(message), self._order, output, message))

    @property
    def next_time(self) -> float | None:
        """Time of the first message, or None."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, time: float) -> list[tuple[float, int, bytes]]:
        """Take (time, output, message) of all that is due at `time`, and follow it in `sounding`.

        A note struck again while it sounds gets its note-off first: no synthesizer is left to count.
        """
        due: list[tuple[float, int, bytes]] = []
        while self._heap and self._heap[0][0] <= time:
            when, rank, _, output, message = heapq.heappop(self._heap)
            if rank == _ON and self.sounding.is_on(output, message[0] & 15, message[1]):
                due.append((when, output, note_off(message[0] & 15, message[1])))
            self.sounding.note(output, message)
            due.append((when, output, message))
        return due

    def silence(self, outputs: Sequence[int]) -> list[tuple[int, bytes]]:
        """Drop what waits and return (output, message) of what ends all that sounds.

        Waiting note-offs are dropped too: their notes either sound, and are turned off here, or never began.
        """
        self._heap.clear()
        return [(output, message) for output in outputs for message in self.sounding.silence(output)]

    def release(self, keys: Iterable[Key]) -> list[tuple[int, bytes]]:
        """Drop what waits for these keys and return the note-offs of those that sound."""
        gone = set(keys)
        kept = [item for item in self._heap if item[1] == _OTHER or (item[3], item[4][0] & 15, item[4][1]) not in gone]
        heapq.heapify(kept)
        self._heap = kept
        messages = []
        for output, channel, note in sorted(gone):
            if self.sounding.is_on(output, channel, note):
                messages.append((output, note_off(channel, note)))
                self.sounding.note(output, messages[-1][1])
        return messages


class Sender(Protocol):
    """Sends messages at their times on numbered outputs."""

    sounding: Sounding

    def send_at(self, time: float, output: int, message: bytes) -> None:
        """Send `message` at bridge time `time`, at once if that is past."""

    def release(self, keys: Iterable[Key]) -> None:
        """Forget what waits for these (output, channel, note), and end them if they sound."""

    def silence(self) -> None:
        """Forget what waits, end every note that sounds, release sustain."""

    def close(self) -> None:
        """Silence, then let go of the outputs."""


Write = Callable[[int, bytes], None]  # (output, message) to the wire; raises OSError when the port is gone


class SimulatedSender:
    """Sends when `run_until` is called; `sent` holds (time, output, message) in the order of sending."""

    def __init__(self, clock: Clock, n_outputs: int = 1, *, keep: bool = True) -> None:
        self._clock = clock
        self._outputs = range(n_outputs)
        self._keep = keep
        self.outbox = Outbox()
        self.sounding = self.outbox.sounding
        self.sent: list[tuple[float, int, bytes]] = []
        self.on_send: Callable[[float, int, bytes], None] | None = None

    def send_at(self, time: float, output: int, message: bytes) -> None:
        self.outbox.put(time, output, message)

    def run_until(self, time: float) -> None:
        for when, output, message in self.outbox.pop_due(time):
            self._emit(when, output, message)

    def _emit(self, when: float, output: int, message: bytes) -> None:
        if self._keep:
            self.sent.append((when, output, message))
        if self.on_send:
            self.on_send(when, output, message)

    def release(self, keys: Iterable[Key]) -> None:
        for output, message in self.outbox.release(keys):
            self._emit(self._clock.now(), output, message)

    def silence(self) -> None:
        for output, message in self.outbox.silence(self._outputs):
            self._emit(self._clock.now(), output, message)

    def close(self) -> None:
        self.silence()


class PrecisionSender:
    """A thread that sleeps until just before each message is due and spins the rest.

    Used where the backend has no time stamps of its own (ALSA, CoreMIDI, WinMM, in-process ports).
    `jitter` keeps the last lateness values in seconds, sent minus scheduled.
    """

    def __init__(self, clock: Clock, write: Write, n_outputs: int = 1, sounding: Sounding | None = None) -> None:
        self._clock = clock
        self._write = write
        self._outputs = range(n_outputs)
        self.outbox = Outbox(sounding)
        self.sounding = self.outbox.sounding
        self.jitter: deque[float] = deque(maxlen=100_000)
        self.lost = 0  # messages that a port refused
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='sender', daemon=True)
        self._thread.start()

    def send_at(self, time: float, output: int, message: bytes) -> None:
        with self._changed:
            first = self.outbox.next_time
            self.outbox.put(time, output, message)
            if first is None or time < first:
                self._changed.notify()

    def release(self, keys: Iterable[Key]) -> None:
        with self._changed:
            for output, message in self.outbox.release(keys):
                self._send(output, message)

    def silence(self) -> None:
        with self._changed:  # also keeps the thread from sending in between
            for output, message in self.outbox.silence(self._outputs):
                self._send(output, message)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=2)
        self.silence()

    def _send(self, output: int, message: bytes) -> None:
        try:
            self._write(output, message)
        except Exception:  # the port went away; the daemon notices and reopens it
            self.lost += 1

    def _run(self) -> None:
        real_time()
        while True:
            with self._changed:
                if self._closed:
                    return
                due = self.outbox.next_time
                if due is None:
                    self._changed.wait()
                    continue
                wait = due - self._clock.now() - SPIN
                if wait > 0:
                    self._changed.wait(wait)
                    continue
            # Spin without the lock, so that an earlier message or a silence can still come in between.
            while self._clock.now() < due:
                if self._closed:
                    return
            with self._changed:
                now = self._clock.now()
                for when, output, message in self.outbox.pop_due(now):
                    self._send(output, message)
                    self.jitter.append(max(0.0, self._clock.now() - when))
