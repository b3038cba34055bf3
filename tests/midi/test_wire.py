"""The last stage before the wire: a thread that cannot die, outputs that are not there, ports that go and come."""

import types
from collections import deque

import pytest
from jack_server import Desk, available, server

from bridge.midi.jack_ports import MAX_UNSENT, JackMidi
from bridge.midi.messages import control, note_off, note_on
from bridge.midi.sender import Outbox, PrecisionSender
from bridge.midi.sounding_notes import MAX_OUTPUTS
from bridge.midi.wire_check import WireCheck
from bridge.system.clock import RealClock
from bridge.system.waiting import wait_until


class Wire:
    """A port that can go, and a sender on it."""

    def __init__(self, n_outputs: int = 1) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.there = True
        self.clock = RealClock()
        self.sender = PrecisionSender(self.clock, self.write, n_outputs)

    def write(self, output: int, message: bytes) -> None:
        if not self.there:
            raise OSError('gone')
        self.got.append((output, message))

    def send(self, message: bytes, output: int = 0, strike: int = 0) -> None:
        before = len(self.got) + self.sender.lost
        self.sender.send_at(self.clock.now(), output, message, strike)
        wait_until(lambda: len(self.got) + self.sender.lost > before, 2)

    def sounding(self) -> dict:
        return WireCheck().feed_all((0.0, *item) for item in self.got).sounding


def test_a_note_off_that_the_port_missed_is_sent_when_it_is_back():
    wire = Wire()
    wire.send(note_on(0, 60, 90), strike=1)
    wire.there = False
    wire.send(note_off(0, 60), strike=1)
    assert wire.sender.lost == 1 and wire.sender.sounding.count() == 1  # it still sounds, out there
    wire.there = True
    wire.sender.silence([0])
    assert not wire.sounding() and wire.sender.sounding.count() == 0
    wire.sender.close()


def test_a_note_off_that_an_open_port_refuses_is_tried_again_until_it_is_taken():
    """Nobody calls the port lost, and nothing else is ever sent: the note must not sound on."""
    wire = Wire()
    wire.send(note_on(0, 60, 90), strike=1)
    wire.there = False
    wire.send(note_off(0, 60), strike=1)
    assert wire.sender.sounding.count() == 1
    wire.there = True
    assert wait_until(lambda: not wire.sounding(), 10)
    assert wait_until(lambda: wire.sender.lost == 0 and wire.sender.sounding.count() == 0, 10)
    assert wire.got == [(0, note_on(0, 60, 90)), (0, note_off(0, 60))]  # once, and no more of it
    wire.sender.close()


def test_a_pedal_that_an_open_port_did_not_take_up_is_tried_again():
    wire = Wire()
    wire.send(control(0, 64, 127))
    wire.there = False
    wire.send(control(0, 64, 0))
    wire.there = True
    assert wait_until(lambda: wire.got[-1] == (0, control(0, 64, 0)), 10)
    wire.sender.close()


def test_no_note_begins_again_on_a_port_that_has_not_taken_its_end():
    """Each message may be refused by itself: what a port takes is in order, and no key is struck twice."""
    wire = Wire()
    refused, write = [note_off(0, 60)] * 3, wire.sender._write

    def picky(output, message):
        if message in refused:
            refused.remove(message)
            raise OSError('full')
        write(output, message)

    wire.sender._write = picky
    now = wire.clock.now()
    for strike, time in enumerate((0.0, 0.001, 0.002, 0.1), 1):
        wire.sender.send_at(now + time, 0, note_on(0, 60, 90), strike)
        wire.sender.send_at(now + time + 0.0005, 0, note_off(0, 60), strike)
    assert wait_until(lambda: not refused and not len(wire.sender.outbox) and not wire.sounding(), 10)
    check = WireCheck().feed_all((0.0, *item) for item in wire.got)
    assert not check.struck_twice and not check.sounding
    wire.sender.close()


def test_the_last_ends_are_tried_again_before_the_sender_goes():
    wire = Wire()
    wire.send(note_on(0, 60, 90), strike=1)
    left = [3]
    write = wire.sender._write

    def late(output, message):
        if left[0]:
            left[0] -= 1
            raise OSError('full')
        write(output, message)

    wire.sender._write = late
    wire.sender.close()
    assert not wire.sounding()


