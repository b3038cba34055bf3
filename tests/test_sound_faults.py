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
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bridge import jack_player, pads
from bridge.child_process import begin
from bridge.finite import FiniteGuard
from bridge.instrument import Instrument, JackInstrument
from bridge.jack_player import JackPlayer, SoundProcess
from bridge.lines import Lines
from bridge.pads import Bank, Folder, Pad, PadPlayer, check_note, load_take
from bridge.pads_jack import JackPads, PadsProcess
from bridge.plugin_effects import NO_NUMBERS
from genaudio_core.audio_files import write_audio
from genaudio_core.errors import GenaudioError

RATE = 48000


def beep(path, value=0.5, n=4800, rate=RATE):
    write_audio(path, np.full((1, n), value, np.float32), rate)


def truncated(path):
    beep(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def promises_much(path):
    """A header of 2 GB, as a recorder writes it that cannot seek back, and a little sound."""
    beep(path)
    data = bytearray(path.read_bytes())
    at = data.index(b'data') + 4
    data[at : at + 4] = (2_000_000_000).to_bytes(4, 'little')
    path.write_bytes(data)


BAD = {
    'text': lambda path: path.write_text('no sound'),
    'empty': lambda path: path.write_bytes(b''),
    'folder': lambda path: path.mkdir(),
    'header': lambda path: path.write_bytes(b'RIFF\xff\xff\xff\xffWAVEfmt '),
    'no samples': lambda path: soundfile.write(path, np.zeros((0, 1)), RATE),
    'nan': lambda path: soundfile.write(path, np.full((4800, 1), np.nan, np.float32), RATE, subtype='FLOAT'),
    'inf': lambda path: soundfile.write(path, np.full((4800, 1), np.inf, np.float32), RATE, subtype='FLOAT'),
    'long': lambda path: soundfile.write(path, np.zeros((121 * 8000, 1)), 8000),
    'channels': lambda path: soundfile.write(path, np.zeros((4800, 9)), RATE),
    'pipe': os.mkfifo,
    'loop': lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize('kind', BAD)
def test_a_file_that_cannot_be_used_costs_one_line_and_the_other_pads_play(kind, tmp_path):
    """It appears while the others sound; then it is mended."""
    said, player = [], PadPlayer(RATE)
    beep(tmp_path / 'good.wav')
    folder = Folder(tmp_path, Bank(player, said.append), 36, 4)
    folder.look(said.append, patient=False)
    player.render(np.zeros((2, 64), np.float32), [(0, bytes((0x90, 36, 127)))])
    BAD[kind](tmp_path / 'bad.wav')
    for _ in range(5):
        folder.look(said.append)
    lines = said[1:]
    assert len(lines) == (kind != 'loop') and all('bad.wav' in line and '\n' not in line for line in lines), lines
    out = np.zeros((2, 64), np.float32)
    player.render(out)
    assert out.any() and [pad.file.name for pad in player.pads if pad] == ['good.wav']
    target = tmp_path / 'bad.wav'
    target.rmdir() if kind == 'folder' else target.unlink()
    folder.look(said.append)
    beep(target)
    for _ in range(2):
        folder.look(said.append)
    assert said[-1] == 'pad 37: bad.wav'


@pytest.mark.parametrize('spoil', [truncated, promises_much])
def test_a_file_that_holds_less_than_it_says_plays_what_is_there(spoil, tmp_path):
    spoil(tmp_path / 'a.wav')
    said = []
    audio = load_take(tmp_path / 'a.wav', RATE, said.append)
    assert 0 < audio.shape[1] <= 4800 and np.isfinite(audio).all()
    assert all('\n' not in line for line in said)


@pytest.mark.parametrize('subtype', ['PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE', 'PCM_U8', 'ULAW'])
def test_files_of_any_depth_are_read(subtype, tmp_path):
    soundfile.write(tmp_path / 'a.wav', np.full((4800, 1), 0.5), RATE, subtype=subtype)
    assert load_take(tmp_path / 'a.wav', RATE)[:, 1000] == pytest.approx(0.5, abs=0.02)


def test_whatever_a_reader_throws_is_one_line(tmp_path, monkeypatch):
    class Reader:
        def __init__(self, *args, **options):
            raise RuntimeError('20 bits\nare too many')

    monkeypatch.setattr(pads, 'AudioReader', Reader)
    with pytest.raises(GenaudioError, match=r'Cannot read .*: 20 bits are too many'):
        load_take(tmp_path / 'a.wav', RATE)
    for name in ('nul\0byte.wav', 'x' * 5000 + '.wav', '\udcff.wav'):
        with pytest.raises(GenaudioError):
            Bank(PadPlayer(RATE)).put(36, tmp_path / name)


def test_a_header_that_lies_about_its_length_does_not_fill_the_memory(tmp_path, monkeypatch):
    """The reader says one second, and gives without end."""

    class Endless:
        n_samples, given = RATE, 0

        def __init__(self, *args, **options):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *args):
            pass

        def blocks(self):
            while True:
                Endless.given += 1
                yield np.zeros((1, RATE), np.float32)

    monkeypatch.setattr(pads, 'AudioReader', Endless)
    with pytest.raises(GenaudioError, match='too long for a pad'):
        load_take('a.wav', RATE)
    assert Endless.given <= pads.MAX_SECONDS + 1


def test_all_pads_together_hold_so_much_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(pads, 'MAX_MEMORY', 3 * 4800 * 8)
    beep(tmp_path / 'a.wav')
    player = PadPlayer(RATE)
    bank = Bank(player)
    for note in (36, 37, 38):
        bank.put(note, tmp_path / 'a.wav')
    with pytest.raises(GenaudioError, match='all pads together hold'):
        bank.put(39, tmp_path / 'a.wav')
    bank.put(38, tmp_path / 'a.wav')  # in the place of another there is room
    assert player.pads[39] is None


def test_a_folder_that_goes_and_comes_back_is_told_once_each(tmp_path):
    said, player = [], PadPlayer(RATE)
    inside = tmp_path / 'takes'
    inside.mkdir()
    beep(inside / 'a.wav')
    folder = Folder(inside, Bank(player), 36, 4)
    folder.look(said.append, patient=False)
    inside.rename(tmp_path / 'away')
    for _ in range(3):
        folder.look(said.append)
    assert len(said) == 2 and 'cannot be read' in said[1] and player.pads[36] is not None
    (tmp_path / 'away').rename(inside)
    for _ in range(3):
        folder.look(said.append)
    assert len(said) == 3 and said[2].endswith('is back.')


def test_who_watches_a_folder_loads_one_file_at_a_time(tmp_path):
    for i in range(5):
        beep(tmp_path / f'{i}.wav', n=100)
    said, folder = [], Folder(tmp_path, Bank(PadPlayer(RATE)), 36, 8)
    looks = 0
    while folder.look(said.append, patient=False, most=1):
        looks += 1
        assert len(said) == looks
    assert len(said) == 5


def test_a_server_of_another_rate_and_a_file_that_is_gone_by_then(tmp_path):
    said = []
    old = PadPlayer(44100)
    bank = Bank(old, said.append)
    for note, name in ((36, 'a.wav'), (37, 'b.wav')):
        beep(tmp_path / name, 0.5, 44100, 44100)
        bank.put(note, tmp_path / name)
    (tmp_path / 'b.wav').unlink()
    player = PadPlayer(48000)
    bank.play_with(player)
    assert len(said) == 1 and 'b.wav' in said[0] and 'keeps what it has' in said[0]
    for note in (36, 37):
        audio = player.pads[note].audio
        assert abs(audio.shape[1] - 48000) <= 2 and audio[0, 24000] == pytest.approx(0.5, abs=0.01)


@given(st.one_of(st.text(max_size=12), st.booleans(), st.floats(allow_subnormal=False), st.integers(), st.none()))
def test_a_note_is_a_note(value):
    with contextlib.suppress(GenaudioError):
        note = check_note(value)
        assert 0 <= note <= 127 and not isinstance(value, bool)


# --- lines -----------------------------------------------------------------------------------------------------------


def silent_pads():
    one = object.__new__(JackPads)
    one.player = PadPlayer(RATE)
    one.bank = Bank(one.player, lambda line: None)
    one.xruns = one.faults = 0
    return one


@given(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            '{} {} {}'.format, st.sampled_from(['load', 'gain', 'choke']), st.text(max_size=5), st.text(max_size=9)
        ),
        st.builds('gain 36 {}'.format, st.floats(allow_subnormal=False)),
    )
)
def test_whatever_a_line_says_it_is_done_or_told(line):
    one = silent_pads()
    one.player.pads[36] = Pad(36, Path('x.wav'))
    with contextlib.suppress(GenaudioError):
        one.obey(line)
    pad = one.player.pads[36]
    assert pad is not None and -60 <= pad.gain_db <= 12 and 0 <= pad.choke <= 127


