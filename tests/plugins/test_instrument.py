"""An instrument plug-in plays what a session sends: messages, the table, and a real VST3 in JACK."""

import contextlib
import json
import os
import signal
import time
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jack_server import RATE, Desk, Recorder, available, record_until, server
from live_daemon import RESPONDS, play_until_heard, session_of
from plugin_host import built, can_build

from bridge.plugins.instrument import InstrumentProcess, JackInstrument
from bridge.settings.band_preset import parse_preset
from bridge.settings.instrument_table import Instrument, parse_instrument
from genaudio_core.errors import GenaudioError

PERIOD = 256
needs_jack = pytest.mark.skipif(not available, reason='needs jackd')


def listener(channel=None, controllers=None):
    """The part of the client that reads messages, without a server."""
    one = object.__new__(JackInstrument)
    one.instrument = Instrument(Path('x.vst3'), channel, controllers=controllers or {})
    one.sample_rate, one.played, one._sounding, one._turned, one._hush = RATE, 0, set(), deque(), False
    return one


# Three keys that meet again and again, struck and let go in both ways, and anything; by themselves lists have five.
messages = st.one_of(
    st.builds(lambda how, key: bytes((how[0] | key[0], key[1], how[1])),
              st.sampled_from([(0x90, 100), (0x90, 0), (0x80, 64)]), st.sampled_from([(0, 60), (0, 61), (1, 60)])),
    st.builds(lambda k, c, n, v: bytes((k | c, n, v)), st.sampled_from([0x80, 0x90, 0x90, 0xB0]), st.integers(0, 3),
              st.integers(0, 127), st.integers(0, 127)),
    st.sampled_from([b'\xf8', b'\xfe', bytes((0xC0, 5)), bytes((0xB1, 123, 0)), bytes((0xB0, 120, 0))]),
)  # fmt: skip


@given(st.lists(messages, min_size=20, max_size=80), st.one_of(st.none(), st.integers(0, 1)))
def test_whatever_it_hears_nothing_hangs(heard, channel):
    """The plug-in is told, one by one, to end what a player has ended, and after a hush everything that it began."""
    one = listener(channel)
    told = one._messages([(i, message) for i, message in enumerate(heard)])
    assert [t for _, t in told] == sorted(t for _, t in told)
    assert channel is None or all(message[0] & 15 == channel for message, _ in told)
    mine = [message for message in heard if message[0] < 0xF0 and channel in (None, message[0] & 15)]
    assert keys_down(message for message, _ in told) == keys_down(mine, whole_channels=True) == one._sounding
    one.silence()
    assert not keys_down(message for message, _ in [*told, *one._messages([])]) and not one._sounding


def keys_down(messages, whole_channels=False):
    """What is down after all that, as (channel, note); with `whole_channels` also by all notes, or sound, off."""
    down = set()
    for message in messages:
        kind, channel, key = message[0] & 0xF0, message[0] & 15, (message[0] & 15, message[1])
        if kind == 0x90 and message[2]:
            down.add(key)
        elif kind in (0x80, 0x90):
            down.discard(key)
        elif whole_channels and kind == 0xB0 and message[1] in (120, 123):
            down = {one for one in down if one[0] != channel}
    return down


class Knobs:
    """A plug-in of which only the parameters are there."""

    def __init__(self):
        self.turned = []
        self.parameters = {name: Knob(name, self.turned) for name in ('cutoff', 'wobble')}
        self.cutoff = self.wobble = 0.0


class Knob:
    def __init__(self, name, turned):
        self.__dict__.update(name=name, turned=turned)

    def __setattr__(self, _, share):
        self.turned.append((self.name, share))


@given(st.lists(st.tuples(st.sampled_from([1, 74]), st.integers(0, 127)), max_size=20))
def test_the_newest_value_of_a_parameter_wins_and_is_set_once(turns):
    one = listener(controllers={74: 'cutoff', 1: 'wobble'})
    one.plugin = Knobs()
    one._messages([(i, bytes((0xB0, number, value))) for i, (number, value) in enumerate(turns)])
    one.turn()
    newest = {one.instrument.controllers[number]: value / 127 for number, value in turns}
    assert sorted(one.plugin.turned) == sorted(newest.items())
    one.turn()
    assert len(one.plugin.turned) == len(newest)


def test_controllers_turn_parameters_and_are_not_passed_on():
    one = listener(controllers={74: 'cutoff'})
    told = one._messages([(0, bytes((0xB0, 74, 127))), (1, bytes((0xB0, 1, 64)))])
    assert [message for message, _ in told] == [bytes((0xB0, 1, 64))]
    assert list(one._turned) == [('cutoff', 1.0)]


def test_the_table_of_a_preset(tmp_path):
    table = {'plugin': 'S.vst3', 'channel': 2, 'gain_db': -6, 'connect': ['system:'], 'state': 's.state',
             'parameters': {'cutoff': 0.4}, 'cc': {'74': 'cutoff'}, 'effects': [{'effect': 'Reverb'}]}  # fmt: skip
    found = parse_preset({'instrument': table}, path=tmp_path / 'p.toml').instrument
    assert found is not None
    assert (found.plugin, found.channel, found.state) == (tmp_path / 'S.vst3', 1, tmp_path / 's.state')
    assert found.controllers == {74: 'cutoff'} and found.effects[0].effect == 'Reverb'
    for wrong, says in (
        ({}, 'plugin is missing; write plugin = '), ({'plugin': 'x', 'chanel': 1}, "Did you mean 'channel'"),
        ({'plugin': 'x', 'channel': 17}, 'from 1 to 16'),
        ({'plugin': 'x', 'gain_db': 99}, 'from -60 to 12 dB'), ({'plugin': 'x', 'cc': {'200': 'a'}}, '0 to 119'),
        ({'plugin': 'x', 'connect': 'system'}, 'list'),
        ({'plugin': 'x', 'parameters': {'a': []}}, 'must be a number, text'),
    ):  # fmt: skip
        with pytest.raises(GenaudioError, match=says):
            parse_instrument(wrong, tmp_path)


