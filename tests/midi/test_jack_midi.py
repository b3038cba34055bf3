"""JACK with frame offsets, in freewheel: what was asked for is on its frame."""

import os
import time as wait

import pytest
from jack_server import RATE, Desk, available, server

from bridge.midi.input_queue import LOST
from bridge.midi.messages import CLOCK, START, Sync, note_off, note_on
from bridge.system.waiting import wait_until
from bridge.transport.midi_clock import ClockFollower

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


@pytest.fixture(scope='module')
def jack_running():
    with server(256):
        yield


@pytest.fixture
def wired(jack_running):
    from bridge.midi.jack_ports import JackMidi

    got, said = [], []
    midi = JackMidi(
        ['in'], ['out'], lambda *event: got.append(event), name='band', connect=['desk:'], notify=said.append
    )
    with Desk('desk', ('in',), ('out',)) as desk:
        assert wait_until(lambda: (midi.look(), len(midi.connections()) == 2)[1], 10)
        yield midi, desk, got
        midi.close()


def test_every_message_on_its_frame(wired):
    midi, desk, _ = wired
    desk.client.set_freewheel(True)
    start = midi.now() + 0.5
    wanted = []
    for i in range(1000):
        time = start + i * 0.0037
        wanted.append((round(time * RATE), note_on(i % 16, 40 + i % 50, 80)))
        midi.send_at(time, 0, wanted[-1][1])
        midi.send_at(time + 0.003, 0, note_off(i % 16, 40 + i % 50))
    assert wait_until(lambda: sum(m[0] & 0xF0 == 0x90 for _, _, m in list(desk.heard)) == 1000, 30)
    desk.client.set_freewheel(False)
    heard = [(frame, message) for frame, _, message in desk.heard if message[0] & 0xF0 == 0x90]
    assert [message for _, message in heard] == [message for _, message in wanted]
    # Band and desk hear each other, so that JACK delays one way by a period: the same for all.
    assert {h[0] - w[0] for h, w in zip(heard, wanted, strict=True)} in ({0}, {256})


def test_what_comes_in_is_stamped_to_the_frame(wired):
    _, desk, got = wired
    tries = []
    for _ in range(6):  # on a busy machine a client misses a cycle, and JACK loses what was in it
        got.clear()
        frame = desk.frame() + 9000
        desk.send('out', [(frame + 100 * i, note_on(0, 60, 1 + i)) for i in range(50)])
        wait_until(lambda: len([event for event in list(got) if event[1] != LOST]) == 50, 3)
        came = [(message, time) for _, message, time in list(got) if message != LOST]
        tries.append([round(time * RATE) - frame - 100 * (message[2] - 1) for message, time in came])
        if len(tries[-1]) == 50 and len(set(tries[-1])) == 1:
            break
    assert set(tries[-1]) in ({0}, {256}) and len(tries[-1]) == 50, tries


def test_ticks_of_a_missed_cycle_count_all_the_same(wired):
    """Our thread is held up for several periods, as a busy machine does it: JACK loses what came in meanwhile."""
    midi, desk, got = wired
    follower = ClockFollower()
    take = midi._deliver
    held = []

    def deliver(source, chunk, time):
        take(source, chunk, time)
        if chunk and chunk[0] == CLOCK and len(got) > 100 and not held:
            held.append(wait.sleep(0.05))

    midi._deliver = deliver
    first = desk.frame() + 9000
    desk.send('out', [(first, bytes([START])), *((first + 1000 * i, bytes([CLOCK])) for i in range(192))])
    assert wait_until(lambda: desk.frame() > first + 193_000, 30)
    assert LOST in [chunk for _, chunk, _ in list(got)]
    for _, chunk, time in got:
        if chunk == LOST:
            follower.lost()
        else:
            follower.sync(Sync(time, chunk[0]))
    # Desk and band hear each other, so that JACK delays one way by a period.
    beat = follower.line.beat_at((first + 191_000) / RATE)
    assert min(abs(191 / 24 - beat), abs((191 - 0.256) / 24 - beat)) < 0.005


def test_every_note_off_is_sent_again(wired):
    midi, desk, _ = wired
    midi.send_at(midi.now(), 0, note_on(0, 60, 90))
    midi.send_at(midi.now() + 0.05, 0, note_off(0, 60))
    assert wait_until(lambda: [m for *_, m in list(desk.heard)].count(note_off(0, 60)) >= 2, 10)