def test_lines_of_a_stream_that_closes_break_or_never_end():
    read, write = os.pipe()
    with os.fdopen(read) as stream:
        lines = Lines(stream, None)
        os.write(write, b'status\nsil')
        assert lines.wait(5) == ['status']
        os.write(write, b'ence')
        assert lines.wait(0.05) == []
        os.close(write)
        assert lines.wait(5) == ['silence']  # the last line needs no end
        assert lines.wait(0.01) == [] and lines.wait(0.01) == []
    read, write = os.pipe()
    with os.fdopen(read) as stream:
        lines = Lines(stream, None)
        for _ in range(3):
            os.write(write, b'x' * 40_000)
            assert lines.wait(0.05) == []
        os.write(write, b' quit\nstatus\n')
        assert lines.wait(5) == ['status']  # what is too long is no line, and nor is its end
        os.close(write)
    closed = io.StringIO()
    closed.close()
    assert Lines(closed, None).wait(0.01) == []


def test_the_parent_that_is_gone_is_the_end():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    theirs.close()
    assert Lines(None, ours).wait(5) == ['quit']


# --- the client ------------------------------------------------------------------------------------------------------


class Client:
    """As much of a JACK client as a player needs; `fails` names what does not work."""

    made: list['Client'] = []  # noqa: RUF012

    def __init__(self, rate=RATE, blocksize=256, fails=()):
        self.samplerate, self.blocksize, self.fails, self.name = rate, blocksize, fails, 'x'
        self.closed = self.active = False
        self.midi_inports = self.outports = SimpleNamespace(
            register=lambda name: SimpleNamespace(
                name=name, get_array=lambda: np.zeros(self.blocksize, np.float32), incoming_midi_events=lambda: []
            )
        )
        Client.made.append(self)

    def __getattr__(self, name):
        if name.startswith('set_'):
            return lambda callback: None
        raise AttributeError(name)

    def activate(self):
        if 'activate' in self.fails:
            raise RuntimeError('JACK went away')
        self.active = True

    def deactivate(self):
        self.active = False

    def close(self):
        self.closed = True


