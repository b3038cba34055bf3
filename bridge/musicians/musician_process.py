"""The music engine at arm's length: messages out, pieces of music back, whatever happens to it in between.

`ProcessEngine` runs a `Musician` in a process of its own, restarts it when it dies or hangs, and tells it again what
it had heard. `SimulatedEngine` runs one on the simulated clock, with a delay of our choosing.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from bridge.musicians.musician import HeardNote, Musician, PlannedMusic, Request
from bridge.system.clock import Clock
from bridge.system.real_time import ordinary, raise_priority, real_time
from bridge.system.signals import born_deaf, leave_to_parent

GRACE = 0.0003  # seconds to wait for the next message before the last ones are worked in: they come in pairs
STUCK = 8.0  # seconds without a sign of life, while messages wait, after which the engine is killed
LOADS = 60.0  # seconds that it may take to load; twice as long the next time, in case the machine is that slow
PING = 2.0  # seconds of silence after which it is asked for a sign of life
MAX_WAITING = 1000  # messages it has not taken, after which the engine counts as hanging
TOLD_AT_ONCE = 100  # notes in one message: small enough to fit into a pipe that is writable
MEMORY = 1500  # heard notes that a restarted engine is told again


class Engine(Protocol):
    """What the session knows of the music engine. No call ever blocks."""

    ready: bool  # it answers now
    restarts: int
    stats: dict[str, Any]

    def expect(self, instruments: Sequence[str], bar: float) -> None: ...
    def hear(self, notes: Sequence[HeardNote]) -> None: ...
    def ask(self, request: Request) -> None: ...
    def cancel(self, request: int, beat: float) -> None:
        """Stop composing that answer; forget what it has from `beat` on."""

    def choose(self, request: int, take: int) -> None: ...
    def poll(self) -> list[PlannedMusic]:
        """Return the pieces that came in since."""
        ...

    def next_time(self) -> float | None:
        """When there will be pieces, where that is known (simulation)."""

    def close(self) -> None: ...


class SimulatedEngine:
    """A musician on the simulated clock: its pieces arrive `delay(request, number)` seconds after the question.

    With `settle` it tidies its memory up after each answer instead of in the background: the same music each time.
    """

    def __init__(
        self,
        musician: Musician,
        clock: Clock,
        delay: Callable[[Request, int], float] | float = 0.005,
        *,
        settle: bool = False,
    ) -> None:
        self.ready = True
        self.restarts = 0
        self.stats: dict[str, Any] = {}
        self.musician = musician
        self._clock = clock
        self._delay = delay if callable(delay) else (lambda request, number: delay)
        self._settle = settle
        self.took: list[float] = []  # real seconds from each question to its first piece
        self._waiting: list[tuple[float, int, PlannedMusic]] = []
        self._order = 0

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        self.musician.expect(instruments, bar)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        self.musician.hear(notes)

    def ask(self, request: Request) -> None:
        if not self.ready:
            return
        asked = time.perf_counter()
        for number, piece in enumerate(self.musician.answer(request)):
            if not number:
                self.took.append(time.perf_counter() - asked)
            self._order += 1
            self._waiting.append((self._clock.now() + self._delay(request, number), self._order, piece))
        self._waiting.sort(key=lambda item: item[:2])
        if self._settle:
            self.musician.settle()

    def cancel(self, request: int, beat: float) -> None:
        self._waiting = [item for item in self._waiting if item[2].request != request]
        self.musician.forget(request, beat)

    def choose(self, request: int, take: int) -> None:
        self.musician.choose(request, take)

    def poll(self) -> list[PlannedMusic]:
        now = self._clock.now()
        due = [piece for ready, _, piece in self._waiting if ready <= now]
        self._waiting = self._waiting[len(due) :]
        self.stats = self.musician.stats()
        return due

    def next_time(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def close(self) -> None:
        self._waiting.clear()


class ProcessEngine:
    """A musician in a process of its own.

    Parameters
    ----------
    make : callable
        Makes the musician, in the new process; must be importable (a module-level function).
    arguments : tuple
        Passed to `make`.
    notify : callable
        Gets one line for the person when the engine dies or returns.
    """

    def __init__(
        self,
        make: Callable[..., Musician],
        arguments: tuple = (),
        *,
        clock: Clock,
        notify: Callable[[str], None] = print,
    ) -> None:
        self.ready = False
        self.restarts = 0
        self.stats: dict[str, Any] = {}
        self._make, self._arguments, self._clock, self._notify = make, arguments, clock, notify
        self._heard: deque[HeardNote] = deque(maxlen=MEMORY)
        self._pieces: list[PlannedMusic] = []
        self._expected: tuple[tuple[str, ...], float] | None = None
        self._context = multiprocessing.get_context('spawn')
        self._next_start = 0.0
        self._failures = 0
        self._loads = LOADS
        self._looked = clock.now()
        self._start()

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=run_engine, args=(theirs, self._make, self._arguments), name='genaudio engine', daemon=True
        )
        with born_deaf():
            self._process.start()
        theirs.close()
        self._sent = self._read = 0
        self._backlog: deque[tuple] = deque()
        self._alive_at = self._began = self._looked = self._clock.now()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def connection(self) -> Connection:
        """To wait for pieces with `multiprocessing.connection.wait`; another one after a restart."""
        return self._connection

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        self._expected = (tuple(instruments), bar)
        if self.ready:
            self._send('expect', *self._expected)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        self._heard.extend(note for note in notes if not note.held)
        if self.ready:
            self._send('hear', tuple(notes))

    def ask(self, request: Request) -> None:
        if self.ready:
            self._send('ask', request)

    def cancel(self, request: int, beat: float) -> None:
        if self.ready:
            self._send('cancel', request, beat)

    def choose(self, request: int, take: int) -> None:
        if self.ready:
            self._send('choose', request, take)

    def next_time(self) -> float | None:
        return None if self.ready else self._next_start or None

    def _send(self, *message: Any) -> None:
        self._backlog.append(message)
        if len(self._backlog) > MAX_WAITING:
            self._died('does not answer')
            return
        try:
            while self._backlog and self._may_write():
                if self._sent == self._read:  # it owes us an answer from now on
                    self._alive_at = self._clock.now()
                self._connection.send(self._backlog.popleft())
                self._sent += 1
        except OSError:
            self._died('ended')

    def _may_write(self) -> bool:
        """Whether a send would not block: the session must never wait for an engine that does not read."""
        return os.name == 'nt' or bool(select.select([], [self._connection], [], 0)[1])

    def _tell_all(self) -> None:
        """After a start: everything that the musician should know."""
        if self._expected:
            self._send('expect', *self._expected)
        heard = tuple(self._heard)
        for start in range(0, len(heard), TOLD_AT_ONCE):
            self._send('hear', heard[start : start + TOLD_AT_ONCE])

    def poll(self) -> list[PlannedMusic]:
        try:
            while self._connection.poll():
                kind, value = self._connection.recv()
                self._alive_at = self._clock.now()
                if kind == 'piece':
                    self._pieces.append(value)
                elif kind == 'read':
                    self._read, self.stats = value
                elif kind == 'ready':
                    self.ready = True
                    self._failures = 0
                    self._tell_all()
                elif kind == 'error':
                    self._notify(f'The music engine says: {value}')
        except (EOFError, OSError):
            self._died('ended')
        if self._backlog:
            self._send(*self._backlog.pop())
        self._look_after(self._clock.now())
        now = self._clock.now()
        if self._next_start and now >= self._next_start:
            self._next_start = 0.0
            self._start()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _look_after(self, now: float) -> None:
        """Find an engine that hangs: while it loads, while it owes an answer, and while nobody asks anything."""
        away, self._looked = now - self._looked - 1.0, now
        if away > 0:  # we were stopped ourselves: that is no fault of the engine
            self._alive_at += away
            self._began += away
        if self._next_start:
            return
        if not self.ready:
            if now - self._began > self._loads:
                self._loads *= 2
                self._died('hangs while it loads')
        elif self._sent > self._read:
            if now - self._alive_at > STUCK:
                self._died('hangs')
        elif now - self._alive_at > PING:
            self._send('ping')

    def _died(self, how: str) -> None:
        if self._next_start:
            return
        self.ready = False
        self.restarts += 1
        self._failures += 1
        self._process.kill()
        with contextlib.suppress(OSError):
            self._connection.close()
        # A connection that waits forever stands in until the new process is there.
        self._connection, self._parked = self._context.Pipe()
        self._next_start = self._clock.now() + min(0.2 * 2 ** (self._failures - 1), 10.0)
        self._notify(f'The music engine {how}; the band plays on by itself while it starts again.')

    def close(self) -> None:
        self._next_start = 0.0
        self.ready = False
        with contextlib.suppress(OSError, ValueError):
            self._connection.send(('close',))
        self._process.join(timeout=1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(timeout=1)
        self._connection.close()


def run_engine(connection: Connection, make: Callable[..., Musician], arguments: tuple) -> None:
    """The engine process: reads messages, composes, sends pieces, until told to close or left alone."""
    leave_to_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to the whole group: the port process ends us in its time
    raise_priority(-8)  # the port process comes first
    musician: Musician | None = None
    try:
        musician = make(*arguments)
        connection.send(('ready', None))
        _serve(connection, musician)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the port process is gone: nobody listens any more
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send(('error', f'{type(error).__name__}: {error}'))
        raise SystemExit(1) from None
    finally:
        if musician is not None:
            musician.close()


def _serve(connection: Connection, musician: Musician) -> None:
    """Take messages in and answer, in real time until the first note of an answer is out.

    From then on it composes ahead of the clock and leaves the processor to others.
    """
    waiting: deque[tuple] = deque()
    read = 0
    real_time()

    def receive() -> None:
        nonlocal read
        message = connection.recv()
        read += 1
        waiting.append(message)

    while True:
        while not waiting:
            if connection.poll(GRACE):
                receive()
            elif not musician.rest():
                connection.poll(None)
        message = waiting.popleft()
        if message[0] == 'close':
            return
        if message[0] == 'hear':
            musician.hear(message[1])
        elif message[0] == 'expect':
            musician.expect(message[1], message[2])
        elif message[0] == 'choose':
            musician.choose(message[1], message[2])
        elif message[0] == 'cancel':
            musician.forget(message[1], message[2])
        elif message[0] == 'ask':
            request: Request = message[1]
            for piece in musician.answer(request):
                connection.send(('piece', piece))
                ordinary()
                while connection.poll(0):
                    receive()
                if any(item[0] == 'cancel' and item[1] == request.id for item in waiting):
                    break
                if any(item[0] == 'close' for item in waiting):
                    return
            real_time()
        connection.send(('read', (read - len(waiting), musician.stats())))
