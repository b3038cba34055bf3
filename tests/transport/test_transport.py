"""Session beats never jump back, whatever the leader does; tap and JACK transport."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.midi.jack_ports import JackPosition
from bridge.midi.messages import CLOCK, CONTINUE, START, STOP, Sync, song_position
from bridge.midi.messages import SONG_POSITION as SPP
from bridge.transport.midi_clock import ClockFollower
from bridge.transport.transport import SLACK, InternalLeader, JackLeader, Transport


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 100)), min_size=1, max_size=8),
    st.sampled_from([3.0, 4.0, 3.5]),
)
def test_session_beats_go_forward_through_any_jumps_and_keep_the_place_in_the_bar(jumps, bar):
    transport = Transport(ClockFollower(times_24=False), bar)
    time, reached = 0.0, 0.0
    for sixteenths, ticks in jumps:
        transport.sync(Sync(time, STOP))
        transport.sync(Sync(time, SPP, sixteenths))
        transport.sync(Sync(time, CONTINUE))
        for i in range(ticks):
            transport.sync(Sync(time, CLOCK))
            beat = transport.beat_at(time)
            assert beat >= reached - SLACK - 1e-6
            place = (sixteenths / 4 + i / 24) % bar
            assert min(abs(beat % bar - place), bar - abs(beat % bar - place)) < 1e-6
            reached = max(reached, beat)
            transport.check(time)
            time += 60 / 120 / 24


def test_song_position_bytes():
    assert song_position(300) == bytes((0xF2, 300 & 127, 300 >> 7))


def test_stopped_time_stands_still():
    transport = Transport(ClockFollower())
    transport.sync(Sync(0.0, START))
    for i in range(49):
        transport.sync(Sync(i / 48, CLOCK))
    transport.sync(Sync(1.0, STOP))
    assert transport.beat_at(5.0) == transport.beat_at(50.0) == pytest.approx(2.0, abs=0.1)


def test_tap_sets_the_tempo():
    leader = InternalLeader(120)
    leader.start(0.0)
    for i in range(5):
        leader.tap(10 + i * 0.4)
    assert leader.line.tempo == pytest.approx(150)
    leader.tap(30.0)  # long after: a new count
    leader.tap(31.0)
    assert leader.line.tempo == pytest.approx(60)


def test_a_tempo_change_keeps_the_beat():
    leader = InternalLeader(120)
    leader.start(0.0)
    leader.set_tempo(1.0, 60)
    assert leader.line.beat_at(1.0) == pytest.approx(2.0)
    assert leader.line.beat_at(2.0) == pytest.approx(3.0)


def test_jack_transport_rolls_jumps_and_stops():
    state = [JackPosition(False)]
    leader = JackLeader(lambda: state[0], 120)
    assert leader.check(0.0) == []
    state[0] = JackPosition(True, 1.0, 2.0)
    assert [(c.kind, c.beat) for c in leader.check(1.0)] == [('start', 4.0)]
    state[0] = JackPosition(True, 1.5, 2.5)
    assert leader.check(1.5) == []
    state[0] = JackPosition(True, 1.51, 0.5)  # a loop
    assert [(c.kind, c.beat) for c in leader.check(1.51)] == [('start', 1.0)]
    state[0] = JackPosition(True, 1.61, 0.6, 90.0, 1.2)  # a timebase master appears
    assert [c.kind for c in leader.check(1.61)] == ['tempo']
    state[0] = JackPosition(False, 1.7, 0.6, 90.0, 1.2)
    assert [c.kind for c in leader.check(1.7)] == ['stop']
