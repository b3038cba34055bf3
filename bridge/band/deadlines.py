"""The contract of the band: music is ready a margin before its line, and every part plays in every bar it is asked for.

What the musician has not sent in time, and a part that it leaves out, is played by rule: late or forgotten, a bar is
never empty without being counted.
"""

from collections import deque
from dataclasses import replace
from typing import Any

from bridge.band.answer import Answer
from bridge.musicians.musician import PlannedNote
from bridge.musicians.rule_musician import FallbackMusician
from genaudio_core.score.instruments import DRUMS

SHOWN = 64  # deadlines that are remembered for the view
SOUNDS = 0.2  # beats for which a note must last into a bar to be heard there


class Deadlines:
    """Watches the answers of a session (`bridge.live.session`). Only the session's thread may call it.

    Attributes
    ----------
    units, missed : int
        Deadlines, and those at which the rules had to play because nothing was there.
    stood_in, silent : int
        Bars of a part that the musician left out: played by rule; silent, because the rules knew nothing either.
    margins : deque of (int, float, float or None)
        The last deadlines: number, beat of the line, and by how many seconds its music was early; None where it was
        missed.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.fallback = FallbackMusician(session.heard)
        self.units = self.missed = self.stood_in = self.silent = 0
        self.margins: deque[tuple[int, float, float | None]] = deque(maxlen=SHOWN)
        self._counted: dict[int, float] = {}  # part -> end of the last bar of it that was counted

    def deadline(self, answer: Answer) -> float:
        """Bridge time at which the music for the next line of an answer must be there."""
        session = self.session
        early = session.preset['engine.margin_ms'] / 1000 + session.scheduler.horizon + session.scheduler.latency_s
        return session.transport.time_at(answer.line) - early

    def keep(self, now: float) -> None:
        """Look at every line that is due."""
        for answer in self.session.answers:
            while answer.line < answer.end - 1e-6 and now >= self.deadline(answer) - 1e-6:
                unit_end = answer.unit_end(answer.line)
                self.units += 1
                self.margins.append((self.units, answer.line, self._margin(answer, unit_end)))
                if answer.covered < unit_end - 1e-6:
                    self.missed += 1
                    answer.missed += 1
                    self._fill(answer, answer.covered, unit_end)
                self._look_for_parts(answer)
                answer.line = unit_end

    def _margin(self, answer: Answer, unit_end: float) -> float | None:
        if answer.covered < unit_end - 1e-6:
            return None
        came = next((time for until, time in answer.arrived if min(until, answer.end) >= unit_end - 1e-6), answer.asked)
        return self.deadline(answer) - came

    def _fill(self, answer: Answer, start: float, end: float) -> None:
        """Everybody plays by rule from `start` to `end`."""
        self._add(answer, [note for note in self._by_rule(answer) if start - 1e-6 <= note.beat < end - 1e-6])
        answer.covered = end

    def _look_for_parts(self, answer: Answer) -> None:
        """Who has nothing to play in the bar of the line that is due plays by rule from there on."""
        bar, begin = answer.request.bar, answer.line
        end = min(bar * ((begin + 1e-6) // bar + 1), answer.end)
        if answer.looked >= end - 1e-6 or answer.covered < end - 1e-6:
            return
        answer.looked = end
        if end - begin < bar / 2 - 1e-6:
            return  # what is left of a bar that was planned again
        for part in self._due_parts(answer):
            if self._plays(answer, part, begin, end):
                continue
            notes = [
                note for note in self._by_rule(answer)
                if note.part == part and begin - 1e-6 <= note.beat < end - 1e-6
            ]  # fmt: skip
            if self._counted.get(part) != end:  # a bar that is planned again counts once
                self._counted[part] = end
                self.stood_in += bool(notes)
                self.silent += not notes
            self._add(answer, notes)

    def _due_parts(self, answer: Answer) -> list[int]:
        """Parts that play in every bar; one who answers alone, before the others, may breathe."""
        instruments = answer.request.instruments
        lead = next((number for number, name in enumerate(instruments) if name != DRUMS), None)
        return [part for part in range(len(instruments)) if answer.request.role != 'continue' or part != lead]

    def _plays(self, answer: Answer, part: int, begin: float, end: float) -> bool:
        request = answer.request
        drums = request.instruments[part] == DRUMS
        for note in answer.notes():
            if note.part == part and (drums or request.role != 'accompany' or not request.waits(note.beat)):
                sounds = min(note.beat + note.duration, end) - max(note.beat, begin)
                if begin - 1e-6 <= note.beat < end - 1e-6 or sounds >= SOUNDS:
                    return True
        return False

    def _by_rule(self, answer: Answer) -> list[PlannedNote]:
        if answer.stand_in is None:
            request = replace(answer.request, takes=1)
            notes = [note for piece in self.fallback.answer(request) for note in piece.notes]
            answer.stand_in = [note._replace(by_rule=True) for note in notes]
        return answer.stand_in

    def _add(self, answer: Answer, notes: list[PlannedNote]) -> None:
        answer.takes.setdefault(answer.take, []).extend(notes)
        if notes and answer.queued is None:
            answer.queued = self.session.clock.now()
        self.session.scheduler.add(answer.request.id, self.session.dues(answer, notes))
