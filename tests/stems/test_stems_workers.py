"""The inference worker that cannot start any more, and what the rings must hold, without a device."""

import time

import numpy as np
import pytest
from audio_blocks import play
from stream_models import music, random_model

from bridge.plugins.effects_host import PluginHost
from bridge.settings.effects_table import EffectSpec
from bridge.stems import audio_host
from bridge.stems.audio_host import AudioHost
from genaudio_core.errors import GenaudioError
from genaudio_core.separation.streaming import MaskNetwork

RATE = 48000


def host_of(path, block=256, **options):
    words = MaskNetwork.load(random_model()).words('drums')
    return AudioHost(str(path), words, sample_rate=RATE, block=block, realtime=False, standby=False, **options)


def poll_until(host, done, seconds=60.0):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        host.poll()
        time.sleep(0.005)


def test_failing_again_and_again_is_told_once_then_tried_rarely_and_the_dry_signal_plays(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_host, 'RARELY', 0.5)
    model, said = tmp_path / 'own.onnx', []
    good = random_model().read_bytes()
    model.write_bytes(good)
    with host_of(model, on_notice=said.append) as host:
        model.write_bytes(b'spoilt')
        host._process.kill()
        poll_until(host, lambda: host.core.counts.restarts > audio_host.GIVE_UP + 1)
        assert sum('times in a row' in line for line in said) == 1
        assert sum('starting another' in line for line in said) == audio_host.GIVE_UP
        x = music(0.5)
        heard = play(host, x)
        latency = host.latency
        assert np.abs(heard[-2:, latency:] - x[:, : heard.shape[1] - latency]).max() < 1e-5  # the dry signal
        with pytest.raises(GenaudioError):
            host.set_model(str(model))
        model.write_bytes(good)
        poll_until(host, lambda: host.ready)
        host.poll()
        assert said[-1] == 'The inference process works again.' and host._failures == 0


def test_a_good_model_takes_the_place_of_one_that_does_not_start(tmp_path):
    model, said = tmp_path / 'own.onnx', []
    model.write_bytes(random_model().read_bytes())
    with host_of(model, on_notice=said.append) as host:
        model.write_bytes(b'spoilt')
        host._process.kill()
        poll_until(host, lambda: any('times in a row' in line for line in said))
        host.set_model(str(random_model()))
        poll_until(host, lambda: host.ready)


def test_who_is_told_to_end_does_not_wait_for_the_worker():
    host = host_of(random_model())
    host.start(ended=lambda: True)
    host.stop()
    host.stop()  # a second time does nothing


@pytest.mark.parametrize('block', [64, 512, 8192, 16384])
def test_effects_play_at_any_block_size(block):
    """As in a bounce, in which results are waited for: what the effects skip does not come."""
    with host_of(random_model(), block) as host:
        plugins = PluginHost(host, {0: (EffectSpec(effect='Gain', parameters={'gain_db': -120.0}),)})
        try:
            assert plugins.finished.capacity == host.outbox.capacity
            n = max(RATE // 2, 14 * block) // block + 1
            x, out = music(1.0), np.zeros((host.outbox.n_channels, block), np.float32)
            x = np.tile(x, (1, n * block // x.shape[1] + 1))
            quiet, host.core.waits = 0, True
            for k in range(n):
                host.core.process(x[:, k * block : (k + 1) * block], out)
                quiet += bool(host.core._through_plugins)
            assert quiet >= n - host.latency // block - 8, (quiet, n)
        finally:
            plugins.stop()
