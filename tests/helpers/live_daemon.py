"""The live daemon as a program of its own, on a JACK server, heard by a desk."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from jack_server import HEARS_ALL, RATE, Desk, Recorder, record_until, server

from bridge.midi.messages import note_off, note_on
from bridge.system.waiting import wait_until

FREE = """
[ports]
backend = "jack"
connect = ["desk:"]
[transport]
leader = "auto"
tempo = 120
[player]
mode = "free"
[music]
model = "rules"
[cc]
21 = "keep"
[[parts]]
instrument = "strings"
[[parts]]
instrument = "bass"
"""
RESPONDS = """
[music]
model = "rules"
[ports]
backend = "jack"
connect = ["desk:out"]
[player]
mode = "respond"
bars_heard = 1
bars_answered = 1
"""


@contextlib.contextmanager
def session_of(preset: str, folder: Path, *options: str):
    """``genaudio live`` with the text of a preset: the process, and the lines that it has said so far."""
    (folder / 'p.toml').write_text(preset)
    command = [sys.executable, '-m', 'bridge.cli', 'live', str(folder / 'p.toml'), '--no-view', '--json', *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said: list[str] = []
        threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True).start()
        try:
            yield process, said
        finally:
            process.kill()


def play_until_heard(desk: Desk, recorder: Recorder, process: subprocess.Popen, said: list[str], level: float) -> None:
    """Phrases until the band has answered one. A short look back, bar by bar, could miss every answer."""
    end = time.monotonic() + 60
    while np.nanmax(np.abs(recorder.between(desk.frame() - 6 * RATE, desk.frame())), initial=0) < level:
        assert time.monotonic() < end and process.poll() is None, said
        at = desk.frame() + 1000
        for i in range(4):
            beat, key = at + 12_000 * i, 60 + 2 * i
            desk.send('out', [(beat, bytes((0x90, key, 100))), (beat + 9_000, bytes((0x80, key, 0)))])
        record_until(recorder, at + 2 * RATE)


class Daemon:
    """``genaudio live`` in a process group of its own, heard by a desk."""

    def __init__(self, folder: Path, desk: Desk, *options: str, **environment: str) -> None:
        self.preset = folder / 'free.toml'
        self.preset.write_text(FREE)
        self.log = folder / 'live.log'
        self.takes = folder / 'takes'
        self.takes.mkdir()
        self.desk = desk
        command = [*HEARS_ALL, sys.executable, '-m', 'bridge.cli', 'live', str(self.preset), '--no-view', *options]
        command += ['--folder', str(self.takes)]
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=log, stdout=log, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def children(self) -> list[int]:
        """Process ids below the daemon: the port process and its engine."""
        found, look = [], [self.process.pid]
        while look:
            listed = subprocess.run(['pgrep', '-P', str(look.pop())], capture_output=True, text=True).stdout.split()
            found += [int(pid) for pid in listed]
            look += [int(pid) for pid in listed]
        return found

    def named(self, name: str) -> int:
        """The child that runs a function of this name (spawned processes tell it by their pipes only)."""
        for pid in self.children():
            if 'spawn_main' in Path(f'/proc/{pid}/cmdline').read_text():
                parent = int(Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1])
                if (parent == self.process.pid) == (name == 'midi'):
                    return pid
        raise AssertionError(f'no {name} process')

    def sounding(self) -> set[tuple[int, int]]:
        on: set[tuple[int, int]] = set()
        for _, _, message in list(self.desk.heard):
            if message[0] & 0xE0 == 0x80:
                starts = message[0] & 0xF0 == 0x90 and message[2]
                (on.add if starts else on.discard)((message[0] & 15, message[1]))
        return on

    def play(self) -> None:
        """A key of ours starts its own transport; wait until its notes sound."""
        assert wait_until(lambda: len(self.desk.client.get_all_connections(self.desk.inputs['in'])) > 0, 60)
        assert wait_until(lambda: len(self.desk.client.get_all_connections(self.desk.outputs['out'])) > 0, 10)
        # JACK drops what it carries to a client that misses a cycle, and on a busy machine one that just began does.
        for _ in range(10):
            frame = self.desk.frame() + 4000
            self.desk.send('out', [(frame, note_on(0, 60, 90)), (frame + 9000, note_off(0, 60))])
            if wait_until(lambda: len(self.sounding()) > 0, 4):
                return
        raise AssertionError(self.log.read_text())

    def type(self, line: str) -> None:
        """Give it a line to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(f'{line}\n'.encode())
        self.process.stdin.flush()

    def said(self, words: str, seconds: float = 30) -> bool:
        return wait_until(lambda: words in self.log.read_text(), seconds)

    def quiet(self, seconds: float = 15) -> bool:
        return wait_until(lambda: not self.sounding(), seconds)

    def close(self) -> None:
        if self.process.stdin is not None:  # a terminal of a test's own has none
            self.process.stdin.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        # Where it was killed, its port process notices that a little later: it may not meet the desk of the next test.
        wait_until(lambda: not _is_there(self.process.pid), 10)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def state(pid: int) -> str:
    """What Linux says of a process: R, S, T (stopped) and so on."""
    return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]


@pytest.fixture(scope='module')
def jack_running():
    with server(256):
        yield


@pytest.fixture
def daemon(jack_running, tmp_path):
    with Desk('desk', ('in',), ('out',)) as desk:
        running = Daemon(tmp_path, desk)
        try:
            yield running
        finally:
            running.close()
