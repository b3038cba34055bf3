"""`genaudio isolate` on a real server, while what it is made of is killed, stopped, starved and lied to."""

import collections
import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from isolate_program import Isolate, children_of, has_jack, ports, runs, until
from jack_server import RATE
from stream_models import random_model
from test_isolate_ends import pytestmark  # noqa: F401
from test_isolate_ends import server as server  # a fixture

from bridge.system.jack_client import leave

jack = pytest.importorskip('jack')


class Desk:
    """Plays a sine with NaN now and then, and looks at what comes back."""

    def __init__(self, to='genaudio-stems', heard='drums_1'):
        self.client = jack.Client('desk', no_start_server=True)
        self.out, self.into = self.client.outports.register('out'), self.client.inports.register('in')
        self.bad, self.peak, self.step, self.blocks, self.last, self.n = 0, 0.0, 0.0, 0, 0.0, 0
        self.burst = None
        self.peaks = collections.deque(maxlen=24)  # of the last blocks
        self.client.set_process_callback(self._process)
        self.client.activate()
        for ours, theirs in ((self.out.name, f'{to}:in_1'), (f'{to}:{heard}', self.into.name)):
            # Ports are there before their client plays.
            until(lambda ends=(ours, theirs): self._connects(*ends), what=(ours, theirs))

    def _connects(self, source, sink):
        try:
            self.client.connect(source, sink)
        except jack.JackError as error:  # it says so, too, where it lost its answer to the first call on a busy machine
            return getattr(error, 'code', None) == errno.EEXIST
        return True

    def _process(self, frames):
        t = (self.n + np.arange(frames)) / 48000
        self.n += frames
        sound = (0.3 * np.sin(2 * np.pi * 110 * t)).astype(np.float32)
        if self.burst is not None:
            sound[:: self.burst[1]] = self.burst[0]
        self.out.get_array()[:] = sound
        heard = self.into.get_array().copy()
        good = np.isfinite(heard)
        self.bad += int((~good).sum())
        heard = np.where(good, heard, 0)
        self.step = max(self.step, float(np.abs(np.diff(heard, prepend=np.float32(self.last))).max()))
        self.last = heard[-1]
        self.peaks.append(float(np.abs(heard).max()))
        self.peak = max(self.peak, self.peaks[-1])
        self.blocks += 1

    def hears(self):
        """Wait until sound comes back."""
        self.peak = 0.0
        until(lambda: self.peak > 0.01, what='silence')

    def close(self):
        leave(self.client)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def kill(*pids, number=signal.SIGKILL):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def works(one):
    """It answers, and a worker works."""
    end = time.monotonic() + 90
    while True:
        since = len(one.lines)
        one.say('status')
        one.wait_for('underruns', since=since)
        if any('ready True' in line for line in one.lines[since:]):
            return
        assert time.monotonic() < end, one.lines
        time.sleep(0.1)


# --- processes that die or stand still -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('who', 'number'),
    [('workers', signal.SIGKILL), ('workers', signal.SIGSTOP), ('all', signal.SIGKILL), ('all', signal.SIGSTOP),
     ('audio', signal.SIGTERM), ('audio', signal.SIGSTOP)],
)  # fmt: skip
def test_children_that_die_or_stand_still_are_replaced_twice_over(server, who, number):
    with Isolate('--json') as one:
        one.plays()
        for _ in range(2):
            works(one)
            with Desk() as desk:
                desk.hears()
            victims = {'workers': one.workers(), 'audio': [one.audio], 'all': [*one.workers(), one.audio]}[who]
            victims = [pid for pid in victims if b'resource_tracker' not in cmdline(pid)]
            kill(*victims, number=number)
            until(lambda victims=victims: not any(map(runs, victims)), 90)
            until(lambda: 'genaudio-stems:in_1' in ports(), 90)
        works(one)
        with Desk() as desk:
            desk.hears()
            assert not desk.bad
        one.say('quit')
        one.ends()


def cmdline(pid):
    try:
        with open(f'/proc/{pid}/cmdline', 'rb') as file:
            return file.read()
    except OSError:
        return b''


def test_a_block_size_that_changes_while_the_callbacks_process_is_dead_is_taken_up(server):
    with Isolate('--json', '--effect', 'drums=Gain,gain_db=0') as one:
        one.plays()
        try:
            for size in (8192, 64, 2048, 256):
                kill(one.audio)
                subprocess.run(['jack_bufsize', str(size)], capture_output=True, timeout=30)
                until(lambda: 'genaudio-stems:in_1' in ports(), 90)
                one.wait_for(f'Blocks now have {size} samples')
                works(one)
                with Desk() as desk:
                    desk.hears()
        finally:
            subprocess.run(['jack_bufsize', '256'], capture_output=True, timeout=30)
        one.say('quit')
        one.ends()


