"""Accompany: the other instruments play with you, planned a bar ahead, planned again when you surprise them."""

import math

from bridge.band.answer import planned_chord
from bridge.band.chord_follower import LOW
from bridge.band.listener import DRUM_CHANNEL
from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn
from bridge.musicians.musician import ChordAt
from genaudio_core.music.keys import Chord

SILENCE = 2  # bars without a note of yours after which the band rests
SETTLE = 0.05  # seconds after a key in which others of the same chord may come
LATE = 0.02  # seconds that a chord may be struck behind its line
GRID = 0.25  # beats: where a plan may change inside a bar
TELLS = 2.5  # bars for which one who has played a chord is expected to play the next
MEMORY = 16  # notes of a line that are looked back at
EARLY = 0.1  # beats before half a bar in which a note is struck for it
LOOK = 0.05  # seconds before the last moment for a new plan at which the next bar's is looked at once more
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
        self._line: list[tuple[float, int]] = []  # the last notes, one after the other: (beat, note 0..127)
        self._looked = -math.inf  # line of the last bar whose plan was looked at once more before it began
        self._told = -math.inf  # beat of the last keys that told a chord at once: several together, or a bass note
        self.replanned = 0

    def on_note(self, event: NoteOn, beat: float) -> None:
        if self.state == 'waiting':
            self.state = 'playing'
        if self._struck is None:
            self._struck = event.time
            self._keys.clear()
        if event.channel != DRUM_CHANNEL:
            self._keys.add(event.note)
            self._line = [*self._line[-MEMORY:], (beat, event.note)]

    def on_stop(self) -> None:
        self.state = 'waiting'
        self._struck = None
        self._line.clear()
        self._told = self._looked = -math.inf

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
        start = line = transport.bar_start(beat) + bar
        if transport.time_at(start) - now < self.band.lead():
            start += bar  # too late for the very next bar
        if self._struck is not None and now >= self._struck + SETTLE - 1e-6:
            self._struck = None
            tells = len({key % 12 for key in self._keys}) > 1 or min(self._keys, default=127) < LOW
            if tells:
                self._told = beat
            self._follow(now, beat, tells)
        answer = self.band.answer
        if answer is None and self._struck is not None:
            return  # the first chord is being struck: a moment later it is known
        if (answer is None or answer.end <= start + 1e-6) and start - silent_since <= SILENCE * bar:
            planned = answer.request.chords if answer is not None else ()
            coming = self.band.chords(start, start + bar)[:1]
            if not _same(planned[-1:], coming) or not all(each.sure for each in coming):
                self.band.end_by(start)  # what the last plan holds on to was, or may have been, for other harmony
            self._ask(start, start + bar, joins=answer is not None)
        if now >= self._look(line) - 1e-6 and self._looked < line:
            self._looked = line
            if beat - self._told <= TELLS * bar:
                self._follow(now, beat, True)  # what was heard since the question may have made sure what comes

    def _look(self, line: float) -> float:
        """When the plan for the bar at `line` is looked at once more."""
        return self.band.transport.time_at(line) - self.band.lead() - LOOK

    def _is_broken(self, beat: float, old: Chord, new: Chord) -> bool:
        """Whether what was struck in this half of the bar, note by note, is of the new chord and not of the old.

        A broken chord moves by leaps; a tune that passes by is none.
        """
        slot = self.band.chords(beat, beat + 1e-3)
        begin = slot[0].beat - EARLY if slot else beat
        struck = {note % 12 for at, note in self._line if at >= begin}
        leaps = all((one - other) % 12 > 2 for one in struck for other in struck if one != other)
        return len(struck) > 1 and leaps and struck <= new.pitch_classes and not struck <= old.pitch_classes

    def _follow(self, now: float, beat: float, tells: bool) -> None:
        """Plan again from the first moment at which the player's harmony is not that of the plan.

        One note of a tune is no change of harmony.
        """
        soon = math.ceil(self.band.transport.beat_at(now + self.band.lead()) / GRID) * GRID
        answer = self.band.answer
        if answer is None or answer.end <= soon + LAST:
            return
        for chord in self.band.chords(soon, answer.end):
            at = max(chord.beat, soon)
            planned = planned_chord(self.band.answers, at)
            if planned is None:
                continue  # nobody plays there: the band comes in on a bar line
            if not tells and not self._is_broken(beat, planned.chord, chord.chord):
                return
            if planned.chord != chord.chord or (chord.sure and not planned.sure):
                self.replanned += 1
                end = answer.end  # which is cut where it is dropped
                self.band.drop(at)
                self._ask(at, end, joins=True)
                return

    def _ask(self, start: float, end: float, *, joins: bool) -> None:
        """Ask for [start, end). Where only you can tell the chord, it is listened for as long as a new plan takes.

        From one who plays a tune no chord is to be had: then the band plays what it guesses.
        """
        transport = self.band.transport
        if start - self._told > TELLS * transport.bar:
            self.band.ask(start, end, 'accompany', joins=joins)
            return
        seconds = SETTLE + LATE + self.band.lead()
        listens = transport.beat_at(transport.time_at(start) + seconds) - start
        self.band.ask(start, end, 'accompany', joins=joins, listens=math.ceil(listens / GRID - 1e-6) * GRID)

    def next_time(self, now: float, beat: float) -> float | None:
        if self.state == 'waiting':
            return None
        transport = self.band.transport
        line = transport.bar_start(beat) + transport.bar
        times = [transport.time_at(line), self._look(line)]
        if self._struck is not None:
            times.append(self._struck + SETTLE)
        later = [time for time in times if time > now]
        return min(later) if later else now + 0.05


def _same(one: tuple[ChordAt, ...], other: tuple[ChordAt, ...]) -> bool:
    return [each.chord for each in one] == [each.chord for each in other]