def test_what_ended_while_nobody_had_noticed_the_loss_ends_again():
    """A port takes messages to nowhere until its loss is noticed: such note-offs are sent again."""
    wire = Wire()
    wire.send(note_on(0, 60, 90), strike=1)
    wire.send(note_off(0, 60), strike=1)
    wire.got.clear()
    wire.sender.silence([0])
    assert (0, note_off(0, 60)) in wire.got
    wire.sender.close()


def test_the_thread_survives_a_fault_and_says_so(monkeypatch):
    wire = Wire()
    wire.send(note_on(0, 60, 90), strike=1)
    pop_due, faults = wire.sender.outbox.pop_due, []

    def fails_twice(time):
        if len(faults) < 2:
            faults.append(time)
            raise IndexError('made up')
        return pop_due(time)

    monkeypatch.setattr(wire.sender.outbox, 'pop_due', fails_twice)
    wire.send(note_off(0, 60), strike=1)
    assert not wire.sounding() and wire.sender.faults == 2
    assert wire.sender.complaints() == ['Fault in the sender (IndexError: made up); playing on.']
    wire.sender.close()


def test_a_port_that_raises_anything_is_told_once_and_the_others_play():
    wire = Wire(2)
    write = wire.sender._write
    wire.sender._write = lambda output, message: write(output, message) if output else 1 / 0
    for output in (0, 0, 1):
        wire.send(note_on(0, 60, 90), output)
    assert wire.got == [(1, note_on(0, 60, 90))]
    (line,) = wire.sender.complaints()
    assert 'output 1 refuses' in line
    wire.sender.close()


@pytest.mark.parametrize('output', [-1, 2, 15, 16, 99])
def test_an_output_that_is_not_there_costs_a_line_and_nothing_else(output):
    wire = Wire(2)
    wire.sender.send_at(wire.clock.now(), output, note_on(0, 61, 90), 9)
    wire.send(note_on(0, 60, 90), 1, 1)
    wire.send(note_off(0, 60), 1, 1)
    assert not wire.sounding() and len(wire.got) == 2
    (line,) = wire.sender.complaints()
    assert f'no output {output + 1}' in line
    wire.sender.close()


class Port:
    """A JACK port that takes `room` messages a cycle."""

    def __init__(self, room: int = 1000) -> None:
        self.room, self.got, self.left, self.name = room, [], room, 'band:out'

    def incoming_midi_events(self):
        return []

    def clear_buffer(self) -> None:
        self.left = self.room

    def write_midi_event(self, offset: int, message: bytes) -> None:
        if self.left <= 0:
            raise RuntimeError('no room')
        self.left -= 1
        self.got.append((offset, message))


def jack_without_a_server(*ports: Port) -> JackMidi:
    midi = object.__new__(JackMidi)
    midi._offset, midi.sample_rate, midi.block_size, midi._silenced = 0.0, 48000, 256, 0
    midi._frames = 0
    midi._orders, midi._again, midi.scheduled = deque(), deque(), None
    midi.outbox = Outbox(n_outputs=len(ports))
    midi.sounding = midi.outbox.sounding
    midi._inputs, midi._outputs = [], list(ports)
    midi._sinks, midi._away, midi._missed, midi._doubted, midi._back = {}, {}, {}, {}, set()
    midi._ended = deque()
    midi.client = types.SimpleNamespace(last_frame_time=0)
    return midi


def cycles(midi: JackMidi, n: int) -> None:
    for _ in range(n):
        midi._cycle(256)
        midi.client.last_frame_time += 256


def test_messages_to_an_output_that_jack_lacks_do_not_pile_up():
    port = Port()
    midi = jack_without_a_server(port)
    midi.outbox = Outbox()  # as if it had sixteen
    for i in range(200):
        midi.send_at(i * 0.01, 1, note_on(0, i % 128, 90), i + 1)
        midi.send_at(i * 0.01 + 0.005, 1, note_off(0, i % 128), i + 1)
        cycles(midi, 2)
    cycles(midi, 20)
    assert not midi.outbox.unsent and not midi._again and len(midi.outbox) == 0 and not port.got
    assert midi.complaints() == ['There is no output 2: what is meant for it is left out.']


