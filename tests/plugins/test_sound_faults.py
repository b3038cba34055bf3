"""What goes wrong round pads and instrument: files, lines, servers, processes. One line each; the others play on."""

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fake_jack import FakeClient

from bridge.audio.finite_guard import FiniteGuard
from bridge.audio.jack_sound_client import JackSoundClient
from bridge.plugins.effects import NO_NUMBERS
from bridge.plugins.instrument import JackInstrument
from bridge.settings.instrument_table import Instrument
from bridge.system import jack_client
from bridge.system.line_input import LineInput
from bridge.system.sound_process import SoundProcess
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import begin

RATE = 48000


# --- lines -----------------------------------------------------------------------------------------------------------


def test_lines_of_a_stream_that_closes_break_or_never_end():
    read, write = os.pipe()
    with os.fdopen(read) as stream:
        lines = LineInput(stream, None)
        os.write(write, b'status\nsil')
        assert lines.wait(5) == ['status']
        os.write(write, b'ence')
        assert lines.wait(0.05) == []
        os.close(write)
        assert lines.wait(5) == ['silence']  # the last line needs no end
        assert lines.wait(0.01) == [] and lines.wait(0.01) == []
    read, write = os.pipe()
    with os.fdopen(read) as stream:
        lines = LineInput(stream, None)
        for _ in range(3):
            os.write(write, b'x' * 40_000)
            assert lines.wait(0.05) == []
        os.write(write, b' quit\nstatus\n')
        assert lines.wait(5) == ['status']  # what is too long is no line, and nor is its end
        os.close(write)
    closed = io.StringIO()
    closed.close()
    assert LineInput(closed, None).wait(0.01) == []


def test_the_parent_that_is_gone_is_the_end():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    theirs.close()
    assert LineInput(None, ours).wait(5) == ['quit']


# --- the client ------------------------------------------------------------------------------------------------------


class Client(FakeClient):
    """As much of a JACK client as a player needs."""

    made: list['Client'] = []  # noqa: RUF012

    def __init__(self, rate=RATE, blocksize=256, trouble=None):
        self.samplerate, self.blocksize, self.trouble, self.name = rate, blocksize, trouble, 'x'
        self.midi_inports = self.outports = SimpleNamespace(
            register=lambda name: SimpleNamespace(
                name=name, get_array=lambda: np.zeros(self.blocksize, np.float32), incoming_midi_events=lambda: []
            )
        )
        Client.made.append(self)


class Tone(JackSoundClient):
    rates = ()

    def render(self, out, events):
        if self.broken:
            raise ValueError('no\nsound')
        out[:] = 0.5

    broken = False

    def silence(self):
        self.silenced = True

    def rate_changed(self):
        self.rates = (*self.rates, self.sample_rate)


@pytest.fixture
def clients(monkeypatch):
    """Clients that are handed out in this order; None: no server runs."""
    Client.made = []
    queue: deque = deque()

    def open_client(name):
        found = queue.popleft() if queue else None
        if found is None:
            raise GenaudioError('No JACK server runs.')
        return found()

    monkeypatch.setattr(jack_client, 'open_client', open_client)
    monkeypatch.setattr(jack_client, 'RETRY', 0.0)
    return queue


def test_clients_lost_with_their_server_are_closed_and_one_that_comes_half_is_tried_again(clients):
    clients.extend([Client, None, lambda: Client(trouble=RuntimeError('JACK went away')), lambda: Client(rate=44100)])
    player = Tone('x')
    player.start()
    assert player.poll() is None
    player._shutdown(0, 'gone')
    said = [line for line in (player.poll() for _ in range(5)) if line]
    assert said == ['The JACK server went away; waiting for it to come back.', 'The JACK server is back.']
    assert [client.closed for client in Client.made] == [True, True, False]
    assert player.client.active and player.sample_rate == 44100 and player.rates[-1] == 44100
    assert player.silenced  # what sounded when the server went does not sound on when it is back
    player.close()
    assert Client.made[-1].closed


def test_blocks_that_cannot_be_made_are_silent_and_told(clients):
    clients.append(Client)
    player = Tone('x')
    player.broken = True
    for _ in range(3):
        player._process(256)
    assert player.poll() == '3 blocks could not be played and were silent: no sound'
    player._process(256)
    assert player.poll() is None  # not every block is told


