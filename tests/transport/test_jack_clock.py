"""JACK as the clock: it never leaps, whatever threads, wrapping counters and dying servers do. No server is needed."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.midi import jack_ports
from bridge.midi.input_queue import LOST
from bridge.midi.jack_ports import JackMidi
from bridge.midi.messages import note_on
from bridge.system import jack_client
from genaudio_core.errors import GenaudioError

RATE, PERIOD = 48000, 256


class Machine:
    """The machine's time, which passes when told to."""

    seconds = 100.0

    def perf_counter(self) -> float:
        return self.seconds


machine = Machine()


class FakeServer:
    """JACK's clients without JACK: frames count with the machine's time from `first` on."""

    def __init__(self, first: int, rate: int = RATE) -> None:
        self.first, self.rate, self.born = first, rate, machine.seconds
        self.clients: list[FakeClient] = []
        self.on_activate: Callable[[FakeClient], None] = lambda client: None  # what happens just then

    def frame(self) -> int:
        return (self.first + round((machine.seconds - self.born) * self.rate)) % (1 << 32)


class FakePort:
    def __init__(self) -> None:
        self.waiting: list[tuple[int, bytes]] = []
        self.sent: list[bytes] = []

    def incoming_midi_events(self):
        events, self.waiting = self.waiting, []
        return events

    def clear_buffer(self) -> None: ...

    def write_midi_event(self, offset: int, message: bytes) -> None:
        self.sent.append(message)


class FakePorts(list):
    def register(self, name: str) -> FakePort:
        self.append(FakePort())
        return self[-1]


class FakeClient:
    blocksize = PERIOD

    def __init__(self, server: FakeServer) -> None:
        self.server, self.closed, self.samplerate = server, False, server.rate
        self.midi_inports, self.midi_outports = FakePorts(), FakePorts()
        self.on_read = lambda: None  # what another thread does just then
        server.clients.append(self)

    @property
    def frame_time(self) -> int:
        assert not self.closed, 'a closed client was asked'
        frame = self.server.frame()
        self.on_read()
        return frame

    @property
    def last_frame_time(self) -> int:
        return self.server.frame()

    def transport_query_struct(self):
        raise RuntimeError('JACK transport is broken')

    def set_process_callback(self, callback) -> None:
        self.process = callback

    def set_shutdown_callback(self, callback) -> None:
        self.die = callback

    def set_xrun_callback(self, callback) -> None: ...
    def set_blocksize_callback(self, callback) -> None: ...
    def set_port_connect_callback(self, callback) -> None: ...
    def get_ports(self, *args, **options):
        return []

    def get_all_connections(self, port):
        return []

    def activate(self) -> None:
        self.server.on_activate(self)

    def deactivate(self) -> None: ...
    def close(self) -> None:
        self.closed = True


@pytest.fixture
def jack(monkeypatch):
    """Servers to choose from: `jack['server']` answers, None: nobody does."""
    world: dict[str, FakeServer | None] = {'server': FakeServer(5_000_000)}

    def open_client(name: str) -> FakeClient:
        if world['server'] is None:
            raise GenaudioError('No JACK server answers.')
        return FakeClient(world['server'])

    monkeypatch.setattr(jack_ports, 'wall', machine)
    monkeypatch.setattr(jack_client, 'open_client', open_client)
    return world


def passes(midi: JackMidi, seconds: float = 0.0) -> None:
    """Let time pass: bridge time goes with the machine's."""
    before = midi.now()
    machine.seconds += seconds
    assert midi.now() - before == pytest.approx(seconds, abs=2 / RATE)


def look_again(midi: JackMidi) -> list[int]:
    midi._next_look = -1e9  # `look` looks every half second only
    return midi.look()


@given(st.integers(0, 1 << 40), st.lists(st.tuples(st.integers(-5000, 500_000), st.integers(0, 500_000)), max_size=40))
def test_frames_unwrap_the_same_whichever_thread_wrote_the_measure_last(first, looks):
    midi = JackMidi.__new__(JackMidi)
    midi._frames = truth = first
    for moved, old in looks:
        truth = max(truth + moved, 0)
        assert midi._unwrap(truth % (1 << 32)) == truth
        midi._frames = max(truth - old, 0)  # the other thread writes what it read a while ago


