"""The music engine at arm's length: messages out, pieces of music back, whatever happens to it in between.

`ProcessEngine` runs a `Musician` in a process of its own, restarts it when it dies or hangs, and tells it again what
it had heard. `SimulatedEngine` runs one on the simulated clock, with a delay of our choosing.
"""

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Protocol

from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote, Leans, Musician, PlannedMusic, Request, leans_of
from bridge.system.clock import Clock
from bridge.system.notices import notice
from bridge.system.real_time import ordinary, raise_priority, real_time
from genaudio_core.processes.child_process import ChildProcess, begin
from genaudio_core.processes.child_watch import Heartbeat

GRACE = 0.0003  # seconds to wait for the next message before the last ones are worked in: they come in pairs
STUCK = 8.0  # seconds without a sign of life after which the engine is killed
LOADS = 60.0  # seconds that it may take to load; twice as long the next time, in case the machine is that slow
BEAT = 0.2  # seconds between two signs of life while there is nothing to do
MAX_WAITING = 1000  # messages it has not taken, after which the engine counts as hanging
TOLD_AT_ONCE = 100  # notes in one message: small enough to fit into a pipe that is writable


class Engine(Protocol):
    """The music engine as the session knows it. No call ever blocks."""

    ready: bool  # it answers now
    restarts: int
    stats: dict[str, Any]
    heard: HeardNotes  # what the player has played, as far as this side knows; the session reads it, too
    leans: Leans = ()  # see `leans_of`

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        """See `Musician.expect`."""

    def hear(self, notes: Sequence[HeardNote]) -> None:
        """See `Musician.hear`."""

    def ask(self, request: Request) -> None:
        """Ask for music; the pieces come by `poll`."""

    def cancel(self, request: int, beat: float) -> None:
        """Stop composing that answer; forget what it has from `beat` on."""

    def choose(self, request: int, take: int) -> None:
        """See `Musician.choose`."""

    def poll(self) -> list[PlannedMusic]:
        """Return the pieces that came in since."""
        ...

    def next_time(self) -> float | None:
        """When there will be pieces, where that is known (simulation)."""

    def close(self) -> None:
        """End the music engine."""


class SimulatedEngine(Engine):
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
        self.heard = HeardNotes()
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
        self.heard.hear(notes)
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
        self.stats, self.leans = self.musician.stats(), leans_of(self.musician)
        return due

    def next_time(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def close(self) -> None:
        self._waiting.clear()


class ProcessEngine(Engine):
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
        notify: Callable[[str], None] = notice,
    ) -> None:
        self.ready = False
        self.restarts = 0
        self.stats: dict[str, Any] = {}
        self._make, self._arguments, self._clock, self._notify = make, arguments, clock, notify
        self.heard = HeardNotes()
        self._pieces: list[PlannedMusic] = []
        self._expected: tuple[tuple[str, ...], float] | None = None
        self._next_start = 0.0
        self._failures = 0
        self._loads = LOADS
        self._start()

    def _start(self) -> None:
        self._child = ChildProcess(
            run_engine, (self._make, self._arguments), name='genaudio engine', loading=self._loads, stuck=STUCK
        )
        self._connection = self._child.pipe
        self._backlog: deque[tuple[str, Any]] = deque()

    @property
    def pid(self) -> int | None:
        """Process id of the engine; None while there is none."""
        return self._child.pid

    @property
    def connection(self) -> Connection:
        """To wait for pieces with `multiprocessing.connection.wait`; another one after a restart."""
        return self._connection

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        self._expected = (tuple(instruments), bar)
        if self.ready:
            self._send('expect', self._expected)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        self.heard.hear(notes)
        if self.ready:
            self._send('hear', tuple(notes))

    def ask(self, request: Request) -> None:
        if self.ready:
            self._send('ask', request)

    def cancel(self, request: int, beat: float) -> None:
        if self.ready:
            self._send('cancel', (request, beat))

    def choose(self, request: int, take: int) -> None:
        if self.ready:
            self._send('choose', (request, take))

    def next_time(self) -> float | None:
        return None if self.ready else self._next_start or None

    def _send(self, kind: str, value: Any = None) -> None:
        self._backlog.append((kind, value))
        if len(self._backlog) > MAX_WAITING:
            self._died('does not answer')
        self._hand_over()

    def _hand_over(self) -> None:
        """Send what waits, as much as the engine takes: the session never waits for one that does not read."""
        while self._backlog and self._child.send(*self._backlog[0]):
            self._backlog.popleft()

    def _tell_all(self) -> None:
        """After a start: everything that the musician should know."""
        if self._expected:
            self._send('expect', self._expected)
        heard = tuple(note for note in self.heard if not note.held)
        for start in range(0, len(heard), TOLD_AT_ONCE):
            self._send('hear', heard[start : start + TOLD_AT_ONCE])

    def poll(self) -> list[PlannedMusic]:
        if not self._next_start:
            alive = self._child.is_alive()
            for kind, value in self._child.receive():
                if kind == 'piece':
                    self._pieces.append(value)
                elif kind == 'stats':
                    self.stats = value
                elif kind == 'leans':
                    self.leans = value
                elif kind == 'ready':
                    self.ready = True
                    self._failures = 0
                    self._tell_all()
                elif kind == 'error':
                    self._notify(f'The music engine says: {value}')
            if not alive or not self._child.is_alive():
                self._died('ended')
            elif self._child.is_hung() and self.ready:
                self._died('hangs')
            elif self._child.is_hung():
                self._loads *= 2
                self._died('hangs while it loads')
            else:
                self._hand_over()
        now = self._clock.now()
        if self._next_start and now >= self._next_start:
            self._next_start = 0.0
            self._start()
        pieces, self._pieces = self._pieces, []
        return pieces

    def _died(self, how: str) -> None:
        if self._next_start:
            return
        self.ready = False
        self.restarts += 1
        self._failures += 1
        self._child.close(0.0)
        self._backlog.clear()
        # A connection that waits forever stands in until the new process is there.
        self._connection, self._parked = multiprocessing.Pipe()
        self._next_start = self._clock.now() + min(0.2 * 2 ** (self._failures - 1), 10.0)
        self._notify(f'The music engine {how}; the band plays on by itself while it starts again.')

    def close(self) -> None:
        self._next_start = 0.0
        self.ready = False
        self._child.close()
        self._connection.close()


