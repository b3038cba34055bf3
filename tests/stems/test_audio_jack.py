"""The real thing: `genaudio isolate` as a JACK client, a player before it, a recorder after it, frame by frame."""

import contextlib
import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
from isolate_program import Isolate, children_of, has_jack, runs, until, waits
from jack_server import NAME, RATE, available, running
from numpy.testing import assert_allclose
from stream_models import music, random_model

from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator

pytestmark = [
    pytest.mark.jack,
    pytest.mark.skipif(not available, reason='jackd is not installed'),
]
jack = pytest.importorskip('jack')


@pytest.fixture(scope='module', autouse=True)
def server():
    """One for all; who stops it starts it again."""
    with running() as one:
        yield one


def isolating(*arguments):
    """The command on these arguments alone, with its result as JSON."""
    return Isolate('--json', *arguments, query=False)


class Player:
    """Plays x (channels, n) once, from the block after `go`."""

    def __init__(self, x):
        self.client, self.x, self.at = jack.Client('player', no_start_server=True), x, None
        self.ports = [self.client.outports.register(f'out_{i + 1}') for i in range(len(x))]
        self.client.set_process_callback(self._process)
        self.client.activate()

    def go(self):
        self.at = 0

    def _process(self, frames):
        for port, row in zip(self.ports, self.x, strict=True):
            out = port.get_array()
            out[:] = 0
            if self.at is not None:
                part = row[self.at : self.at + frames]
                out[: len(part)] = part
        if self.at is not None:
            self.at += frames


class Recorder:
    """Records everything."""

    def __init__(self, names, n):
        self.client, self.at = jack.Client('recorder', no_start_server=True), 0
        self.ports = [self.client.inports.register(name) for name in names]
        self.samples = np.zeros((len(names), n), np.float32)
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames):
        n = min(frames, self.samples.shape[1] - self.at)
        for row, port in zip(self.samples, self.ports, strict=True):
            row[self.at : self.at + n] = port.get_array()[:n]
        self.at += n


def close(*clients):
    for one in clients:
        with contextlib.suppress(Exception):
            one.client.deactivate()
            one.client.close()


@contextlib.contextmanager
def freewheel(client):
    """The server runs as fast as it can inside the block; it is used on afterwards."""
    client.set_freewheel(True)
    try:
        time.sleep(0.2)
        yield
    finally:
        client.set_freewheel(False)


def record(x: np.ndarray, stems: list[str]) -> tuple[dict, Recorder]:
    with isolating('--query', 'drums', '--query', 'bass', '--margin', '0') as isolate:
        isolate.wait_for('latency')
        player, recorder = Player(x), Recorder([*stems, 'input'], RATE * 120)
        try:
            for side in (1, 2):
                player.client.connect(f'player:out_{side}', f'genaudio-stems:in_{side}')
            for name in stems:
                recorder.client.connect(f'genaudio-stems:{name}', f'recorder:{name}')
            recorder.client.connect('player:out_1', 'recorder:input')
            with freewheel(player.client):
                player.go()
                end = time.monotonic() + 60
                while player.at < x.shape[1] + 8192 and time.monotonic() < end:
                    time.sleep(0.02)
            return isolate.finish(), recorder
        finally:
            close(player, recorder)


def test_recorded_stems_are_the_engines_and_null_with_the_rest():
    x = np.tile(music(2.0), 2)
    stems = ['drums_1', 'drums_2', 'bass_1', 'bass_2', 'rest_1', 'rest_2']
    x[:, 0] = 0.5  # so that its first frame can be found
    for _ in range(4):
        # The player is recorded too. Where JACK dropped a block of it on a busy machine, the recording is no measure.
        figures, recorder = record(x, stems)
        first = int(np.flatnonzero(recorder.samples[-1])[0])
        if np.array_equal(recorder.samples[-1, first : first + x.shape[1]], x[0]):
            break
    latency = figures['latency_samples']
    assert latency == 512 and figures['faults'] == 0
    # The stems must lie exactly the stated latency behind the player.
    assert_allclose(recorder.samples[-1, first : first + x.shape[1]], x[0], atol=0)
    recorded = recorder.samples[:-1, first + latency : first + latency + x.shape[1]]
    assert_allclose(recorded[:2] + recorded[2:4] + recorded[4:], x, atol=1e-6)
    network = MaskNetwork.load(random_model())
    engine = StreamingSeparator(network, network.words('drums', 'bass'), RATE)
    expected = engine.separate(np.pad(x, ((0, 0), (0, engine.latency))))[..., engine.latency :].reshape(4, -1)
    assert np.abs(expected).max() > 0.05
    # The graph had run on silence before, so its recurrent state was not zero at the first note; that fades.
    settled = RATE
    assert_allclose(recorded[:4, settled:], expected[:, settled:], atol=1e-4)


