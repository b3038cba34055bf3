"""Take over: when you pause, or say so, the band goes on from where you are; play again and it yields."""

from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn


class TakeOver(BaseMode):
    """Waits for a pause of `pause_beats` after you played. Held notes are no pause."""

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'waiting'
        self._played = False  # you have played since the last answer

    def on_note(self, event: NoteOn, beat: float) -> None:
        self._played = True
        self.state = 'listening'
        answer = self.band.answer
        if answer is not None and self.band.setting('player.yields'):
            self.band.drop(beat, release=True)

    def on_stop(self) -> None:
        self._played = False
        self.state = 'waiting'

    def step(self, now: float, beat: float) -> None:
        answer = self.band.answer
        if answer is not None and beat < answer.end:
            self.state = 'answering'
            return
        if not self._played:
            self.state = 'waiting'
            return
        if self.band.listener.is_silent(beat, self.band.setting('player.pause_beats')):
            self._played = False
            start = start_soon(self.band, now)
            bar = self.band.transport.bar
            end = self.band.transport.next_bar(start) + bar * self.band.setting('player.bars_answered')
            if self.band.transport.next_bar(start) - start < 1e-6:
                end = start + bar * self.band.setting('player.bars_answered')
            self.band.ask(start, end)

    def next_time(self, now: float, beat: float) -> float | None:
        listener = self.band.listener
        if not self._played or listener.n_held:
            return None
        pause = max(listener.last_on, listener.last_off) + self.band.setting('player.pause_beats')
        return max(self.band.transport.time_at(pause), now + 0.001)


def start_soon(band: Band, now: float) -> float:
    """Return the first eighth note at which an answer asked for now can begin on time."""
    beat = band.transport.beat_at(now + band.lead())
    eighth = -(-(beat - 1e-6) // 0.5)  # ceiling
    return eighth * 0.5
