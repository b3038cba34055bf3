"""`genaudio bench live`: the live side as a whole, in real time: hand-over, jitter, deadlines, hanging notes."""

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.bench.wakeup_latency import probe
from bridge.system.clock import MAX_TEMPO, MIN_TEMPO, Clock, RealClock
from bridge.system.waiting import wait_until
from genaudio_core.command_line import notice, number, seed, whole
from genaudio_core.errors import GenaudioError

HELP = 'measure the live side on this machine'
EXAMPLE = 'genaudio bench live --minutes 10 --jitter-ms 2 --json'
LONGEST = 13.0  # beats: no note of an answer of two bars sounds longer than to the end of the next bar
SETTLED = 0.8  # seconds after a stop at which nothing may sound
BAND = ('piano', 'bass', 'drums', 'strings', 'flute', 'electric-guitar', 'organ', 'trumpet')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--minutes', type=number('--minutes', above=0, high=600), default=1.0,
                        help='how long (default: 1)')  # fmt: skip
    parser.add_argument('--tempo', type=number('--tempo', MIN_TEMPO, MAX_TEMPO, unit='BPM'), default=160.0,
                        help='quarter notes a minute (default: 160)')  # fmt: skip
    parser.add_argument('--tracks', type=whole('--tracks', 1, 8), default=8,
                        help='parts of the band, 1..8 (default: 8)')  # fmt: skip
    parser.add_argument('--jitter-ms', type=number('--jitter-ms', 0, 1000), default=0.0,
                        help='by how much the MIDI clock jitters, each way')  # fmt: skip
    parser.add_argument('--backend', choices=['process', 'jack'], default='process',
                        help='in-process ports with the precise sender, or JACK with frame offsets')  # fmt: skip
    parser.add_argument('--model', default='', help="model file, or 'rules'")
    parser.add_argument('--seed', type=seed(), default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    from bridge.musicians.choose import model_path
    from genaudio_core.inference.model_card import read_card

    began = time.monotonic()
    if (path := model_path(args.model)) is not None:
        read_card(path)  # the engine's process would not come up
    result = bench_live(
        args.minutes, args.tempo, args.tracks, args.jitter_ms / 1000, args.backend, args.model, args.seed
    )
    return result | {'seconds': round(time.monotonic() - began, 1)}


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` (0..1) of the values lie; None without values."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None


def bench_live(
    minutes: float, tempo: float, tracks: int, jitter: float, backend: str, model: str, seed: int
) -> dict[str, Any]:
    """Trade two bars against two with a band of `tracks`, for some minutes.

    Parameters
    ----------
    tempo
        Quarter notes a minute.
    jitter
        Seconds by which the MIDI clock strays, each way.
    backend
        'process' or 'jack'.
    """
    # What plays is loaded now, not while the command line is built.
    from bridge.live.rehearsal import clock_part, note_part, ode, perform
    from bridge.live.session import Session
    from bridge.midi.sender import PrecisionSender, Sender
    from bridge.midi.wire_check import WireCheck
    from bridge.musicians.choose import make_musician, model_path
    from bridge.musicians.musician_process import ProcessEngine
    from bridge.settings.band_preset import parse_preset

    preset = parse_preset(
        {'player': {'mode': 'respond', 'bars_heard': 2, 'bars_answered': 2}, 'music': {'seed': seed},
         'transport': {'leader': 'midi'}, 'parts': [{'instrument': name} for name in BAND[:tracks]]}, 'bench',
    )  # fmt: skip
    clock: Clock
    sender: Sender
    sent: list[tuple[float, int, bytes]] = []
    listener = None
    if backend == 'jack':
        from bridge.bench.jack_listener import JackListener
        from bridge.midi.jack_ports import JackMidi

        client = JackMidi(['bench in'], ['bench out'], lambda *event: None, name='genaudio-bench', notify=notice)
        client.scheduled = []
        listener = JackListener('genaudio-bench-listener', 'genaudio-bench:bench out')
        clock = sender = client
        horizon = client.horizon
    else:
        clock = RealClock()
        sender = PrecisionSender(clock, lambda output, message: sent.append((clock.now(), output, message)))
        horizon = 0.03
    engine = ProcessEngine(make_musician, (model,), clock=clock, notify=notice)
    session = Session(preset, clock, sender, engine, horizon=horizon, notify=lambda line: None)
    before_close = 0  # messages sent before the session was closed
    contexts: list[float] = []
    machine: list[float] = []
    try:
        if not wait_until(lambda: (session.step(), engine.ready)[1], 120):
            raise GenaudioError('The music engine did not start within two minutes.')
        start = clock.now() + 0.5
        bars = max(int(minutes * tempo / 4) // 4 * 4, 4)
        rng = random.Random(seed)
        part = clock_part(start, 4.0 * bars + 1, tempo, jitter=lambda tick: rng.uniform(-jitter, jitter))
        for turn in range(bars // 4):
            part += note_part(ode(turn), start + turn * 16 * 60 / tempo, tempo)
        with probe() as machine:
            perform(session, engine, clock, part, start + 4 * bars * 60 / tempo + 0.1)
        contexts.append(float(engine.stats.get('context', 0)))
        # A stop ends every note by itself; closing silences everything, and would hide what hangs.
        stop = clock.now() + 0.01
        perform(session, engine, clock, [(stop, b'\xfc')], stop + SETTLED)
        before_close = listener.count if listener else len(sent)
    finally:
        session.close()
        if listener is not None:
            listener.close()
    if listener is not None:
        late, lost, sent = listener.compare(getattr(sender, 'scheduled', []))
    else:
        late, lost = (list(sender.jitter), sender.lost) if isinstance(sender, PrecisionSender) else ([], 0)
    wire = WireCheck()
    for place, (at, output, message) in enumerate(sent):
        if place == before_close:
            wire.must_be_quiet(at)
        wire.none_longer_than(LONGEST * 60 / tempo, at)
        wire.feed(at, output, message)
    wire.finish(sent[-1][0] if sent else 0.0)
    handovers = list(session.handovers)
    path = model_path(model)
    return {
        'handover_ms_p50': _ms(statistics.median(handovers) if handovers else None),
        'handover_ms_p99': _ms(percentile(handovers, 0.99)),
        'handovers': len(handovers), 'out_jitter_ms_p99': _ms(percentile(late, 0.99)), 'messages': len(late),
        'machine_late_ms_p99': _ms(percentile(machine, 0.99)), 'machine_late_ms_worst': _ms(max(machine, default=None)),
        'lost_messages': lost,
        'missed_deadlines': session.missed, 'deadlines': session.units, 'hung_notes': wire.hung_notes,
        'struck_twice': wire.struck_twice,
        'late_notes': session.scheduler.late, 'minutes': minutes, 'context': contexts[-1] if contexts else 0.0,
        'rebases': engine.stats.get('rebases', 0), 'late_rebases': engine.stats.get('late_rebases', 0),
        'engine_restarts': engine.restarts, 'tracks': tracks, 'tempo': tempo, 'jitter_in_ms': 1000 * jitter,
        'backend': backend, 'model': str(Path(path).name if path else 'rules'),
    }  # fmt: skip


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 4)
