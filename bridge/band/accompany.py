"""Accompany: the other instruments play with you, planned a bar ahead, planned anew when you surprise them."""

import math

from bridge.band.answer import planned_chord
from bridge.band.listener import DRUM_CHANNEL
from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn
from bridge.musicians.musician import ChordAt

SILENCE = 2  # bars without a note of yours after which the band rests
SETTLE = 0.05  # seconds after a key in which others of the same chord may come
GRID = 0.25  # beats: where a plan may change inside a bar
BASS = 52  # notes below it say what the harmony is, alone
LAST = 0.25  # beats before its end from which a plan is no longer changed


class Accompany(BaseMode):
    """Asks for each bar during the bar before it, with the chords that are expected in it.

    A surprise is a chord of yours that is not the one the plan was made for: what is planned from the next moment that
    can be on time is asked for again.
    """

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'waiting'
        self._struck: float | None = None  # bridge time of the first key that was not thought about yet
        self._keys: set[int] = set()  # notes 0..127 struck since then
        self.replanned = 0

    def on_note(self, event: NoteOn, beat: float) -> None:
        if self.state == 'waiting':
            self.state = 'playing'
        if self._struck is None:
            self._struck = event.time
            self._keys.clear()
        if event.channel != DRUM_CHANNEL:
            self._keys.add(event.note)

    def on_stop(self) -> None:
        self.state = 'waiting'
        self._struck = None

    def step(self, now: float, beat: float) -> None:
        if self.state == 'waiting':
            return
        transport = self.band.transport
        bar = transport.bar
        listener = self.band.listener
        silent_since = beat if listener.n_held else max(listener.last_on, listener.last_off)
        if beat - silent_since > SILENCE * bar:
            self.state = 'waiting'
            return
        start = transport.bar_start(beat) + bar
        if transport.time_at(start) - now < self.band.lead():
            start += bar  # too late for the very next bar
        answer = self.band.answer
        if (answer is None or answer.end <= start + 1e-6) and start - silent_since <= SILENCE * bar:
            planned = answer.request.chords if answer is not None else ()
            if not _same(planned[-1:], self.band.chords(start, start + bar)[:1]):
                self.band.end_by(start)  # what the last plan holds on to was meant for other harmony
            self.band.ask(start, start + bar, 'accompany', joins=answer is not None)
        if self._struck is not None and now >= self._struck + SETTLE - 1e-6:
            self._struck = None
            # One note of a tune is no change of harmony; a low one may be a new bass.
            if len({key % 12 for key in self._keys}) > 1 or min(self._keys, default=127) < BASS:
                self._follow(now)

    def _follow(self, now: float) -> None:
        """Plan anew from the first moment at which the player's harmony is not that of the plan."""
        soon = math.ceil(self.band.transport.beat_at(now + self.band.lead()) / GRID) * GRID
        answer = self.band.answer
        if answer is None or answer.end <= soon + LAST:
            return
        for chord in self.band.chords(soon, answer.end):
            at = max(chord.beat, soon)
            planned = planned_chord(self.band.answers, at)
            if planned is None:
                continue  # nobody plays there: the band comes in on a bar line
            if planned.chord != chord.chord or (chord.sure and not planned.sure):
                self.replanned += 1
                self.band.drop(at)
                self.band.ask(at, answer.end, 'accompany', joins=True)
                return

    def next_time(self, now: float, beat: float) -> float | None:
        if self.state == 'waiting':
            return None
        transport = self.band.transport
        times = [transport.time_at(transport.bar_start(beat) + transport.bar)]
        if self._struck is not None:
            times.append(self._struck + SETTLE)
        later = [time for time in times if time > now]
        return min(later) if later else now + 0.05


def _same(one: tuple[ChordAt, ...], other: tuple[ChordAt, ...]) -> bool:
    return [each.chord for each in one] == [each.chord for each in other]
