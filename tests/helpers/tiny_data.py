"""Small pieces and data files for the tests of the training side."""

from pathlib import Path

import numpy as np

from genaudio_core.music.events import DRUM_PROGRAM, NOTE_TYPE
from genaudio_core.training.scores.packed_scores import PackedPiece, pack

SCALE = np.array([0, 2, 4, 5, 7, 9, 11, 12])
TRAIN, VALID, TEST = 0, 1, 2


def notes(rows) -> np.ndarray:
    """Note table of (step, duration, pitch, velocity, program) rows, sorted by step."""
    table = np.array(list(rows), NOTE_TYPE)
    return table[np.lexsort((table['pitch'], table['step']))]


def make_piece(name: str, *, seed: int = 0, bars: int = 12, source: str = 'band', drums: bool = False) -> PackedPiece:
    """A tune in eighths over a bass, in a key of its own; no two seeds share a run of notes."""
    rng = np.random.default_rng(seed)
    tonic = 60 + int(rng.integers(0, 12))
    rows = [(i * 6, 6, tonic + int(SCALE[rng.integers(8)]), 80, 40) for i in range(bars * 8)]
    rows += [(bar * 48 + at, 24, tonic - 24 + (0 if at == 0 else 7), 90, 33) for bar in range(bars) for at in (0, 24)]
    if drums:
        rows += [(step, 3, 36 if step % 24 == 0 else 42, 100, DRUM_PROGRAM) for step in range(0, bars * 48, 12)]
    return PackedPiece(source, name, notes(rows), np.array([[0, 1]], np.int32))


def make_data(path: Path, n: int = 8, *, bars: int = 12, sources: tuple[str, ...] = ('band',)) -> Path:
    """A data file of `n` pieces per source: the last two held out, one for each split."""
    pieces, splits = [], []
    for s, source in enumerate(sources):
        for i in range(n):
            pieces.append(make_piece(f'{source}-{i}', seed=100 * s + i, bars=bars, source=source))
            splits.append(VALID if i == n - 2 else TEST if i == n - 1 else TRAIN)
    pack(pieces, np.array(splits, np.uint8), path, [])
    return path
