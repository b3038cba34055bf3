"""The one memory of the notes that the player has played, read by windows of beats.

A session has one, for its chords, grooves, takes and rules, and to tell a music engine that starts again. On the far
side of the engine's pipe stands another, which is told what is new.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from bridge.musicians.musician import HeardNote

KEEPS = 1500  # notes


class HeardNotes:
    """The last notes of the player, each once, in order of onset. One thread may call it.

    Parameters
    ----------
    keeps : int
        Number of notes that are remembered at least; the oldest are forgotten when there are a quarter more.
    """

    def __init__(self, keeps: int = KEEPS) -> None:
        self.keeps = keeps
        self._notes: list[HeardNote] = []
        self._by_id: dict[int, HeardNote] = {}
        self._longest = 0.0  # beats

    def hear(self, notes: Sequence[HeardNote]) -> list[HeardNote]:
        """Remember notes, and return those that are new or told differently: a known id replaces what was told."""
        new = [note for note in notes if self._by_id.get(note.id) != note]
        for note in new:
            if (old := self._by_id.get(note.id)) is not None:
                del self._notes[bisect_left(self._notes, _order(old), key=_order)]
            insort(self._notes, note, key=_order)
            self._by_id[note.id] = note
            self._longest = max(self._longest, note.duration)
        if len(self._notes) > self.keeps + self.keeps // 4:
            self._keep(self._notes[-self.keeps :])
        return new

    def forget_before(self, beat: float) -> None:
        """Forget the notes that begin before `beat`."""
        self._keep(self.between(beat))

    def between(self, start: float, end: float = math.inf) -> list[HeardNote]:
        """The notes that begin in [start, end), in beats, in order of onset and, within a chord, of pitch."""
        first = bisect_left(self._notes, start, key=_onset)
        return self._notes[first : len(self._notes) if end == math.inf else bisect_left(self._notes, end, key=_onset)]

    def sounding(self, start: float, end: float = math.inf) -> list[HeardNote]:
        """The notes of which something sounds in [start, end), in beats, in order of onset."""
        return [note for note in self.between(start - self._longest, end) if note.beat + note.duration > start]

    def __len__(self) -> int:
        return len(self._notes)

    def __iter__(self) -> Iterator[HeardNote]:
        return iter(self._notes)

    def _keep(self, notes: list[HeardNote]) -> None:
        self._notes = notes
        self._by_id = {note.id: note for note in notes}
        self._longest = max((note.duration for note in notes), default=0.0)


def _onset(note: HeardNote) -> float:
    return note.beat


def _order(note: HeardNote) -> tuple[float, int, int]:
    return note.beat, note.note, note.id
