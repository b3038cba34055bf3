"""No note hangs, whatever the player, the transport, the controls and the engine do."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_band import Stage, check_no_hanging, clock_ticks, phrase, preset

from bridge import messages
from bridge.clock import SimulatedClock
from bridge.messages import note_off, note_on
from bridge.parameters import COMMANDS, MODES
from bridge.sender import Outbox, SimulatedSender
from bridge.sounding import Sounding

BAND = [{'instrument': 'piano'}, {'instrument': 'bass'}, {'instrument': 'drums'}]
keys = st.tuples(st.integers(0, 2), st.integers(60, 63))
# The live separator flushes subnormal numbers, for the whole process; hypothesis must not ask for any.
seconds = st.floats(0, 2, allow_subnormal=False)
orders = st.lists(
    st.one_of(
        st.tuples(st.just('on'), seconds, keys), st.tuples(st.just('off'), seconds, keys),
        st.tuples(st.just('silence'), st.just(0.0), keys), st.tuples(st.just('run'), seconds, keys),
    ),
    max_size=60,
)  # fmt: skip


@given(orders)
def test_the_outbox_leaves_nothing_behind(plan):
    clock = SimulatedClock()
    sender = SimulatedSender(clock, 2)
    for what, delay, (channel, note) in plan:
        if what == 'on':
            sender.send_at(clock.now() + delay, channel % 2, note_on(channel, note, 90))
        elif what == 'off':
            sender.send_at(clock.now() + delay, channel % 2, note_off(channel, note))
        elif what == 'run':
            clock.advance_to(clock.now() + delay)
            sender.run_until(clock.now())
        else:
            sender.silence()
            assert sender.sounding.count() == 0
    sender.close()
    assert sender.sounding.count() == 0
    check_no_hanging(sender.sent)


def test_note_offs_come_before_note_ons_of_the_same_time():
    box = Outbox()
    box.put(1.0, 0, note_on(0, 60, 90))
    box.put(0.0, 0, note_on(0, 60, 90))
    box.put(1.0, 0, note_off(0, 60))
    assert [message[0] for _, _, message in box.pop_due(2.0)] == [0x90, 0x80, 0x90]


def test_silence_sends_individual_note_offs_and_both_controllers():
    table = Sounding()
    table.note(1, note_on(3, 60, 90))
    table.note(1, note_on(3, 64, 90))
    table.note(0, note_on(0, 10, 90))
    assert table.silence(1) == [
        note_off(3, 60), note_off(3, 64), messages.control(3, 64, 0), messages.control(3, 123, 0)
    ]  # fmt: skip
    assert table.count() == 1  # output 0 still sounds


def test_the_shared_table_outlives_its_writer(tmp_path):
    table = Sounding.shared(tmp_path / 'table')
    table.note(0, note_on(9, 36, 100))
    del table
    successor = Sounding.shared(tmp_path / 'table')
    assert successor.silence(0)[0] == note_off(9, 36)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(MODES))
def test_a_session_that_is_treated_badly(seed, mode):
    """Random playing, commands, jumps, stops, tempo changes, settings and engine trouble for half a minute."""
    rng = random.Random(seed)

    def delay(request, number):
        return rng.choice((0.001, 0.01, 0.3, 5.0)) + 0.002 * number

    stage = Stage(preset(mode, BAND, music__takes=rng.choice((1, 3)), player__thru=rng.random() < 0.3), delay)
    part = []
    time = 0.5
    while time < 30:
        length = rng.uniform(0.5, 6)
        tempo = rng.choice((90, 120, 160))
        first = rng.choice((b'\xfa', b'\xfb', messages.song_position(rng.randrange(64)), b''))
        part += [item for item in clock_ticks(time, length * tempo / 60, tempo, first=first)]
        if rng.random() < 0.5:
            part.append((time + length, b'\xfc'))
        time += length + rng.choice((0, 0, 1.5))
    for _ in range(120):
        at = rng.uniform(0, 30)
        note, channel = rng.randrange(48, 72), rng.choice((0, 0, 9))
        part.append((at, note_on(channel, note, rng.randrange(1, 128))))
        if rng.random() < 0.9:  # some keys are never let go
            part.append((at + rng.uniform(0.02, 3), note_off(channel, note)))
        if rng.random() < 0.1:
            part.append((at, messages.control(0, 64, rng.choice((0, 127)))))
    part.sort(key=lambda item: item[0])
    stage.session.takes.keep = lambda: None  # writes files
    for second in range(1, 16):
        stage.play([item for item in part if 2 * second - 2 <= item[0] < 2 * second], 2 * second)
        choice = rng.random()
        if choice < 0.4:
            stage.session.apply({'command': rng.choice(sorted(COMMANDS))})
        elif choice < 0.5:
            stage.session.apply({'set': 'player.mode', 'value': rng.choice(MODES)})
        elif choice < 0.6:
            stage.engine.ready = not stage.engine.ready  # the engine is away
        elif choice < 0.7:
            stage.session.port_lost(0)
    stage.session.close()
    assert stage.sender.sounding.count() == 0
    check_no_hanging(stage.sender.sent)


@pytest.mark.parametrize('ending', [b'\xfc', None, 'panic', 'hush'])
def test_everything_ends_at_once(ending):
    stage = Stage(preset('free', BAND))
    part = clock_ticks(0.1, 16)
    if isinstance(ending, bytes):
        part = [*part[:-96], (part[-96][0], ending)]
    elif ending is None:
        part = part[:-96]  # the clock just stalls
    stage.play(part, 6.05)
    if isinstance(ending, str):
        assert stage.sender.sounding.count() > 0
        stage.session.command(ending)
        stage.sender.run_until(stage.clock.now() + 0.035)  # a note-off may be on its way, by the horizon
    else:
        stage.play([], 7.2)
    assert stage.sender.sounding.count() == 0
    check_no_hanging(stage.sender.sent)


def test_a_key_let_go_after_the_mode_changed_ends_its_note():
    stage = Stage(preset('arrange', BAND))
    stage.play([*clock_ticks(0.0, 4), *phrase(0.5)[:1]], 1.0)
    assert stage.sender.sounding.count() == 1
    stage.session.apply({'set': 'player.mode', 'value': 'respond'})
    assert stage.sender.sounding.count() == 0