def test_a_full_buffer_delays_messages_in_their_order():
    port = Port(room=3)
    midi = jack_without_a_server(port)
    wanted = []
    for i in range(10):
        wanted += [note_on(0, 60 + i, 90), note_off(0, 60 + i)]
        midi.send_at(i * 1e-4, 0, wanted[-2], i + 1)
        midi.send_at(i * 1e-4 + 5e-5, 0, wanted[-1], i + 1)
    cycles(midi, 40)
    first = [m for i, (_, m) in enumerate(port.got) if m not in [n for _, n in port.got[:i]]]  # without repetitions
    assert first == wanted and midi.sounding.count() == 0
    assert not WireCheck().feed_all((0.0, 0, m) for _, m in port.got).finish(0.0).faults


def test_a_note_that_waits_for_room_is_released_after_it_has_begun():
    port = Port(room=1)
    midi = jack_without_a_server(port)
    midi.send_at(0.0, 0, note_on(0, 60, 90), 1)
    midi.send_at(0.0, 0, note_on(0, 64, 90), 2)
    cycles(midi, 1)
    port.room = 1000
    midi.release([2, 1])
    cycles(midi, 2)
    assert not WireCheck().feed_all((0.0, 0, message) for _, message in port.got).sounding
    assert [message for _, message in port.got][:2] == [note_on(0, 60, 90), note_on(0, 64, 90)]


def test_a_port_that_takes_nothing_any_more_does_not_grow_a_queue():
    midi = jack_without_a_server(Port(room=0))
    for i in range(MAX_UNSENT + 500):
        midi.send_at(i * 1e-3, 0, note_on(0, i % 128, 90), i + 1)
        if not i % 10:
            cycles(midi, 2)
    assert len(midi.outbox.unsent) <= MAX_UNSENT and len(midi._again) == 0


def test_a_port_that_took_nothing_for_too_long_gets_the_ends_of_what_sounds_there():
    ports = Port(), Port()
    midi = jack_without_a_server(*ports)
    for output in (0, 1):
        midi.send_at(0.0, output, note_on(0, 60, 90), 1 + output)
    cycles(midi, 2)
    ports[0].room = 0
    midi.send_at(0.01, 0, note_off(0, 60), 1)
    for i in range(MAX_UNSENT + 1):
        midi.send_at(0.01, 0, control(0, 1, i % 128))
    cycles(midi, 10)
    ports[0].room = 1000
    cycles(midi, 3)
    assert not WireCheck().feed_all((0.0, 0, message) for _, message in ports[0].got).sounding
    assert midi.sounding.is_on(1, 0, 60)  # of another port: it has taken everything
    assert midi.complaints() == ["JACK's MIDI buffers are full; some messages are lost."]


@pytest.mark.parametrize('told', ['by JACK', 'by the cycle that was missed'])
def test_note_offs_that_an_xrun_may_have_taken_are_sent_again(told):
    """The repetition may be lost in the same xrun: three of a chord hung for five seconds in a DAW."""
    port = Port()
    midi = jack_without_a_server(port)
    midi.xruns = 0
    for strike, note in enumerate((53, 57, 60), 1):
        midi.send_at(0.0, 0, note_on(0, note, 90), strike)
        midi.send_at(0.02, 0, note_off(0, note), strike)
    cycles(midi, 30)  # 160 ms: sent, and sent again
    midi.send_at(0.16, 0, note_on(0, 57, 90), 4)
    cycles(midi, 1)
    port.got.clear()
    if told == 'by JACK':
        midi._xrun(0.0)
    else:
        midi.client.last_frame_time += 256
    cycles(midi, 20)
    assert [m for _, m in port.got] == [note_off(0, 53), note_off(0, 60)]  # 57 is held again


