"""One answer of the band: what was asked, what came, how far it is covered."""

import math
from dataclasses import dataclass, field

from bridge.musicians.musician import PlannedNote, Request

FIRST_UNIT = 0.25  # beats: in the first bar of an answer the music may come a sixteenth at a time


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
    take: int = 0
    stand_in: list[PlannedNote] | None = None  # what the fallback would play all the way, once it was needed
    queued: float | None = None  # bridge time at which the first note came into the plan
    missed: int = 0
    ended: bool = False

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

    def notes(self, take: int | None = None) -> list[PlannedNote]:
        return self.takes.get(self.take if take is None else take, [])
