"""What the callback promises, whatever comes in, whoever sets what from where, whatever the block size."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from audio_blocks import RATE, Core, slow_sine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from bridge.audio.callback import AudioCore, AudioRegisters, total_latency
from bridge.audio.finite_guard import FiniteGuard
from bridge.audio.shared_ring import Ring
from bridge.stems.audio_host import ring_capacity

FADE = 192  # samples: 4 ms


def test_timing_set_while_the_callback_runs_never_makes_a_number_that_is_none():
    """Two threads set block and margin as fast as they can; the callback plays on, a fade going on all the time."""
    one = Core(block=64)
    stop, bad = threading.Event(), []

    def setter(margins):
        while not stop.is_set():
            for margin in margins:
                one.core.set_timing(64, margin)
                one.core.margin_samples = margin + 64

    threads = [threading.Thread(target=setter, args=(margins,)) for margins in ((0, 256), (512, 64))]
    for thread in threads:
        thread.start()
    try:
        x = slow_sine(1500 * 64)
        for k in range(1500):
            out = one.block_through(x[:, 64 * k : 64 * k + 64])
            bad.append(not np.isfinite(out).all() or np.abs(out).max() > 2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    one.core.set_timing(64, 0)
    settled = [one.block_through(x[:, 64 * k : 64 * k + 64]) for k in range(60)]
    latency, at = one.core.latency, 50 * 64
    out = np.concatenate(settled, -1)
    assert not any(bad)
    assert_allclose(out[2:, at:], -x[:, at - latency : 60 * 64 - latency], atol=1e-6)
    one.close()


def test_a_callback_at_its_real_times_survives_timing_set_within_a_fade():
    """One `set_timing` from the main thread at a random moment within the 4 ms after a jump."""
    inbox, outbox, rng = Ring(2), Ring(6), np.random.default_rng(1)
    x = slow_sine(64)
    try:
        for _ in range(15):
            core = AudioCore(inbox, outbox, sample_rate=RATE, block=64, hop=256, margin_samples=256, wake=lambda: None)
            out, go, heard = np.zeros((6, 64), np.float32), threading.Event(), []

            def callback(core=core, out=out, go=go, heard=heard):
                for k in range(24):
                    if k == 6:
                        core._jump()
                        go.set()
                    core.process(x, out)
                    heard.append(np.isfinite(out).all())
                    time.sleep(64 / RATE)

            thread = threading.Thread(target=callback)
            thread.start()
            go.wait()
            time.sleep(rng.random() * 0.004)
            core.set_timing(64, 512)
            thread.join()
            assert all(heard) and core.latency == core._latency == total_latency(64, 256, 512)
    finally:
        inbox.close()
        outbox.close()


# --- samples that are no numbers -------------------------------------------------------------------------------------

bursts = st.lists(
    st.tuples(
        st.integers(0, 5000), st.integers(1, 2000), st.sampled_from([np.nan, np.inf, -np.inf, 3e38]), st.integers(0, 2)
    ),
    max_size=4,
)


def with_bursts(x, found):
    x = x.copy()
    for at, n, value, channels in found:
        x[slice(None) if channels == 2 else channels, at : at + n] = value
    return x


@settings(max_examples=25, deadline=None)
@given(bursts, st.sampled_from([16, 32, 64, 100, 128, 256, 1024, 8192]), st.booleans())
def test_the_output_is_finite_always_and_right_again_soon_after(found, block, from_the_model):
    """NaN from the device, or in results of model and plug-ins, at any place."""
    one = Core(block=block, margin=256)
    one.outbox_write = one.outbox.write
    clean = slow_sine(max(-(-14_000 // block), 5) * block)
    dirty = with_bursts(clean, found)
    if from_the_model:

        def write(samples, position):
            samples = samples.copy()
            samples[0] += np.where(np.isfinite(dirty[0, position : position + 256]), 0, np.nan)
            one.outbox_write(samples, position)

        one.outbox.write = write
    given_ = clean if from_the_model else dirty
    with np.errstate(all='ignore'):  # of the worker, which is this test
        blocks = [one.block_through(given_[:, i : i + block]) for i in range(0, clean.shape[1], block)]
    out = np.concatenate(blocks, -1)
    end = max([0, *(at + n for at, n, _, _ in found)]) + one.core.latency + 2 * block + RATE // 20
    latency = one.core.latency
    assert np.isfinite(out).all()
    assert_allclose(out[2:, end:], -clean[:, end - latency : clean.shape[1] - latency], atol=1e-6)
    n_bad = int((~np.isfinite(given_)).any(0).sum())
    assert one.core.counts.bad_input == n_bad
    seen = ~np.isfinite(dirty[0, latency + 2 * block :])  # a later burst may have been written over an earlier one
    if from_the_model and seen.any():
        assert one.core.counts.bad_results > 0
    one.close()


def test_finite_numbers_that_become_infinite_on_the_way_do_not_leave():
    """What was heard last minus what comes next, of numbers near the largest there are."""
    one = Core(block=64, margin=256)
    x = slow_sine(200 * 64)
    # The worker makes ten times as much of them.
    x[:, : 60 * 64] = np.where(np.arange(60 * 64) // 128 % 2, 3e37, -3e37)
    out = []
    for k in range(200):
        one.core.set_timing(64, 256 + 64 * (k % 2 if k < 80 else 0))
        out.append(one.block_through(x[:, 64 * k : 64 * k + 64]))
    assert np.isfinite(out).all() and one.core.counts.bad_results > 0 == one.core.counts.bad_input
    latency, at = one.core.latency, 120 * 64
    assert_allclose(np.concatenate(out, -1)[2:, at:], -x[:, at - latency : 200 * 64 - latency], atol=1e-6)
    one.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 600)), min_size=1, max_size=6),
    st.sampled_from([1, 16, 64, 300, 8192]),
)
def test_silence_for_bad_samples_comes_and_goes_without_a_step(found, block):
    x = np.full((2, 8192), 0.8, np.float32)
    bad = np.zeros(8192, bool)
    for at, n in found:
        bad[at : at + n] = True
    x[:, bad] = np.nan
    guard, out, counted = FiniteGuard(2, FADE), x.copy(), 0
    for i in range(0, 8192, block):
        counted += guard(out[:, i : i + block])
    assert counted == bad.sum() and np.isfinite(out).all() and out.max() <= 0.8 + 1e-6
    assert np.abs(np.diff(out)).max() < 0.8 * np.pi / 2 / FADE + 1e-4  # the steepest of the fade itself
    last = int(np.flatnonzero(bad)[-1])
    assert_allclose(out[:, last + FADE + 1 :], 0.8, atol=1e-6)


@pytest.mark.parametrize('block', [32, 64, 128, 256, 1024])
def test_over_a_second_of_nan_is_over_when_it_is_over(block):
    """Also when results are missing all the time and the margin is widened meanwhile."""
    one = Core(block=block, margin=256)
    x = slow_sine(RATE // block * 3 * block)
    x[:, RATE : RATE + RATE * 6 // 5] = np.nan
    for k, i in enumerate(range(0, x.shape[1], block)):
        out = one.block_through(x[:, i : i + block])
        assert np.isfinite(out).all()
        if i // RATE != (i + block) // RATE and k:
            one.core.set_timing(block, one.core.margin_samples + 256)
    assert np.abs(out).max() > 0.01 and one.core.counts.bad_input == RATE * 6 // 5
    one.close()


# --- block sizes -----------------------------------------------------------------------------------------------------


class Big(Core):
    """With rings as `AudioHost` makes them."""

    def __init__(self, block, margin=256):
        capacity = ring_capacity(block, 256, margin, RATE)
        self.inbox, self.outbox = Ring(2, capacity=capacity), Ring(4, capacity=capacity)
        self.core = AudioCore(
            self.inbox, self.outbox, sample_rate=RATE, block=block, hop=256, margin_samples=margin, wake=lambda: None
        )  # fmt: skip
        self.block, self.hop, self.done = block, 256, 0


@settings(max_examples=15, deadline=None)
@given(st.integers(16, 16384))
def test_results_come_at_the_stated_latency_at_any_block_size(block):
    one, n = Big(block), max(6, -(-12_000 // block))
    x = slow_sine(n * block)
    out = np.concatenate([one.block_through(x[:, i : i + block]) for i in range(0, n * block, block)], -1)
    latency = one.core.latency
    settled = latency + block + RATE // 50
    assert_allclose(out[2:, settled:], -x[:, settled - latency : n * block - latency], atol=1e-6)
    assert one.core.counts.underruns == 0
    one.close()


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sampled_from([16, 32, 64, 256, 480, 1024, 4096, 8192]), min_size=2, max_size=5), st.booleans())
def test_a_server_may_change_its_block_size_while_it_plays(sizes, told_first):
    one = Big(sizes[0])
    x, at, out = slow_sine(400_000), 0, []
    for size in sizes:
        if told_first or size < one.core.block:  # JACK says so, or just begins
            one.core.block = size
        until = at + max(8000, 3 * size)
        while at < until:
            out.append(one.block_through(x[:, at : at + size]))
            at += size
    joined, latency = np.concatenate(out, -1), one.core.latency
    assert latency == total_latency(sizes[-1], 256, 256)
    tail = slice(at - 1024, at)
    assert_allclose(joined[2:, tail], -x[:, tail.start - latency : at - latency], atol=1e-6)
    assert np.isfinite(joined).all()
    one.close()


def test_another_process_turns_the_same_knobs_and_sees_the_same_counts():
    one = Core()
    registers = AudioRegisters()
    core = AudioCore(one.inbox, one.outbox, sample_rate=RATE, block=256, hop=256, margin_samples=0, wake=lambda: None,
                     registers=registers)  # fmt: skip
    again = AudioRegisters(registers.name)
    hand = AudioCore(one.inbox, one.outbox, sample_rate=RATE, block=256, hop=256, margin_samples=0, wake=lambda: None,
                     registers=again)  # fmt: skip
    out = np.zeros((4, 256), np.float32)
    core.process(np.full((2, 256), np.nan, np.float32), out)
    assert hand.counts.blocks == 1 and hand.counts.bad_input == 256
    hand.margin_samples = 512
    hand.bypass = True
    core.process(np.zeros((2, 256), np.float32), out)
    assert core._latency == total_latency(256, 256, 512) and core.bypass
    again.close()
    registers.close()
    assert core.counts.blocks == 2  # the last figures stay
    one.close()


def test_the_end_fades_out_and_back():
    one = Core()
    x = slow_sine(100 * 256, 0.5)
    heard = []
    for k in range(100):
        one.core.ending = 40 <= k < 70
        heard.append(one.block_through(x[:, 256 * k : 256 * k + 256]))
    out = np.concatenate(heard, -1)[2:]
    assert np.abs(out[:, 45 * 256 : 70 * 256]).max() == 0 and np.abs(out[:, 80 * 256 :]).max() > 0.4
    assert np.abs(np.diff(out)).max() < 0.02
    one.close()


def test_the_callbacks_process_loads_no_network_no_plugin_and_no_reader_of_files():
    """Whatever else ran there would share one interpreter with the callback."""
    code = (
        'import sys, bridge.cli; from bridge.audio import callback_process, jack_device, portaudio_device; '
        "print(*{'onnxruntime', 'pedalboard', 'torch', 'soundfile', 'tokenizers'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout
    assert not loaded.split()
