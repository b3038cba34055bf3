"""How the player plays, for the drums: how much, straight or swung, and where the accents are that come again."""

import math
from collections.abc import Sequence

from bridge.band.chord_follower import LOW
from bridge.musicians.heard_notes import HeardNotes
from genaudio_core.music.drum_grooves import Pace
from genaudio_core.music.grooves import KICKS, Feel
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import DRUMS

BARS = 4  # that tell
GRID = 4  # places in a quarter note
FEW = 4  # onsets off the beat below which nobody knows whether they swing


class GrooveFollower:
    """Looks at the onsets of what was heard. Only the session's thread may call it.

    Parameters
    ----------
    bar : length of a bar in quarter notes; bars begin at multiples of it
    heard : what the player has played
    """

    def __init__(self, bar: float, heard: HeardNotes) -> None:
        self.bar, self.notes = bar, heard

    def pace(self, beat: float) -> Pace:
        """How the player has played up to `beat`; what one would expect where nothing was heard."""
        first = beat - BARS * self.bar
        heard = [note for note in self.notes.between(first, beat) if not note.held]
        if not heard:
            return Pace()
        begun = self.bar * math.floor(heard[0].beat / self.bar + 1e-6)
        places = sorted({round(note.beat * RESOLUTION) for note in heard})
        feel = Feel.of([place / RESOLUTION for place in places])
        if sum(place % RESOLUTION > 0 for place in places) < FEW:
            feel = Feel(False, feel.fine)
        lows = [
            note.beat for note in heard if (note.note in KICKS if note.instrument == DRUMS else note.note < LOW)
        ]  # fmt: skip
        accents = self._accents(lows)
        return Pace(len(places) / max(beat - max(first, begun), 1.0), feel, accents)

    def _accents(self, low: Sequence[float]) -> tuple[float, ...]:
        """Places of the bar, on the grid, at which a bass note is struck in most bars, in two at least."""
        seen: dict[float, set[int]] = {}
        for at in low:
            bar, place = divmod(round(at * GRID), round(self.bar * GRID))
            seen.setdefault(place / GRID, set()).add(bar)
        bars = len(set().union(*seen.values())) if seen else 0
        return tuple(sorted(place for place, where in seen.items() if len(where) >= max(2, 0.6 * bars)))[:6]
