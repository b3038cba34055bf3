"""The host of live isolation, with the real worker in its own process."""

import os
import signal
import time

import numpy as np
import pytest
from audio_blocks import RATE, play, work_off
from numpy.testing import assert_allclose
from stream_models import music, random_model

from bridge.settings.mix import Mix
from bridge.stems.audio_host import AudioHost, first_margin
from bridge.stems.inference_process import Gauges
from genaudio_core.errors import GenaudioError
from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator


@pytest.fixture
def host(request):
    path = random_model()
    network = MaskNetwork.load(path)
    made = AudioHost(
        str(path), network.words('drums', 'bass'), sample_rate=RATE, block=256, margin_ms=0, realtime=False,
        standby=getattr(request, 'param', False),
    )  # fmt: skip
    made.start()
    made.core.waits = True  # as in a bounce: every result is waited for, so nothing depends on the machine's load
    yield made
    made.stop()


def test_worker_gives_what_the_engine_gives_and_the_rest_nulls(host):
    x = music(1.0)
    out = play(host, x)
    engine = StreamingSeparator(host.network, host.spec.queries, RATE)
    expected = engine.separate(x)[..., engine.latency :].reshape(4, -1)
    latency, settled = host.latency, host.latency + RATE // 50
    n = out.shape[1] - settled
    assert_allclose(out[:4, settled:], expected[:, settled - latency :][:, :n], atol=1e-5)
    drums, bass, rest = out[0:2], out[2:4], out[4:6]
    assert_allclose((drums + bass + rest)[:, settled:], x[:, settled - latency :][:, :n], atol=1e-6)
    assert_allclose(out[6:8, settled:], (drums + bass)[:, settled:], atol=1e-6)  # the monitor
    status = host.status()
    assert status['underruns'] == 0 and status['ready'] and status['compute_ms_p50'] > 0


def test_worker_at_half_the_hop_is_the_engine_at_half_the_delay():
    path, x = random_model(), music(0.5)
    queries = MaskNetwork.load(path).words('drums')
    with AudioHost(
        str(path),
        queries,
        sample_rate=RATE,
        block=128,
        margin_ms=0,
        realtime=False,
        standby=False,
        low_latency=True,
    ) as host:
        host.core.waits = True
        assert host.latency == 256
        out = []
        for i in range(0, x.shape[1] - 127, 128):
            out.append(np.empty((6, 128), np.float32))
            host.core.process(x[:, i : i + 128], out[-1])
        out, settled = np.concatenate(out, -1), 256 + RATE // 50
        expected = StreamingSeparator(host.network, queries, RATE, 128).separate(x)[0]
        n = out.shape[1] - settled
        assert_allclose(out[:2, settled:], expected[:, settled:][:, :n], atol=1e-5)
        assert_allclose((out[:2] + out[2:4])[:, settled:], x[:, settled - 256 :][:, :n], atol=1e-6)


