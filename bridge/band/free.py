"""Free: the band plays without end, from the instruments you name; what you play colours it."""

from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn

AHEAD = 2  # bars of each question


class Free(BaseMode):
    """Asks for the next bars while the last ones play."""

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'playing'

    def on_note(self, event: NoteOn, beat: float) -> None:
        """Heard, and part of the memory from which the next bars come."""

    def step(self, now: float, beat: float) -> None:
        transport = self.band.transport
        answer = self.band.answer
        ahead = transport.next_bar(transport.beat_at(now + self.band.lead()))
        if answer is None or answer.end < ahead - 1e-6:
            self.band.ask(ahead, ahead + AHEAD * transport.bar, 'free')
        elif beat >= answer.end - transport.bar:
            self.band.ask(answer.end, answer.end + AHEAD * transport.bar, 'free', joins=True)

    def next_time(self, now: float, beat: float) -> float | None:
        answer = self.band.answer
        if answer is None:
            return now + 0.01
        return max(self.band.transport.time_at(answer.end - self.band.transport.bar), now + 0.001)
