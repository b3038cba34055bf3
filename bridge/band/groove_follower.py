"""How the player plays, for the drums: how much, straight or swung, and where the accents are that come again."""

import math
from collections import deque
from collections.abc import Sequence

from bridge.band.chord_follower import LOW
from bridge.musicians.groove import Pace
from bridge.musicians.musician import HeardNote
from genaudio_core.music.grooves import KICKS, Feel
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import DRUMS

BARS = 4  # that tell
GRID = 4  # places in a quarter note
FEW = 4  # onsets off the beat below which nobody knows whether they swing


class GrooveFollower:
    """Hears onsets. Only the session's thread may call it.

    Parameters
    ----------
    bar : length of a bar in quarter notes; bars begin at multiples of it
    """

    def __init__(self, bar: float) -> None:
        self.bar = bar
        self._onsets: deque[tuple[float, bool]] = deque(maxlen=512)  # (beat, whether it is a bass note or a kick)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        """Take notes in; each is told once, when it is over."""
        for note in notes:
            low = note.note in KICKS if note.instrument == DRUMS else note.note < LOW
            self._onsets.append((note.beat, low))

    def pace(self, beat: float) -> Pace:
        """How the player has played up to `beat`; what one would expect where nothing was heard."""
        first = beat - BARS * self.bar
        heard = [(at, low) for at, low in self._onsets if first <= at < beat]
        if not heard:
            return Pace()
        begun = self.bar * math.floor(min(at for at, _ in heard) / self.bar + 1e-6)
        places = sorted({round(at * RESOLUTION) for at, _ in heard})
        feel = Feel.of([place / RESOLUTION for place in places])
        if sum(place % RESOLUTION > 0 for place in places) < FEW:
            feel = Feel(False, feel.fine)
        accents = self._accents([at for at, low in heard if low])
        return Pace(len(places) / max(beat - max(first, begun), 1.0), feel, accents)

    def _accents(self, low: Sequence[float]) -> tuple[float, ...]:
        """Places of the bar, on the grid, at which a bass note is struck in most bars, in two at least."""
        seen: dict[float, set[int]] = {}
        for at in low:
            bar, place = divmod(round(at * GRID), round(self.bar * GRID))
            seen.setdefault(place / GRID, set()).add(bar)
        bars = len(set().union(*seen.values())) if seen else 0
        return tuple(sorted(place for place, where in seen.items() if len(where) >= max(2, 0.6 * bars)))[:6]