def test_mono_is_heard_on_both_sides_and_the_server_may_go_and_come_back(server):
    x = np.tile(music(1.0), 60)[:1]
    server.stop()
    try:
        with isolating('--query', 'drums', '--device', 'no such device') as none:
            assert none.process.wait(timeout=60) == 2
            none.wait_for_end()
            assert 'No audio device' in none.lines[-1] and 'Traceback' not in ''.join(none.lines)
    finally:
        server.start()
    player = Player(x)
    with isolating('--query', 'drums', '--connect', 'player:out_1=in_1') as isolate:
        isolate.wait_for('latency')
        recorder = Recorder(['a', 'b'], RATE * 2)
        try:
            for side, name in ((1, 'a'), (2, 'b')):
                recorder.client.connect(f'genaudio-stems:drums_{side}', f'recorder:{name}')
            player.go()
            end = time.monotonic() + 30
            while recorder.at < RATE * 2 and time.monotonic() < end:
                time.sleep(0.05)
            left, right = recorder.samples
            assert np.abs(left).max() > 1e-3
            # Also when late blocks were dry: both sides got the same.
            assert_allclose(left, right, atol=1e-6)
        finally:
            close(player, recorder)
        server.stop()
        try:
            isolate.wait_for('went away')
        finally:
            server.start()
        isolate.wait_for('is back')
        figures = isolate.finish()
        assert figures['restarts'] == 0


