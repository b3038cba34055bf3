"""`genaudio bench stems`: whether this machine can pull sounds out of a live stream in time.

Two measurements:

* the engine alone, hop after hop without pause: what a hop costs (percentiles) and the real-time factor;
  With ``--low-latency`` the network runs in every second hop: the factor is that of a cheap and a dear hop together.
* with ``--certify``, the whole live side for `--minutes`: blocks at their real times through rings and worker, beside
  a busy process that stands for the MIDI side. Its figures are the certificate of this machine.

  One run tells for every latency how many blocks would have been late with it.

The pacing thread stands for a sound card. When the system wakes it a whole block late, a real card would have had an
xrun whatever we do; those are counted apart, as ``device_late``.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from genaudio_core.command_line import number, whole

HELP = 'Cost of live stem isolation, and with --certify a certificate of this machine.'
EXAMPLE = 'genaudio bench stems --certify --minutes 10 --json'
PERCENTILES = (50, 99, 99.9, 100, 25, 75)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', type=Path, help='live separator (default: the bundled one)')
    parser.add_argument('--queries', type=whole('--queries', 1), default=1, help='stems at once, 1 to 8 (default: 1)')
    parser.add_argument('--sample-rate', type=whole('--sample-rate', 8000, 768000, unit='Hz'), default=48000,
                        help='Hz (default: 48000)')  # fmt: skip
    parser.add_argument('--block-size', type=whole('--block-size', 16, 4096, unit='samples'), default=256,
                        help='samples per device callback (default: 256)')  # fmt: skip
    parser.add_argument('--low-latency', action='store_true', help='at half the hop of the model')
    parser.add_argument('--margin', type=number('--margin', 0, 10_000, unit='ms'), metavar='MS',
                        help='pin the extra latency (default: one hop or more)')  # fmt: skip
    parser.add_argument('--hops', type=whole('--hops', 100), default=3000, help='hops measured in the engine alone')
    parser.add_argument('--certify', action='store_true', help='run the whole live side in real time')
    parser.add_argument('--minutes', type=number('--minutes', above=0, high=24 * 60), default=10.0,
                        help='how long --certify runs (default: 10)')  # fmt: skip
    parser.add_argument('--no-busy', action='store_true', help='certify without the busy process beside it')


def run(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from bridge.stems.isolate import model_path
    from genaudio_core.errors import GenaudioError
    from genaudio_core.separation.streaming import MAX_QUERIES, MaskNetwork, StreamingSeparator

    if args.queries > MAX_QUERIES:
        raise GenaudioError(f'--queries must be 1 to {MAX_QUERIES}.')
    path = model_path(args.model)
    network = MaskNetwork.load(path)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((args.queries, network.query_dim)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    hop = network.frame(args.sample_rate)[1] // (2 if args.low_latency else 1)
    engine = StreamingSeparator(network, queries, args.sample_rate, hop)
    hop_seconds = engine.hop / args.sample_rate

    audio = 0.1 * rng.standard_normal((2, 64 * engine.hop)).astype(np.float32)
    hops = [audio[:, i : i + engine.hop] for i in range(0, audio.shape[1], engine.hop)]
    for part in hops:
        engine.hop_through(part)
    times, cpu = [], time.thread_time()
    for i in range(args.hops):
        started = time.perf_counter()
        engine.hop_through(hops[i % len(hops)])
        times.append(time.perf_counter() - started)
    cpu = (time.thread_time() - cpu) / args.hops
    result: dict[str, Any] = {
        'sample_rate': args.sample_rate, 'hop': engine.hop, 'block_size': args.block_size, 'queries': args.queries,
        'algorithmic_latency_ms': 1000 * engine.latency / args.sample_rate,
        'total_latency_ms': None, **costs(np.percentile(times, PERCENTILES), hop_seconds, args.low_latency),
        'compute_ms_cpu': 1000 * cpu, 'rtf_cpu': cpu / hop_seconds, 'underruns': None, 'minutes': 0.0,
        'certified': None,
    }  # fmt: skip
    from bridge.audio.callback import total_latency
    from bridge.stems.audio_host import first_margin

    margin = first_margin(args.margin, engine.hop, args.sample_rate)
    total = total_latency(args.block_size, engine.hop, margin)
    result['total_latency_ms'] = 1000 * total / args.sample_rate
    if args.certify:
        result |= certify(path, queries, args, hop)
    return result


def costs(seconds: Iterable[float], hop_seconds: float, low_latency: bool) -> dict[str, float]:
    """Return what a hop costs, of the PERCENTILES of its times in seconds, and the real-time factor."""
    p50, p99, p999, worst, p25, p75 = (1000 * float(value) for value in seconds)
    typical = (p25 + p75) / 2 if low_latency else p50
    return {'compute_ms_p50': p50, 'compute_ms_p99': p99, 'compute_ms_p999': p999, 'compute_ms_worst': worst,
            'rtf': typical / 1000 / hop_seconds}  # fmt: skip


def busy(cells: Any, pipe: Any) -> None:
    """A MIDI side that is always thinking: an endless computation in pure Python, at ordinary priority."""
    from genaudio_core.processes.child_process import begin

    heart = begin(cells, grace=0.0)
    while not pipe.poll():
        heart.beat()
        sum(i * i for i in range(20_000))


def certify(path: str, queries: Any, args: argparse.Namespace, hop: int) -> dict[str, Any]:
    """Run the live side for the minutes asked, as a device would; return its figures.

    The first two seconds do not count: the worker's first hops fill caches.
    """
    import numpy as np

    from bridge.stems.audio_host import AudioHost
    from bridge.stems.inference_process import Gauges
    from bridge.system.cpu_wakeup import awake
    from bridge.system.real_time import keep_what_is_loaded, real_time_or_preferred
    from genaudio_core.command_line import notice
    from genaudio_core.processes.child_process import ChildProcess

    rate, block = args.sample_rate, args.block_size
    period = block / rate
    rng = np.random.default_rng(1)
    audio = 0.1 * rng.standard_normal((2, 512 * block)).astype(np.float32)
    host = AudioHost(
        path, queries, sample_rate=rate, block=block, margin_ms=args.margin, on_notice=notice, standby=False,
        low_latency=args.low_latency,
    )  # fmt: skip
    stack = contextlib.ExitStack()
    try:
        kept_awake = stack.enter_context(awake())  # as live isolation does
        host.start()
        if not args.no_busy:
            beside = ChildProcess(busy, name='genaudio busy')
            stack.callback(beside.close)
        sys.setswitchinterval(0.0005)
        keep_what_is_loaded()
        out = np.empty((host.outbox.n_channels, block), np.float32)
        own_priority = real_time_or_preferred()
        counts, late, worst_late = host.core.counts, 0, 0.0
        total, skip = int(args.minutes * 60 / period), int(2 / period)
        started = time.perf_counter()
        due = started
        for k in range(total + skip):
            due += period
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            elif wait < -period:
                late += k >= skip
                due = time.perf_counter()  # as a card does after an xrun: the lost time is lost
            worst_late = max(worst_late, time.perf_counter() - due) if k >= skip else 0.0
            at = k * block % audio.shape[1]
            host.core.process(audio[:, at : at + block], out)
            if k == skip:
                counts.underruns = counts.fades = 0
                host.core.needed[:] = 0
                host.gauges.forget()
            if k % 16 == 0:
                host.poll()
        seconds = time.perf_counter() - started - skip * period
        return {
            'total_latency_ms': host.latency_ms, 'margin_ms': 1000 * host.core.margin_samples / rate,
            **costs(host.gauges.percentiles(*PERCENTILES), host.hop / rate, args.low_latency),
            'underruns': counts.underruns, 'fades': counts.fades, 'blocks': total,
            'device_late': late, 'device_worst_ms': 1000 * worst_late, 'minutes': seconds / 60,
            'restarts': counts.restarts, 'skipped_hops': int(host.gauges.counters[Gauges.SKIPPED]),
            'realtime': bool(host.gauges.counters[Gauges.PRIORITY]) and own_priority, 'kept_awake': kept_awake,
            'busy_beside': not args.no_busy,
            'underruns_at_ms': {f'{ms:.1f}': count for ms, count in host.underruns_by_latency().items()},
            'certified': counts.underruns == 0 and counts.restarts == 0,
        }  # fmt: skip
    finally:
        stack.close()
        host.stop()