def test_the_second_note_off_never_cuts_the_next_note(wired):
    midi, desk, _ = wired
    now = midi.now() + 0.05
    midi.send_at(now, 0, note_on(0, 60, 90))
    midi.send_at(now + 0.02, 0, note_off(0, 60))
    midi.send_at(now + 0.03, 0, note_on(0, 60, 91))
    midi.send_at(now + 0.4, 0, note_off(0, 60))
    assert wait_until(lambda: len([1 for *_, m in list(desk.heard) if m[0] == 0x80]) >= 3, 10)
    heard = [(frame, m) for frame, _, m in desk.heard]
    second_on = next(frame for frame, m in heard if m == note_on(0, 60, 91))
    assert [f for f, m in heard if m[0] == 0x80 and second_on < f < second_on + 0.3 * RATE] == []


def test_silence_and_close_end_everything(wired):
    midi, desk, _ = wired
    for note in range(40, 60):
        midi.send_at(midi.now(), 0, note_on(2, note, 90))
        midi.send_at(midi.now() + 5, 0, note_off(2, note))
    assert wait_until(lambda: len(desk.heard) >= 20, 10)
    midi.close()
    offs = {m[1] for *_, m in desk.heard if m[0] == 0x82}
    assert offs == set(range(40, 60))
    assert (0xB2, 123, 0) in {tuple(m) for *_, m in desk.heard}


def test_a_port_with_a_name_that_is_not_text_hides_no_other(wired):
    """Whatever bytes somebody calls a port by: it is left out of what we see, and nothing else."""
    import jack

    from bridge.system.jack_client import jack_ports

    midi, _, _ = wired
    odd = jack.Client('odd', no_start_server=True)
    try:
        port = jack._lib.jack_port_register(odd._ptr, b'caf\xe9', b'8 bit raw midi', 1, 0)  # an input
        assert port and not odd.activate()
        assert jack._lib.jack_connect(odd._ptr, b'band:out', b'odd:caf\xe9') == 0
        midi._next_look = -1e9
        assert midi.look() == [] and ('band:out', 'desk:in') in midi.connections()
        names = jack_ports()['midi']
        assert {'band:in', 'band:out', 'desk:in', 'desk:out'} <= set(names) and 'odd:café' not in names
        assert jack._lib.jack_disconnect(odd._ptr, b'band:out', b'odd:caf\xe9') == 0
    finally:
        odd.deactivate()
        odd.close()


def test_a_missing_server_is_told(jack_running, monkeypatch):
    from bridge.midi.jack_ports import JackMidi
    from bridge.system.jack_client import is_running
    from genaudio_core.errors import GenaudioError

    assert is_running()
    monkeypatch.setitem(os.environ, 'JACK_DEFAULT_SERVER', 'nobody')
    assert not is_running()
    with pytest.raises(GenaudioError, match='No JACK server'):
        JackMidi(['in'], ['out'], print)


def test_the_bench_over_jack_finds_every_message(jack_running):
    from bridge.bench.live import bench_live

    result = bench_live(0.12, 240, 3, 0.002, 'jack', 'rules', 0)
    assert result['hung_notes'] == 0 and result['struck_twice'] == 0 and result['messages'] > 20
    assert result['out_jitter_ms_p99'] is not None
    assert result['handovers'] > 0 or result['missed_deadlines'] > 0  # one answer, and the machine may be late with it


@pytest.mark.parametrize('told', ['at once', 'after the next look'])
def test_a_cable_pulled_and_put_back_between_two_looks_leaves_no_note_on(wired, told):
    """Its note-off and the repetition went to nobody: it is sent anew when the cable is back."""
    midi, desk, _ = wired

    def heard(message):
        return any(bytes(m) == message for *_, m in list(desk.heard))

    on, off = note_on(0, 61, 90), note_off(0, 61)
    for _ in range(10):  # on a busy machine JACK loses what a late client should have heard
        midi.send_at(midi.now() + 0.05, 0, on)
        if wait_until(lambda: heard(on), 2):
            break
        midi.send_at(midi.now(), 0, off)
    midi.look()
    desk.heard.clear()
    desk.client.disconnect('band:out', 'desk:in')
    midi.send_at(midi.now() + 0.02, 0, off)
    assert wait_until(lambda: not midi.sounding.count(), 10)
    wait_until(lambda: False, 0.3)  # the repetition is over, too
    assert not heard(off)
    desk.client.connect('band:out', 'desk:in')
    if told != 'at once':
        assert wait_until(lambda: len(midi._cut) > 0, 10)
        late = midi._cut.popleft()
        midi._next_look = -1e9
        midi.look()
        midi._cut.append(late)
    assert wait_until(lambda: (midi.look(), heard(off))[1], 10)
    assert midi.outputs_back() == [0]