def test_a_killed_inference_process_is_dry_within_50_ms_and_wet_again_within_2_s():
    """Counted in frames of the server, from the kill on."""
    x = np.tile(music(1.0), 60)
    with isolating('--query', 'drums', '--margin', '0') as isolate:
        isolate.wait_for('latency')
        player, recorder = Player(x), Recorder(['stem', 'input'], RATE * 40)
        try:
            player.client.connect('player:out_1', 'genaudio-stems:in_1')
            recorder.client.connect('genaudio-stems:drums_1', 'recorder:stem')
            recorder.client.connect('player:out_1', 'recorder:input')
            player.go()
            isolate.say('status')
            isolate.wait_for('worker_pid')
            status = next(line for line in isolate.lines if 'worker_pid' in line)
            pid = int(status.split('worker_pid ')[1].split(',')[0])
            # The second worker, which takes over, has loaded.
            until(lambda: all(waits(one) for one in isolate.workers() if one != pid))
            started = recorder.at
            until(lambda: recorder.at > started + RATE // 2)
            latency = round(float(status.split('latency_ms ')[1].split(',')[0]) * RATE / 1000)
            killed = recorder.at
            os.kill(pid, signal.SIGKILL)
            while recorder.at < killed + 3 * RATE:
                time.sleep(0.05)
            figures = isolate.finish()
        finally:
            close(player, recorder)
    assert figures['restarts'] == 1
    if figures['latency_samples'] != 512:
        pytest.skip('the machine was so busy that the latency had to be widened: the recording cannot be compared')
    latency = figures['latency_samples']
    dry = recorder.samples[1, : recorder.at - latency]
    stem = recorder.samples[0, latency : recorder.at]
    blocks = (recorder.at - latency) // 256
    is_dry = np.abs(stem - dry)[: 256 * blocks].reshape(blocks, 256).max(-1) < 1e-6
    at = (killed - latency) // 256
    first_dry = int(np.argmax(is_dry[at:]))
    assert is_dry[at + first_dry] and first_dry * 256 <= 0.05 * RATE
    wet = np.flatnonzero(~is_dry[at + first_dry :])
    assert len(wet) and (first_dry + wet[0]) * 256 <= 2 * RATE


class Daw:
    """One client that plays to us and records from us, as a DAW does: a loop, and its recordings put where the latency
    that JACK tells for what it records says."""

    def __init__(self, x, n):
        self.client, self.x, self.at, self.go = jack.Client('daw', no_start_server=True), x, 0, False
        self.out = self.client.outports.register('out')
        self.back = self.client.inports.register('in')
        self.samples = np.zeros(n, np.float32)
        self.client.set_process_callback(self._process)
        self.client.activate()

    def _process(self, frames):
        out = self.out.get_array()
        out[:] = 0
        if self.go:
            part = self.x[self.at : self.at + frames]
            out[: len(part)] = part
            n = max(min(frames, len(self.samples) - self.at), 0)
            self.samples[self.at : self.at + n] = self.back.get_array()[:n]
            self.at += frames


def told_latency(port):
    """What ``jack_lsp -l`` says of a port: (playback, capture) ranges."""
    text = subprocess.run(['jack_lsp', '-s', NAME, '-l', port], capture_output=True, text=True, timeout=20).stdout
    ranges = [line.split('[')[1].split(']')[0].split() for line in text.splitlines() if '[' in line]
    return [tuple(map(int, one)) for one in ranges]


def wait_for_latency(port, wanted):
    end = time.monotonic() + 20
    while (found := told_latency(port)[1:]) != [wanted]:  # [1]: a loop's client may echo our playback latency
        assert time.monotonic() < end, (found, wanted)
        time.sleep(0.1)


@pytest.mark.parametrize('looped', [False, True], ids=['apart', 'loop'])
def test_a_recording_put_back_by_the_latency_that_jack_tells_is_aligned_to_the_sample(looped):
    x = music(2.0)[0]
    x[0] = 0.5
    with isolating('--query', 'drums', '--margin', '0', '--rest', '0') as isolate:
        isolate.wait_for('latency')
        daw = Daw(x, RATE * 3)
        recorder = Recorder(['in', 'input'], RATE * 60)
        try:
            daw.client.connect('daw:out', 'genaudio-stems:in_1')
            sink = 'daw:in' if looped else 'recorder:in'
            daw.client.connect('genaudio-stems:monitor_1', sink)  # stems and rest: the input again
            daw.client.connect('daw:out', 'recorder:input')
            latency = 512 + 256 * looped
            wait_for_latency('genaudio-stems:monitor_1', (latency, latency))
            if looped:
                isolate.wait_for('hears us and is heard by us')
            with freewheel(daw.client):
                daw.go = True
                end = time.monotonic() + 60
                while daw.at < RATE * 3 and time.monotonic() < end:
                    time.sleep(0.02)
        finally:
            close(daw, recorder)
        figures = isolate.finish()
    assert figures['faults'] == 0
    if looped:
        heard = daw.samples
    else:
        first = int(np.flatnonzero(recorder.samples[1])[0])
        heard = recorder.samples[0, first:]
    assert_allclose(heard[latency : latency + len(x)], x, atol=1e-5)


def test_an_audio_process_that_dies_is_replaced_with_its_connections_and_nothing_is_left_over():
    with isolating('--query', 'drums') as isolate:
        isolate.wait_for('latency')
        assert isolate.left()
        recorder = Recorder(['stem'], RATE)
        try:
            recorder.client.connect('genaudio-stems:drums_1', 'recorder:stem')
            time.sleep(1.5)  # it is seen within half a second
            children = children_of(isolate.process.pid)
            victim = next(pid for pid in children if has_jack(pid))
            os.kill(victim, signal.SIGKILL)
            isolate.wait_for('The audio process ended; starting another.')
            end = time.monotonic() + 40
            while not recorder.client.get_all_connections(recorder.ports[0]):
                assert time.monotonic() < end
                time.sleep(0.1)
            children = children_of(isolate.process.pid)
            os.kill(isolate.process.pid, signal.SIGKILL)
            end = time.monotonic() + 30
            while any(map(runs, children)):
                assert time.monotonic() < end, children
                time.sleep(0.1)
        finally:
            close(recorder)
    until(lambda: not isolate.left(), 10)


def test_a_name_too_long_for_jack_is_shortened():
    with isolating('--query', 'drums', '--name', 'n' * 64) as isolate:
        isolate.wait_for(f'JACK client {"n" * 60}:')
        isolate.finish()
        assert 'No JACK server' not in ''.join(isolate.lines)


def test_a_server_at_twice_the_rate_is_separated_with_the_same_delay(server):
    server.stop()
    server.start(rate=96000)
    try:
        with isolating('--query', 'drums') as isolate:
            isolate.wait_for('96000 Hz')
            isolate.finish()
            assert 'hop 512' in ''.join(isolate.lines)
    finally:
        server.stop()
        server.start()


def test_a_server_at_another_rate_is_told(server):
    server.stop()
    server.start(rate=32000)
    try:
        with isolating('--query', 'drums') as isolate:
            assert isolate.process.wait(timeout=60) == 2
            isolate.wait_for_end()
            told = 'The device runs at 32000 Hz and the live separator at 44100, 48000,'
            assert told in ''.join(isolate.lines)
    finally:
        server.stop()
        server.start()


def test_a_preset_is_moved_by_controllers_at_the_midi_port_and_keeps_its_state(tmp_path, monkeypatch):
    from jack_server import Desk

    monkeypatch.setenv('XDG_CONFIG_HOME', str(tmp_path))
    preset, state = tmp_path / 'mine.toml', tmp_path / 'mine.state'
    preset.write_text(
        '[[stems]]\nquery = "drums"\n[[stems.effects]]\neffect = "Gain"\n'
        '[cc]\n7 = "gain.drums"\n74 = { moves = "effect.drums.1.gain_db", low = 0, high = -20 }\n'
    )
    with isolating(str(preset), '--state', str(state), '--set', 'wet=0.5') as isolate:
        isolate.wait_for('latency')
        with Desk() as desk:
            desk.connect('desk:out', 'genaudio-stems:midi_in')
            isolate.say('learn gain.rest')
            isolate.wait_for('it will move gain.rest')
            desk.send('out', [(0, bytes([0xB0, control, 127])) for control in (33, 7, 74)])  # the first is learned
            isolate.wait_for('Controller 33 now moves gain.rest', 20)
            time.sleep(0.3)
        isolate.say('set gain.dums 3')
        isolate.wait_for("Did you mean 'gain.drums'")
        isolate.finish()
    kept = json.loads(state.read_text())
    assert kept['settings']['wet'] == 0.5 and kept['settings']['gain.rest'] == '6.0'
    assert kept['settings']['gain.drums'] == '6.0'
    assert kept['effects']['drums'][0]['parameters'] == {'gain_db': -20.0}
    learned = json.loads((tmp_path / 'genaudio' / 'controllers.json').read_text())
    assert learned == {'isolate mine': {'33': 'gain.rest'}}
