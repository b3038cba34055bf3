import os
import signal
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose
from stream_models import music, random_model
from test_audio import play

from bridge.audio import AudioHost
from bridge.plugin_process import Chain, Link, PluginHost, check_link, load_link
from genaudio_core.errors import GenaudioError
from genaudio_core.separation_stream import MaskNetwork

RATE = 48000


@pytest.fixture(scope='module')
def host():
    path = random_model()
    words = MaskNetwork.load(path).words('drums', 'bass')
    with AudioHost(
        str(path), words, sample_rate=RATE, block=256, margin_ms=0, realtime=False, standby=False
    ) as made:
        made.core.waits = True
        yield made


def test_effects_change_their_own_pair_in_place_and_a_crash_leaves_the_stems(host):
    x = np.tile(music(1.0), 2)
    plugins = PluginHost(host, {0: (Link(effect='Gain', parameters={'gain_db': -6.0206}), Link(effect='Invert'))})
    try:
        latency = host.latency
        assert latency == 512 + 256  # one chunk of time for the plug-ins
        out = play(host, x)
        start = RATE
        null = -2 * out[:2] + out[2:4] + out[4:6]  # the first pair is halved and turned over
        assert_allclose(null[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
        plugins.set_parameter(0, 0, 'gain_db', 0.0)
        plugins.set_parameter(0, 0, 'gain', 0.0)
        told, end = None, time.monotonic() + 20
        while told is None and time.monotonic() < end:
            play(host, x[:, :2560])
            told = plugins.poll()
        assert "Gain has no parameter 'gain'. Did you mean 'gain_db'" in told
        assert plugins.save_state() == {0: [b'', b'']}

        os.kill(plugins.process.pid, signal.SIGKILL)
        plugins.process.join()
        host.core.waits = False
        plugins._started -= 10  # as if it had been running for a while
        before = host.core.counts.fades
        assert 'crashed' in plugins.poll() and plugins.restarts == 1
        pause = time.monotonic()
        out = []
        for i in range(0, x.shape[1] - 255, 256):
            block = np.empty((8, 256), np.float32)
            host.core.process(x[:, i : i + 256], block)
            out.append(block)
            time.sleep(0.004)
        assert time.monotonic() - pause > 1
        out = np.concatenate(out, -1)
        assert np.isfinite(out).all() and np.abs(out[:2, RATE:]).max() > 1e-3
        assert host.core.counts.fades - before < 200
        host.core.waits = True
        play(host, x)  # waits until the effects are there again
        assert host.core._through_plugins
    finally:
        plugins.stop()
    play(host, x[:, :2560])
    assert not host.core._through_plugins


def test_a_chain_knows_its_latency_and_keeps_samples_in_place():
    from pedalboard_native._internal import AddLatency

    chain = Chain([Link(effect='Gain', parameters={'gain_db': 0.0})], RATE)
    assert chain.latency == 0
    chain.board.append(AddLatency(100))
    assert chain._blockwise_latency() == 100
    chain.board.reset()
    x = music(0.1)[:, :2560]
    out = np.concatenate([chain.process(x[:, i : i + 256]) for i in range(0, 2560, 256)], -1)
    assert_allclose(out, x[:, :2460], atol=1e-6)


@pytest.mark.parametrize(
    ('link', 'message'),
    [
        (Link(), 'either built in'),
        (Link(effect='Gain', path='x.vst3'), 'either built in'),
        (Link(path='/no/such.vst3'), 'There is no plug-in /no/such.vst3'),
        (Link(effect='Reverbb'), "No effect 'Reverbb'. Did you mean 'Reverb'"),
        (Link(effect='Reverb', parameters={'roomsize': 1}), "no parameter 'roomsize'. Did you mean 'room_size'"),
        (Link(effect='Reverb', parameters={'room_size': 'big'}), "'room_size' cannot be big"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(link, message):
    with pytest.raises(GenaudioError, match=message):
        check_link(link)
        load_link(link)


def test_a_file_that_is_no_plugin_is_told(tmp_path):
    bad = tmp_path / 'bad.vst3'
    bad.write_bytes(b'nothing')
    with pytest.raises(GenaudioError, match='does not load'):
        load_link(Link(path=str(bad)))
