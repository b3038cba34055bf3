"""Engines that plug-ins meet, in a folder of their own: started, killed, hung."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from bridge.daw import meeting_place
from bridge.system.waiting import wait_until

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def an_engine():
    """The folder where plug-ins find, or start, an engine; it is ended afterwards."""
    folder = Path(tempfile.mkdtemp(prefix='gd'))  # a socket's path is short
    record = folder / 'engine.json'
    record.write_text(json.dumps({'python': sys.executable, 'path': str(ROOT)}) + '\n')
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv('GENAUDIO_RUNTIME', str(folder))
        monkeypatch.setenv('GENAUDIO_ENGINE', str(record))
        monkeypatch.setenv('OMP_NUM_THREADS', '1')
        yield folder
        if pid := meeting_place.discovery().get('pid'):
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + 20
            while (folder / 'serve.json').exists() and time.monotonic() < until:
                time.sleep(0.02)
    shutil.rmtree(folder, ignore_errors=True)


def engine_processes() -> list[int]:
    """The engine, and its processes."""
    server = meeting_place.discovery()['pid']
    children = subprocess.run(['pgrep', '-P', str(server)], capture_output=True, text=True).stdout.split()
    return [server, *map(int, children)]


def kill_engine() -> None:
    """Kill it, and wait until its processes have noticed."""
    server, *children = engine_processes()
    os.kill(server, signal.SIGKILL)
    assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in children), 60)


@contextlib.contextmanager
def engine_that_hangs(seconds: float):
    """The engine and its processes stand still inside; who waits for them for ever is let go after `seconds`."""
    pids = engine_processes()  # the server first: it ends children that hang

    def send(number: signal.Signals) -> None:
        for pid in pids if number == signal.SIGSTOP else reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    timer = threading.Timer(seconds, send, [signal.SIGCONT])
    send(signal.SIGSTOP)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        send(signal.SIGCONT)
