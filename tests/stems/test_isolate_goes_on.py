"""Nothing that happens to the audio process or its server ends `isolate`: it goes on, or tries again, and says so."""

import types
from typing import ClassVar

import numpy as np
import pytest

from bridge.audio import callback_process
from bridge.audio.callback_process import RARELY, AudioProcess, AudioSpec
from bridge.audio.jack_device import OtherRate
from bridge.stems import isolate, line_commands
from bridge.stems.audio_host import AudioHost
from bridge.stems.isolate import model_path
from genaudio_core.errors import GenaudioError

SPEC = AudioSpec(48000, 256, 4, 'in', 'out', 'panel', client='c', restore=(('a:1', 'c:in_1'),))


class Child:
    """What is said of it, and whether it lives, is the test's."""

    made: ClassVar[list['Child']] = []

    def __init__(self, *args, **options):
        self.alive, self.said = True, [('ready', {'client': 'c', 'ms': 0.0})]
        self.arguments = args[1]
        Child.made.append(self)

    def is_alive(self):
        return self.alive

    def is_hung(self):
        return False

    def receive(self):
        said, self.said = self.said, []
        return said

    def dies(self, *words):
        self.alive, self.said = False, list(words)

    def kill(self):
        self.alive = False

    def close(self, patience=1.0):
        self.alive = False


@pytest.fixture
def audio(monkeypatch):
    now = types.SimpleNamespace(monotonic=lambda: now.time, sleep=lambda seconds: None, time=100.0)
    monkeypatch.setattr(callback_process, 'ChildProcess', Child)
    monkeypatch.setattr(callback_process, 'time', now)
    monkeypatch.setattr('genaudio_core.processes.child_watch.time', now)
    Child.made.clear()
    host = types.SimpleNamespace(core=types.SimpleNamespace(ending=False), _wake=None)
    audio = AudioProcess(host, SPEC)
    audio.now = now  # type: ignore[attr-defined]
    return audio


def lines_of(audio):
    return list(iter(audio.poll, None))


def test_a_process_that_keeps_ending_is_tried_ever_again(audio):
    for _ in range(5):
        Child.made[-1].dies(('failed', 'no room'))
        assert 'ended (no room); starting another' in ' '.join(lines_of(audio))
    Child.made[-1].dies(('failed', 'no room'))
    (line,) = lines_of(audio)
    assert 'keeps ending (no room)' in line and f'{RARELY:g} s' in line
    n = len(Child.made)
    audio.now.time += RARELY - 1
    assert lines_of(audio) == [] and len(Child.made) == n
    audio.now.time += 2
    assert lines_of(audio) == [] and len(Child.made) == n + 1 and Child.made[-1].alive
    assert Child.made[-1].arguments[0].again and Child.made[-1].arguments[0].restore == SPEC.restore


def test_another_rate_is_told_with_the_block(audio):
    Child.made[-1].dies(('rate', (44100, 512)))
    with pytest.raises(OtherRate) as caught:
        lines_of(audio)
    assert (caught.value.sample_rate, caught.value.block) == (44100, 512)


def test_at_a_rate_that_the_model_does_not_know_the_dry_signal_plays():
    vectors = _vectors()
    with pytest.raises(GenaudioError, match='32000 Hz'):
        AudioHost(model_path(None), vectors, sample_rate=32000, block=256)
    host = AudioHost(model_path(None), vectors, sample_rate=32000, block=256, or_dry=True)
    try:
        host.start()
        host.poll()
        assert host.dry and host.worker_pid is None and not host.ready
        sound = np.sin(np.arange(256 * 200) / 9).astype(np.float32)
        out, heard = np.empty((host.outbox.n_channels, 256), np.float32), []
        for i in range(200):
            host.core.process(np.stack([sound[i * 256 : (i + 1) * 256]] * 2), out)
            heard.append(out[-2:].copy())
        heard = np.concatenate(heard, axis=1)[0]
        late = host.latency
        np.testing.assert_allclose(heard[-4096:], sound[len(sound) - 4096 - late : len(sound) - late], atol=1e-5)
    finally:
        host.stop()


def _vectors():
    from genaudio_core.separation.streaming import MaskNetwork

    dim = int(MaskNetwork.load(model_path(None)).card.details['query_dim'])
    return np.full((1, dim), dim**-0.5, np.float32)


def test_all_that_was_turned_goes_along_to_another_rate(monkeypatch):
    """The server comes back at 44100, at 32000, which no model knows, and at 48000 again; then somebody quits."""
    hosts, said, rates = [], [], [44100, 32000, 48000]

    class Host(AudioHost):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, 'standby': False})
            hosts.append((self.core.sample_rate, self.spec.mix.gains_db[0], self.dry))

        def start(self, *args, **options):  # no worker is needed for this
            self.dry = True

    class Audio:
        client, device_ms, restarts = 'genaudio-stems', 0.0, 1

        def __init__(self, host, spec, *, on_midi, wait):
            self.spec, self.polls = spec, 0
            assert wait == (len(hosts) == 1)
            assert spec.again == (len(hosts) > 1) and spec.outputs == ('drums', 'rest', 'monitor')

        spec_for = staticmethod(AudioProcess.spec_for)

        def poll(self):
            self.polls += 1
            if self.polls > 3 and rates:
                raise OtherRate(rates.pop(0), 512)
            return None

        def close(self):
            pass

    turned = iter(['gain 1 -7'])

    class Reader:
        def wait(self, seconds):
            return [next(turned, 'quit' if not rates else 'status')]

    monkeypatch.setattr(isolate, 'AudioHost', Host)
    monkeypatch.setattr(isolate, 'AudioProcess', Audio)
    monkeypatch.setattr(line_commands, 'reader_of', lambda lines: Reader())
    monkeypatch.setattr('bridge.audio.jack_device.server_timing', lambda name: (48000, 256))
    result = isolate.run(['drums'], lines=object(), on_notice=said.append)
    assert hosts == [(48000, 0.0, False), (44100, -7.0, False), (32000, -7.0, True), (48000, -7.0, False)]
    assert result['sample_rate'] == 48000 and result['block'] == 512 and result['audio_restarts'] == 4
    told = [line for line in said if 'came back at' in line]
    assert 'Going on at that rate' in told[0] and 'the dry signal plays' in told[1] and 'Going on' in told[2]
