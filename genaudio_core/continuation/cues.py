"""Direction: what a part must do, and what it may do. The model plays; the direction says when silence is no answer.

Times are steps (12 to the quarter note) of whoever asks, who also says where the model's step 0 lies (see
`directing.DirectedSampler`). A part is an instrument code and the part of that instrument, from 1; models whose notes
do not tell their part know only part 1.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from genaudio_core.score.instruments import RANGE, instrument_code, voices_of

Who = tuple[int, int]  # instrument code, part of that instrument
N_PITCHES = 128


@lru_cache(maxsize=1024)
def notes_of(classes: frozenset[int]) -> np.ndarray:
    """The notes 0..127 of pitch classes, (128,) bool, not to be changed."""
    return np.isin(np.arange(N_PITCHES) % 12, list(classes))


@dataclass(frozen=True, slots=True)
class Cue:
    """A part begins a note, between two steps or exactly at one.

    If the model plays it by itself in time, nothing is changed. If its next note would come later, the note is drawn
    again at `latest`, by this part, and out of `pitches`; how long and how loud it is, and which of the pitches it has,
    stays the model's. A note does one cue: several of one part at one step are as many notes (the voices of a hymn, the
    drums of a stroke).
    """

    instrument: int  # code
    latest: int  # step
    earliest: int | None = None  # step from which on a note counts; None: only at `latest`
    part: int = 1
    pitches: frozenset[int] = frozenset()  # notes 0..127, drum keys as well; empty: any that the part may play
    notes: int = 1  # so many together: a chord
    lasts: int = 0  # steps that each lasts at least, where the rules allow it

    @property
    def who(self) -> Who:
        """The part that it is for."""
        return self.instrument, self.part


@dataclass
class PartRules:
    """Limits for one part in a stretch of steps. Outside of it the part is free.

    Attributes
    ----------
    begin : int
        First step.
    may_begin : (steps, 128) bool
        Notes that may begin at each step. A step without any is one at which the part waits.
    may_sound : (steps, 128) bool
        Notes that may go on sounding: a note ends, at the latest, where it may sound no longer.
    voices : int
        Notes that it plays at a time.
    moves : frozenset of int
        Steps at which it does not strike again what it struck last, as far as there is another note.
    """

    begin: int
    may_begin: np.ndarray
    may_sound: np.ndarray
    voices: int = N_PITCHES
    moves: frozenset[int] = frozenset()

    @classmethod
    def free(cls, instrument: str, begin: int, steps: int) -> 'PartRules':
        """Rules to be narrowed: all notes of the instrument (a class name), and as many voices as it has."""
        low, high = RANGE[instrument]
        may_begin = np.zeros((steps, N_PITCHES), bool)
        may_begin[:, low : high + 1] = True
        return cls(begin, may_begin, np.ones((steps, N_PITCHES), bool), voices_of(instrument))

    def rows(self, begin: int, end: int) -> slice:
        """The rows of the steps from `begin` to before `end`, as far as they are inside."""
        return slice(max(begin - self.begin, 0), max(end - self.begin, 0))

    def only(self, begin: int, end: int, classes: Iterable[int]) -> None:
        """Between two steps only notes of these pitch classes begin, and what sounds into the first is one of them."""
        allowed = notes_of(frozenset(classes))
        self.may_begin[self.rows(begin, end)] &= allowed
        if self.begin <= begin < self.begin + len(self.may_sound):
            self.may_sound[begin - self.begin] &= allowed

    def pitches(self, step: int) -> np.ndarray | None:
        """Notes that may begin at a step, (128,) bool; None: any."""
        row = step - self.begin
        return self.may_begin[row] if 0 <= row < len(self.may_begin) else None

    def longest(self, step: int, pitch: int) -> int | None:
        """Steps that a note which begins at `step` may last at most; None: as long as it likes."""
        row = step - self.begin + 1
        if not 0 < row < len(self.may_sound):
            return None
        ahead = self.may_sound[row:, pitch]
        first = int(ahead.argmin())
        return None if ahead[first] else first + 1


@dataclass(frozen=True)
class Direction:
    """Cues, and what the parts may do. A part without rules is free; without cues it plays when the model likes.

    Attributes
    ----------
    others : frozenset of int
        Instruments that play by themselves (a tune that is given). The model may expect their notes, and then that
        moment passes without one of ours; it does not play for them.
    """

    cues: tuple[Cue, ...] = ()
    rules: Mapping[Who, PartRules] = field(default_factory=dict)
    others: frozenset[int] = frozenset()


def who(instrument: str, part: int = 1) -> Who:
    """A part by the name of its instrument's class."""
    return instrument_code(instrument), part
