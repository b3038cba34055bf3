"""`genaudio bench continue`: what one event costs, with little and with much music behind it.

An event is everything between two notes: the logits of every field, masks and sampling, and the step of the decoder.
Short and long contexts take turns, so that a busy machine slows both alike and their ratio stays true.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from typing import Any

from genaudio_core.command_line import threads, whole
from genaudio_core.processes.programs import run_program

HELP = 'Cost of one event of the continuer, at a context of 16 and at a full one.'
EXAMPLE = 'genaudio bench continue --json'
REFERENCE = 'genaudio_core.analysis.recompute'  # torch, so in a process of its own
REFERENCE_SECONDS = 1800.0  # that it may take
SHORT = 16  # events


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='live', help='bundled name or .onnx file (default: live)')
    parser.add_argument('--provider', default='auto', help='auto, cpu, cuda, coreml or directml')
    parser.add_argument('--threads', type=threads(), default=1)
    parser.add_argument('--context', type=whole('--context', 1), default=1023,
                        help='events behind the measured one (default: 1023)')  # fmt: skip
    parser.add_argument('--events', type=whole('--events', 1), default=200, help='events measured at each context')
    parser.add_argument('--reference', action=argparse.BooleanOptionalAction, default=True,
                        help='also time recomputing the whole sequence in torch, where torch is installed')  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    import numpy as np
    import onnxruntime

    from genaudio_core.continuation.continuer import Continuer
    from genaudio_core.continuation.decoder import Decoder
    from genaudio_core.continuation.sampling import Controls, EventSampler
    from genaudio_core.errors import GenaudioError
    from genaudio_core.files import find_model

    path = find_model(args.model)
    started = time.perf_counter()
    decoder = Decoder.load(path, provider=args.provider, threads=args.threads)
    load_ms = 1e3 * (time.perf_counter() - started)
    if not SHORT < args.context < decoder.context:
        raise GenaudioError(f'--context must be {SHORT + 1} to {decoder.context - 1} for this model.')
    music = prompt(decoder.encoding, args.context)
    lengths = (SHORT, args.context)
    continuers = {n: Continuer(decoder) for n in lengths}
    started = time.perf_counter()
    continuers[args.context].feed(music)
    prefill_ms = 1e3 * (time.perf_counter() - started)
    continuers[SHORT].feed(music[:SHORT])
    samplers = {n: EventSampler(c, Controls(), [np.random.default_rng(1)]) for n, c in continuers.items()}
    total: dict[int, list[float]] = {n: [] for n in lengths}
    feed: dict[int, list[float]] = {n: [] for n in lengths}
    cpu: dict[int, list[float]] = {n: [] for n in lengths}
    warm_up = 10
    for i in range(args.events + warm_up):
        for n in lengths:
            begin, cpu_begin = time.perf_counter(), time.thread_time()
            chosen = samplers[n].next_events()
            middle = time.perf_counter()
            samplers[n].advance(chosen)
            end, cpu_end = time.perf_counter(), time.thread_time()
            continuers[n].rewind(n)
            if i >= warm_up:
                total[n].append(1e3 * (end - begin))
                feed[n].append(1e3 * (end - middle))
                cpu[n].append(1e3 * (cpu_end - cpu_begin))
    long, short = np.array(total[args.context]), np.array(total[SHORT])
    p50, p50_short = float(np.median(long)), float(np.median(short))
    result = {
        'events_per_s': 1e3 / float(long.mean()), 'step_ms_p50': p50,
        'step_ms_p99': float(np.quantile(long, 0.99)), 'step_ms_p50_short': p50_short,
        'ratio_long_short': p50 / p50_short,
        'decoder_ms_p50': float(np.median(feed[args.context])), 'decoder_ms_p50_short': float(np.median(feed[SHORT])),
        # CPU time of the thread: what the step would take if nobody else wanted the core.
        'cpu_ms_p50': float(np.median(cpu[args.context])), 'cpu_ms_p50_short': float(np.median(cpu[SHORT])),
        'step_ms_min': float(long.min()), 'step_ms_min_short': float(short.min()),
        'prefill_ms': prefill_ms, 'load_ms': load_ms, 'context': args.context, 'context_short': SHORT,
        'events': args.events, 'threads': args.threads, 'model': str(path), 'name': decoder.card.name,
        'variant': decoder.card.variant, 'parameters': decoder.card.details.get('parameters'),
        'provider': decoder.provider, 'onnxruntime': onnxruntime.__version__, 'load_average': _load_average(),
    }  # fmt: skip
    if args.reference:
        reference = recompute(decoder.card.details['config'], args.context, args.threads)
        if reference:
            result |= {
                'recompute_events_per_s': reference['events_per_s'],
                'times_recompute': result['events_per_s'] / reference['events_per_s'],
            }
    return result


def prompt(encoding, n_events: int):
    """A header and eighth notes over slow chords: `n_events` of plausible music, the same for every run."""
    import numpy as np

    from genaudio_core.music.events import header
    from genaudio_core.music.layouts import NOTE

    head = header(['piano', 'bass'], encoding)
    events = np.zeros((n_events, len(encoding.fields)), np.int64)
    n_head = min(len(head), n_events)
    events[:n_head] = head[:n_head]
    i = np.arange(max(n_events - len(head), 0))
    beat = i // 5  # five notes to a beat: 1,023 events stay within the 256 beats of the published layout
    columns = {
        'type': np.full(len(i), NOTE), 'position': np.array([0, 0, 3, 6, 6])[i % 5] + 1,
        'pitch': 48 + np.array([0, 4, 7, 12, 16])[i % 5] + np.array([0, 5, 7, 2])[beat // 4 % 4] + 1,
        'duration': np.full(len(i), 6), 'instrument': np.full(len(i), events[1, encoding.index('instrument')]),
        'beat': np.diff(beat, prepend=0) + 1 if encoding.relative_beat else beat + 1,
    }  # fmt: skip
    if encoding.has_velocity:
        columns['velocity'] = 16 + i % 4
    for name, column in columns.items():
        events[len(head) :, encoding.index(name)] = column
    return events


def recompute(config: dict, context: int, threads: int) -> dict | None:
    """Events per second of the published way (no cache), measured by torch in a process of its own; None without it."""
    if importlib.util.find_spec('torch') is None:
        return None
    command = [sys.executable, '-m', REFERENCE, json.dumps(config), str(context), str(threads)]
    done = run_program(command, timeout=REFERENCE_SECONDS)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 and done.stdout else None


def _load_average() -> float | None:
    """Processes that wanted the CPU in the last minute; figures measured above the number of cores are noisy."""
    return os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
