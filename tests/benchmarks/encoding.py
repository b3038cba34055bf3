"""Notes per second through the encodings, from a note table and from a score; one JSON line.

OMP_NUM_THREADS=1 python tests/benchmarks/encoding.py
"""

import json
import time

import numpy as np

from genaudio_core.music.events import NOTE_TYPE, decode_table, encode, encode_table, table_to_tracks
from genaudio_core.music.layouts import LIVE, MMT
from genaudio_core.score.notes import Score

N, PIECE = 500_000, 2_000  # notes in all, notes in a piece (256 beats hold no more)


def pieces() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(N // PIECE):
        table = np.zeros(PIECE, NOTE_TYPE)
        table['step'] = np.sort(rng.integers(0, 256 * 12, PIECE))
        table['duration'] = rng.integers(1, 50, PIECE)
        table['pitch'] = rng.integers(30, 90, PIECE)
        table['velocity'] = rng.integers(1, 128, PIECE)
        table['program'] = rng.choice([0, 33, 40, 73], PIECE)
        made.append(table)
    return made


def rate(work, items) -> float:
    """Best of three, in notes per second."""
    best = float('inf')
    for _ in range(3):
        began = time.perf_counter()
        for item in items:
            work(item)
        best = min(best, time.perf_counter() - began)
    return N / best


result = {}
tables = pieces()
scores = [Score(table_to_tracks(table)) for table in tables]
for encoding in (MMT, LIVE):
    events = [encode_table(table, encoding) for table in tables]
    result |= {
        f'{encoding.name}_encode_table': rate(lambda table, e=encoding: encode_table(table, e), tables),
        f'{encoding.name}_encode_score': rate(lambda score, e=encoding: encode(score, e), scores),
        f'{encoding.name}_decode_table': rate(lambda rows, e=encoding: decode_table(rows, e), events),
    }
print(json.dumps({name: round(value) for name, value in result.items()}))
