"""A flood on an input: what ends notes gets through, what is late is left out and counted, and the person is told."""

from types import SimpleNamespace
from typing import Any

import pytest

from bridge.live.port_process import MOST_AT_ONCE, TOO_LATE, Loop
from bridge.midi import input_queue
from bridge.midi.input_queue import LOST, Inbox
from bridge.midi.messages import control, note_off, note_on
from bridge.system.clock import SimulatedClock

ENDS = [note_off(0, 60), note_on(0, 60, 0), control(0, 64, 0), control(0, 120, 0), control(0, 121, 0), b'\xb0\x7b\x00']


@pytest.fixture
def inbox():
    made = Inbox()
    yield made
    made.close()


def loop(inbox: Inbox) -> tuple[Any, SimulatedClock, list[bytes]]:
    """The loop of a port process whose session only notes down what it gets."""
    clock, got = SimulatedClock(), []
    session: Any = SimpleNamespace(clock=clock, receive=lambda source, message, at: got.append(message))
    nobody: Any = None
    return Loop(nobody, session, nobody, nobody, inbox, nobody), clock, got


@pytest.mark.parametrize('end', ENDS)
def test_an_end_of_notes_gets_through_a_flood(inbox, monkeypatch, end):
    monkeypatch.setattr(input_queue, 'MAX_WAITING', 5)
    for _ in range(20):
        inbox.put(0, note_on(0, 62, 90), 0.0)
    inbox.put(0, end, 0.0)
    assert [message for _, message, _ in inbox.drain()] == [note_on(0, 62, 90)] * 5 + [end]
    assert inbox.lost == 15 and not inbox.missed_ends()


@pytest.mark.parametrize('end', ENDS)
def test_an_end_that_is_lost_all_the_same_is_known(inbox, monkeypatch, end):
    monkeypatch.setattr(input_queue, 'MAX_WAITING', 5)
    for _ in range(60):
        inbox.put(3, end, 0.0)
    assert inbox.missed_ends() == {3} and inbox.missed_ends() == set()


def test_keys_that_had_to_wait_for_too_long_are_not_played_but_all_else_counts(inbox):
    made, clock, got = loop(inbox)
    rest = [*ENDS, bytes((0xF8,)), control(0, 20, 64), LOST]
    for message in (note_on(0, 60, 90), *rest):
        inbox.put(0, message, clock.now())
    clock.advance_to(clock.now() + 1.01 * TOO_LATE)
    inbox.put(0, note_on(0, 61, 90), clock.now())
    made.take_in()
    assert got == [*rest, note_on(0, 61, 90)] and inbox.lost == 1


def test_a_flood_does_not_hold_up_the_rest_of_a_turn(inbox):
    made, clock, got = loop(inbox)
    for _ in range(3 * MOST_AT_ONCE):
        inbox.put(0, note_on(0, 60, 90), clock.now())
    made.take_in()
    assert len(got) == MOST_AT_ONCE