@pytest.mark.parametrize('size', [512, 1024, 8192])
def test_effects_are_heard_at_any_block_size(server, size):
    """The effect makes silence, so that it is heard whether it plays."""
    subprocess.run(['jack_bufsize', str(size)], capture_output=True, timeout=30)
    try:
        with Isolate('--effect', 'drums=Gain,gain_db=-120') as one:
            one.plays()
            works(one)
            with Desk() as desk:
                time.sleep(1)  # what it plays has come through
                desk.peaks.clear()
                # Where it is late the stem plays without it, and it is given more time: on a busy machine for a while.
                until(lambda: sum(quiet := is_quiet(desk.peaks)) >= 15 and len(quiet) == 20, what=desk.peaks)
            one.say('quit')
            one.ends()
    finally:
        subprocess.run(['jack_bufsize', '256'], capture_output=True, timeout=30)


def is_quiet(peaks, together=5):
    """Of the last 20 times `together` blocks, overlapping, whether all of them were silent."""
    last = list(peaks)[-19 - together :]
    return [max(last[i : i + together]) < 1e-3 for i in range(len(last) + 1 - together)]


# --- the server ------------------------------------------------------------------------------------------------------


def threads_and_maps(pid):
    with open(f'/proc/{pid}/maps') as maps:
        text = maps.read()
    return len(os.listdir(f'/proc/{pid}/task')), text.count('jack'), len(os.listdir(f'/proc/{pid}/fd'))


def test_a_server_that_goes_and_comes_back_again_and_again_leaks_nothing(server):
    with Isolate('--json') as one:
        one.plays()
        works(one)
        seen = []
        for _ in range(4):
            since = len(one.lines)
            server.stop()
            one.wait_for_loss(since)
            server.start()
            one.wait_for('The JACK server is back', since=since)
            until(lambda: 'genaudio-stems:in_1' in ports())
            works(one)
            seen.append(threads_and_maps(one.audio))
        assert seen[-1][0] <= seen[0][0] and seen[-1][2] <= seen[0][2], seen
        assert seen[-1][1] <= seen[0][1] + 2, seen
        with Desk() as desk:
            desk.hears()
        one.say('quit')
        one.ends()


def test_an_audio_process_that_dies_without_a_server_is_replaced_and_says_when_one_is_back(server):
    with Isolate('--json') as one:
        one.plays()
        audio, since = one.audio, len(one.lines)
        server.stop()
        try:
            kill(audio)
            one.wait_for('Waiting for it', since=since)
        finally:
            server.start()
        one.wait_for('The JACK server is back', since=since)
        until(lambda: 'genaudio-stems:in_1' in ports())
        with Desk() as desk:
            desk.hears()
        one.say('quit')
        one.ends()


def test_a_server_that_comes_back_at_another_rate_is_gone_along_with(server):
    """With all that was turned meanwhile; where nothing can be separated the dry signal plays, until it can again."""
    with Isolate('--json') as one:
        one.plays()
        one.say('gain 1 -7')
        one.wait_for('gain 1 -7')
        try:
            for rate, told in ((44100, 'Going on at that rate'), (32000, 'the dry signal plays'), (RATE, 'Going on')):
                since = len(one.lines)
                server.stop()
                one.wait_for_loss(since)
                server.start(rate=rate)
                one.wait_for(f'came back at {rate} Hz', since=since)
                assert one.heard(told, since)
                one.wait_for(f': {rate} Hz, blocks of', since=since)
                until(lambda: 'genaudio-stems:in_1' in ports())
                with Desk() as desk:
                    desk.hears()
        finally:
            server.stop()
            server.start()
        one.children = children_of(one.pid)
        one.say('quit')
        one.ends()
        assert json.loads(one.process.stdout.read())['sample_rate'] == RATE


def test_an_audio_process_that_keeps_dying_ends_nothing(server):
    with Isolate('--json') as one:
        one.plays()
        for _ in range(6):
            since, first = len(one.lines), one.audio
            os.kill(first, signal.SIGKILL)
            until(lambda since=since: one.heard('audio process', since))
            if one.heard('keeps ending', since):
                break
            until(lambda first=first: any(pid != first and has_jack(pid) for pid in children_of(one.pid)))
            until(lambda: 'genaudio-stems:in_1' in ports())
        assert one.process.poll() is None  # whether so many within a minute were too many is the machine's affair
        one.say('quit')
        one.ends()


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('value', [np.nan, np.inf, 3e38])
def test_samples_that_are_no_numbers_are_heard_by_nobody(server, value):
    with Isolate('--json', '--effect', 'drums=Reverb') as one:
        one.plays()
        works(one)
        with Desk() as desk:
            desk.hears()
            for every in (1, 7, 200):
                desk.burst = (value, every)
                blocks = desk.blocks
                until(lambda blocks=blocks: desk.blocks > blocks + 100)
                kill(*(pid for pid in one.workers()[-1:] if b'resource_tracker' not in cmdline(pid)))
            desk.burst = None
            works(one)
            desk.hears()
            assert desk.bad == 0
        one.say('quit')
        one.ends()


