"""`genaudio isolate` as a program of its own, for tests on a real JACK server: told, ended, and what it leaves."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from jack_server import HEARS_ALL
from stream_models import random_model

jack = pytest.importorskip('jack')
MARKED = Path(__file__).with_name('marked')
_numbers = itertools.count(os.getpid() << 8 & 0xFFFFFF)


def answers():
    """Whether the server runs its clients: a new one gets blocks."""
    came = threading.Event()

    def ask():
        client = jack.Client('probe', no_start_server=True)
        client.set_process_callback(lambda frames: came.set())
        client.activate()
        came.wait(20)
        client.deactivate()
        client.close()

    asking = threading.Thread(target=ask, daemon=True)  # a server that hangs does not answer `open` either
    asking.start()
    asking.join(60)
    return came.is_set() and not asking.is_alive()


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
        self.mark = f'g{next(_numbers):06x}'
        words = ('--query', 'drums', '--query', 'bass') if query else ()
        path = os.pathsep.join(filter(None, (str(MARKED), os.environ.get('PYTHONPATH'))))
        command = [sys.executable, '-m', 'bridge.cli', 'isolate', '--model', str(random_model()), *words, *arguments]
        self.process = subprocess.Popen(
            [*HEARS_ALL, *command], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, text=True,
            start_new_session=True, env={**os.environ, 'PYTHONPATH': path, 'MARK_OF_BLOCKS': self.mark},
        )  # fmt: skip
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

    def wait_for_loss(self, since):
        """Of the server. Where libjack holds the audio process up, that is replaced, and its successor waits."""
        until(lambda: self.heard('went away', since) or self.heard('Waiting for it', since), what=self.lines[since:])

    def say(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()

    def finish(self):
        """Tell it to end; return its result."""
        self.say('quit')
        out = self.process.stdout.read()
        assert self.process.wait(timeout=60) == 0, self.lines
        return json.loads(out)

    def wait_for_end(self):
        """Wait until all that it said is in `lines`."""
        self._reader.join(timeout=10)

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
        until(lambda: not self.left(), what=self.mark)
        assert answers() and 'genaudio-stems' not in ports()

    def left(self):
        """Blocks of memory and semaphores of its own that are there; others test beside us, and leave theirs."""
        return {name for name in os.listdir('/dev/shm') if self.mark in name}

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


def children_of(pid):
    text = subprocess.run(['pgrep', '-P', str(pid)], capture_output=True, text=True).stdout
    return [int(one) for one in text.split()]


def has_jack(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        return 'libjack' in Path(f'/proc/{pid}/maps').read_text()
    return False


def runs(pid):
    try:
        with open(f'/proc/{pid}/stat') as stat:
            return stat.read().rsplit(')', 1)[1].split()[0] != 'Z'
    except (FileNotFoundError, ProcessLookupError):  # the second where it ends between the two calls
        return False


def state(pid):
    return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]


def waits(pid, looks=10):
    """Whether a process has nothing to do for half a second: it sleeps, and uses no time of the processor."""
    seen = set()
    for _ in range(looks):
        fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
        seen.add((fields[0], fields[11], fields[12]))  # state, ticks in user and in system mode
        if len(seen) > 1 or fields[0] != 'S':
            return False
        time.sleep(0.05)
    return True
