"""A musician in a thread of this process, for a session whose time is told by somebody else.

Its pieces arrive a fixed time after the question on the session's clock, or later if they are not there yet. So a
session plays the same whether the musician was fast or slow, as long as it was in time; and where the one who tells
the time waits (`exact`), every piece is in time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote, Musician, PlannedMusic, Request, leans_of
from bridge.musicians.musician_process import Engine, tell
from bridge.system.clock import Clock
from genaudio_core.errors import GenaudioError, one_line

PLAN = 0.03  # seconds on the session's clock from a question to its music
IDLE = 0.2  # seconds between two looks whether there is work in the background
LOADS = 60.0  # seconds that loading may take where somebody waits
FAULTS = 5  # failures of the musician after which only the rules play


class ThreadEngine(Engine):
    """A musician in a thread.

    Parameters
    ----------
    load : callable
        Called in the thread: loads the model, and returns what makes a musician that has heard nothing.
    on_beat : callable
        Called again and again while somebody waits for an answer.
    notify : callable
        Gets one line for the person, from `poll`.

    Attributes
    ----------
    exact : bool
        Each question waits for its answer, and nothing is done between two of them: the same music every time.
    """

    def __init__(
        self, load: Callable[[], Callable[[], Musician]], clock: Clock, *, on_beat: Callable[[], None] = lambda: None,
        notify: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.ready = False
        self.failed = False  # there is no musician, and there will be none
        self.restarts = 0
        self.exact = False
        self.stats: dict[str, Any] = {}
        self.heard = HeardNotes()
        self._load, self._clock, self._beat, self._notify = load, clock, on_beat, notify
        self._arrives: dict[int, float] = {}  # request -> time at which its pieces arrive, at the earliest
        self._here: list[PlannedMusic] = []
        self._came: deque[tuple[int, PlannedMusic]] = deque()  # from the thread: (age, piece)
        self._lines: deque[str] = deque()
        self._expected: tuple[tuple[str, ...], float] | None = None
        self._age = 0  # grows where everything is forgotten
        self._cancelled: set[int] = set()  # requests of which nothing more is wanted
        self._orders: deque[tuple[str, Any]] = deque()
        self._busy = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='musician', daemon=True)
        self._thread.start()

    # --- for the session

    def begin_afresh(self, clock: Clock) -> None:
        """Forget everything, as if newly made; time is told by another clock from now on."""
        self._clock = clock
        self._age += 1
        self.heard = HeardNotes()
        self._arrives.clear()
        self._here.clear()
        self._order('afresh', self._age)

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        self._expected = (tuple(instruments), bar)
        self._order('expect', self._expected)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        self.heard.hear(notes)
        self._order('hear', tuple(notes))

    def ask(self, request: Request) -> None:
        self._arrives[request.id] = self._clock.now() + PLAN
        self._order('ask', (self._age, request))
        if self.exact:
            self.wait()

    def cancel(self, request: int, beat: float) -> None:
        self._here = [piece for piece in self._here if piece.request != request]
        self._arrives.pop(request, None)
        if not self.exact:
            self._cancelled.add(request)
        self._order('cancel', (request, beat))

    def choose(self, request: int, take: int) -> None:
        self._order('choose', (request, take))

    def poll(self) -> list[PlannedMusic]:
        self._take_in()
        while self._lines:
            self._notify(self._lines.popleft())
        now = self._clock.now()
        due = [piece for piece in self._here if self._arrives[piece.request] <= now]
        self._here = [piece for piece in self._here if self._arrives[piece.request] > now]
        return due

    def next_time(self) -> float | None:
        self._take_in()
        return min((self._arrives[piece.request] for piece in self._here), default=None)

    def wait(self, seconds: float = LOADS) -> None:
        """Wait until everything is done that was ordered, for so long at most."""
        until = time.monotonic() + seconds
        with self._changed:
            while (self._orders or self._busy) and not self.failed and time.monotonic() < until:
                self._changed.wait(0.02)
                self._beat()

    def close(self) -> None:
        """Let go of the musician; the thread ends after what it does now."""
        self._order('quit', None)
        self._thread.join(2.0)

    def _order(self, kind: str, value: Any) -> None:
        with self._changed:
            if not self.failed:
                self._orders.append((kind, value))
            self._changed.notify_all()

    def _take_in(self) -> None:
        while self._came:
            age, piece = self._came.popleft()
            if age == self._age and piece.request in self._arrives:
                self._here.append(piece)

    # --- the thread

    def _run(self) -> None:
        faults = 0
        while faults < FAULTS:
            try:
                self._serve(self._load())
                return
            except GenaudioError as error:  # there is no such model
                self._lines.append(f'{one_line(error)} The band plays by rules.')
                break
            except Exception as error:
                faults += 1
                self.ready = False
                self.restarts += 1
                self._lines.append(f'The music engine says: {type(error).__name__}: {error}')
                self._tell_all()
        with self._changed:
            self.ready, self.failed, self._busy = False, True, False
            self._orders.clear()
            self._changed.notify_all()

    def _tell_all(self) -> None:
        """Another musician shall know what this one knew; what it was asked for is lost."""
        with self._changed:
            self._busy = False
            waiting = [order for order in self._orders if order[0] != 'hear']
            known: list[tuple[str, Any]] = [('expect', self._expected)] if self._expected else []
            self._orders = deque([*known, ('hear', tuple(note for note in self.heard if not note.held)), *waiting])

    def _serve(self, make: Callable[[], Musician]) -> None:
        musician = make()
        self.ready = True
        rests = True
        try:
            while True:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()
                    if not self._orders and (self.exact or not rests):
                        self._changed.wait(IDLE)
                    order = self._orders.popleft() if self._orders else None
                    self._busy = order is not None
                if order is None:
                    rests = not self.exact and musician.rest()
                    self.leans = leans_of(musician)
                    continue
                rests = True
                kind, value = order
                if kind == 'quit':
                    return
                if kind == 'afresh':
                    musician.close()
                    musician = make()
                    self._cancelled.clear()
                elif kind == 'ask':
                    self._answer(musician, *value)
                else:
                    tell(musician, kind, value)
                if kind == 'cancel':
                    self._cancelled.discard(value[0])
        finally:
            musician.close()

    def _answer(self, musician: Musician, age: int, request: Request) -> None:
        for piece in musician.answer(request):
            self._came.append((age, piece))
            if request.id in self._cancelled or age != self._age:
                break
        if self.exact:
            musician.settle()
        self.stats = musician.stats()
