"""The live audio side: a callback that only copies, and a host that looks after the inference process.

::

    device callback ──> input ring ──> worker process (audio_worker.py) ──> output ring ──> device callback
          └── the same input ring, `latency` samples back, is the dry signal

* The callback (`AudioCore.process`) copies, compares two numbers and, where a result is missing, fades to the delayed
  dry signal. It takes no lock, allocates nothing that grows, and logs nothing.
* `AudioHost` owns rings and worker, restarts a worker that dies, widens the safety margin when results come late
  (unless pinned), and keeps the counts. The margin begins at one hop: without any, a single stall of the system that is
  longer than a block is heard, and every system has one now and then.
* Device routes are in ``audio_jack.py`` and ``audio_portaudio.py``; tests drive `AudioCore.process` by hand.
"""

import contextlib
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bridge.audio_worker import FAILED, READY, Gauges, WorkerSpec, run_worker
from bridge.mixer import Mix
from bridge.rings import CAPACITY, Ring
from genaudio_core.errors import GenaudioError

FADE = 0.01  # seconds from dry to wet, once results are there again
DECLICK = 0.004  # seconds over which a jump that cannot be avoided is spread
MAX_MARGIN = 0.05  # seconds of extra safety that are taken without being asked
GIVE_UP = 5  # failed starts in a row
MARGINS = 16  # hops of margin that are told apart in what blocks needed


def total_latency(block: int, hop: int, margin: int = 0) -> int:
    """Return the samples from input to output through callback, worker and back.

    The callback hands over a block and at once reads what belongs to the block ``latency`` samples before. By then
    the worker has seen the blocks before this one: at worst ``hop - gcd(block, hop)`` of their samples wait for a
    whole hop, and the newest hop taken completes the one before it. The worker has one block of time to do it, and
    the margin more. Blocks of 256 with a hop of 256: 256 + 2 * 256 - 256 = 512 samples.

    Parameters
    ----------
    block, hop, margin
        Samples.
    """
    return block + 2 * hop - math.gcd(block, hop) + margin


def first_margin(margin_ms: float | None, hop: int, sample_rate: int) -> int:
    """Return the margin in samples to begin with; None asks for the usual one."""
    return hop if margin_ms is None else round(margin_ms / 1000 * sample_rate)


@dataclass
class Counts:
    """What went wrong and how often, since the start; written by the callback and the host."""

    blocks: int = 0
    underruns: int = 0  # blocks that wanted a result and had none
    fades: int = 0  # times that wet became dry
    device_xruns: int = 0
    restarts: int = 0
    device_losses: int = 0


