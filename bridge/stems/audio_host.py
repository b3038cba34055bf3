"""The live audio side: a callback that only copies, and a host that looks after the inference process.

::

    device callback ──> input ring ──> worker process (inference_process.py) ──> output ring ──> device callback
          └── the same input ring, `latency` samples back, is the dry signal

* The callback is `AudioCore.process` (callback.py). Under a device it runs in a process of its own, in which nothing
  else does (callback_process.py); `AudioHost.core` is then the hand on its registers. Tests and benches call it here.
* `AudioHost` owns rings, registers and worker, restarts a worker that dies or hangs, widens the safety margin when
  results come late (unless pinned), and keeps the counts. The margin begins at one hop: without any, one stall of the
  system that is longer than a block is heard, and every system has one now and then.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bridge.audio.callback import MARGINS, AudioCore, AudioRegisters, total_latency
from bridge.audio.callback import Counts as Counts  # one imports it with the host
from bridge.audio.shared_ring import Ring, capacity_for
from bridge.settings.mix import Mix
from bridge.stems.inference_process import FAILED, READY, Gauges, WorkerSpec, run_worker
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import CONTEXT, STUCK, ChildProcess

MAX_MARGIN = 0.05  # seconds of extra safety that are taken without being asked
MAX_PINNED_MS = 1000.0  # of margin that may be asked for
MAX_BLOCK = 16384  # samples per callback
JACK_MAX_BLOCK = 8192  # a server may change to any block up to this while it runs
PLUGIN_ROOM = 33024  # samples that plug-ins may hold back, and their own chunk
GIVE_UP = 5  # failed starts in a row, after which another is tried only now and then
RARELY = 30.0  # seconds between those


def first_margin(margin_ms: float | None, hop: int, sample_rate: int) -> int:
    """Return the margin in samples to begin with; None asks for the usual one.

    Raises
    ------
    GenaudioError
        If it is out of range.
    """
    if margin_ms is None:
        return hop
    if not 0 <= margin_ms <= MAX_PINNED_MS:  # also catches NaN
        raise GenaudioError(f'The margin must be 0 to {MAX_PINNED_MS:g} ms, not {margin_ms:g}.')
    return round(margin_ms / 1000 * sample_rate)


def ring_capacity(block: int, hop: int, margin_samples: int, sample_rate: int) -> int:
    """Return the samples that the rings must hold, for this block size and all that it may become while it plays."""
    block, margin_samples = max(block, JACK_MAX_BLOCK), max(margin_samples, round(MAX_MARGIN * sample_rate))
    return capacity_for(total_latency(block, hop, margin_samples) + 2 * block + PLUGIN_ROOM)


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
    low_latency
        Half the network's own hop, for half its delay.
    standby
        Keep a second worker ready (60 MB), so that one that dies is replaced in milliseconds, not seconds.
    or_dry
        At a sample rate that the model does not know, play the dry signal, without a worker. It is an error otherwise.
    """

    def __init__(
        self, model: str, queries: np.ndarray, *, sample_rate: int, block: int, mix: Mix | None = None,
        margin_ms: float | None = None, on_notice: Callable[[str], None] = lambda text: None, realtime: bool = True,
        standby: bool = True, low_latency: bool = False, or_dry: bool = False,
    ):  # fmt: skip
        from genaudio_core.separation.streaming import MaskNetwork, check_queries

        network = MaskNetwork.load(model)  # told here, in one line, rather than from the worker
        queries = check_queries(queries, network)
        self.dry = or_dry and not network.runs_at(sample_rate)  # nothing can be separated at this rate
        if not network.runs_at(sample_rate) and not or_dry:
            raise GenaudioError(
                f'The device runs at {sample_rate} Hz and the live separator at {network.rates}. '
                f'Set the device (jackd -r {network.sample_rates[-1]}) and start again.'
            )
        self._own_hop = network.hop if self.dry else network.frame(sample_rate)[1]  # samples
        self.hop, self.query_dim = self._own_hop // 2 if low_latency else self._own_hop, network.query_dim
        self.network = network
        self.n_stems = len(queries)
        self.on_notice = on_notice
        self.pinned = margin_ms is not None
        margin = first_margin(margin_ms, self.hop, sample_rate)
        if not 1 <= block <= MAX_BLOCK:
            raise GenaudioError(f'The block size must be 1 to {MAX_BLOCK} samples, not {block}.')
        capacity = ring_capacity(block, self.hop, margin, sample_rate)
        self.inbox, self.outbox = Ring(2, capacity=capacity), Ring(2 * self.n_stems + 4, capacity=capacity)
        self.gauges, self.registers = Gauges(), AudioRegisters()
        self._wake = CONTEXT.Semaphore(0)
        self.plugins_wake = CONTEXT.Semaphore(0)  # released when stems are there
        self.plugin_delay = 0  # samples of the margin that are the plug-ins'
        self.core = AudioCore(
            self.inbox, self.outbox, sample_rate=sample_rate, block=block, hop=self.hop, margin_samples=margin,
            wake=self._wake.release, registers=self.registers,
        )  # fmt: skip
        self.spec = WorkerSpec(
            str(model), queries, mix or Mix.of(self.n_stems), sample_rate, self.inbox.name, self.outbox.name,
            self.gauges.name, self.registers.name, realtime, self.hop,
        )  # fmt: skip
        self._process: ChildProcess | None = None
        self._with_standby = standby
        self._standby: ChildProcess | None = None  # it waits to take over
        self._standby_ready = False
        self._failures = 0
        self._again_at = 0.0  # when a worker that failed again and again is tried again
        self._why = ''  # a worker's last words
        self._late: list[tuple[float, int, int]] = []  # (when, fades, underruns) of the last seconds
        # Counts as they were when they were last told of.
        self._told = {'bad_input': 0, 'bad_results': 0, 'model_faults': 0, 'faults': 0}
        self._told_at = -math.inf
        self.tell_seconds = 10.0  # between two lines about NaN or infinite samples

    # --- the worker ---------------------------------------------------------------------------------------------

    def start(self, timeout: float = 60.0, ended: Callable[[], bool] = lambda: False) -> None:
        """Start the worker and wait until it is ready.

        Parameters
        ----------
        timeout
            Seconds.
        ended
            Asked meanwhile: True gives up at once (Ctrl-C, SIGTERM).

        Raises
        ------
        GenaudioError
            If it cannot start.
        """
        if self.dry:
            return
        self._launch(timeout)
        assert self._process is not None
        while self.gauges.counters[Gauges.STATE] != READY and not ended():
            failed = self.gauges.counters[Gauges.STATE] == FAILED or not self._process.is_alive()
            if failed:
                time.sleep(0.01)  # its last words may be on their way
                self._hear()
                why = self._why or 'it ended while it was loading'
                self.stop()
                raise GenaudioError(f'The inference process could not start: {why}')
            if self._process.is_hung():
                self.stop()
                raise GenaudioError(f'The inference process was not ready after {timeout:g} s.')
            time.sleep(0.005)

        if self._with_standby:
            self._standby, self._standby_ready = self._spawn(standby=True), False

    def _launch(self, loading: float = 60.0) -> None:
        if self.spec.hop != self.hop:
            self._take_up_hop()
        self.gauges.counters[Gauges.STATE] = 0
        self._why = ''
        while self._wake.acquire(block=False):
            pass
        if self._standby is not None and self._standby_ready and self._standby.is_alive():
            self._process = self._standby
            self._process.expect(STUCK)
            self._process.send('go', self.spec)
        else:
            if self._standby is not None:
                self._standby.close(0.0)
            self._process = self._spawn(standby=False, loading=loading)
        self._standby = None

    def _spawn(self, *, standby: bool, loading: float = 60.0) -> ChildProcess:
        return ChildProcess(
            run_worker, (self.spec, self._wake, self.plugins_wake, standby), name='genaudio-stems', loading=loading
        )

    def _look_after_standby(self) -> None:
        if self._standby is None:
            if self._with_standby and self.ready:
                self._standby, self._standby_ready = self._spawn(standby=True), False
            return
        said = self._standby.receive()
        if any(kind == 'standby' for kind, _ in said):
            self._standby_ready = True
            if self.spec.hop != self.hop:
                self._restart()
                self.on_notice(f'The latency is now {self.latency_ms:.1f} ms ({self.latency} samples).')
        elif not self._standby.is_alive() or (not self._standby_ready and self._standby.is_hung()):
            # One that cannot start is not tried for ever.
            why = next((f': {value}' for kind, value in said if kind == 'failed'), '')
            self.on_notice(f'The spare inference process could not be started{why}.')
            self._standby.close(0.0)
            self._standby, self._with_standby = None, False
            self.spec = replace(self.spec, hop=self.hop)  # to which it was to lead, perhaps

    @property
    def worker_pid(self) -> int | None:
        """Process number of the worker, if it lives."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    @property
    def ready(self) -> bool:
        """True while the worker works."""
        return self.worker_pid is not None and self.gauges.counters[Gauges.STATE] == READY

    def poll(self) -> None:
        """Look after the worker, the margin, and what must be told.

        A worker that failed to start `GIVE_UP` times in a row is tried again every `RARELY` seconds; the dry signal
        plays meanwhile, which is better than nothing.
        """
        if self.dry:
            self._tell_of_bad_samples()
            return
        assert self._process is not None
        self._hear()
        hung = self._process.is_hung()
        if hung or not self._process.is_alive():
            self._revive(hung)
        elif self.ready:
            if self._failures > GIVE_UP:
                self.on_notice('The inference process works again.')
            self._failures = 0
        self._look_after_standby()
        self._tell_of_bad_samples()
        self._adapt()

    def _revive(self, hung: bool) -> None:
        assert self._process is not None
        self._hear()
        if self._failures >= GIVE_UP:
            if not self._again_at:
                self._again_at = time.monotonic() + RARELY
                self._process.kill()
                why = f' ({self._why})' if self._why else ''
                if self._failures == GIVE_UP:
                    self.on_notice(
                        f'The inference process ended {GIVE_UP} times in a row{why}. The dry signal plays; another is '
                        f'tried every {RARELY:g} s.'
                    )
            if time.monotonic() < self._again_at:
                return
        else:
            why = f' ({self._why})' if self._why else ''
            what = 'hangs and was ended' if hung else f'ended{why}'
            self.on_notice(f'The inference process {what}; starting another. The dry signal plays meanwhile.')
        self._again_at = 0.0
        self._failures += 1
        self.core.counts.restarts += 1
        self._restart()

    def _hear(self) -> None:
        assert self._process is not None
        for kind, value in self._process.receive():
            if kind == 'failed':
                self._why = value
            elif kind == 'loaded':
                self.spec = replace(self.spec, model=value)  # a restarted worker must know it too
            elif kind == 'told':
                self.on_notice(value)

    def _tell_of_bad_samples(self) -> None:
        """One line when NaN or infinite samples begin to come, and every `tell_seconds` while they go on."""
        counts = self.core.counts
        now = {
            'bad_input': counts.bad_input, 'bad_results': counts.bad_results,
            'model_faults': int(self.gauges.counters[Gauges.FAULTS]), 'faults': counts.faults,
        }  # fmt: skip
        if now == self._told or time.monotonic() < self._told_at + self.tell_seconds:
            return
        lines = {
            'bad_input': 'The input holds values that are not numbers ({} samples so far); silence is heard instead.',
            'bad_results': 'Results hold values that are not numbers ({} blocks so far); they are left out.',
            'model_faults': 'The model gave values that are not numbers ({} times so far); the dry signal plays.',
            'faults': 'The audio callback failed ({} blocks so far were silent). Please report it.',
        }
        for what, line in lines.items():
            if now[what] > self._told[what]:
                self.on_notice(line.format(now[what]))
        self._told, self._told_at = now, time.monotonic()

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
        margin = self.core.margin_samples + self.hop
        if self.pinned or margin - self.plugin_delay > MAX_MARGIN * self.core.sample_rate:
            return
        if counts.fades - fades < 3 and late < self.core.sample_rate:
            return
        self._late.clear()
        self.core.margin_samples = margin
        self.on_notice(f'Results came late: the latency is now {self.latency_ms:.1f} ms.')

    def stop(self) -> None:
        """End the worker and remove what was shared. The last figures can still be read."""
        for child in (self._process, self._standby):
            if child is not None:
                child.close()
        self._process = self._standby = None
        for shared in (self.inbox, self.outbox, self.gauges, self.registers):
            shared.close()

    def __enter__(self) -> 'AudioHost':
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- what is heard ------------------------------------------------------------------------------------------

    def set_queries(self, queries: np.ndarray) -> None:
        """Glide to other queries (Q, D), as many as before."""
        from genaudio_core.separation.streaming import check_queries

        queries = check_queries(queries, self.network)
        if len(queries) != self.n_stems:
            raise GenaudioError(f'{self.n_stems} stems are running; give as many queries, not {len(queries)}.')
        self._tell('queries', queries)

    def set_mix(self, mix: Mix) -> None:
        """Use other levels for the monitor."""
        self._tell('mix', mix)

    @property
    def low_latency(self) -> bool:
        """Whether the network runs at half its own hop, or soon will."""
        return self.spec.hop < self._own_hop

    @low_latency.setter
    def low_latency(self, on: bool) -> None:
        """Go over to half the network's own hop, or back: when another worker is ready for it. The dry signal plays
        while that takes over."""
        hop = self._own_hop // 2 if on else self._own_hop
        if hop == self.spec.hop:
            return
        self.spec = replace(self.spec, hop=hop)
        if self._process is None:  # it has not started, or there is nothing to separate
            self._take_up_hop()
            return
        if self._standby is not None:  # its hop is the other
            self._standby.close(0.0)
            self._standby = None
        if not self._with_standby:
            self._restart()
        elif hop != self.hop:
            self._standby, self._standby_ready = self._spawn(standby=True), False

    def _take_up_hop(self) -> None:
        before, core, self.hop = self.hop, self.core, self.spec.hop
        if not self.pinned and core.margin_samples - self.plugin_delay == before:
            core.margin_samples += self.hop - before
        core.hop = self.hop
        self.gauges.forget()  # these counts were of the other
        core.needed[:] = 0

    def _restart(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.close(0.0)
        self._launch()

    def set_model(self, path: str) -> None:
        """Cross-fade to another model file; if that cannot be, a line says so and the old one plays on.

        Where no worker plays, perhaps because of its model, the next one begins with this.

        Raises
        ------
        GenaudioError
            If no worker plays and this file cannot be used.
        """
        from genaudio_core.separation.streaming import MaskNetwork, check_hop, check_queries

        if self.ready and self._process is not None and self._process.send('model', path):
            return
        network = MaskNetwork.load(path)
        check_queries(self.spec.queries, network)
        check_hop(self.hop, network, self.core.sample_rate)
        self.spec = replace(self.spec, model=path)
        self._again_at = min(self._again_at, time.monotonic())  # one that has failed is tried again now

    def _tell(self, kind: str, value: Any) -> None:
        # A restarted worker must know it too.
        self.spec = replace(self.spec, **{kind: value})  # fields are named as messages
        if self._process is not None:
            self._process.send(kind, value)  # one that has just ended: the next gets it from the spec

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
            'margin_ms': 1000 * self.core.margin_samples / self.core.sample_rate,
            'compute_ms_p50': 1000 * p50, 'compute_ms_p99': 1000 * p99, 'compute_ms_worst': 1000 * worst,
            'load': p50 / hop_seconds, 'underruns': counts.underruns, 'fades': counts.fades,
            'device_xruns': counts.device_xruns, 'restarts': counts.restarts,
            'skipped_hops': int(gauges.counters[Gauges.SKIPPED]), 'bad_input': counts.bad_input,
            'bad_results': counts.bad_results, 'faults': counts.faults,
            'model_faults': int(gauges.counters[Gauges.FAULTS]), 'realtime': bool(gauges.counters[Gauges.PRIORITY]),
        }  # fmt: skip