@pytest.mark.parametrize('first', [0, (1 << 32) - 24_000, (1 << 31) - 24_000])
def test_time_goes_forward_where_the_counter_wraps(jack, first):
    jack['server'] = FakeServer(first)
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=lambda line: None)
    for _ in range(3):
        passes(midi, 0.8)


def test_time_goes_on_when_the_server_dies_in_the_middle_of_a_look(jack):
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=lambda line: None)
    passes(midi, 0.2)
    client = jack['server'].clients[-1]
    before = midi.now()
    machine.seconds += 0.3  # the last look is some time ago
    client.on_read = client.die
    assert midi.now() - before == pytest.approx(0.3, abs=1e-4)
    assert not midi.alive
    passes(midi, 0.4)
    jack['server'] = None
    assert look_again(midi) == [0]
    passes(midi, 5.0)


def test_time_goes_on_when_the_server_dies_between_two_looks(jack):
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=lambda line: None)
    before = midi.now()
    machine.seconds += 0.2
    jack['server'].clients[-1].die()
    machine.seconds += 0.1
    assert midi.now() - before == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize('first', [0, 1000, 90_000_000, (1 << 32) - 10])
def test_what_arrives_while_the_client_comes_back_has_the_right_time(jack, first):
    got: list[tuple[int, bytes, float]] = []
    midi = JackMidi(['in'], ['out'], lambda *event: got.append(event), notify=lambda line: None)
    passes(midi, 1.0)
    jack['server'].clients[-1].die()
    jack['server'] = None
    look_again(midi)
    passes(midi, 3.0)
    assert look_again(midi) == [] and not midi.alive

    def first_cycle(client: FakeClient) -> None:  # JACK's thread is quicker than ours
        client.midi_inports[0].waiting.append((0, note_on(0, 60, 90)))
        client.process(PERIOD)

    jack['server'] = FakeServer(first)
    jack['server'].on_activate = first_cycle
    before = midi.now()
    look_again(midi)
    assert midi.alive
    assert [time for _, _, time in got] == [pytest.approx(before, abs=1e-3)]
    assert midi.now() == pytest.approx(before, abs=1e-3)
    passes(midi, 2.0)


def test_a_server_that_goes_again_while_we_come_back_is_waited_for(jack):
    said: list[str] = []
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=said.append)
    passes(midi, 1.0)
    jack['server'].clients[-1].die()
    look_again(midi)

    def fails(client: FakeClient) -> None:
        raise OSError('the server is gone')

    jack['server'].on_activate = fails
    assert look_again(midi) == [] and not midi.alive
    assert jack['server'].clients[-1].closed
    passes(midi, 1.0)
    jack['server'] = FakeServer(0)
    assert look_again(midi) == [] and midi.alive
    assert said == ['The JACK server is gone; waiting for it.', 'JACK is back.']
    passes(midi, 1.0)


def test_what_waited_for_the_dead_server_does_not_hold_up_the_next_one(jack):
    jack['server'] = FakeServer(3_000_000_000)
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=lambda line: None)
    client = jack['server'].clients[-1]
    midi.send_at(midi.now(), 0, note_on(0, 60, 90))
    midi.send_at(midi.now() + 5, 0, note_on(0, 61, 90))
    client.process(PERIOD)
    client.die()
    look_again(midi)
    jack['server'] = FakeServer(0)
    look_again(midi)
    client = jack['server'].clients[-1]
    client.process(PERIOD)
    midi.send_at(midi.now(), 0, note_on(0, 72, 90))
    for _ in range(6):
        machine.seconds += 1
        client.process(PERIOD)
    sent = client.midi_outports[0].sent
    assert note_on(0, 72, 90) in sent and note_on(0, 61, 90) not in sent
    assert not midi.sounding.is_on(0, 0, 60)


