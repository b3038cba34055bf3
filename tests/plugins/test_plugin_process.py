import os
import signal
import time

import numpy as np
import pytest
from audio_blocks import play
from numpy.testing import assert_allclose
from plugin_host import RATE, ZAM, built, can_build, zam_plugins
from plugin_host import host as host  # a fixture
from stream_models import music

from bridge.plugins import effects_host
from bridge.plugins.effects import Chain
from bridge.plugins.effects_host import PluginHost
from bridge.plugins.loading import load_link
from bridge.settings.effects_table import EffectSpec, check_link
from genaudio_core.errors import GenaudioError


def test_effects_change_their_own_pair_in_place_and_a_crash_leaves_the_stems(host):
    x = np.tile(music(1.0), 2)
    plugins = PluginHost(
        host, {0: (EffectSpec(effect='Gain', parameters={'gain_db': -6.0206}), EffectSpec(effect='Invert'))}
    )
    try:
        latency = host.latency
        assert latency == 512 + 256  # one chunk of time for the plug-ins
        out = play(host, x)
        start = RATE
        null = -2 * out[:2] + out[2:4] + out[4:6]  # the first pair is halved and turned over
        assert_allclose(null[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
        plugins.set_parameter(0, 0, 'gain_db', 0.0)
        plugins.set_parameter(0, 0, 'gain', 0.0)
        told, end = None, time.monotonic() + 60
        while told is None and time.monotonic() < end:
            play(host, x[:, :2560])
            told = plugins.poll()
        assert "Gain has no parameter 'gain'. Did you mean 'gain_db'" in told
        assert plugins.save_state(60.0) == {0: [b'', b'']}

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

    chain = Chain([EffectSpec(effect='Gain', parameters={'gain_db': 0.0})], RATE)
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
        (EffectSpec(), 'either built in'),
        (EffectSpec(effect='Gain', path='x.vst3'), 'either built in'),
        (EffectSpec(path='/no/such.vst3'), 'The plug-in /no/such.vst3 does not exist'),
        (EffectSpec(effect='Reverbb'), "No effect 'Reverbb'. Did you mean 'Reverb'"),
        (EffectSpec(effect='Reverb', parameters={'roomsize': 1}), "no parameter 'roomsize'. Did you mean 'room_size'"),
        (EffectSpec(effect='Reverb', parameters={'room_size': 'big'}), "'room_size' cannot be big"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(link, message):
    with pytest.raises(GenaudioError, match=message):
        check_link(link)
        load_link(link)


def test_a_file_that_is_no_plugin_is_told(tmp_path):
    bad = tmp_path / 'bad.vst3'
    bad.write_bytes(b'nothing')
    with pytest.raises(GenaudioError, match='cannot be loaded'):
        load_link(EffectSpec(path=str(bad)))


# --- real VST3 plug-ins ----------------------------------------------------------------------------------------------


@can_build
def test_a_vst3_of_its_own_on_each_stem_in_place_with_parameters_and_state(host):
    x = np.tile(music(1.0), 2)
    path = str(built('crash'))
    plugins = PluginHost(host, {
        0: (EffectSpec(path=path, parameters={'loudness': 0.5}),),
        1: (EffectSpec(path=path, parameters={'loudness': 2.0}), EffectSpec(effect='Invert')),
    })  # fmt: skip
    try:
        assert plugins.latency == 300  # what the plug-in says, counted once per chain
        assert host.latency == 512 + 256 + 512  # a chunk of time, and its latency in whole chunks
        out, start, latency = play(host, x), RATE, host.latency
        null = 2 * out[:2] - 0.5 * out[2:4] + out[4:6]  # both stems as they were, and the rest
        assert_allclose(null[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
        plugins.set_parameter(1, 0, 'loudness', 1.0)
        end = time.monotonic() + 60
        while plugins.chains[1][0].parameters != {'loudness': 1.0} and time.monotonic() < end:
            plugins.poll()
            time.sleep(0.01)
        play(host, x)
        state = plugins.save_state(60.0)
        assert len(state[0][0]) > 50 and state[1][1] == b'' and state[0][0] != state[1][0]
        with pytest.raises(GenaudioError, match='stem_2 has 2 effects; there is no 6'):
            plugins.set_parameter(1, 5, 'loudness', 1.0)
    finally:
        plugins.stop()
    assert load_link(EffectSpec(path=path, state=state[0][0])).loudness == pytest.approx(0.5)
    assert load_link(EffectSpec(path=path, state=state[1][0])).loudness == pytest.approx(1.0)


@can_build
def test_a_vst3_that_crashes_leaves_the_stems_and_comes_back(host, monkeypatch):
    monkeypatch.setattr(effects_host, 'AT_ONCE', 1000.0)  # the second crash is at once, on any machine
    x = np.tile(music(1.0), 2)
    plugins = PluginHost(host, {0: (EffectSpec(path=str(built('crash')), parameters={'loudness': 0.5}),)})
    try:
        play(host, x)
        plugins._started -= 2000  # as if it had been running for a while
        plugins.set_parameter(0, 0, 'crash', 1.0)  # now it aborts in its own process
        host.core.waits = False
        end = time.monotonic() + 60
        while plugins.process.is_alive() and time.monotonic() < end:
            play(host, x[:, :2560])
        assert not plugins.process.is_alive()
        first = plugins.process.pid
        told, out = [], []
        for k in range(12000):  # the turned knob kills it once more at once, then it begins as it was at first
            if (line := plugins.poll()) is not None:
                told.append(line)
            block = np.empty((8, 256), np.float32)
            at = 256 * k % RATE
            host.core.process(x[:, at : at + 256], block)
            out.append(block)
            if plugins.restarts == 2 and host.core._through_plugins:
                break
            time.sleep(0.005)
        assert host.core._through_plugins and not plugins.given_up and plugins.process.pid != first
        assert plugins.restarts == 2 and plugins.chains[0][0].parameters == {'loudness': 0.5}
        assert all('crashed' in line for line in told) and len(told) == 2
        assert np.isfinite(np.concatenate(out, -1)).all() and np.abs(out[-1][:2]).max() > 0
    finally:
        plugins.stop()


@can_build
def test_a_plugin_that_is_missing_or_an_instrument_is_left_out_and_told(host, tmp_path):
    x = np.tile(music(1.0), 2)
    broken = tmp_path / 'broken.vst3'
    broken.write_bytes(b'nothing')
    plugins = PluginHost(host, {
        0: (EffectSpec(path='/no/such.vst3'), EffectSpec(effect='Invert')), 1: (EffectSpec(path=str(broken)),),
        2: (EffectSpec(path=str(built('beep'))),),
    })  # fmt: skip
    try:
        told = [plugins.poll(), plugins.poll(), plugins.poll()]
        assert told[0] == 'The plug-in /no/such.vst3 does not exist. It is left out.'
        assert 'broken.vst3 cannot be loaded' in told[1] and 'is an instrument' in told[2]
        out, start, latency = play(host, x), RATE, host.latency
        sum_ = -out[:2] + out[2:4] + out[4:6]  # the rest of the first chain plays
        assert_allclose(sum_[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
    finally:
        plugins.stop()


@zam_plugins
def test_a_debian_limiter_with_look_ahead_keeps_its_stem_in_place():
    chain = Chain([EffectSpec(path=str(ZAM / 'ZaMaximX2.vst3'), parameters={'output_ceiling_db': -0.5})], RATE)
    assert chain.latency > 0
    x = 0.1 * music(1.0)[:, : 100 * 256]
    out = np.concatenate([chain.process(x[:, i : i + 256]) for i in range(0, x.shape[1], 256)], -1)
    held = x.shape[1] - out.shape[1]
    assert 0 < held <= chain.latency
    middle = slice(RATE // 4, out.shape[1])
    alike = [float(np.dot(out[0, middle], np.roll(x[0], shift)[middle])) for shift in range(-50, 51)]
    assert int(np.argmax(alike)) - 50 == 0