@pytest.mark.parametrize('host', [False, True], indirect=True, ids=['restart', 'standby'])
def test_a_killed_worker_gives_dry_and_another_takes_over(host):
    x = np.tile(music(1.0), 4)
    until = time.monotonic() + 60
    while host._standby is not None and not host._standby_ready and time.monotonic() < until:
        host.poll()
        time.sleep(0.01)
    out = [play(host, x[:, :24064])]
    host.core.waits = False
    first = host.worker_pid
    os.kill(first, signal.SIGKILL)
    while host._process.is_alive():
        time.sleep(0.001)
    out.append(play(host, x[:, 24064:36096]))
    host.poll()
    while not host.ready and time.monotonic() < until:
        host.poll()
        time.sleep(0.005)
    assert host.ready and host.worker_pid != first and host.status()['restarts'] == 1
    host.core.waits = True
    out.append(play(host, x[:, 36096:]))
    out, latency = np.concatenate(out, -1), host.latency
    # What was done before it died may still be played; within 50 ms the input comes through, delayed.
    dry = slice(24064 + RATE // 20, 36096)
    assert_allclose(out[:2, dry], x[:, dry.start - latency : dry.stop - latency], atol=1e-6)
    assert host.core.counts.fades == 1
    # In the end the new worker plays what one that had never died would: its memory is short.
    engine = StreamingSeparator(host.network, host.spec.queries, RATE)
    wet = engine.separate(x)[0][:, engine.latency :]
    end = slice(out.shape[1] - 5000, out.shape[1])
    aligned = slice(end.start - latency, end.stop - latency)
    apart = np.abs(wet[:, aligned] - x[:, aligned]).max()
    assert np.abs(out[:2, end] - wet[:, aligned]).max() < 0.05 * apart
    if host._with_standby:  # and one is ready for the next time
        host.poll()
        assert host._standby is not None


def test_queries_mix_and_model_change_while_it_plays_and_survive_a_restart(host):
    x = np.tile(music(1.0), 2)
    network = host.network
    host.set_queries(network.words('piano', 'bass'))
    host.set_mix(Mix.of(2).changed(solo=frozenset({0})))
    told = []
    host.on_notice = told.append
    for _ in range(20):  # blocks come as fast as they can here, and the worker takes a change up when it gets to it
        out = play(host, x)
        if np.allclose(out[6:8, 40000:], out[0:2, 40000:], atol=1e-6):
            break
    assert_allclose(out[6:8, 40000:], out[0:2, 40000:], atol=1e-6)
    host.set_model(str(random_model(seed=5)))
    play(host, x)
    host.set_model('/no/such/model.onnx')
    end = time.monotonic() + 20
    while not told and time.monotonic() < end:
        play(host, x[:, :4096])
        host.poll()
    assert told == ['There is no model file /no/such/model.onnx. The old model plays on.']
    assert_allclose(host.spec.queries[:, :-1], network.words('piano', 'bass'))
    with pytest.raises(GenaudioError, match='2 stems are running'):
        host.set_queries(network.words('piano'))


def test_late_results_widen_the_margin_unless_it_is_pinned(host):
    before = host.latency

    def after(fades, underruns):
        host._late.clear()
        host.poll()
        host.core.counts.fades += fades
        host.core.counts.underruns += underruns
        host.poll()
        return host.latency - before

    host.pinned = True
    assert after(3, 1000) == 0
    host.pinned = False
    assert after(1, 60) == 0  # one stall, of a third of a second
    assert after(3, 3) == 256  # again and again
    assert after(0, RATE // 256 + 1) == 512  # all the time


def watch(host, done, seconds=90):
    """Look after the host until `done()`."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until
        host.poll()
        time.sleep(0.01)


@pytest.mark.parametrize('host', [False, True], indirect=True, ids=['restart', 'standby'])
def test_a_worker_that_hangs_is_found_ended_and_replaced_with_one_line(host):
    told = []
    watch(host, lambda: host._standby is None or host._standby_ready)
    host.on_notice = told.append
    first = host.worker_pid
    host._process.stuck = 1.0
    play(host, music(0.1))
    os.kill(first, signal.SIGSTOP)
    watch(host, lambda: host.ready and host.worker_pid != first)
    assert told == ['The inference process hangs and was ended; starting another. The dry signal plays meanwhile.']
    assert host.status()['restarts'] == 1 and not alive(first)
    out = play(host, np.tile(music(1.0), 2))
    assert np.abs(out[:2, RATE:]).max() > 1e-3


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_hangs_while_it_loads_is_found_too(host, monkeypatch):
    told, spawn = [], host._spawn
    host.on_notice = told.append
    monkeypatch.setattr(host, '_spawn', lambda standby, loading=0: spawn(standby=standby, loading=1.5))
    os.kill(host.worker_pid, signal.SIGKILL)
    watch(host, lambda: told)
    os.kill(host.worker_pid, signal.SIGSTOP)  # it has hardly begun
    monkeypatch.setattr(host, '_spawn', spawn)
    stopped = host.worker_pid
    watch(host, lambda: host.ready and host.worker_pid != stopped)
    assert ['ended' in told[0], 'hangs' in told[1], len(told)] == [True, True, 2]


def test_a_worker_that_dies_while_it_loads_is_one_line(monkeypatch):
    path = random_model()
    host = AudioHost(str(path), MaskNetwork.load(path).words('drums'), sample_rate=RATE, block=256, standby=False)
    launch = host._launch

    def killed(timeout):
        launch(timeout)
        host._process.kill()

    monkeypatch.setattr(host, '_launch', killed)
    with pytest.raises(GenaudioError, match='could not start: it ended while it was loading'):
        host.start()


def test_a_model_that_cannot_be_used_is_not_given_to_the_next_worker(host):
    told, first = [], host.worker_pid
    host.on_notice = told.append
    host.set_model('/no/such/model.onnx')
    watch(host, lambda: told)
    os.kill(first, signal.SIGKILL)
    watch(host, lambda: host.ready and host.worker_pid != first)
    assert len(told) == 2 and 'old model plays on' in told[0] and host.status()['restarts'] == 1


def test_input_that_is_no_number_is_told_once_counted_and_over_when_it_is_over(host):
    told, x = [], np.tile(music(1.0), 2)
    host.on_notice = told.append
    bad = x.copy()
    bad[0, 20_000:26_000] = np.nan
    out = play(host, bad)
    for _ in range(5):
        host.poll()
    assert told == ['The input holds values that are not numbers (6000 samples so far); silence is heard instead.']
    assert host.status()['bad_input'] == 6000 and host.status()['model_faults'] == 0
    assert np.isfinite(out).all()
    tail = slice(out.shape[1] - 20_000, out.shape[1])
    sum_of_all = out[:2] + out[2:4] + out[4:6]
    assert_allclose(sum_of_all[:, tail], x[:, tail.start - host.latency : tail.stop - host.latency], atol=1e-6)


@pytest.mark.parametrize('block', [16, 4096, 8192, 16384])
def test_the_worker_works_at_any_block_size(block):
    """Not dry for ever: what is worked off counts."""
    path = random_model()
    words = MaskNetwork.load(path).words('drums')
    with AudioHost(str(path), words, sample_rate=RATE, block=block, realtime=False, standby=False) as host:
        host.core.waits = True  # every result is waited for, up to two seconds
        n = max(6, 8192 // block)
        x, out = np.tile(music(1.0), 4)[:, : n * block], []
        for i in range(0, x.shape[1], block):
            out.append(np.empty((6, block), np.float32))
            host.core.process(x[:, i : i + block], out[-1])
            work_off(host)  # nothing is waited for before the stream has begun, and a device leaves a block's time
        assert host.gauges.counters[Gauges.HOPS] >= (n - 3) * block // 256 - 3
        assert host.core.counts.underruns <= 1 and host.gauges.counters[Gauges.SKIPPED] <= 2 * -(-block // 256)
        out, latency = np.concatenate(out, -1), host.latency
        tail = slice(out.shape[1] - block, out.shape[1])
        both = out[:2, tail] + out[2:4, tail]
        assert_allclose(both, x[:, tail.start - latency : tail.stop - latency], atol=1e-5)


@pytest.mark.parametrize('margin', [float('nan'), float('inf'), -float('inf'), -1.0, 1e9])
def test_a_margin_that_cannot_be_is_one_line(margin):
    with pytest.raises(GenaudioError, match='The margin must be 0 to 1000 ms, not'):
        first_margin(margin, 256, RATE)
    path = random_model()
    with pytest.raises(GenaudioError, match='The margin must be'):
        AudioHost(str(path), MaskNetwork.load(path).words('drums'), sample_rate=RATE, block=256, margin_ms=margin)


def test_a_device_of_another_rate_is_told_before_anything_starts():
    path = random_model()
    with pytest.raises(GenaudioError, match=r'runs at 32000 Hz and the live separator at 44100, 48000, 88200'):
        AudioHost(str(path), np.ones((1, 128), np.float32), sample_rate=32000, block=256)


def test_percentiles_of_gauges_bound_what_was_counted():
    gauges = Gauges()
    try:
        for milliseconds in range(1, 101):
            gauges.took(milliseconds / 1000)
        p50, worst = gauges.percentiles(50, 100)
        assert p50 == pytest.approx(0.05, abs=1e-3) and worst == pytest.approx(0.06, abs=1e-4)  # the last bin
        gauges.forget()
        assert gauges.percentiles(99) == [0.0]
    finally:
        gauges.close()
