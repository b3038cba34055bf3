"""How long a note waits for the bundled arranger, live, as mode `arrange` places it; one JSON line in milliseconds.

OMP_NUM_THREADS=1 taskset -c 0 python tests/benchmarks/arranging.py [violin,violin,viola,cello]

Four voices of a hymn by a hand that is not quite together, the model's cold first note among them. `wall` is what a
player waits for on this machine as busy as it is, `core` what it takes of one core.
"""

import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from bridge.band.arrange import Arrange, make_arranger
from bridge.midi.messages import NoteOff, NoteOn
from genaudio_core.arranging.part_model import find_parts

CHORDS = 600
VOICES = [(67, 62, 59, 43), (67, 64, 60, 48), (69, 66, 62, 50), (71, 67, 62, 55), (72, 67, 64, 48), (71, 67, 62, 50)]

names = find_parts(sys.argv[1] if len(sys.argv) > 1 else 'violin,violin,viola,cello')
transport = SimpleNamespace(tempo=100.0, beat_at=lambda seconds: seconds * 100 / 60)
voices = [SimpleNamespace(instrument=name) for name in names]
band: Any = SimpleNamespace(
    voices=voices, transport=transport, arranger=make_arranger('arranger'), clock=SimpleNamespace(now=lambda: 0.0)
)
mode, rng = Arrange(band), np.random.default_rng(0)
wall, core = [], []
for chord in range(CHORDS):
    shift, at = int(rng.integers(-5, 6)), chord * 0.6
    keys = [key + shift for key in VOICES[chord % len(VOICES)]]
    for place, key in enumerate(rng.permutation(keys).tolist()):
        event = NoteOn(at + 0.004 * place, key, 80)
        began, used = time.perf_counter(), time.process_time()
        mode.place(event)
        wall.append(1000 * (time.perf_counter() - began))
        core.append(1000 * (time.process_time() - used))
    for place, key in enumerate(keys):
        mode.on_note_off(NoteOff(at + 0.5 + 0.004 * place, key), 0.0)
assert mode.state == 'arranging'
result: dict[str, Any] = {'parts': names, 'notes': len(wall)}
for name, values in (('wall', wall), ('core', core)):
    result[name] = {f'p{q}': round(float(np.percentile(values, q)), 2) for q in (50, 99)}
    result[name] |= {'worst': round(max(values), 2), 'over_5_ms': sum(value > 5 for value in values)}
print(json.dumps(result))