@pytest.mark.parametrize('rate', [44100, 96000])
def test_a_server_that_comes_back_at_another_rate_goes_on_in_time(jack, rate):
    got: list[tuple[int, bytes, float]] = []
    midi = JackMidi(['in'], ['out'], lambda *event: got.append(event), notify=lambda line: None)
    passes(midi, 1.0)
    jack['server'].clients[-1].die()
    look_again(midi)
    machine.seconds += 2.0
    jack['server'] = FakeServer(7_000_000, rate)
    look_again(midi)
    passes(midi, 1.5)
    client = jack['server'].clients[-1]
    client.process(PERIOD)
    now = midi.now()
    client.midi_inports[0].waiting.append((0, note_on(0, 60, 90)))
    midi.send_at(now + 0.5, 0, note_on(0, 61, 90))
    client.process(PERIOD)
    assert got[-1][2] == pytest.approx(now, abs=2 / RATE)
    machine.seconds += 0.5 - 1.5 * PERIOD / rate
    client.process(PERIOD)
    assert note_on(0, 61, 90) not in client.midi_outports[0].sent
    machine.seconds += PERIOD / rate
    client.process(PERIOD)
    assert note_on(0, 61, 90) in client.midi_outports[0].sent


def test_messages_of_a_cycle_that_was_missed_are_known_to_be_lost(jack):
    got: list[tuple[int, bytes, float]] = []
    midi = JackMidi(['one', 'two'], ['out'], lambda *event: got.append(event), notify=lambda line: None)
    for cycles in (1, 1, 3, 1):  # since the last one
        machine.seconds += cycles * PERIOD / RATE
        now = midi.now()
        jack['server'].clients[-1].midi_inports[1].waiting.append((0, note_on(0, 60, 90)))
        jack['server'].clients[-1].process(PERIOD)
    key, since = note_on(0, 60, 90), now - PERIOD / RATE  # lost before what the cycle after them brings
    assert [event[:2] for event in got] == [(1, key), (1, key), (0, LOST), (1, LOST), (1, key), (1, key)]
    assert got[2][2] == got[4][2] == pytest.approx(since, abs=2 / RATE)
    jack['server'].clients[-1].die()
    look_again(midi)  # another server counts from elsewhere
    jack['server'].clients[-1].process(PERIOD)
    assert len(got) == 6


def test_music_goes_out_whatever_jack_transport_tells(jack):
    midi = JackMidi(['in'], ['out'], lambda *event: None, notify=lambda line: None)
    client = jack['server'].clients[-1]
    midi.send_at(midi.now(), 0, note_on(0, 60, 90))
    client.process(PERIOD)
    assert client.midi_outports[0].sent == [note_on(0, 60, 90)]
    assert not midi.transport().rolling


def test_frame_and_place_of_jack_transport_are_of_one_cycle(jack, monkeypatch):
    """A cycle that runs late sees the next one begin between its two questions."""
    jack['server'] = server = FakeServer(PERIOD)
    midi = JackMidi([], ['out'], lambda *event: None)
    song = server.frame() - 1000

    late: list[int] = []  # periods that begin before it is answered, one time after another

    def place(client):
        machine.seconds += (late.pop() if late else 0) * PERIOD / RATE
        return True, {'frame': server.frame() - song}

    monkeypatch.setattr(jack_ports, '_transport_of', place)
    for late[:] in ([], [1], [1, 1]):
        server.clients[-1].process(PERIOD)
        where = midi.transport()
        assert round((where.time - where.seconds) * RATE) == song


def test_a_server_that_was_held_up_does_not_hold_the_clock_back(jack, monkeypatch):
    """For seconds afterwards JACK's estimate of the present lies behind the cycles that have been run."""
    jack['server'] = server = FakeServer(PERIOD)
    midi = JackMidi([], ['out'], lambda *event: None)
    monkeypatch.setattr(jack_ports, '_transport_of', lambda client: (False, {'frame': 0}))
    machine.seconds += 1.0
    server.clients[-1].process(PERIOD)
    began = server.frame()
    monkeypatch.setattr(FakeClient, 'frame_time', property(lambda client: server.frame() - 20_000))
    assert began <= midi.now() * RATE < began + PERIOD
    machine.seconds += 0.1  # it goes on with the cycles
    server.clients[-1].process(PERIOD)
    assert midi.now() * RATE == pytest.approx(server.frame())
