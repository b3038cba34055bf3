"""The last stage before the wire: messages with a time go in, bytes leave at that time, nothing is left hanging.

`Outbox` holds what is to be sent, in order of time (note-offs before note-ons of the same time). A sender empties
it: `SimulatedSender` when the simulated clock passes, `PrecisionSender` from a thread that sleeps, then spins the
last part of a millisecond. JACK's, with frame offsets, is in `jack_ports.py`.
"""

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol

from bridge.midi.messages import ENDS_NOTES, SUSTAIN, note_off
from bridge.midi.sounding_notes import MAX_OUTPUTS, Sounding
from bridge.system.clock import Clock
from bridge.system.real_time import real_time

LAST_TRIES = 1.0  # seconds in which the last ends are tried again before the sender ends
RETRY = 0.02  # seconds until what a port refused is tried again
SPIN = 0.0006  # seconds before the due time in which the thread no longer sleeps
_OFF, _OTHER, _ON = 0, 1, 2
_BANK = (0, 32)  # controllers that choose a bank
Key = tuple[int, int, int]  # output, channel, note
Message = tuple[int, bytes]  # output, bytes


def _rank(message: bytes) -> int:
    kind = message[0] & 0xF0
    if kind == 0x80 or (kind == 0x90 and not message[2]):
        return _OFF
    return _ON if kind == 0x90 else _OTHER


def _is_end(message: bytes) -> bool:
    """Whether it ends something that would go on for ever: a note, all notes, a pedal that is held."""
    kind = message[0] & 0xF0
    if kind == 0xB0:
        return message[1] in ENDS_NOTES or (message[1] == SUSTAIN and not message[2])
    return _rank(message) == _OFF


def _is_sound(message: bytes) -> bool:
    """Whether it chooses a sound: what is still true when all notes have been taken back."""
    kind = message[0] & 0xF0
    return kind == 0xC0 or (kind == 0xB0 and message[1] in _BANK)