@pytest.mark.parametrize('frames', [1, 256, 8192, 16384])
def test_blocks_of_any_length_are_played(clients, frames):
    clients.append(lambda: Client(blocksize=frames))
    player = Tone('x')
    player._process(frames)
    player._blocksize(4 * frames)
    player.client.blocksize = 4 * frames
    player._process(4 * frames)
    assert player.faults == 0


# --- the plug-in -----------------------------------------------------------------------------------------------------


class Plugin:
    """A synthesizer of pedalboard's kind: knows which keys are down, and does what it is told to do wrong."""

    def __init__(self):
        self.down, self.trouble, self.reported_latency_samples = set(), None, 0

    def __call__(self, messages, seconds, sample_rate, num_channels, buffer_size=0, reset=False):
        if self.trouble == 'throws':
            raise RuntimeError('lost\nmy head')
        for message, _ in messages:
            key = (message[0] & 15, message[1])
            if message[0] & 0xF0 == 0x90 and message[2]:
                self.down.add(key)
            elif message[0] & 0xF0 in (0x80, 0x90):
                self.down.discard(key)
        value = {'nan': np.nan, 'inf': np.inf}.get(self.trouble, 0.5 if self.down else 0.0)
        rows = {'mono': 1, 'many': 6}.get(self.trouble, 2)
        n = round(seconds * sample_rate)
        n = {'short': n // 2, 'long': 2 * n, 'nothing': 0}.get(self.trouble, n)
        return np.full((rows, n), value, np.float32)


def instrument_of(plugin):
    """The client without a server."""
    one = object.__new__(JackInstrument)
    one.instrument, one.plugin, one.sample_rate = Instrument(Path('x.vst3')), plugin, RATE
    one.played = one._thrown = one.xruns = one.faults = 0
    one.fault, one.guard, one._gain, one._hush = '', FiniteGuard(), np.float32(1), False
    one._sounding, one._turned = set(), deque()
    one.rate_changed()
    return one


def render(one, events=(), n=256):
    out = np.full((2, n), 9.0, np.float32)
    with contextlib.suppress(RuntimeError):
        one.render(out, list(events))
    assert np.isfinite(out).all() and np.abs(out).max() <= 0.5
    return out


@pytest.mark.parametrize('trouble', ['nan', 'inf', 'mono', 'many', 'short', 'long', 'nothing', 'throws'])
def test_whatever_an_instrument_returns_what_leaves_is_sound_and_its_notes_end(trouble):
    plugin = Plugin()
    one = instrument_of(plugin)
    render(one, [(0, bytes((0x90, 60, 100)))])
    plugin.trouble = trouble
    out = render(one, [(0, bytes((0x80, 60, 0))), (3, bytes((0x90, 62, 100)))])
    if trouble in ('nan', 'inf'):
        assert np.abs(np.diff(out)).max() < 0.05 and not out[:, 100:].any()  # a fade, then silence
        assert one.status()['silenced_blocks'] == 1
    if trouble in ('mono', 'many'):
        assert out.any(axis=1).all()
    plugin.trouble = None
    render(one, [(0, bytes((0x80, 62, 0)))])
    render(one)
    assert not plugin.down and not one._sounding and not one.fault


@pytest.mark.parametrize(('trouble', 'says'), [('nan', 'NaN or infinity'), ('throws', 'fails (lost my head)')])
def test_an_instrument_that_does_so_for_long_is_given_another_process(trouble, says):
    plugin = Plugin()
    one = instrument_of(plugin)
    plugin.trouble = trouble
    for _ in range(round(NO_NUMBERS * RATE) // 256 + 2):
        render(one)
    assert says in one.fault and '\n' not in one.fault


def test_a_latency_that_changes_is_seen():
    plugin = Plugin()
    one = instrument_of(plugin)
    assert one.latency == 0 and not one.has_moved()
    plugin.reported_latency_samples = 480
    assert one.has_moved() and one.latency == 480 and not one.has_moved()


# --- processes -------------------------------------------------------------------------------------------------------


def child(how, cells, pipe):
    """A player without sound: 'dies', 'hangs', 'never ready' or 'good'."""
    heart = begin(cells)
    if how == 'dies while loading':
        os._exit(3)
    while how == 'never ready':
        time.sleep(1)
    pipe.send(('ready', None))
    lines = LineInput(None, pipe)
    while True:
        heart.beat()
        for line in lines.wait(0.01):
            pipe.send(('told', f'heard {line}'))
            if line == 'quit':
                pipe.send(('status', {'fine': True}))
                return
            if line == 'die':
                os._exit(3)
            while line == 'hang':
                time.sleep(1)


def listen(process, what, seconds=60.0):
    said, end = [], time.monotonic() + seconds
    while not what():
        said += process.poll()
        assert time.monotonic() < end, said
        time.sleep(0.005)
    return said + process.poll()


@contextlib.contextmanager
def sound_process(how='good', **options):
    process = SoundProcess(child, (how,), 'sound', what='The thing', **options)
    process.consequence = 'The band plays on.'
    try:
        yield process
    finally:
        process.stop()
        process.stop()
        assert not process.process.is_alive() and process.poll() == []


def test_a_player_that_dies_is_started_again_and_not_for_ever():
    with sound_process() as process:
        process._limit.times = 2
        for k in (1, 2):
            listen(process, lambda: process.ready)
            process.obey('die')
            said = listen(process, lambda k=k: process.restarts == k)
            assert said[-1] == 'The thing crashed; it is started again.'
        listen(process, lambda: process.ready)
        process.obey('die')
        said = listen(process, lambda: bool(process.failed))
        assert said[-1] == 'The thing crashed again and again. The band plays on.'
        assert process.poll() == []


def test_a_player_that_hangs_is_found_by_its_heartbeat():
    with sound_process(stuck=1.0) as process:
        listen(process, lambda: process.ready)
        first = process.process.pid
        process.obey('hang')
        said = listen(process, lambda: process.restarts == 1)
        assert said[-1] == 'The thing hangs; it is started again.'
        listen(process, lambda: process.ready)
        assert process.process.pid != first


@pytest.mark.parametrize(('how', 'says'), [
    ('dies while loading', 'The thing crashed while it was loaded. The band plays on.'),
    ('never ready', 'The thing was not ready after 1 s. The band plays on.'),
])  # fmt: skip
def test_a_player_that_never_comes_is_told_once(how, says):
    with sound_process(how, loading=1.0 if how == 'never ready' else 60.0) as process:
        assert listen(process, lambda: bool(process.failed)) == [says]
        assert process.poll() == [] and process.restarts == 0


def test_a_player_that_dies_while_it_is_stopped_is_not_started_again():
    process = SoundProcess(child, ('good',), 'sound', what='The thing')
    listen(process, lambda: process.ready)
    os.kill(process.process.pid, signal.SIGKILL)
    process.stop()
    assert process.restarts == 0 and not process.process.is_alive()


@pytest.mark.parametrize('order', ['', 'hang'])
def test_no_player_is_left_when_its_session_is_killed(order, tmp_path):
    """One that listens ends by its pipe, one that hangs is ended all the same."""
    script = tmp_path / 'session.py'
    script.write_text(
        'import sys, time; sys.path.insert(0, sys.argv[1])\n'
        'from test_sound_faults import SoundProcess, child\n'
        'if __name__ == "__main__":\n'
        '    process = SoundProcess(child, ("good",), "sound")\n'
        '    while not process.ready:\n'
        '        process.poll(); time.sleep(0.01)\n'
        '    if sys.argv[2]:\n'
        '        process.obey(sys.argv[2])\n'
        '        while not process.poll():\n'
        '            time.sleep(0.01)\n'
        '    print(process.process.pid, flush=True)\n'
        '    time.sleep(600)\n'
    )
    session = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parents[1]), order], stdout=subprocess.PIPE, text=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert session.stdout is not None
        pid = int(session.stdout.readline())
        session.kill()
        session.wait()
        end = time.monotonic() + 60
        while is_there(pid):
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        session.kill()
        session.stdout.close()


def is_there(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def test_lines_for_a_player_that_reads_none_hold_nobody_up():
    with sound_process() as process:
        listen(process, lambda: process.ready)
        os.kill(process.process.pid, signal.SIGSTOP)
        for _ in range(100_000):
            if not process.obey('x' * 100):
                break
        else:
            raise AssertionError('all of it was taken')
        os.kill(process.process.pid, signal.SIGKILL)
