"""The engine process: it answers, dies, hangs, returns, and knows again what it had heard."""

import os
import signal
import time

import pytest

from bridge.clock import RealClock
from bridge.engine import ProcessEngine
from bridge.fallback import FallbackMusician
from bridge.make_musician import make_musician
from bridge.musician import HeardNote, Request
from bridge.ports import wait_until

HEARD = [HeardNote(i + 1, float(i), 0.9, 60 + i, 80, 'piano') for i in range(4)]
QUESTION = Request(7, 4.0, 8.0, ('piano',))


@pytest.fixture
def engine():
    said: list[str] = []
    made = ProcessEngine(make_musician, ('rules',), clock=RealClock(), notify=said.append)
    made.said = said  # type: ignore[attr-defined]
    assert wait_until(lambda: (made.poll(), made.ready)[1], 60)
    yield made
    made.close()


def ask(engine, request=QUESTION):
    engine.ask(request)
    pieces = []
    assert wait_until(lambda: (pieces.extend(engine.poll()), bool(pieces) and pieces[-1].done)[1], 20)
    return [note for piece in pieces for note in piece.notes]


def direct():
    musician = FallbackMusician()
    musician.hear(HEARD)
    return [note for piece in musician.answer(QUESTION) for note in piece.notes]


def test_the_same_answer_as_without_a_process(engine):
    engine.hear(HEARD)
    assert ask(engine) == direct()


def test_killed_it_returns_and_remembers(engine):
    engine.hear(HEARD)
    ask(engine)
    os.kill(engine.pid, signal.SIGKILL)
    assert wait_until(lambda: (engine.poll(), not engine.ready)[1], 10)
    assert len(engine.said) == 1 and 'plays on by itself' in engine.said[0]
    engine.ask(QUESTION)  # while it is away: no answer, no error
    assert wait_until(lambda: (engine.poll(), engine.ready)[1], 60)
    assert ask(engine) == direct()
    assert engine.restarts == 1


def test_hanging_it_is_replaced(engine, monkeypatch):
    monkeypatch.setattr('bridge.engine.STUCK', 0.3)
    first = engine.pid
    os.kill(first, signal.SIGSTOP)
    engine.ask(QUESTION)
    assert wait_until(lambda: (engine.poll(), engine.restarts == 1)[1], 10)
    assert wait_until(lambda: (engine.poll(), engine.ready)[1], 60)
    assert engine.pid != first


def test_a_stopped_engine_never_blocks_the_session(engine):
    os.kill(engine.pid, signal.SIGSTOP)
    began = time.perf_counter()
    for _ in range(2000):
        engine.hear(HEARD)  # far more than a pipe holds
    assert engine.restarts == 1 and time.perf_counter() - began < 30  # a blocked pipe would wait for ever


def test_it_ends_when_its_owner_is_gone(engine):
    process = engine._process
    engine._connection.close()
    process.join(timeout=10)
    assert process.exitcode == 0
    engine._connection = engine._context.Pipe()[0]


def broken(*arguments):
    raise ValueError('no such music')


def test_an_engine_that_cannot_start_says_why():
    said = []
    made = ProcessEngine(broken, clock=RealClock(), notify=said.append)
    assert wait_until(lambda: (made.poll(), bool(said))[1], 60)
    assert 'no such music' in said[0]
    made.close()