class Outbox:
    """Messages that wait for their time, and who holds which key at the wire. Not thread-safe: its owner locks.

    Notes carry the number of their strike (see `note_output`). A note-off ends its own strike only: the key goes up
    when nobody holds it any more, and a strike that ends before it began never sounds. Messages of number 0 belong to
    nobody; such a note-off leaves alone what others hold.
    """

    def __init__(self, sounding: Sounding | None = None, n_outputs: int = MAX_OUTPUTS) -> None:
        self.sounding = sounding or Sounding()
        self.unsent: deque[Message] = deque()  # what a wire had no room for: goes first next time
        self.ended: deque[Message] = deque(maxlen=4096)  # note-offs that left lately, where the backend keeps count
        self.recent: deque[tuple[int, int, bytes]] = deque(maxlen=256)  # ... with their frames
        self._complaints: deque[str] = deque(maxlen=8)
        self._told: set[str] = set()
        self.n_outputs = min(n_outputs, MAX_OUTPUTS)
        self._heap: list[tuple[float, int, int, int, bytes, int]] = []  # time, rank, order, output, message, strike
        self._order = 0
        self._waiting: set[int] = set()  # strikes whose note-on is in the heap
        self._holders: dict[Key, set[int]] = {}  # strikes that hold a key down
        self._begun: dict[Key, float] = {}  # key held -> time of its newest note-on

    def __len__(self) -> int:
        return len(self._heap) + len(self.unsent)

    def put(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        """Add a message for bridge time `time` (seconds; frames, where JACK counts) at an output."""
        if not 0 <= output < self.n_outputs:
            self.complain(f'There is no output {output + 1}: what is meant for it is left out.')
            return
        rank = _rank(message)
        if rank == _ON and strike:
            self._waiting.add(strike)
        self._order += 1
        heapq.heappush(self._heap, (time, rank, self._order, output, message, strike))

    @property
    def next_time(self) -> float | None:
        """Time of the first message, or None."""
        return self._heap[0][0] if self._heap else None

    def is_held(self, output: int, channel: int, note: int) -> bool:
        """Whether somebody holds the key down."""
        return (output, channel, note) in self._holders

    def pop_due(self, time: float) -> list[tuple[float, int, bytes]]:
        """Take (time, output, message) of all that is due at `time`; tell `sounding` what was really sent.

        A note struck again while it sounds gets its note-off first: no synthesizer is left to count. Struck twice at
        one instant, by two owners or in two parts, it is one note.
        """
        due: list[tuple[float, int, bytes]] = []
        while self._heap and self._heap[0][0] <= time:
            when, rank, _, output, message, strike = heapq.heappop(self._heap)
            key = (output, message[0] & 15, message[1] if len(message) > 1 else 0)
            if rank == _ON and self._begins(key, strike):
                if holders := self._holders.get(key):
                    holders.add(strike)
                    if when - self._begun.get(key, -math.inf) < 1e-6:
                        continue
                    due.append((when, output, note_off(*key[1:])))
                else:
                    self._holders[key] = {strike}
                self._begun[key] = when
                due.append((when, output, message))
            elif rank == _OTHER or (rank == _OFF and self._ends(key, strike)):
                due.append((when, output, message))
        return due

    def _begins(self, key: Key, strike: int) -> bool:
        if strike and strike not in self._waiting:
            return False  # ended before it began
        self._waiting.discard(strike)
        return True

    def _ends(self, key: Key, strike: int) -> bool:
        """Take `strike` off the key; return whether that ends the note."""
        if strike in self._waiting:
            self._waiting.discard(strike)
            return False
        holders = self._holders.get(key)
        if not holders:
            return not strike  # nobody's note-off does no harm; that of a strike which is over already is not needed
        if strike not in holders:
            return False
        holders.discard(strike)
        if holders:
            return False
        del self._holders[key]
        return True

    def silence(self, outputs: Iterable[int]) -> list[Message]:
        """Drop what waits for `outputs`, save programs, and return what ends all that sounds there.

        Waiting note-offs are dropped too: their notes either sound, and are turned off here, or never began.
        """
        meant = set(outputs)
        kept = [item for item in self._heap if item[3] not in meant or _is_sound(item[4])]
        self._waiting = {item[5] for item in kept if item[1] == _ON and item[5] in self._waiting}
        heapq.heapify(kept)
        self._heap = kept
        self._holders = {key: holders for key, holders in self._holders.items() if key[0] not in meant}
        self.unsent = deque(item for item in self.unsent if item[0] not in meant or _is_sound(item[1]))
        return [(output, message) for output in sorted(meant) for message in self.sounding.ends(output)]

    def release(self, strikes: Iterable[int]) -> list[Message]:
        """Drop what waits of these strikes and return the note-offs of keys that nobody holds any more."""
        gone = set(strikes)
        self._waiting -= gone
        kept = [item for item in self._heap if item[5] not in gone]
        heapq.heapify(kept)
        self._heap = kept
        ended = []
        for key, holders in list(self._holders.items()):
            if holders & gone:
                holders -= gone
                if not holders:
                    del self._holders[key]
                    ended.append((key[0], note_off(*key[1:])))
        return sorted(ended)

    def complain(self, line: str) -> None:
        """Note a line for the person, once."""
        if line not in self._told and len(self._told) < 100:
            self._told.add(line)
            self._complaints.append(line)

    def complaints(self) -> list[str]:
        """Return the lines that came in since."""
        lines = []
        while self._complaints:
            lines.append(self._complaints.popleft())
        return lines


class Sender(Protocol):
    """Sends messages at their times on numbered outputs."""

    sounding: Sounding

    def send_at(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        """Send `message` at bridge time `time`, at once if that is past; `strike` says which note it belongs to."""

    def release(self, strikes: Iterable[int], then: Iterable[Message] = ()) -> None:
        """End these strikes now, those that have not begun for good; then send `then`."""

    def silence(self, outputs: Iterable[int] | None = None) -> None:
        """Forget what waits, end every note that sounds, release sustain: on these outputs, or on all."""

    def complaints(self) -> list[str]:
        """Lines for the person that came up since the last call."""
        ...

    def close(self) -> None:
        """Silence, then let go of the outputs."""


Write = Callable[[int, bytes], None]  # (output, message) to the wire; raises OSError when the port is gone


class SimulatedSender(Sender):
    """Sends when `run_until` is called; `sent` holds (time, output, message) in the order of sending.

    Outputs in `away` have lost their port: what goes there is lost.
    """

    def __init__(self, clock: Clock, n_outputs: int = 1, *, keep: bool = True) -> None:
        self._clock = clock
        self._outputs = range(n_outputs)
        self._keep = keep
        self.outbox = Outbox(n_outputs=n_outputs)
        self.sounding = self.outbox.sounding
        self.sent: list[tuple[float, int, bytes]] = []
        self.away: set[int] = set()
        self.on_send: Callable[[float, int, bytes], None] | None = None

    def send_at(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        self.outbox.put(time, output, message, strike)

    def run_until(self, time: float) -> None:
        """Send all that is due up to bridge time `time` (seconds)."""
        for when, output, message in self.outbox.pop_due(time):
            self._emit(when, output, message)

    def _emit(self, when: float, output: int, message: bytes) -> None:
        if output in self.away:
            return
        self.sounding.note(output, message)
        if self._keep:
            self.sent.append((when, output, message))
        if self.on_send:
            self.on_send(when, output, message)

    def release(self, strikes: Iterable[int], then: Iterable[Message] = ()) -> None:
        for output, message in (*self.outbox.release(strikes), *then):
            self._emit(self._clock.now(), output, message)

    def silence(self, outputs: Iterable[int] | None = None) -> None:
        for output, message in self.outbox.silence(self._outputs if outputs is None else outputs):
            self._emit(self._clock.now(), output, message)

    def complaints(self) -> list[str]:
        return self.outbox.complaints()

    def close(self) -> None:
        self.silence()


class PrecisionSender(Sender):
    """A thread that sleeps until just before each message is due and spins the rest.

    Used where the backend has no time stamps of its own (ALSA, CoreMIDI, WinMM, in-process ports).
    `jitter` keeps the last lateness values in seconds, sent minus scheduled. Any thread may call its methods.
    """

    def __init__(self, clock: Clock, write: Write, n_outputs: int = 1, sounding: Sounding | None = None) -> None:
        self._clock = clock
        self._write = write
        self.outbox = Outbox(sounding, n_outputs)
        self._outputs = range(min(n_outputs, MAX_OUTPUTS))
        self.sounding = self.outbox.sounding
        self.jitter: deque[float] = deque(maxlen=100_000)
        self.lost = 0  # messages that a port refused, for good or until now
        self._ended: dict[int, deque[bytes]] = {}  # output -> note-offs that it took lately
        self._refused: dict[int, dict[bytes, bytes]] = {}  # output -> ends that it refused, in order, by what they end
        self._retry_at = math.inf
        self.faults = 0  # exceptions in the thread, survived
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name='sender', daemon=True)
        self._thread.start()

    def send_at(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        with self._changed:
            first = self.outbox.next_time
            self.outbox.put(time, output, message, strike)
            if first is None or time < first:
                self._changed.notify()

    def release(self, strikes: Iterable[int], then: Iterable[Message] = ()) -> None:
        with self._changed:
            for output, message in (*self.outbox.release(strikes), *then):
                self._send(output, message)

    def silence(self, outputs: Iterable[int] | None = None) -> None:
        with self._changed:  # also keeps the thread from sending in between
            for output in self._outputs if outputs is None else outputs:
                self._refused.pop(output, None)  # the ends of all that sounds follow
            for output in outputs or ():  # a port that goes takes messages to nowhere until that is noticed
                for message in dict.fromkeys(self._ended.pop(output, ())):
                    self._send(output, message)
            for output, message in self.outbox.silence(self._outputs if outputs is None else outputs):
                self._send(output, message)

    def complaints(self) -> list[str]:
        with self._changed:
            return self.outbox.complaints()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=2)
        self.silence()
        until = self._clock.now() + LAST_TRIES
        with self._changed:
            while self._refused and self._clock.now() < until:
                self._changed.wait(RETRY)
                self._try_again()

    def _send(self, output: int, message: bytes) -> None:
        """Send, behind the ends that the port refused before: an end is tried again until the port takes it.

        Anything else that is refused is lost, and so is what comes while an end waits: a note that is struck again must
        not begin before it has ended.
        """
        refused = self._refused.get(output)
        if (not refused or self._send_ends(output)) and self._is_taken(output, message):
            return
        if _is_end(message):
            refused = self._refused.setdefault(output, {})
            if refused.pop(message[:2], None):
                self.lost -= 1
            refused[message[:2]] = message  # of one note and one controller, the last counts
            self._retry_at = min(self._retry_at, self._clock.now() + RETRY)
            self._changed.notify()
        self.lost += 1

    def _is_taken(self, output: int, message: bytes) -> bool:
        try:
            self._write(output, message)
        except OSError:  # the port went away, and the daemon notices and reopens it; or it is full
            return False
        except Exception as error:
            self.outbox.complain(f'MIDI output {output + 1} refuses messages ({type(error).__name__}: {error}).')
            return False
        self.sounding.note(output, message)  # a note-off that was refused leaves its note in the table
        if message[0] & 0xF0 == 0x80:
            self._ended.setdefault(output, deque(maxlen=64)).append(message)
        return True

    def _send_ends(self, output: int) -> bool:
        """Send the ends that a port refused; whether it has taken all of them."""
        waiting = self._refused[output]
        for what, message in list(waiting.items()):
            if not self._is_taken(output, message):
                return False
            del waiting[what]
            self.lost -= 1
        del self._refused[output]
        return True

    def _try_again(self) -> None:
        for output in list(self._refused):
            self._send_ends(output)
        self._retry_at = self._clock.now() + RETRY if self._refused else math.inf

    def _run(self) -> None:
        real_time()
        while not self._closed:
            try:
                self._turn()
            except Exception as error:  # without this thread nothing would ever leave again, no note-off either
                self.faults += 1
                with self._changed:
                    self.outbox.complain(f'Fault in the sender ({type(error).__name__}: {error}); playing on.')
                    self._changed.wait(0.001)  # not at full speed, should it go on

    def _turn(self) -> None:
        """Wait for the next message and send all that is due then."""
        with self._changed:
            if self._closed:
                return
            now = self._clock.now()
            if now >= self._retry_at:
                self._try_again()
            due = math.inf if self.outbox.next_time is None else self.outbox.next_time
            wait = min(due - SPIN, self._retry_at) - now
            if wait > 0:
                self._changed.wait(None if math.isinf(wait) else wait)
                return
            if due - SPIN > now:  # only something to try again
                return
        # Spin without the lock, so that an earlier message or a silence can still come in between.
        while self._clock.now() < due:
            if self._closed:
                return
        with self._changed:
            now = self._clock.now()
            for when, output, message in self.outbox.pop_due(now):
                self._send(output, message)
                self.jitter.append(max(0.0, self._clock.now() - when))
