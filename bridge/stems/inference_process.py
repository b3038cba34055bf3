"""The inference process of the live audio side: takes hops out of one ring and puts stems into another.

It owns no device. It is woken by a semaphore, works off what has come in, and says in a block of shared memory how
it is doing. Killing it costs nothing but the time to start another: `AudioHost` plays the dry signal meanwhile.

Channels of the output ring: two per stem, two of the rest (input minus all stems), two of the monitor mix.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bridge.audio.callback import AudioRegisters
from bridge.audio.shared_ring import Ring
from bridge.settings.mix import Mix
from bridge.stems.mixer import Mixer
from bridge.system.real_time import keep_what_is_loaded, real_time_or_preferred
from bridge.system.shared_memory import Shared
from genaudio_core.errors import one_line
from genaudio_core.processes.child_process import begin, messages
from genaudio_core.processes.child_watch import Heartbeat, send_now

READY, FAILED = 1, 2  # 0 while it starts
HISTOGRAM_STEP = 10e-6  # seconds per bin of the compute times
HISTOGRAM_BINS = 6000  # the last one holds all that is longer
_COUNTERS = 16
MAX_BACKLOG = 0.1  # seconds of input, beyond two blocks, left unworked before the worker jumps to the newest


class Gauges:
    """Statistics of the worker: counters and a histogram of compute times, in shared memory, written by it alone."""

    STATE, HOPS, SKIPPED, FAULTS, PRIORITY = range(5)

    def __init__(self, name: str | None = None):
        size = (_COUNTERS + HISTOGRAM_BINS) * 8
        self._shared = Shared(size if name is None else 0, name)
        self.counters = self._shared.array(np.int64, _COUNTERS)
        self.histogram = self._shared.array(np.int64, HISTOGRAM_BINS, offset=_COUNTERS * 8)

    @property
    def name(self) -> str:
        """For the process that attaches."""
        return self._shared.name

    def took(self, seconds: float) -> None:
        """Count a hop that took this long."""
        self.histogram[min(int(seconds / HISTOGRAM_STEP), HISTOGRAM_BINS - 1)] += 1
        self.counters[self.HOPS] += 1

    def percentiles(self, *percents: float) -> list[float]:
        """Return upper bounds of compute times in seconds; 100 is the worst. Zeros before the first hop."""
        total = np.cumsum(self.histogram)
        if not total[-1]:
            return [0.0] * len(percents)
        return [float(np.searchsorted(total, p / 100 * total[-1]) + 1) * HISTOGRAM_STEP for p in percents]

    def forget(self) -> None:
        """Begin the counts again (the state stays)."""
        self.histogram[:] = 0
        self.counters[self.HOPS] = self.counters[self.SKIPPED] = 0

    def close(self) -> None:
        """Let go; the last figures can still be read in this process."""
        counters, histogram = self.counters.copy(), self.histogram.copy()
        del self.counters, self.histogram
        self.counters, self.histogram = counters, histogram
        self._shared.close()


@dataclass(frozen=True)
class WorkerSpec:
    """All that a new worker needs to know; it travels by pickle."""

    model: str  # path
    queries: np.ndarray  # (Q, D)
    mix: Mix
    sample_rate: int  # Hz
    input_ring: str
    output_ring: str
    gauges: str
    registers: str
    realtime: bool  # ask the system for a real-time priority
    hop: int  # samples


class Worker:
    """The engine between the two rings; `run_worker` gives it a process."""

    def __init__(
        self, spec: WorkerSpec, inbox: Ring, outbox: Ring, gauges: Gauges, registers: AudioRegisters,
        on_beat: Callable[[], None] = lambda: None, wake_plugins: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator

        self.inbox, self.outbox, self.gauges, self.registers, self.beat = inbox, outbox, gauges, registers, on_beat
        self._wake_plugins = wake_plugins
        self.engine = StreamingSeparator(MaskNetwork.load(spec.model), spec.queries, spec.sample_rate, spec.hop)
        self.hop = self.engine.hop
        self.mixer = Mixer(spec.mix)
        self._samples = np.zeros((2, self.hop), np.float32)
        self._older = np.zeros((2, self.hop), np.float32)
        self._patience = round(MAX_BACKLOG * spec.sample_rate)  # samples
        self.warm_up()
        self.at = 0  # position after the last hop taken
        self._fresh = True  # the next hop out lacks its older half
        if inbox.end:
            self._jump()

    def warm_up(self, hops: int = 40) -> None:
        """Run until every buffer of the runtime has its size; then forget it."""
        rng = np.random.default_rng(0)
        for _ in range(hops):
            self.engine.hop_through(rng.standard_normal((2, self.hop)).astype(np.float32) * 0.1)
        self.engine.reset()

    def take_over(self, spec: WorkerSpec, loaded: WorkerSpec) -> None:
        """Go on as `spec` says, having been made for `loaded`."""
        from genaudio_core.separation.streaming import MaskNetwork, StreamingSeparator

        if spec.model != loaded.model:
            self.engine = StreamingSeparator(MaskNetwork.load(spec.model), spec.queries, spec.sample_rate, spec.hop)
            self.warm_up(10)
        self.engine.set_queries(spec.queries)
        self.engine.reset()  # the glide ends, nothing has been heard yet
        self.mixer = Mixer(spec.mix)
        self._jump()

    def _jump(self) -> None:
        """Go on at the newest whole hop, with the samples before it as the past.

        All of a block is wanted at once, by the next callback: where blocks are longer than hops, the newest is the one
        that completes what is before the newest block.
        """
        at = (self.inbox.end - max(self._block - self.hop, 0)) // self.hop * self.hop
        self.at = at if at > max(self.at, self.inbox.begin) else self.inbox.end // self.hop * self.hop
        n = min(self.engine.n_fft, self.at - self.inbox.begin)
        past = np.zeros((2, max(n, 0)), np.float32)
        if n > 0 and self.inbox.read_into(past, self.at - n):
            self.engine.analysis.preload(past)
            self._older = past[:, -self.hop :].copy() if n >= self.hop else self._older
        self.engine.bank.slot.synthesis.reset()
        self._fresh = True

    @property
    def _block(self) -> int:
        """Samples that come in at once; the device may change it."""
        return int(self.registers.words[AudioRegisters.BLOCK])

    def work(self) -> int:
        """Work off every whole hop that has come in; return how many."""
        done = 0
        while self.inbox.end - self.at >= self.hop:
            self.beat()
            late = self.inbox.end - self.at > self._patience + 2 * self._block  # one of them may just have come
            if late or not self.inbox.read_into(self._samples, self.at):
                before = self.at
                self._jump()
                self.gauges.counters[Gauges.SKIPPED] += (self.at - before) // self.hop
                continue
            started = time.perf_counter()
            stems = self.engine.hop_through(self._samples)
            # What comes out belongs to the hop before the one that went in.
            dry, position = self._older, self.at - self.hop
            self._older = self._samples.copy()
            self.at += self.hop
            rest = dry - stems.sum(0)
            monitor = self.mixer.process([*stems, rest, dry])
            out = np.concatenate([stems.reshape(-1, self.hop), rest, monitor])
            if not np.isfinite(out).all():  # never pass it on; the network starts afresh
                self.gauges.counters[Gauges.FAULTS] += 1
                self.engine.bank.reset()
                self._fresh = True
            elif self._fresh:
                self._fresh = False
            elif position >= self.outbox.end:
                self.outbox.write(out, position)
                if self.registers.words[AudioRegisters.PLUGINS]:
                    self._wake_plugins()
            self.gauges.took(time.perf_counter() - started)
            done += 1
        return done

    def obey(self, message: tuple[str, Any]) -> str | None:
        """Do what the host asks; return a line for the person if it cannot be done."""
        from genaudio_core.errors import GenaudioError

        kind, value = message
        try:
            if kind == 'queries':
                self.engine.set_queries(value)
            elif kind == 'mix':
                self.mixer.set(value)
        except GenaudioError as error:
            return str(error)
        return None


def run_worker(spec: WorkerSpec, wake, wake_plugins, standby: bool, cells: Any, pipe: Connection) -> None:
    """Body of the process (`ChildProcess`). `wake` is released by the audio callback, `wake_plugins` when it has
    worked, if there are plug-ins: what they want is there then and not before.

    On `standby` it loads and warms up, says so, and waits to be told to go on in the place of one that died.
    """
    heart = begin(cells)
    gauges = Gauges(spec.gauges)
    try:
        inbox, n_out = Ring(2, spec.input_ring), 2 * len(spec.queries) + 4
        worker = Worker(
            spec,
            inbox,
            Ring(n_out, spec.output_ring),
            gauges,
            AudioRegisters(spec.registers),
            heart.beat,
            wake_plugins.release,
        )
        if standby:
            pipe.send(('standby', None))
            kind, current = pipe.recv()
            if kind != 'go':
                return
            worker.take_over(current, spec)
    except (EOFError, BrokenPipeError):
        return
    except Exception as error:
        with contextlib.suppress(OSError):
            pipe.send(('failed', one_line(error)))
        if not standby:
            gauges.counters[Gauges.STATE] = FAILED
        return
    keep_what_is_loaded()
    gauges.counters[Gauges.PRIORITY] = int(spec.realtime and real_time_or_preferred())
    gauges.counters[Gauges.STATE] = READY
    with contextlib.suppress(EOFError, OSError, BrokenPipeError):  # the host is gone, and so are we
        _run(worker, wake, heart, pipe)


def _run(worker: Worker, wake, heart: Heartbeat, pipe: Connection) -> None:
    while True:
        wake.acquire(timeout=0.05)
        while wake.acquire(block=False):  # one waking is enough for all that has come
            pass
        heart.beat()
        worker.work()
        for message in messages(pipe):
            if message[0] == 'quit':
                return
            if message[0] == 'model':
                # A new model takes 50 ms and more to load; what arrives meanwhile plays by the old one.
                _load_beside(worker, message[1], wake, heart, pipe)
            elif told := worker.obey(message):
                send_now(pipe, ('told', told))


def _load_beside(worker: Worker, path: str, wake, heart: Heartbeat, pipe: Connection) -> None:
    import threading

    from genaudio_core.separation.streaming import MaskNetwork

    loaded: list[Any] = []

    def load() -> None:
        try:
            network = MaskNetwork.load(path)
            stream = network.stream(worker.engine.n_queries)
            spectrum = np.zeros((2, network.n_bins), np.complex64)
            for _ in range(10):  # its first runs are slow
                stream.step(spectrum, worker.engine.bank.slot.queries[:, :-1])
            loaded.append(network)
        except Exception as error:
            loaded.append(error)

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    while thread.is_alive():
        wake.acquire(timeout=0.002)
        heart.beat()
        worker.work()
    try:
        if isinstance(loaded[0], Exception):
            raise loaded[0]
        worker.engine.load(loaded[0])
    except Exception as error:  # a model file is anybody's: whatever is wrong with it, the music goes on
        send_now(pipe, ('told', f'{one_line(error)} The old model plays on.'))
    else:
        send_now(pipe, ('loaded', path))
