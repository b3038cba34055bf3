"""Notes for a picture, on their way between processes: a few bytes each, so that the loop that plays is soon done.

A note is (beat, duration in beats, note 0..127, velocity 1..127, part 0..255, flags). Beats are float32: a page needs
no more than a thousandth of one.
"""

import struct
from collections.abc import Iterable

DrawnNote = tuple[float, float, int, int, int, int]
BY_RULE, HELD = 1, 2  # flags: not the musician's own; its end is not known yet
_NOTE = struct.Struct('<ffBBBB')


def packed(notes: Iterable[DrawnNote]) -> bytes:
    """Return notes as bytes, 12 for each."""
    return b''.join(
        _NOTE.pack(beat, duration, *(min(max(int(number), 0), 255) for number in rest))
        for beat, duration, *rest in notes
    )


def unpacked(data: bytes) -> list[DrawnNote]:
    """Return what `packed` was given, with beats to a thousandth."""
    return [(round(beat, 3), round(duration, 3), *rest) for beat, duration, *rest in _NOTE.iter_unpack(data)]