def test_a_synthesizer_that_is_connected_again_gets_the_note_offs_it_missed():
    port = Port()
    midi = jack_without_a_server(port)
    midi.lost, midi._died_at, midi._last, midi._cut = False, 0.0, None, deque()
    midi.now = lambda: midi.client.last_frame_time / 48000  # type: ignore[method-assign]
    midi._watch([{'synth:in'}])
    for strike, note in ((1, 60), (2, 64)):
        midi.send_at(0.0, 0, note_on(0, note, 90), strike)
    cycles(midi, 2)
    midi._watch([set()])  # pulled
    midi.send_at(0.0, 0, note_off(0, 60), 1)
    cycles(midi, 40)
    midi._watch([set()])
    port.got.clear()
    midi._watch([{'synth:in'}])
    assert midi.outputs_back() == [0] and midi.outputs_back() == []
    cycles(midi, 2)
    assert [m for _, m in port.got] == [note_off(0, 60)]  # 64 is still held, and stays
    midi.silence([0])
    cycles(midi, 2)
    assert (0, note_off(0, 64)) in port.got and control(0, 123, 0) in [m for _, m in port.got]


@pytest.mark.parametrize('told', ['before it works', 'though it is cut'])
def test_a_cable_that_jack_shows_too_soon_or_too_long_loses_no_note_off(told):
    """On a busy machine JACK shows what it will do or has done a little before or after."""
    port = Port()
    midi = jack_without_a_server(port)
    midi.lost, midi._died_at, midi._last, midi._cut = False, 0.0, None, deque()
    midi.now = lambda: midi.client.last_frame_time / 48000  # type: ignore[method-assign]
    midi._watch([{'synth:in'}])
    midi.send_at(0.0, 0, note_on(0, 60, 90), 1)
    cycles(midi, 2)
    if told == 'before it works':
        midi._watch([set()])
    else:
        midi._cut.append(('band:out', 'synth:in'))
        midi._watch([{'synth:in'}])
    midi.send_at(0.0, 0, note_off(0, 60), 1)
    cycles(midi, 20)
    midi._watch([{'synth:in'}])
    cycles(midi, 20)
    port.got.clear()  # what went out so far nobody has heard
    midi._watch([{'synth:in'}])
    cycles(midi, 2)
    assert [m for _, m in port.got] == [note_off(0, 60)]
    cycles(midi, 600)  # three seconds
    midi._watch([{'synth:in'}])
    port.got.clear()
    midi._watch([{'synth:in'}])
    cycles(midi, 2)
    assert not port.got


def test_outputs_beyond_the_table_are_never_written_into_it():
    box = Outbox(n_outputs=40)
    with pytest.raises(IndexError):
        box.sounding.note(MAX_OUTPUTS, note_on(0, 60, 90))
    box.put(0.0, MAX_OUTPUTS, note_on(0, 60, 90))
    assert not box.pop_due(1.0)


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_on_a_real_server_a_pulled_cable_hangs_no_note():
    with server(256), Desk('desk', ('in',), ()) as desk:
        midi = JackMidi([], ['out'], lambda *event: None, name='band', connect=['desk:'], notify=lambda line: None)
        try:
            assert wait_until(lambda: (midi.look(), len(midi.connections()) == 1)[1], 10)
            assert wait_until(lambda: (midi.look(), bool(midi._sinks.get(0)))[1], 10)
            midi.send_at(midi.now(), 0, note_on(0, 60, 90), 1)
            assert wait_until(lambda: any(m == note_on(0, 60, 90) for *_, m in list(desk.heard)), 10)
            midi._connect = ()
            midi.client.disconnect('band:out', 'desk:in')
            assert wait_until(lambda: (midi.look(), bool(midi._away.get(0)))[1], 10)
            midi.send_at(midi.now(), 0, note_off(0, 60), 1)
            assert wait_until(lambda: midi.sounding.count() == 0, 10)
            midi._connect = ('desk:',)
            assert wait_until(lambda: (midi.look(), midi._back == {0})[1], 10)
            assert midi.outputs_back() == [0]
            assert wait_until(lambda: any(m == note_off(0, 60) for *_, m in list(desk.heard)), 10)
        finally:
            midi.close()