class Tone(JackPlayer):
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

    monkeypatch.setattr(jack_player, 'open_client', open_client)
    monkeypatch.setattr(jack_player, 'RETRY', 0.0)
    return queue


def test_clients_lost_with_their_server_are_closed_and_one_that_comes_half_is_tried_again(clients):
    clients.extend([Client, None, lambda: Client(fails=('activate',)), lambda: Client(rate=44100)])
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


def child(how, heart_name, orders, told):
    """A player without sound: 'dies', 'hangs', 'never ready' or 'good'."""
    heart = begin(heart_name)
    if how == 'dies while loading':
        os._exit(3)
    while how == 'never ready':
        time.sleep(1)
    told.send(('ready', None))
    lines = Lines(None, orders)
    while True:
        heart.beat()
        for line in lines.wait(0.01):
            told.send(f'heard {line}')
            if line == 'quit':
                told.send(('status', {'fine': True}))
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
        [sys.executable, str(script), str(Path(__file__).parent), order], stdout=subprocess.PIPE, text=True,
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


def test_pads_that_are_started_again_have_what_was_loaded_since(monkeypatch):
    launched = []
    monkeypatch.setattr(SoundProcess, '_launch', lambda self: launched.append(self._arguments))
    monkeypatch.setattr(jack_player, 'send_now', lambda pipe, line: True)
    process = PadsProcess([Pad(36, Path('a.wav'), -6.0, choke=1)])
    process._orders = None
    process.load(36, 'b c.wav')
    process.load(40, 'd.wav')
    process.load('x', 'e.wav')
    assert process._arguments[0] == (Pad(36, Path('b c.wav'), -6.0, choke=1), Pad(40, Path('d.wav')))
    process._heart.close()
