"""Respond: you play some bars, the band answers with as many."""

from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn

PICK_UP = 0.5  # beats before a bar line that already belong to the next bar
SETTLE = 0.06  # seconds between two questions for the same answer


class Respond(BaseMode):
    """Listens from the bar of your first note, asks just before the line, answers on it.

    What you play between the question and the line is asked about again as long as there is time.
    """

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'waiting'
        self._phrase_end: float | None = None
        self._asked_at = -1e9
        self._dirty = False

    def on_note(self, event: NoteOn, beat: float) -> None:
        self._dirty = True
        bar = self.band.transport.bar
        answer = self.band.answer
        if self._phrase_end is not None:
            return
        if answer is not None and beat < answer.end - PICK_UP:
            return  # you play along with the answer: welcome, and heard
        start = self.band.transport.bar_start(beat + PICK_UP)
        if answer is not None:
            start = max(start, self.band.transport.bar_start(answer.end + PICK_UP))
        self._phrase_end = start + bar * self.band.setting('player.bars_heard')
        self.state = 'listening'

    def on_stop(self) -> None:
        self._phrase_end = None
        self.state = 'waiting'

    def step(self, now: float, beat: float) -> None:
        if self._phrase_end is None:
            answer = self.band.answer
            if answer is None or beat >= answer.end:
                self.state = 'waiting'
            return
        transport = self.band.transport
        left = transport.time_at(self._phrase_end) - now
        answer = self.band.answer
        asked = answer is not None and answer.request.start == self._phrase_end
        if beat >= self._phrase_end:
            if not asked:  # the lead was missed altogether, by a tempo leap say: begin as soon as possible
                self._ask()
            self.state = 'answering'
            self._phrase_end = None
        elif left <= self.band.lead() + 0.15:
            due = not asked or (self._dirty and left > self.band.lead() and now - self._asked_at > SETTLE)
            if due:
                self._asked_at = now
                self._ask()

    def _ask(self) -> None:
        self._dirty = False
        assert self._phrase_end is not None
        length = self.band.transport.bar * self.band.setting('player.bars_answered')
        self.band.ask(self._phrase_end, self._phrase_end + length)

    def next_time(self, now: float, beat: float) -> float | None:
        if self._phrase_end is None:
            return None
        line = self.band.transport.time_at(self._phrase_end)
        lead = self.band.lead()
        ask = line - lead - 0.15
        if now < ask:
            return ask
        again = max(self._asked_at + SETTLE, now + 0.001)
        return again if self._dirty and again < line - lead else line
