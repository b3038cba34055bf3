"""The engine process: it answers, dies, hangs, returns, and knows again what it had heard."""

import os
import signal
import time
from dataclasses import replace

import pytest

from bridge.musicians.choose import make_musician
from bridge.musicians.musician import HeardNote, Request
from bridge.musicians.musician_process import ProcessEngine
from bridge.musicians.rule_musician import FallbackMusician
from bridge.system.clock import RealClock
from bridge.system.waiting import wait_until

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


def test_hanging_it_is_replaced(engine):
    engine._child.stuck = 1.0
    engine._child.expect(1.0)
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
    process = engine._child
    engine._connection.close()
    process.join(10)
    assert process.exitcode == 0


def broken(*arguments):
    raise ValueError('no such music')


def test_an_engine_that_cannot_start_says_why():
    said = []
    made = ProcessEngine(broken, clock=RealClock(), notify=said.append)
    assert wait_until(lambda: (made.poll(), bool(said))[1], 60)
    assert 'no such music' in said[0]
    made.close()


def test_hanging_while_nobody_asks_it_is_found(engine):
    engine._child.stuck = 0.8
    first = engine.pid
    assert not wait_until(lambda: (engine.poll(), engine.restarts > 0)[1], 1)  # an idle one beats
    os.kill(first, signal.SIGSTOP)
    assert wait_until(lambda: (engine.poll(), engine.restarts == 1)[1], 20)
    assert engine.said == ['The music engine hangs; the band plays on by itself while it starts again.']
    assert wait_until(lambda: (engine.poll(), engine.ready)[1], 60) and engine.pid != first


def slow_once(flag):
    if not os.path.exists(flag):
        open(flag, 'w').close()
        time.sleep(1000)
    return FallbackMusician()


def test_hanging_while_it_loads_it_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr('bridge.musicians.musician_process.LOADS', 5.0)
    said = []
    made = ProcessEngine(slow_once, (str(tmp_path / 'flag'),), clock=RealClock(), notify=said.append)
    try:
        assert wait_until(lambda: (made.poll(), made.ready)[1], 90)
        assert made.restarts == 1 and len(said) == 1 and 'hangs while it loads' in said[0]
    finally:
        made.close()


def test_that_we_were_away_ourselves_is_no_fault_of_the_engine(engine, monkeypatch):
    """Ctrl-Z, a closed lid: the clock goes on, the engine had no chance to answer."""
    ahead = [0.0]
    now = engine._clock.now
    monkeypatch.setattr(engine._clock, 'now', lambda: now() + ahead[0], raising=False)
    os.kill(engine.pid, signal.SIGSTOP)
    engine._send('ping')
    ahead[0] = 1000.0
    engine.poll()
    assert engine.restarts == 0
    os.kill(engine.pid, signal.SIGCONT)
    engine.hear(HEARD)
    assert ask(engine) == direct()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_what_the_terminal_sends_to_the_group_leaves_it_playing(engine, number):
    os.kill(engine.pid, number)
    engine.hear(HEARD)
    assert ask(engine) == direct() and engine.restarts == 0


def test_what_an_answer_leans_on_comes_when_nobody_waits():
    import small_decoders  # torch, which the engines of this file need not load

    said: list[str] = []
    path = str(small_decoders.file('live'))
    made = ProcessEngine(make_musician, (path,), clock=RealClock(), notify=said.append)
    try:
        assert wait_until(lambda: (made.poll(), made.ready)[1], 120), said
        made.hear(HEARD)
        ask(made, QUESTION)
        ask(made, replace(QUESTION, id=8, start=8.0, end=12.0, leans=True))
        assert wait_until(lambda: (made.poll(), bool(made.leans))[1], 120)
        assert sum(share for *_, share in made.leans) == pytest.approx(1)
    finally:
        made.close()
