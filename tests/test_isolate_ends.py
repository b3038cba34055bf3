"""`genaudio isolate` ends as it is told, leaves nothing behind, and outlives what it can, on a real server."""

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jack_server import alone
from stream_models import random_model
from test_audio_jack import children_of, has_jack, ours_in, runs

pytestmark = [
    pytest.mark.jack,
    pytest.mark.skipif(shutil.which('jackd') is None, reason='jackd is not installed'),
]
NAME, RATE = f'genaudio-ends-test-{os.getpid()}', 48000


class Server:
    """jackd with its dummy driver, which may go and come back."""

    def start(self, rate=RATE, period=256):
        self.process = subprocess.Popen(
            ['jackd', '-R', '-n', NAME, '-d', 'dummy', '-r', str(rate), '-p', str(period)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        subprocess.run(['jack_wait', '-s', NAME, '-w', '-t', '20'], check=True, capture_output=True)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)


@pytest.fixture(scope='module')
def server():
    wanted = {'JACK_DEFAULT_SERVER': NAME, 'JACK_NO_START_SERVER': '1', 'JACK_NO_AUDIO_RESERVATION': '1'}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    with alone():
        one = Server()
        one.start()
        try:
            yield one
        finally:
            one.stop()
            for key, value in before.items():
                if value is None:
                    del os.environ[key]
                else:
                    os.environ[key] = value


def answers():
    """Whether the server runs its clients: a new one gets blocks."""
    script = (
        'import jack, threading\n'
        'client, came = jack.Client("probe", no_start_server=True), threading.Event()\n'
        'client.set_process_callback(lambda frames: came.set())\n'
        'client.activate()\n'
        'assert came.wait(10)\n'
        'client.deactivate(); client.close()\n'
    )
    return subprocess.run([sys.executable, '-c', script], timeout=60, capture_output=True).returncode == 0


def ports():
    return subprocess.run(['jack_lsp'], capture_output=True, text=True).stdout


def until(done, seconds=60.0, what=()):
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f'it did not come to that: {what}'
        time.sleep(0.02)


class Isolate:
    """The command in a group and session of its own, as a terminal window has it."""

    def __init__(self, *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, query=True):
        self.before = set(os.listdir('/dev/shm'))
        words = ('--query', 'drums', '--query', 'bass') if query else ()
        command = [sys.executable, '-m', 'bridge.cli', 'isolate', '--model', str(random_model()), *words, *arguments]
        self.process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid, self.lines = self.process.pid, []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)

    def heard(self, text, since=0):
        return any(text in line for line in self.lines[since:])

    def wait_for(self, text, seconds=60, since=0):
        end = time.monotonic() + seconds
        while not self.heard(text, since):
            assert time.monotonic() < end and self.process.poll() is None, f'no {text!r} in {self.lines}'
            time.sleep(0.02)

    def say(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def plays(self):
        self.wait_for('Ctrl-C ends')
        self.children = children_of(self.pid)
        return self

    @property
    def audio(self):
        return next(pid for pid in children_of(self.pid) if has_jack(pid))

    def workers(self):
        """Every child that is not the callback's, such as worker and standby."""
        return [pid for pid in children_of(self.pid) if not has_jack(pid)]

    def ends(self, code=0):
        """It ends with this code, without a traceback, and nothing of it is left."""
        children = set(getattr(self, 'children', [])) | set(children_of(self.pid))
        assert self.process.wait(timeout=60) == code, self.lines
        self._reader.join(timeout=10)
        assert 'Traceback' not in ''.join(self.lines), ''.join(self.lines)
        assert 'resource_tracker' not in ''.join(self.lines), ''.join(self.lines)
        until(lambda: not any(map(runs, children)))
        until(lambda: not ours_in(self.left()))
        assert answers() and 'genaudio-stems' not in ports()

    def left(self):
        now = set(os.listdir('/dev/shm')) - self.before
        return {name for name in now if name.startswith(('psm_', 'sem.mp'))}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGCONT)
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(timeout=10)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                pipe.close()


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize('group', [False, True])
def test_a_signal_ends_it_and_nothing_is_left(server, number, group):
    with Isolate('--json') as one:
        one.plays()
        (os.killpg if group else os.kill)(one.pid, number)
        one.ends()
        assert json.loads(one.process.stdout.read())['blocks'] > 0


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize('after', [0.3, 1.0, 1.8])
def test_a_signal_while_it_loads_ends_it_and_nothing_is_left(server, number, after):
    with Isolate('--effect', 'drums=Reverb') as one:
        time.sleep(after)
        os.killpg(one.pid, number)
        code = one.process.wait(timeout=60)
        one.ends(code)
        assert code in (0, 128 + number) or (code == -number and after < 1)  # Python itself was loading


def test_it_plays_on_without_anything_on_stdin(server):
    with Isolate('--json', '--seconds', '2', stdin=subprocess.DEVNULL) as one:
        one.plays()
        one.ends()
        assert json.loads(one.process.stdout.read())['blocks'] > 100


def test_the_end_of_stdin_ends_nothing(server):
    with Isolate() as one:
        one.plays()
        one.say('status')
        one.process.stdin.close()
        one.wait_for('ready')
        blocks = ports()
        assert 'genaudio-stems' in blocks
        os.kill(one.pid, signal.SIGTERM)
        one.ends()


@pytest.mark.parametrize('json_too', [(), ('--json',)])
def test_a_reader_that_goes_away_gets_no_traceback(server, json_too):
    read, write = os.pipe()
    with Isolate('--seconds', '1', *json_too, stdout=write) as one:
        os.close(write)
        os.close(read)
        one.plays()
        one.ends(141)


def test_a_full_disk_under_the_result_is_one_line(server):
    with open('/dev/full', 'w') as full, Isolate('--seconds', '1', stdout=full) as one:
        one.plays()
        one.ends(2)
        assert one.heard('the disk is full')


def test_the_terminal_that_goes_away_ends_it(server):
    here, there = pty.openpty()
    with Isolate(stdin=there, stdout=there) as one:
        os.close(there)
        one.plays()
        os.close(here)
        os.killpg(one.pid, signal.SIGHUP)
        one.process.wait(timeout=60)
        one.ends(one.process.returncode)
        assert one.process.returncode in (0, 141, 2)


def test_ctrl_z_lets_jack_go_on_and_it_comes_back(server):
    with Isolate('--json') as one:
        one.plays()
        for _ in range(2):
            os.killpg(one.pid, signal.SIGTSTP)
            until(lambda: state(one.pid) == 'T', what=one.lines)
            assert answers() and 'genaudio-stems' in ports()
            os.killpg(one.pid, signal.SIGCONT)
            until(lambda: state(one.pid) != 'T')
        since = len(one.lines)
        one.say('status')
        one.wait_for('underruns', since=since)
        os.killpg(one.pid, signal.SIGTSTP)
        until(lambda: state(one.pid) == 'T')
        os.killpg(one.pid, signal.SIGTERM)  # closed while it waits
        os.killpg(one.pid, signal.SIGCONT)
        one.ends()
        assert not one.heard('hangs') and not one.heard('ended')


def state(pid):
    return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
