"""Accompany: the other instruments play with you, planned a bar ahead, planned anew when you surprise them."""

from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn

SILENCE = 2  # bars without a note of yours after which the band rests


class Accompany(BaseMode):
    """Asks for each bar during the bar before it.

    A surprise is a change of the chord you sound, against the one the plan was made for.
    """

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'waiting'
        self._chord: tuple[int, tuple[int, ...]] | None = None
        self._asked_at = -1e9  # beat of the last question
        self._surprised = False
        self.replanned = 0

    def on_note(self, event: NoteOn, beat: float) -> None:
        if self.state == 'waiting':
            self.state = 'playing'
        self._surprised = True

    def on_stop(self) -> None:
        self.state = 'waiting'
        self._chord = None

    def step(self, now: float, beat: float) -> None:
        if self.state == 'waiting':
            return
        transport = self.band.transport
        bar = transport.bar
        listener = self.band.listener
        if not listener.n_held and beat - max(listener.last_on, listener.last_off) > SILENCE * bar:
            self.state = 'waiting'
            return
        left = self.band.lead() + 0.05
        start = transport.bar_start(beat) + bar
        if transport.time_at(start) - now < self.band.lead():
            start += bar  # too late for the very next bar
        answer = self.band.answer
        if answer is None or answer.end <= start + 1e-6:
            chord = self.band.chord(start - bar, start)
            if chord != self._chord:
                self.band.end_by(start)  # what the last plan holds on to was meant for other harmony
            self._chord = chord
            self._asked_at = beat
            self._surprised = False
            self.band.ask(start, start + bar, 'accompany', joins=answer is not None)
        elif self._surprised and beat - self._asked_at >= 0.5 and transport.time_at(start) - now > left:
            self._surprised = False
            chord = self.band.chord(start - bar, start)
            if chord is not None and chord != self._chord:
                self._chord = chord
                self._asked_at = beat
                self.replanned += 1
                self.band.drop(start)
                self.band.ask(start, start + bar, 'accompany', joins=True)

    def next_time(self, now: float, beat: float) -> float | None:
        if self.state == 'waiting':
            return None
        transport = self.band.transport
        times = [transport.time_at(transport.bar_start(beat) + transport.bar)]
        if self._surprised:
            times.append(transport.time_at(self._asked_at + 0.5))
        later = [time for time in times if time > now]
        return min(later) if later else now + 0.05
