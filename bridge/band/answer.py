"""One answer of the band: what was asked, what came, how far it is covered."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bridge.band.scheduler import Due
from bridge.musicians.musician import ChordAt, PlannedNote, Request
from bridge.settings.voice import PartVoice
from genaudio_core.score.instruments import DRUMS

EARLY = 0.1  # beats before a chord in which a note belongs to it
FIRST_UNIT = 0.25  # beats: in the first bar of an answer the music may come a sixteenth at a time


@dataclass
class ComposedAgain:
    """A take that was another one at first, and in which some parts get other notes, one after the other."""

    parts: tuple[int, ...]
    upto: float  # beat up to which they have come


@dataclass
class Answer:
    """State of a request. `covered` is the beat up to which its notes are in the plan."""

    request: Request
    asked: float  # bridge time of the question
    covered: float = field(init=False)
    line: float = field(init=False)  # the next line whose music must be ready before it
    end: float = field(init=False)  # the request's end, or where the answer was cut
    silent: float = field(init=False)  # the beat by which its last note must be over
    takes: dict[int, list[PlannedNote]] = field(default_factory=dict)
    until: dict[int, float] = field(default_factory=dict)
    arrived: list[tuple[float, float]] = field(default_factory=list)  # (beat up to which, bridge time) as it came in
    take: int = 0
    stand_in: list[PlannedNote] | None = None  # what the fallback would play all the way, once it was needed
    queued: float | None = None  # bridge time at which the first note came into the plan
    missed: int = 0
    looked: float = -math.inf  # beat up to which it was looked who plays
    ended: bool = False
    saved: int = 0  # as it was when it last was saved: 0 not yet, 1 in part, 2 complete
    complete: set[int] = field(default_factory=set)  # takes of which nothing more comes
    again: dict[int, 'ComposedAgain'] = field(default_factory=dict)  # take -> what is new in it

    def __post_init__(self) -> None:
        self.covered = self.line = self.request.start
        self.end = self.request.end
        self.silent = self.request.end + self.request.bar

    def unit_end(self, line: float) -> float:
        """End of the stretch that must be ready at `line`: a bar; less in the first bar of an answer.

        An answer that begins at once cannot have its whole first bar composed; it must have the next sixteenth.
        """
        bar = self.request.bar
        first_bar_end = bar * math.floor(self.request.start / bar + 1 + 1e-6)
        if line < first_bar_end - 1e-6:
            return min(line + FIRST_UNIT, self.end)
        return min(line + bar, self.end)

    @property
    def n_takes(self) -> int:
        """How many there are, or are to come."""
        return max(self.request.takes, 1, *(take + 1 for take in self.takes))

    def notes(self, take: int | None = None) -> list[PlannedNote]:
        """The notes of a take, by default of the chosen one, so far."""
        return self.takes.get(self.take if take is None else take, [])

    def dues(
        self, notes: Iterable[PlannedNote], voices: Sequence[PartVoice],
        shape: Callable[[PlannedNote], tuple[float, int]], shift: float = 0.0,
    ) -> list[Due]:  # fmt: skip
        """Notes as they will be played: with voices, and with beat and velocity as `shape` gives them.

        No note goes on after the beat at which other music begins, and none that accompanies outlasts its chord. Where
        the chord must be heard first, only drums play.
        """
        result = []
        for note in notes:
            voice = voices[note.part % len(voices)]
            until = self.silent
            if self.request.role == 'accompany' and voice.instrument != DRUMS:
                if self.request.waits(note.beat):
                    continue
                until = min(until, self._harmony_ends(note.beat))
            beat, velocity = shape(note)
            duration = min(note.duration, until - note.beat)
            result.append(
                Due(beat + shift, duration, note.note, velocity, voice, note.beat + shift, note.by_rule, note.cued)
            )
        return result

    def _harmony_ends(self, beat: float) -> float:
        """The beat at which a note at `beat` meets another chord than its own: a little before one, it is that one."""
        own = beat + EARLY
        return next((to for begin, to, _ in self.request.harmony(own, math.inf) if begin <= own + 1e-6), math.inf)


def planned_chord(answers: Iterable[Answer], beat: float) -> ChordAt | None:
    """The chord that what is planned for `beat` was made for; None where nothing is planned or none was known."""
    covers = [answer.request for answer in answers if answer.request.start <= beat + 1e-6 < answer.end]
    return covers[0].chord_at(beat) if covers else None