def until(what, host=None, seconds=30.0):
    """Wait for `what`, listening to the host; return what it said."""
    said, end = [], time.monotonic() + seconds
    while not what():
        if host is not None:
            said += host.poll()
        assert time.monotonic() < end, said
        time.sleep(0.01)
    return said


@pytest.mark.jack
@needs_jack
@can_build
def test_a_note_sounds_from_its_frame_to_its_end_and_outlives_a_crash():
    with server(PERIOD), Desk('desk') as desk, contextlib.ExitStack() as stack:
        recorder = Recorder()
        stack.callback(recorder.client.close)
        host = InstrumentProcess(Instrument(built('beep'), gain_db=-6.0206, connect=('desk:out', 'recorder:in')))
        stack.callback(host.stop)
        until(lambda: host.ready, host)
        assert host.latency_s == 0

        def next_tenth():
            """The next tenth of a second that is recorded, after what is on its way now; NaN where JACK lost some."""
            start = desk.frame() + RATE // 10
            record_until(recorder, start + RATE // 10)
            return recorder.between(start, start + RATE // 10)

        assert not np.nan_to_num(next_tenth()).any()

        def play(hold):
            """A note of `hold` frames; return the recording from its planned beginning."""
            start = desk.frame() + RATE // 4
            desk.send('out', [(start, bytes((0x90, 69, 127))), (start + hold, bytes((0x80, 69, 0)))])
            record_until(recorder, start + hold + 4 * PERIOD)
            return recorder.between(start, start + hold + 4 * PERIOD)

        heard = play(10_000)
        loud = np.flatnonzero(np.abs(heard) > 1e-4)
        assert loud[0] % PERIOD == 0 and loud[0] <= 2 * PERIOD  # a period late at most, and always the same
        assert loud[-1] - loud[0] in range(9_950, 10_000)  # a cosine may cross zero where it ends
        tone = 0.25 * np.cos(2 * np.pi * 440 * np.arange(9_000) / RATE)
        got = heard[loud[0] : loud[0] + 9_000]
        kept = ~np.isnan(got)
        np.testing.assert_allclose(got[kept], tone[kept], atol=1e-3)
        # It crashes in the middle of a note: silence, one line, and it plays again.
        desk.send('out', [(desk.frame(), bytes((0x90, 60, 127)))])
        assert np.nanmax(np.abs(next_tenth())) > 0.2
        os.kill(host.process.pid, signal.SIGKILL)
        host.process.join(5)
        said = until(lambda: host.restarts == 1 and host.ready, host)
        assert any('crashed; it is started again' in line for line in said)
        assert not np.nan_to_num(next_tenth()).any()
        assert np.nanmax(np.abs(play(5_000))) > 0.2
        # Panic: the plug-in never lets go of a key by itself.
        desk.send('out', [(desk.frame(), bytes((0x90, 64, 127)))])
        assert np.nanmax(np.abs(next_tenth())) > 0.2
        desk.send('out', [(desk.frame(), bytes((0xB0, 123, 0)))])
        assert not np.nan_to_num(next_tenth()).any()


@pytest.mark.jack
@needs_jack
@can_build
def test_what_cannot_play_is_told_in_one_line(tmp_path):
    beep = built('beep')
    with server(PERIOD):
        for plugin, more, says in (
            (beep.with_name('Beep.vst'), {}, f"Did you mean '{beep.name}'"),
            (built('crash'), {}, 'is an effect'),
            (beep, {'parameters': {'cutof': 1.0}}, 'has no parameter'),
            (beep, {'controllers': {7: 'volum'}}, "no parameter 'volum'"),
        ):
            host = InstrumentProcess(Instrument(plugin, **more))
            said = until(lambda host=host: host.failed, host)
            host.stop()
            assert says in host.failed and '\n' not in host.failed
            assert sum('plays on over its MIDI ports' in line for line in said) == 1
            assert host.restarts == 0


INSTRUMENT = """
[instrument]
plugin = "{plugin}"
connect = ["recorder:in"]
[[instrument.effects]]
effect = "Gain"
gain_db = -6
"""


@pytest.mark.jack
@needs_jack
@can_build
def test_the_answer_of_a_session_sounds(tmp_path):
    """The real daemon: what it answers is heard through the plug-in, and stays silent after the end."""
    preset = RESPONDS + INSTRUMENT.format(plugin=built('beep'))
    with server(PERIOD), Desk('desk') as desk, contextlib.ExitStack() as stack:
        recorder = Recorder()
        stack.callback(recorder.client.close)
        process, said = stack.enter_context(session_of(preset, tmp_path))
        play_until_heard(desk, recorder, process, said, 0.05)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        end_frame = desk.frame() + RATE // 10
        record_until(recorder, end_frame + RATE // 5)
        assert not np.nan_to_num(recorder.between(end_frame, end_frame + RATE // 5)).any()
    assert json.loads(out)['played'] > 0
