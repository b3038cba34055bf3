"""Plug-ins as they are: they die, hang, throw, return nonsense. The stems play on, and one line says so."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from audio_blocks import play
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from plugin_host import RATE, built, can_build
from plugin_host import host as host  # a fixture
from stream_models import music, random_model

from bridge.audio import callback
from bridge.audio.finite_guard import FiniteGuard
from bridge.plugins import effects_host
from bridge.plugins.effects import NO_NUMBERS, Chain, EffectFault
from bridge.plugins.effects_host import PluginHost
from bridge.plugins.loading import load_link, set_parameter
from bridge.settings.effects_table import EffectSpec
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_watch import Heartbeat, Patience, RestartLimit, send_now

GAIN = EffectSpec(effect='Gain', parameters={'gain_db': 0.0})


def listen(plugins, what, seconds=60.0, host=None):
    """Poll until `what` holds; return the lines."""
    said, end = [], time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, said
        if (line := plugins.poll()) is not None:
            said.append(line)
        if host is not None:
            play(host, music(0.05)[:, :2304])
        time.sleep(0.005)
    while (line := plugins.poll()) is not None:
        said.append(line)
    assert not any('\n' in line for line in said)
    return said


def patient_unless(stands_still):
    """A `PluginHost` whose patience runs only while `stands_still(host)`: what else takes long is the machine."""

    class Patient(PluginHost):
        def _look(self):
            if not stands_still(self):
                self.process.renew()
            super()._look()

    return Patient


def is_stopped(plugins):
    return state(plugins.process.pid) == 'T'


def at_birth(do, times=1):
    """Do something with the next plug-in processes, as soon as each is there."""
    done = set()

    def watch():
        while len(done) < times:
            for child in multiprocessing.active_children():
                if child.name == 'genaudio-plugins' and child.pid not in done:
                    done.add(child.pid)
                    do(child.pid)
            time.sleep(0.001)

    threading.Thread(target=watch, daemon=True).start()
    return done


def kill(pid):
    os.kill(pid, signal.SIGKILL)


# --- while they are loaded -------------------------------------------------------------------------------------------


def test_a_process_that_dies_before_it_says_anything_is_started_again(host):
    killed = at_birth(kill)
    plugins = PluginHost(host, {0: (EffectSpec(effect='Reverb'),)}, timeout=20)
    try:
        assert len(killed) == 1 and plugins.process.is_alive() and plugins.process.pid not in killed
    finally:
        plugins.stop()
        plugins.stop()  # once more does nothing


def test_a_process_that_always_dies_is_one_line(host):
    killed = at_birth(kill, 9)
    with pytest.raises(GenaudioError, match='ended before it had loaded anything'):
        PluginHost(host, {0: (EffectSpec(effect='Reverb'),)}, timeout=20)
    assert len(killed) == effects_host.MAX_STARTS and host.core.finished is None
    killed.update(range(-9, 0))  # let the watcher go


def test_ctrl_c_while_plugins_load_is_obeyed_at_once(host):
    """As `isolate` does it: the handler only takes note. The process stands still, and would never be ready."""
    stopped, asked = at_birth(lambda pid: os.kill(pid, signal.SIGSTOP)), []

    def ended():
        asked.append(len(stopped))
        return bool(stopped)

    plugins = PluginHost(host, {0: (EffectSpec(effect='Reverb'),)}, ended=ended)
    assert not plugins.process.is_alive() and plugins.given_up and asked[-1] == 1
    assert plugins.poll() is None and host.core.finished is None
    play(host, music(0.1)[:, :2560])
    plugins.stop()


def test_a_process_that_hangs_before_it_says_anything_is_one_line(host):
    at_birth(lambda pid: os.kill(pid, signal.SIGSTOP), 1)
    # It is killed, and another one loads.
    plugins = patient_unless(is_stopped)(host, {0: (EffectSpec(effect='Reverb'),)}, timeout=3)
    assert plugins.process.is_alive() and not plugins.given_up
    plugins.stop()


@can_build
@pytest.mark.parametrize(('how', 'says'), [('crash', 'crashed while it was loaded'), ('hang', 'was not loaded after')])
def test_a_plugin_that_dies_or_hangs_while_it_is_loaded_is_left_out(host, monkeypatch, how, says):
    monkeypatch.setenv('GENAUDIO_TEST_LOADING', how)
    x = np.tile(music(1.0), 2)
    while_it_loads = patient_unless(lambda plugins: plugins._loading == (0, 0))
    plugins = while_it_loads(host, {0: (EffectSpec(path=str(built('crash'))), EffectSpec(effect='Invert'))}, timeout=4)
    try:
        line = plugins.poll()
        assert line is not None and says in line and line.endswith('It is left out.') and 'crash.vst3' in line
        out, start, latency = play(host, x), RATE, host.latency
        null = -out[:2] + out[2:4] + out[4:6]  # the other effect of its chain plays
        assert_allclose(null[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
    finally:
        plugins.stop()


@pytest.mark.parametrize(
    ('link', 'message'),
    [
        (EffectSpec(effect='Convolution'), "No effect 'Convolution'"),
        (EffectSpec(effect='Gain', parameters={'gain_db': float('nan')}), "'gain_db' cannot be nan"),
        (EffectSpec(effect='Gain', parameters={'gain_db': float('inf')}), "'gain_db' cannot be inf"),
        (EffectSpec(effect='Gain', parameters={'gain_db': 'loud'}), "'gain_db' cannot be loud"),
        (EffectSpec(effect='Reverb', parameters={'room_size': 7}), "'room_size' cannot be 7"),
        (EffectSpec(effect='LadderFilter', parameters={'mode': 3}), "'mode' cannot be 3"),
    ],
)
def test_bad_parameters_of_a_preset_are_one_line(host, link, message):
    with pytest.raises(GenaudioError, match=message) as caught:
        PluginHost(host, {0: (link,)}, timeout=20)
    assert '\n' not in str(caught.value)
    assert host.core.finished is None


@can_build
def test_a_state_that_is_not_taken_is_told_and_the_plugin_plays(host):
    said = []
    plugin = load_link(EffectSpec(path=str(built('crash')), state=b'\x00garbage\xff' * 9), said.append)
    assert plugin.is_effect and all('\n' not in line for line in said)


def test_no_process_is_left_when_the_parent_is_killed(tmp_path):
    """The parent is killed with no time for anything, while a plug-in process is at work."""
    code = (
        'import sys, time; sys.path.insert(0, sys.argv[1])\n'
        'from stream_models import random_model\n'
        'from bridge.stems.audio_host import AudioHost\n'
        'from bridge.settings.effects_table import EffectSpec; from bridge.plugins.effects_host import PluginHost\n'
        'from genaudio_core.separation.streaming import MaskNetwork\n'
        'if __name__ == "__main__":\n'
        '    path = sys.argv[2]\n'
        '    host = AudioHost(path, MaskNetwork.load(path).words("drums"), sample_rate=48000, block=256,\n'
        '                     realtime=False, standby=False)\n'
        '    host.start()\n'
        '    plugins = PluginHost(host, {0: (EffectSpec(effect="Gain"),)})\n'
        '    print(plugins.process.pid, flush=True)\n'
        '    time.sleep(600)\n'
    )
    script = tmp_path / 'parent.py'
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parents[1]), str(random_model())], stdout=subprocess.PIPE,
        text=True, env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)  # as a plug-in that hangs: it hears nothing
        parent.kill()
        parent.wait()
        end = time.monotonic() + 30
        while is_there(pid):
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        parent.kill()
        parent.stdout.close()


def state(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return ''


def is_there(pid):
    return state(pid) not in ('', 'Z')


# --- while they play -------------------------------------------------------------------------------------------------


def test_a_process_that_hangs_is_found_by_its_heartbeat_and_the_stems_play_on(host, monkeypatch):
    monkeypatch.setattr(effects_host, 'STUCK_SECONDS', 1.5)
    plugins = patient_unless(is_stopped)(host, {0: (EffectSpec(effect='Gain', parameters={'gain_db': -6.0206}),)})
    try:
        listen(plugins, lambda: host.core._through_plugins, host=host)
        host.core.waits = False
        first = plugins.process.pid
        os.kill(first, signal.SIGSTOP)
        said = listen(plugins, lambda: plugins.restarts == 1)
        assert len(said) == 1 and 'hangs' in said[0] and 'without effects meanwhile' in said[0]
        host.core.waits = True
        listen(plugins, lambda: plugins.process.pid != first and plugins._ready_now)
        play(host, np.tile(music(1.0), 2))
        assert host.core._through_plugins and not is_there(first)
    finally:
        plugins.stop()


def test_a_parent_that_stood_still_blames_nobody(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    patience = Patience(8.0)
    now[0] = 1000.0  # Ctrl-Z, fg
    assert not patience.is_over()
    for _ in range(15):
        now[0] += 0.5
        over = patience.is_over()
    assert over


@can_build
def test_a_plugin_that_hangs_later_is_named_and_left_out_when_it_does_so_again_and_again(host, monkeypatch):
    monkeypatch.setattr(effects_host, 'STUCK_SECONDS', 1.0)
    path = str(built('crash'))
    in_trouble = patient_unless(lambda plugins: plugins.chains[0][1].parameters['trouble'])
    plugins = in_trouble(host, {0: (GAIN, EffectSpec(path=path, parameters={'trouble': 0.0}))})
    try:
        host.core.waits = False
        said = []
        for k in range(effects_host.FAULTS):
            listen(plugins, lambda: plugins._ready_now, host=host)
            plugins.set_parameter(0, 1, 'trouble', 1.0)
            said += listen(plugins, lambda k=k: plugins.restarts == k + 1, host=host)
        assert all(f'The plug-in {path} hangs.' in line for line in said) and len(said) == effects_host.FAULTS
        assert said[-1].endswith('It is left out.') and plugins.chains[0][1].left_out
        assert not plugins.chains[0][0].left_out and not plugins.given_up
        listen(plugins, lambda: plugins._ready_now and host.core._through_plugins, host=host)
    finally:
        plugins.stop()


@can_build
def test_a_plugin_that_turns_to_nan_becomes_silence_is_told_and_is_over_when_it_is_over(host):
    x = np.tile(music(1.0), 2)
    plugins = PluginHost(host, {0: (EffectSpec(path=str(built('crash')), parameters={'loudness': 1.0}),)})
    try:
        play(host, x[:, :9600])
        plugins.set_parameter(0, 0, 'trouble', 2.0)
        assert not listen(plugins, lambda: plugins.chains[0][0].parameters.get('trouble') == 2.0)
        out, said, end = [play(host, x[:, :9600])], [], time.monotonic() + 60  # a second of it would be another fault
        while not said and time.monotonic() < end:
            said += filter(None, [plugins.poll()])
            time.sleep(0.01)
        assert said == ['An effect returned samples that are not numbers; they became silence.']
        plugins.set_parameter(0, 0, 'trouble', 0.0)
        while not np.abs(out[-1][:2]).max() > 0.01 and time.monotonic() < end:
            out.append(play(host, x[:, :9600]))
            plugins.poll()
        out = np.concatenate(out, -1)
        assert np.isfinite(out).all() and np.abs(out[:2, -9600:]).max() > 0.01
        assert host.core._through_plugins
    finally:
        plugins.stop()


@can_build
def test_a_plugin_that_changes_its_latency_keeps_its_stem_in_place(host, monkeypatch):
    # What was under way when the latency changed is known not to come.
    monkeypatch.setattr(callback, 'BOUNCE_WAIT', 1e9)
    x = np.tile(music(1.0), 2)
    plugins = PluginHost(host, {0: (EffectSpec(path=str(built('crash')), parameters={'loudness': 0.5}),)})
    try:
        assert plugins.latency == 300
        play(host, x)
        plugins.set_parameter(0, 0, 'trouble', 3.0)
        said = listen(plugins, lambda: plugins.latency != 300, host=host)
        assert plugins.latency == 600 and said == ['The effects now hold back 600 samples; the delay is adjusted.']
        out, start, latency = play(host, x), RATE, host.latency
        assert latency == 512 + 256 + 768
        null = 2 * out[:2] + out[2:4] + out[4:6]
        assert_allclose(null[:, start:], x[:, start - latency : out.shape[1] - latency], atol=1e-4)
    finally:
        plugins.stop()


def test_a_bounce_does_not_wait_for_plugins_that_were_given_up(host):
    plugins = PluginHost(host, {0: (GAIN,)})
    try:
        for _ in range(5):
            assert plugins._limit.allows()
        os.kill(plugins.process.pid, signal.SIGKILL)
        said = listen(plugins, lambda: plugins.given_up)
        assert said == ['The plug-ins ended again and again; the stems play without them.']
        assert host.core.finished is None
        play(host, music(0.5)[:, :20480])
    finally:
        plugins.stop()


# --- one chain, by itself --------------------------------------------------------------------------------------------


class Fake:
    """An effect as pedalboard calls it."""

    name = 'Fake'

    def __init__(self, do):
        self.do = do

    def __call__(self, sound, sample_rate, buffer_size, reset):
        return self.do(sound)


class Board(list):
    def reset(self):
        pass


def chain_of(*effects):
    chain = Chain([], RATE)
    chain.plugins = [Fake(do) for do in effects]
    chain.board, chain._numbers = Board(chain.plugins), list(range(len(effects)))
    return chain


def block(value=0.5, n=256):
    return np.full((2, n), value, np.float32)


def throws(sound):
    raise RuntimeError('first\nsecond line')


@pytest.mark.parametrize(
    ('do', 'says'),
    [
        (throws, 'Fake failed: first second line'), (lambda sound: None, 'Fake'),
        (lambda sound: np.zeros((0, 256)), 'instead of sound'), (lambda sound: np.zeros((2, 2, 9)), 'instead of sound'),
        (lambda sound: 'text', 'Fake'),
    ],
)  # fmt: skip
def test_an_effect_that_throws_or_returns_no_sound_is_named(do, says):
    with pytest.raises(EffectFault, match=says) as caught:
        chain_of(lambda sound: sound, do).process(block())
    assert caught.value.index == 1 and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('do', 'there'),
    [
        (lambda sound: sound[:1], 256), (lambda sound: sound[0], 256), (lambda sound: np.repeat(sound, 4, 0), 256),
        (lambda sound: sound[:, :100], 100), (lambda sound: sound[:, :0], 0), (lambda sound: sound.astype(float), 256),
    ],
)  # fmt: skip
def test_an_effect_that_returns_other_shapes_and_lengths_is_heard_on_both_sides(do, there):
    out = chain_of(do, lambda sound: sound).process(block())
    assert out.shape == (2, there) and out.dtype == np.float32 and np.all(out == 0.5)


def test_numbers_that_are_none_for_long_are_a_fault():
    chain = chain_of(lambda sound: sound * np.nan)
    with pytest.raises(EffectFault, match='NaN or infinity'):
        for k in range(round(NO_NUMBERS * RATE) // 256 + 2):
            assert not chain.process(block()).any()
            assert chain.silenced == k + 1


@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0.5, np.nan, np.inf, -np.inf])), max_size=30))
def test_whatever_an_effect_returns_what_leaves_is_finite_and_does_not_jump(parts):
    guard = FiniteGuard()
    out = [np.full((2, 64), 0.5, np.float32)]
    guard(out[0])
    for n, value in parts:
        sound = np.full((2, n), 0.5, np.float32)
        if n:
            sound[1, n // 2] = value
        assert guard(sound) == (n > 0 and not np.isfinite(value))
        out.append(sound)
    out.append(np.full((2, 64), 0.5, np.float32))
    guard(out[-1])
    out = np.concatenate(out, -1)
    assert np.isfinite(out).all()
    if all(n >= FiniteGuard.FADE for n, _ in parts):
        assert np.abs(np.diff(out)).max() <= 0.5 / FiniteGuard.FADE + 1e-6
    assert guard.blocks == sum(n > 0 and not np.isfinite(value) for n, value in parts)


def test_a_value_that_is_no_number_is_refused_whatever_the_effect():
    with pytest.raises(GenaudioError, match='cannot be nan'):
        set_parameter(load_link(GAIN), 'gain_db', float('nan'))


# --- what watches ----------------------------------------------------------------------------------------------------


def test_dying_now_and_then_is_forgiven_and_again_and_again_is_not(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, 'monotonic', lambda: now[0])
    limit = RestartLimit(3, 60.0)
    for _ in range(20):
        now[0] += 30.0
        assert limit.allows()
    allowed = [limit.allows() for _ in range(5)]
    assert not allowed[-1]


def test_a_child_that_does_not_read_holds_nobody_up():
    ours, theirs = multiprocessing.Pipe()
    sent = 0
    while send_now(ours, b'x' * 1000):
        sent += 1
        assert sent < 100_000
    theirs.close()
    assert not send_now(ours, b'x')
    ours.close()
    assert not send_now(ours, b'x')


def test_a_heartbeat_is_seen_from_elsewhere():
    ours = Heartbeat()
    theirs = Heartbeat(ours.cells)
    theirs.beat()
    theirs.at = 7
    assert (ours.beats, ours.at) == (1, 7)
