"""``genaudio doctor``: is this machine ready to play, and what would make it so?"""

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from bridge.bench.live import percentile
from bridge.commands.devices import audio_devices
from bridge.daw import installing
from bridge.midi.messages import note_off
from bridge.midi.rtmidi_library import describe
from bridge.midi.rtmidi_ports import HAS_VIRTUAL, list_ports, why_no_virtual
from bridge.midi.sender import PrecisionSender
from bridge.musicians.choose import make_musician, model_path
from bridge.musicians.musician import HeardNote, Musician, Request
from bridge.system.clock import RealClock
from bridge.system.cpu_wakeup import awake, may_keep_awake
from bridge.system.jack_client import is_running, jack_ports
from bridge.system.real_time import REAL_TIME_ADVICE, may_be_real_time
from genaudio_core.errors import GenaudioError

HELP = 'check ports, clock, model, plug-ins and timing, and say what to fix'
EXAMPLE = 'genaudio doctor'
HAND_OVER_MS = 10.0  # what a hand-over may take
JITTER_MS = 1.0  # what the sender may be off


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='', help="model file to check (default: the bundled one), or 'rules'")


def check_midi() -> str:
    """One line on MIDI ports; it begins with 'ok', 'note' or 'FIX', as that of each check."""
    library = describe()
    if library.startswith('FIX'):
        return library
    if reason := why_no_virtual():
        if is_running():
            return f'note: {reason}; JACK runs, and is what `genaudio live` uses'
        return f'FIX: {reason}'
    inputs, outputs = list_ports()
    if not inputs and not outputs and not HAS_VIRTUAL:
        return 'FIX: no MIDI port: install a virtual cable such as loopMIDI and name it in the preset'
    made = ', virtual ports can be made' if HAS_VIRTUAL else ''
    return f'{library}; {len(inputs)} inputs, {len(outputs)} outputs{made}'


def check_jack() -> str:
    """One line on JACK."""
    if importlib.util.find_spec('jack') is None:
        return "note: no JACK-Client; for frame-exact MIDI on Linux: pip install 'genaudio[jack]'"
    if not is_running():
        return 'note: no JACK or PipeWire server runs; MIDI goes through the system instead'
    ports = jack_ports()
    period = 1000 * ports['period'] / ports['sample_rate']
    return f'ok: {ports["sample_rate"]} Hz, period {ports["period"]} ({period:.1f} ms), {len(ports["midi"])} MIDI ports'


def check_audio() -> str:
    """One line on audio devices."""
    devices = audio_devices()
    if not devices:
        return "note: no audio device; live separation needs one (and pip install 'genaudio[live]')"
    return f'ok: {len(devices)} devices'


def check_clock(seconds: float = 1.0) -> str:
    """How far the precise sender is off on this machine, now."""
    clock = RealClock()
    sender = PrecisionSender(clock, lambda output, message: None)
    start = clock.now() + 0.05
    for i in range(int(seconds / 0.005)):
        sender.send_at(start + 0.005 * i, 0, note_off(0, 60))
    with awake():  # as in a session
        time.sleep(seconds + 0.1)
    sender.close()
    late = percentile(list(sender.jitter), 0.99)
    assert late is not None
    load = f', load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores' if hasattr(os, 'getloadavg') else ''
    if 1000 * late > JITTER_MS:
        advice = 'close busy programs, or use JACK'
        if may_keep_awake() is False:
            advice += ', and let your user write /dev/cpu_dma_latency (it keeps the processor from sleeping)'
        if not may_be_real_time():
            advice += f', and {REAL_TIME_ADVICE}'
        return f'FIX: messages leave up to {1000 * late:.2f} ms late (99 of 100){load}: {advice}'
    return f'ok: messages leave within {1000 * late:.3f} ms (99 of 100){load}'


def check_model(name: str) -> str:
    """One line on the model file that `name` means, and how fast it answers here."""
    path = model_path(name)
    if path is None:
        return 'note: no model is bundled; the band plays by rules'
    began = time.perf_counter()
    try:
        musician = make_musician(name)
    except GenaudioError as error:
        return f'FIX: {error}'
    loaded = time.perf_counter() - began
    first, each = measure(musician)
    text = f'{path.name}: loads in {loaded:.1f} s, hand-over {first:.1f} ms, {each:.1f} ms a note'
    if first > HAND_OVER_MS:
        return f'FIX: {text}: slower than {HAND_OVER_MS:g} ms; use an int8 model, or close busy programs'
    return f'ok: {text}'


def measure(musician: Musician, turns: int = 8) -> tuple[float, float]:
    """Return milliseconds to the first note (worst of the turns) and for each further note (median)."""
    first, each = [], []
    musician.expect(('piano',), 4.0)
    for turn in range(turns):
        base = 8.0 * turn
        for i in range(8):
            musician.hear([HeardNote(8 * turn + i + 1, base + i / 2, 0.5, 60 + 2 * i, 80, 'piano')])
        before = time.perf_counter()
        for number, _ in enumerate(musician.answer(Request(turn + 1, base + 4, base + 8, ('piano',), seed=turn))):
            now = time.perf_counter()
            (each if number else first).append(1000 * (now - before))
            before = now
            if number == 16:
                break
    return max(first), statistics.median(each) if each else 0.0


def check_providers() -> str:
    """One line on what onnxruntime can compute with."""
    import onnxruntime

    return f'ok: onnxruntime {onnxruntime.__version__}, {", ".join(onnxruntime.get_available_providers())}'


def check_extras() -> str:
    """One line on optional packages that are not installed."""
    wanted = {'pythonosc': 'osc', 'sounddevice': 'live', 'link': 'link'}
    missing = [extra for module, extra in wanted.items() if importlib.util.find_spec(module) is None]
    return f'note: not installed: {", ".join(missing)} (pip install genaudio[...])' if missing else 'ok: all'


def run(args: argparse.Namespace) -> dict[str, Any]:
    checks: dict[str, Callable[[], str]] = {
        'midi': check_midi, 'jack': check_jack, 'audio': check_audio, 'clock': check_clock,
        'providers': check_providers, 'model': lambda: check_model(args.model), 'plug-ins': installing.check,
        'extras': check_extras,
    }  # fmt: skip
    result: dict[str, Any] = {name: check() for name, check in checks.items()}
    to_fix = [name for name, text in result.items() if text.startswith('FIX')]
    result['ready'] = not to_fix
    result['exit_code'] = 1 if to_fix else 0
    return result