class AudioCore:
    """What the audio callback does, without a device.

    Parameters
    ----------
    inbox, outbox
        Rings to and from the worker; `outbox` has the channels that `process` fills.
    sample_rate, block, hop, margin
        Hz and samples.
    wake
        Called after every block.
    """

    def __init__(
        self, inbox: Ring, outbox: Ring, *, sample_rate: int, block: int, hop: int, margin: int,
        wake: Callable[[], None],
    ):
        self.inbox, self.outbox, self.wake = inbox, outbox, wake
        self.sample_rate, self.block, self.hop, self.margin = sample_rate, block, hop, margin
        self.latency = total_latency(block, hop, margin)
        self.counts = Counts()
        self.needed = np.zeros(MARGINS + 1, np.int64)
        """Blocks by the whole hops of margin with which their result would have been in time; the last: more."""
        self.finished: Ring | None = None  # stems after plug-ins (plugin_process.py), preferred while it is in time
        self._through_plugins = False
        self.bypass = False
        self.waits = False  # in freewheel (a bounce) there is time, and every result is waited for
        self._wet = False  # what plays
        self._begun = False  # results have been there once
        self._ramp_at = 0
        self._ramp = np.linspace(0, 1, max(1, round(FADE * sample_rate)) + 1, dtype=np.float32)[1:]
        n = max(1, round(DECLICK * sample_rate))
        self._fall = (0.5 + 0.5 * np.cos(np.pi * np.arange(1, n + 1) / n)).astype(np.float32)
        self._fall_at = n
        self._step = np.zeros((outbox.n_channels, 1), np.float32)
        self._last = np.zeros((outbox.n_channels, 1), np.float32)
        self._dry = np.zeros((2, 8192), np.float32)
        self._results = np.zeros((outbox.n_channels, 8192), np.float32)

    def set_timing(self, block: int, margin: int) -> None:
        """Use another block size or margin from the next block on: the delay changes, the jump is smoothed."""
        self.block, self.margin = block, margin
        self.latency = total_latency(block, self.hop, margin)
        self._jump()

    def _jump(self) -> None:
        self._step[:] = np.nan  # measured in the next block, where the new signal is known

    def process(self, indata: np.ndarray, outdata: np.ndarray) -> None:
        """Take a block (2, n), fill `outdata` (channels, n). n is at most 8192."""
        n = indata.shape[-1]
        position = self.inbox.end - self.latency
        self.inbox.write(indata)
        self.wake()
        behind = self.inbox.end - self.outbox.end - self.latency + self.margin
        dry, results = self._dry[:, :n], self._results[:, :n]
        if position + n <= 0 or not self.inbox.read_into(dry, position):
            self._read_start(dry, position)
        # Plug-ins first; without their result the stems as they are; without those the dry signal.
        through = self.finished is not None and self.finished.read_into(results, position)
        ready = through or self.outbox.read_into(results, position)
        if self.waits and not self.bypass and not (ready if self.finished is None else through):
            through, ready = self._wait(results, position)
        if ready and through != self._through_plugins:
            self._through_plugins = through
            if self._wet:
                self._jump()
        self.counts.blocks += 1
        if not ready and self._begun and not self.bypass:
            self.counts.underruns += 1
        self._begun |= ready
        if self._begun:
            self.needed[min(max(-(-behind // self.hop), 0), MARGINS)] += 1
        self._blend(dry, results, ready and not self.bypass, ready, outdata)

    def _read_start(self, dry: np.ndarray, position: int) -> None:
        """The stream is younger than the delay: silence, then its beginning."""
        dry[:] = 0
        first = max(0, -position)
        if first < dry.shape[-1]:
            self.inbox.read_into(dry[:, first:], position + first)

    def _wait(self, results: np.ndarray, position: int) -> tuple[bool, bool]:
        """Wait for a result, in a bounce; return whether it came through plug-ins, and whether it came."""
        until = time.monotonic() + (2.0 if position + results.shape[-1] > 0 else 0.0)
        wanted = self.finished or self.outbox
        while time.monotonic() < until:
            if wanted.read_into(results, position):
                return wanted is self.finished, True
            time.sleep(0.0002)
        return False, self.outbox.read_into(results, position)

    def _blend(self, dry: np.ndarray, results: np.ndarray, wanted: bool, ready: bool, out: np.ndarray) -> None:
        n = out.shape[-1]
        if self._wet and not wanted:
            self._wet = False
            self.counts.fades += 1
            self._jump()
        elif not self._wet and wanted:
            self._wet, self._ramp_at = True, 0
        # Every output has the dry signal underneath: left on even channels, right on odd ones.
        out[0::2], out[1::2] = dry[0], dry[1]
        if self._wet:
            if self._ramp_at < len(self._ramp):
                ramp = np.ones(n, np.float32)
                part = self._ramp[self._ramp_at : self._ramp_at + n]
                ramp[: len(part)] = part
                self._ramp_at += n
                out += ramp * (results - out)
            else:
                out[:] = results
        if np.isnan(self._step[0, 0]):
            # The signal steps from what was heard last to what is known now; the step is taken back slowly.
            self._step[:] = self._last - out[:, :1]
            self._fall_at = 0
        if self._fall_at < len(self._fall):
            part = self._fall[self._fall_at : self._fall_at + n]
            out[:, : len(part)] += self._step * part
            self._fall_at += n
        self._last[:] = out[:, -1:]


class AudioHost:
    """Rings, worker and counts. Call `poll` now and then (10 to 50 times a second) from any one thread.

    Parameters
    ----------
    model
        Path of the exported live separator.
    queries
        (Q, D) vectors.
    sample_rate, block
        Of the device: Hz, samples per callback.
    margin_ms
        Extra safety in milliseconds; None begins with one hop and widens it where results come late.
    hop
        Samples; the network's own, or a whole part of it for less delay.
    standby
        Keep a second worker ready (60 MB), so that one that dies is replaced in milliseconds, not seconds.
    """

    def __init__(
        self, model: str, queries: np.ndarray, *, sample_rate: int, block: int, mix: Mix | None = None,
        margin_ms: float | None = None, on_notice: Callable[[str], None] = lambda text: None, realtime: bool = True,
        standby: bool = True, hop: int | None = None,
    ):  # fmt: skip
        from genaudio_core.separation_stream import MaskNetwork, check_hop, check_queries

        network = MaskNetwork.load(model)  # told here, in one line, rather than from the worker
        queries = check_queries(queries, network)
        if sample_rate not in network.sample_rates:
            rates = ' or '.join(map(str, network.sample_rates))
            raise GenaudioError(
                f'The device runs at {sample_rate} Hz and the live separator at {rates} Hz. '
                f'Set the device (jackd -r {network.sample_rates[-1]}) and start again.'
            )
        self.hop, self.query_dim = check_hop(hop, network), network.query_dim
        self.network = network
        self.n_stems = len(queries)
        self.on_notice = on_notice
        self.pinned = margin_ms is not None
        margin = first_margin(margin_ms, self.hop, sample_rate)
        if total_latency(block, self.hop, margin) + 2 * block > CAPACITY // 2 or margin < 0:
            raise GenaudioError(f'A margin of {margin_ms} ms with blocks of {block} is more than can be held.')
        self.inbox, self.outbox, self.gauges = Ring(2), Ring(2 * self.n_stems + 4), Gauges()
        self._context = multiprocessing.get_context('spawn')
        self._wake = self._context.Semaphore(0)
        self.core = AudioCore(
            self.inbox, self.outbox, sample_rate=sample_rate, block=block, hop=self.hop, margin=margin,
            wake=self._wake.release,
        )  # fmt: skip
        self.spec = WorkerSpec(
            str(model), queries, mix or Mix.of(self.n_stems), sample_rate, self.inbox.name, self.outbox.name,
            self.gauges.name, realtime, self.hop,
        )  # fmt: skip
        self._process: Any = None
        self._pipe: Any = None
        self._with_standby = standby
        self._standby: Any = None  # (process, pipe) that waits to take over
        self._standby_ready = False
        self._failures = 0
        self._late: list[tuple[float, int, int]] = []  # (when, fades, underruns) of the last seconds

    # --- the worker ---------------------------------------------------------------------------------------------

    def start(self, timeout: float = 30.0) -> None:
        """Start the worker and wait until it is ready.

        Raises
        ------
        GenaudioError
            If it cannot start.
        """
        self._launch()
        until = time.monotonic() + timeout
        while self.gauges.counters[Gauges.STATE] != READY:
            if self.gauges.counters[Gauges.STATE] == FAILED or not self._process.is_alive():
                why = self._pipe.recv()[1] if self._pipe.poll(1.0) else 'it ended'
                self.stop()
                raise GenaudioError(f'The inference process could not start: {why}')
            if time.monotonic() > until:
                self.stop()
                raise GenaudioError(f'The inference process was not ready after {timeout:g} s.')
            time.sleep(0.005)

        if self._with_standby:
            self._standby, self._standby_ready = self._spawn(standby=True), False

    def _launch(self) -> None:
        self.gauges.counters[Gauges.STATE] = 0
        while self._wake.acquire(block=False):
            pass
        if self._standby is not None and self._standby_ready and self._standby[0].is_alive():
            self._process, self._pipe = self._standby
            self._pipe.send(('go', self.spec))
        else:
            self._end(self._standby)
            self._process, self._pipe = self._spawn(standby=False)
        self._standby = None

    def _spawn(self, *, standby: bool) -> tuple[Any, Any]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=run_worker, args=(self.spec, self._wake, theirs, standby), name='genaudio-stems', daemon=True
        )
        process.start()
        theirs.close()
        return process, ours

    @staticmethod
    def _end(pair: tuple[Any, Any] | None) -> None:
        if pair is None or pair[0] is None:
            return
        process, pipe = pair
        with contextlib.suppress(OSError):
            pipe.send(('quit', None))
        process.join(1.0)
        if process.is_alive():
            process.kill()
            process.join(2.0)
        pipe.close()

    def _look_after_standby(self) -> None:
        if self._standby is None:
            if self._with_standby and self.ready:
                self._standby, self._standby_ready = self._spawn(standby=True), False
            return
        try:
            if self._standby[1].poll():
                self._standby_ready = self._standby[1].recv()[0] == 'standby'
        except (EOFError, OSError):
            self._with_standby = self._standby[0].is_alive()  # one that cannot start is not tried for ever
            self._standby = None

    @property
    def worker_pid(self) -> int | None:
        """Process number of the worker, if it lives."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    @property
    def ready(self) -> bool:
        """True while the worker works."""
        return self.worker_pid is not None and self.gauges.counters[Gauges.STATE] == READY

    def poll(self) -> None:
        """Look after the worker and the margin.

        Raises
        ------
        GenaudioError
            If the worker has failed to start `GIVE_UP` times in a row.
        """
        if not self._process.is_alive():
            if self._failures >= GIVE_UP:
                raise GenaudioError(f'The inference process ended {GIVE_UP} times in a row; giving up.')
            self._failures += 1
            self.core.counts.restarts += 1
            self.on_notice('The inference process ended; starting another. The dry signal plays meanwhile.')
            self._pipe.close()
            self._launch()
        elif self.ready:
            self._failures = 0
        self._look_after_standby()
        try:
            while self._pipe.poll():
                self.on_notice(self._pipe.recv()[1])
        except (EOFError, OSError):
            pass  # it has just ended: the next poll sees it
        self._adapt()

    def _adapt(self) -> None:
        """One hop more of margin where results keep coming late: three times in ten seconds, or for a second of them.

        One stall of the system is neither, however many blocks it takes: no margin that one would want bridges it.
        """
        now, counts = time.monotonic(), self.core.counts
        if not self.ready:
            self._late.clear()
            return
        self._late = [one for one in self._late if now - one[0] < 10.0]
        self._late.append((now, counts.fades, counts.underruns))
        _, fades, underruns = self._late[0]
        late = (counts.underruns - underruns) * self.core.block
        margin = self.core.margin + self.hop
        if self.pinned or margin > MAX_MARGIN * self.core.sample_rate:
            return
        if counts.fades - fades < 3 and late < self.core.sample_rate:
            return
        self._late.clear()
        self.core.set_timing(self.core.block, margin)
        self.on_notice(f'Results came late: the latency is now {self.latency_ms:.1f} ms.')

    def stop(self) -> None:
        """End the worker and remove the rings."""
        self._end((self._process, self._pipe))
        self._end(self._standby)
        self._process = self._standby = None
        for shared in (self.inbox, self.outbox, self.gauges):
            shared.close()

    def __enter__(self) -> 'AudioHost':
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- what is heard ------------------------------------------------------------------------------------------

    def set_queries(self, queries: np.ndarray) -> None:
        """Glide to other queries, as many as before."""
        from genaudio_core.separation_stream import check_queries

        queries = check_queries(queries, self.network)
        if len(queries) != self.n_stems:
            raise GenaudioError(f'{self.n_stems} stems are running; give as many queries, not {len(queries)}.')
        self._tell('queries', queries)

    def set_mix(self, mix: Mix) -> None:
        """Use other levels for the monitor."""
        self._tell('mix', mix)

    def set_model(self, path: str) -> None:
        """Cross-fade to another model file."""
        self._tell('model', path)

    def _tell(self, kind: str, value: Any) -> None:
        # A restarted worker must know it too.
        self.spec = replace(self.spec, **{kind: value})  # fields are named as messages
        with contextlib.suppress(OSError):  # it has just ended; the next one gets it from the spec
            self._pipe.send((kind, value))

    @property
    def latency(self) -> int:
        """Samples from input to output, the device's own not counted."""
        return self.core.latency

    @property
    def latency_ms(self) -> float:
        """The same in milliseconds."""
        return 1000 * self.core.latency / self.core.sample_rate

    def underruns_by_latency(self) -> dict[float, int]:
        """Latency in milliseconds -> blocks that would have been late with it, up to the first latency without any."""
        late = self.core.needed[::-1].cumsum()[::-1]  # late[m]: blocks that needed m hops of margin or more
        base = total_latency(self.core.block, self.hop)
        found = {}
        for hops in range(MARGINS):
            found[1000 * (base + hops * self.hop) / self.core.sample_rate] = int(late[hops + 1])
            if not late[hops + 1]:
                break
        return found

    @property
    def output_names(self) -> list[str]:
        """Names of the pairs of output channels, in order."""
        return [*(f'stem_{i + 1}' for i in range(self.n_stems)), 'rest', 'monitor']

    def status(self) -> dict[str, Any]:
        """Return figures to show: latency, compute times, counts."""
        counts, gauges = self.core.counts, self.gauges
        p50, p99, worst = gauges.percentiles(50, 99, 100)
        hop_seconds = self.hop / self.core.sample_rate
        return {
            'ready': self.ready, 'worker_pid': self.worker_pid, 'latency_ms': self.latency_ms,
            'margin_ms': 1000 * self.core.margin / self.core.sample_rate,
            'compute_ms_p50': 1000 * p50, 'compute_ms_p99': 1000 * p99, 'compute_ms_worst': 1000 * worst,
            'load': p50 / hop_seconds, 'underruns': counts.underruns, 'fades': counts.fades,
            'device_xruns': counts.device_xruns, 'restarts': counts.restarts,
            'skipped_hops': int(gauges.counters[Gauges.SKIPPED]), 'realtime': bool(gauges.counters[Gauges.PRIORITY]),
        }  # fmt: skip