# --- what people write -----------------------------------------------------------------------------------------------

NONSENSE = [
    ('--margin', 'nan'), ('--margin', '-1'), ('--margin', '1e300'), ('--seconds', 'nan'), ('--seconds', '0'),
    ('--seconds', 'inf'), ('--set', 'gain.drums=nan'), ('--set', 'gain.drums'), ('--set', 'wet='),
    ('--set', 'gain.flute=1'), ('--set', 'wet=7'), ('--gain', 'nan'), ('--rest', 'nan'), ('--wet', 'inf'),
    ('--query', ''), ('--query', '   '), ('--effect', 'drums'), ('--effect', 'flute=Reverb'),
    ('--effect', 'drums=Reverb,room_size=nan'), ('--effect', 'drums=Nothing'), ('--connect', 'a'),
    ('--connect', 'nothing:out=in_1'), ('--midi', 'no such port'), ('--model', '/dev/null'), ('--model', '/'),
    ('--name', ''), ('--state', '/proc/none/x.json'), ('--state', '/'), ('no-such-preset',),
    tuple(part for _ in range(9) for part in ('--query', 'drums')),
]  # fmt: skip


@pytest.mark.parametrize('arguments', NONSENSE, ids=lambda some: ' '.join(some)[:40] or 'empty')
def test_nonsense_is_one_line_and_ends_soon(server, arguments):
    with Isolate('--seconds', '1', *arguments) as one:
        code = one.process.wait(timeout=90)
        one.ends(code)
        if code:
            assert sum(line.startswith('error: ') for line in one.lines) == 1, one.lines
        else:
            assert arguments[0] in ('--effect', '--state', '--name'), one.lines


GARBAGE = [
    'gain', 'gain drums', 'gain drums nan', 'gain 99 0', 'rest', 'rest inf', 'wet nan', 'mute', 'solo x', 'bypass x',
    'model', 'model /', 'model /dev/null', 'set', 'set x', 'set gain.drums nan', 'set effect.drums.1.x 3', 'learn',
    'learn effect.drums.9.x', 'query', 'query 1', 'query 9 flute', 'query \0 \0', '\0', 'é' * 9000, '1', '\x1b[A',
    'gain ² 3', 'gain drums 1e999', 'wet -0', 'set wet true', 'query 1 ' + 'x ' * 4000,
]  # fmt: skip


def test_garbage_lines_cost_a_line_each_and_it_plays_on(server):
    with Isolate('--json', '--query', 'drums') as one:  # two of a name, too
        one.plays()
        works(one)
        for line in GARBAGE:
            one.say(line)
        works(one)
        assert not one.heard('Traceback') and not one.heard('ended')
        with Desk() as desk:
            one.say('gain drums 0')
            one.say('wet 0')
            desk.client.disconnect('genaudio-stems:drums_1', desk.into.name)
            desk.client.connect('genaudio-stems:monitor_1', desk.into.name)
            desk.hears()
            assert desk.bad == 0
        one.say('quit')
        one.ends()


def test_eight_stems_of_one_name_have_ports_of_their_own(server):
    words = [part for _ in range(6) for part in ('--query', 'drums')]
    with Isolate('--json', *words) as one:
        one.plays()
        works(one)
        there = [line for line in ports().splitlines() if line.startswith('genaudio-stems:') and line.endswith('_1')]
        assert len(there) == len(set(there)) == 8 + 2 + 1, there
        one.say('quit')
        one.ends()


def test_a_worker_that_cannot_start_any_more_lets_the_dry_signal_play_and_another_model_saves_it(server, tmp_path):
    """The model's file is spoilt while it plays; then everything that has it loaded dies."""
    model = tmp_path / 'own.onnx'
    shutil.copy(random_model(), model)
    for beside in random_model().parent.glob(random_model().stem + '.*'):
        if beside.suffix != '.onnx':
            shutil.copy(beside, tmp_path / ('own' + beside.suffix))
    with Isolate('--json', '--model', str(model)) as one:
        one.plays()
        works(one)
        model.write_bytes(b'spoilt')
        end = time.monotonic() + 90
        while not one.heard('times in a row'):
            kill(*(pid for pid in one.workers() if b'resource_tracker' not in cmdline(pid)))
            assert time.monotonic() < end and one.process.poll() is None, one.lines
            time.sleep(0.2)
        with Desk() as desk:
            desk.hears()
            one.say(f'model {model}')
            one.say(f'model {random_model()}')
            works(one)
            one.wait_for('works again')
            desk.hears()
        one.say('quit')
        one.ends()
