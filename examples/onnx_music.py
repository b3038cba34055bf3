"""Music out of live.onnx with numpy and onnxruntime alone (mido writes the file): docs/onnx.md tells every number.
Run: python examples/onnx_music.py presets/models/live.onnx song.mid"""

import sys

import mido
import numpy as np
import onnxruntime

DURATIONS = [*range(1, 13), 15, 16, 18, 20, 21, 24, 30, 36, 40, 42, 48, 60, 72, 84, 96, 120, 144, 168, 192, 384]
BAND = {1: (0, 0), 22: (1, 33), 65: (9, 0)}  # instrument code: channel and program of a piano, an electric bass, drums
TYPES = {'tensor(int64)': np.int64, 'tensor(int32)': np.int32, 'tensor(float)': np.float32}
HEAD = np.zeros((6, 16), np.int64)  # start of song, the band, start of notes, a meter event on the first bar line
HEAD[:, 0], HEAD[1:4, 5], HEAD[5, [1, 2, 7]] = (0, 1, 1, 1, 2, 5), sorted(BAND), (1, 1, 1)
session, rng, step, notes = onnxruntime.InferenceSession(sys.argv[1]), np.random.default_rng(1), 0, []
names = [o.name.replace('present', 'past').replace('hidden', 'hidden_in') for o in session.get_outputs()]
fed = {i.name: np.zeros([n if isinstance(n, int) else 1 for n in i.shape], TYPES[i.type]) for i in session.get_inputs()}
for past in range(160):
    row = HEAD[past].copy() if past < len(HEAD) else np.eye(16, dtype=np.int64)[0] * 3  # type 3: a note
    for column in (1, 2, 5, 8, 3, 4, 6) if past >= len(HEAD) else ():  # beat, position, instrument, part, pitch, ...
        fed |= {'field': np.array(column), 'chosen': row[None, None], 'chosen_phase': np.array([[step % 48 // 6]])}
        logits = np.asarray(session.run(['logits'], fed)[0])[0, 0]
        logits[: step % 12 + 1 if column == 2 and row[1] == 1 else 1] = -np.inf  # no way back, and nothing undefined
        logits[[column == 5 and code not in BAND for code in range(len(logits))]] = -np.inf
        share = np.exp((logits - logits.max()) / 0.9)
        row[column] = rng.choice(len(share), p=share / share.sum())
        step = (step // 12 + row[1] - 1) * 12 + row[2] - 1 if column == 2 else step
    fed |= {'field': np.array(-1), 'events': row[None, None], 'index': np.array([past]), 'step': np.array([[step]])}
    fed |= {'phase': np.array([[step % 48 // 6]]), 'seqlens': np.array([past], np.int32)}
    found = zip(names, session.run(None, fed | {'total': np.array(past + 1, np.int32)}), strict=True)
    fed |= {name: value for name, value in found if name != 'logits'}
    if row[0] == 3:
        channel, pitch, end = BAND[row[5]][0], row[3] - 1, step + DURATIONS[row[4] - 1]
        notes += [(step, 1, channel, pitch, row[6] * 4 - 2), (end, 0, channel, pitch, 0)]
track = mido.MidiTrack(mido.Message('program_change', channel=c, program=p) for c, p in BAND.values())
for (now, on, *rest), (before, *_) in zip(sorted(notes), [(0,), *sorted(notes)], strict=False):
    values = dict(zip(('channel', 'note', 'velocity', 'time'), map(int, (*rest, now - before)), strict=True))
    track.append(mido.Message('note_on' if on else 'note_off', **values))
mido.MidiFile(ticks_per_beat=12, tracks=[track]).save(sys.argv[2])
