"""JACK without hardware for the tests: a server of our own, and a client that plays and records to the frame."""

import contextlib
import errno
import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.system.jack_client import leave

NAME = f'genaudio-test-{os.getpid()}'
RATE = 48000
available = shutil.which('jackd') is not None
# In front of a command: it hears a closed terminal even where we do not (``nohup``, CI), and inherit that to it.
HEARS_ALL = ('env', '--default-signal=HUP,INT,QUIT') if sys.platform == 'linux' else ()


_held = 0  # servers of this process inside `alone`


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One process with real-time servers on a machine at a time: two take each other's periods."""
    global _held
    with open(Path(tempfile.gettempdir()) / 'genaudio-jack-tests.lock', 'w') as lock:
        if not _held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        _held += 1
        try:
            yield
        finally:
            _held -= 1


class Server:
    """jackd with its dummy driver under `NAME`, which may go and come back at another rate or period."""

    def start(self, rate: int = RATE, period: int = 256) -> None:
        """Start it, and wait until it answers."""
        command = ['jackd', '-R', '-n', NAME, '-d', 'dummy', '-r', str(rate), '-p', str(period)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            subprocess.run(['jack_wait', '-s', NAME, '-w', '-t', '20'], check=True, capture_output=True)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def stop(self) -> None:
        """End it, unless it has ended."""
        self.process.terminate()
        self.process.wait(timeout=10)


@contextlib.contextmanager
def running(period: int = 256, rate: int = RATE) -> Iterator[Server]:
    """Run jackd; sets the environment for clients of this process and its children.

    Waits while other tests on this machine use a server of theirs.
    """
    wanted = {'JACK_DEFAULT_SERVER': NAME, 'JACK_NO_START_SERVER': '1', 'JACK_NO_AUDIO_RESERVATION': '1'}
    with alone(), pytest.MonkeyPatch.context() as patch:
        for key, value in wanted.items():
            patch.setenv(key, value)
        one = Server()
        try:
            one.start(rate, period)
        except subprocess.CalledProcessError:
            # After several killed servers JACK refuses with "Too many servers". Clear up only now, and only if nobody
            # runs one: libjack keeps the registry mapped, and a process that has met JACK before could not open it any
            # more.
            if subprocess.run(['pgrep', '-x', 'jackd'], capture_output=True).returncode == 0:
                raise
            for stale in Path('/dev/shm').glob('jack*'):
                shutil.rmtree(stale) if stale.is_dir() else stale.unlink(missing_ok=True)
            one.start(rate, period)
        try:
            yield one
        finally:
            _leave_all()
            one.stop()


def _leave_all() -> None:
    """Take away clients that failed tests have left: libjack crashes if they are closed while the next server of this
    name runs, and the garbage collector would do that."""
    import jack

    for client in [one for one in gc.get_objects() if issubclass(type(one), jack.Client)]:
        leave(client)


@contextlib.contextmanager
def server(period: int = 256, rate: int = RATE) -> Iterator[str]:
    """As `running`, for those who leave it alone: its name."""
    with running(period, rate):
        yield NAME


def one_request_at_a_time(folder: Path) -> dict[str, str]:
    """Environment in which Ardour's requests to JACK wait for each other: libjack's are not thread-safe, and Ardour's
    threads race them. What it takes is built in `folder`."""
    source, lock = Path(__file__).parents[1] / 'ardour' / 'jacklock.c', folder / 'jacklock.so'
    subprocess.run(['cc', '-O2', '-shared', '-fPIC', source, '-o', lock, '-ldl', '-lpthread'], check=True)
    return {'LD_PRELOAD': str(lock)}


class Desk:
    """A JACK client that sends planned messages on their frames and notes down what arrives, with frames."""

    def __init__(
        self, name: str = 'desk', inputs: tuple[str, ...] = ('in',), outputs: tuple[str, ...] = ('out',)
    ) -> None:
        import jack

        self.client = jack.Client(name, no_start_server=True, servername=os.environ['JACK_DEFAULT_SERVER'])
        self.inputs = {port: self.client.midi_inports.register(port) for port in inputs}
        self.outputs = {port: self.client.midi_outports.register(port) for port in outputs}
        self.heard: deque[tuple[int, str, bytes]] = deque()  # (frame, input, message)
        self._plan: dict[str, deque[tuple[int, bytes]]] = {port: deque() for port in outputs}
        self._next = self.client.frame_time
        self.client.set_process_callback(self._process)
        self.client.activate()

    def send(self, output: str, messages: list[tuple[int, bytes]]) -> None:
        """Plan (frame, message), sorted by frame."""
        self._plan[output].extend(messages)

    def frame(self) -> int:
        """The frame that the next cycle begins with. JACK's own estimate of the present (`frame_time`) lies behind the
        cycles that have been run, by tenths of a second, for seconds after the server was held up."""
        return self._next

    def _process(self, frames: int) -> None:
        start = self.client.last_frame_time
        self._next = start + frames
        for name, port in self.inputs.items():
            for offset, data in port.incoming_midi_events():
                self.heard.append((start + offset, name, bytes(data)))
        for name, port in self.outputs.items():
            port.clear_buffer()
            plan = self._plan[name]
            while plan and plan[0][0] < start + frames:
                frame, message = plan.popleft()
                port.write_midi_event(max(frame - start, 0), message)

    def connect(self, source: str, sink: str, patience: float = 10.0) -> None:
        """Connect two ports, waiting for them to appear."""
        end = time.monotonic() + patience
        while True:
            try:
                self.client.connect(source, sink)
                return
            except Exception as error:
                if getattr(error, 'code', None) == errno.EEXIST:  # JACK may lose its answer on a busy machine
                    return
                if time.monotonic() > end:
                    names = [port.name for port in self.client.get_ports()]
                    raise RuntimeError(f'cannot connect {source} to {sink}; there are {names}') from None
                time.sleep(0.1)

    def close(self) -> None:
        leave(self.client)  # libjack by itself waits for ever where the server has dropped us

    def __enter__(self) -> 'Desk':
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class Recorder:
    """Notes down what it hears, with the frame of its first sample."""

    def __init__(self):
        import jack

        self.client = jack.Client('recorder', no_start_server=True, servername=os.environ['JACK_DEFAULT_SERVER'])
        self.port = self.client.inports.register('in')
        self.blocks: list[tuple[int, np.ndarray]] = []
        self.xruns = 0
        self.client.set_process_callback(self._process)
        self.client.set_xrun_callback(self._xrun)
        self.client.activate()

    def _process(self, frames):
        self.blocks.append((self.client.last_frame_time, self.port.get_array().copy()))

    def _xrun(self, delay):
        self.xruns += 1

    def between(self, start, end):
        """Samples of frames start..end; those lost are NaN."""
        out = np.full(end - start, np.nan, np.float32)
        for frame, block in list(self.blocks):
            a, b = max(frame, start), min(frame + len(block), end)
            if b > a:
                out[a - start : b - start] = block[a - frame : b - frame]
        return out


def record_until(recorder, frame, seconds=60.0):
    """Wait until `recorder` (a `jack_server.Recorder`) has heard the sample before `frame`."""
    end = time.monotonic() + seconds
    while not recorder.blocks or recorder.blocks[-1][0] + len(recorder.blocks[-1][1]) < frame:
        assert time.monotonic() < end, 'JACK stands still'
        time.sleep(0.01)