def run_engine(make: Callable[..., Musician], arguments: tuple, cells: Any, connection: Connection) -> None:
    """The engine process (`ChildProcess`): reads messages, composes, sends pieces, until told to quit or left alone."""
    heart = begin(cells)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to the whole group: the port process ends us in its time
    raise_priority(-8)  # the port process comes first
    musician: Musician | None = None
    try:
        musician = make(*arguments)
        connection.send(('ready', None))
        _serve(connection, musician, heart)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the port process is gone: nobody listens any more
    except Exception as error:
        with contextlib.suppress(OSError):
            connection.send(('error', f'{type(error).__name__}: {error}'))
        raise SystemExit(1) from None
    finally:
        if musician is not None:
            musician.close()


def tell(musician: Musician, kind: str, value: Any) -> None:
    """Tell a musician what an engine has been told, in the musician's own thread.

    Parameters
    ----------
    kind : 'hear', 'expect', 'choose' or 'cancel'
        A method of `Engine`; `value` is its only argument or all of them.
    """
    match kind:
        case 'hear':
            musician.hear(value)
        case 'expect':
            musician.expect(*value)
        case 'choose':
            musician.choose(*value)
        case 'cancel':
            musician.forget(*value)


def _serve(connection: Connection, musician: Musician, heart: Heartbeat) -> None:
    """Take messages in and answer, in real time until the first note of an answer is out.

    From then on it composes ahead of the clock and leaves the processor to others.
    """
    waiting: deque[tuple[str, Any]] = deque()
    leans: Leans = ()  # that were told
    real_time()

    while True:
        heart.beat()
        while not waiting:
            if connection.poll(GRACE):
                waiting.append(connection.recv())
            elif not musician.rest():
                if leans_of(musician) != leans:
                    leans = leans_of(musician)
                    connection.send(('leans', leans))
                connection.poll(BEAT)
            heart.beat()
        kind, value = waiting.popleft()
        if kind == 'quit':
            return
        if kind == 'ask':
            request: Request = value
            for piece in musician.answer(request):
                connection.send(('piece', piece))
                ordinary()
                heart.beat()
                while connection.poll(0):
                    waiting.append(connection.recv())
                if any(kind == 'cancel' and value[0] == request.id for kind, value in waiting):
                    break
                if any(kind == 'quit' for kind, _ in waiting):
                    return
            real_time()
        else:
            tell(musician, kind, value)
        connection.send(('stats', musician.stats()))
