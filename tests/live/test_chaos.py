"""A short chaos run: whatever is done to the daemon, no note hangs and no key is struck twice."""

import types
from collections import deque

import pytest
from jack_server import available, server

from bridge.bench.chaos_desk import Witness
from bridge.bench.chaos_run import run_chaos
from bridge.midi.messages import note_off, note_on
from bridge.midi.wire_check import WireCheck
from genaudio_core.errors import GenaudioError


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_whatever_happens_no_note_hangs():
    with server(256) as name:
        result = run_chaos(0.4, 2, 'rules', name)
    assert (result['hung_notes'], result['struck_twice'], result['daemon_deaths']) == (0, 0, 0), result
    assert result['tracebacks'] == 0 and result['session_faults'] == 0
    assert result['faults_made'] > 1 and result['messages_heard'] > 20  # so many in the time that a busy machine leaves


def test_without_jackd_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr('shutil.which', lambda name: None)
    with pytest.raises(GenaudioError, match='apt install jackd2'):
        run_chaos(0.1, 0, 'rules', None)


def witness(*events, gaps=(), believes=False):
    """One that heard (second, message), without JACK."""
    made = object.__new__(Witness)
    made.rate, made.check, made.heard, made.unsure = 1000, WireCheck(), 0, 0
    made.gaps, made.faults, made._seen, made._stale = list(gaps), [], 0, {}
    made._believes = lambda key: believes
    made._events = deque((int(1000 * at), 0, message) for at, message in events)
    made._lost = deque()
    made._client = types.SimpleNamespace(frame_time=10_000)  # second 10
    return made


def test_a_note_without_an_end_is_hung():
    seen = witness((1.0, note_on(0, 60, 90)))
    seen.must_be_quiet()
    assert [fault.kind for fault in seen.faults] == ['hung'] and seen.unsure == 0


@pytest.mark.parametrize(
    ('gaps', 'believes', 'hung'),
    [
        ([(2.0, 2.01)], False, 1),  # one cycle cannot take both the note-off and its repetition
        ([(2.0, 2.01), (2.06, 2.07)], False, 0),
        ([(2.0, 2.01), (3.0, 3.01)], False, 1),
        ([(2.0, 2.5)], False, 0),
        ([(0.1, 0.9)], False, 1),  # before the note began
        ([(2.0, 2.5)], True, 1),  # the daemon has not ended it
    ],
)
def test_what_jack_lost_is_no_fault_of_the_daemon(gaps, believes, hung):
    seen = witness((1.0, note_on(0, 60, 90)), gaps=gaps, believes=believes)
    seen.must_be_quiet()
    assert (len(seen.faults), seen.unsure) == (hung, 1 - hung)


def test_a_key_struck_twice_is_counted_unless_an_end_may_be_lost():
    events = [(1.0, note_on(0, 60, 90)), (2.0, note_on(0, 60, 90)), (3.0, note_off(0, 60))]
    seen = witness(*events)
    seen.must_be_quiet()
    assert [fault.kind for fault in seen.faults] == ['struck twice']
    seen = witness(*events, gaps=[(1.5, 1.51)])
    seen.must_be_quiet()
    assert seen.faults == [] and seen.unsure == 1


def test_what_was_on_when_the_connection_was_pulled_must_end_when_it_is_back():
    seen = witness((1.0, note_on(0, 60, 90)), (1.0, note_on(0, 64, 90)))
    seen.pulled(0)
    assert seen.sounding() == {(0, 0, 60), (0, 0, 64)}
    seen._events.append((2000, 0, note_off(0, 60)))
    assert seen.sounding() == {(0, 0, 64)}
    seen.must_be_quiet()
    assert [fault.key for fault in seen.faults] == [(0, 0, 64)]
