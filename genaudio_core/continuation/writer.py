"""Events drawn up to a time, freely, under direction or beside others, by a session that stays inside the context."""

import bisect
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.directing import DirectedSampler
from genaudio_core.continuation.leading import Bandleader
from genaudio_core.continuation.roles import BarAt
from genaudio_core.continuation.sampling import Controls, EventSampler
from genaudio_core.music.descriptions import Told, chord_of
from genaudio_core.music.events import bar_steps, decode_table
from genaudio_core.music.layouts import METER, NOTE, PART, RESOLUTION, RESTS

MAX_BRIDGED = 256 * RESOLUTION  # steps of rest that the model is told of
RESERVE = 0.25  # share of the context that a prompt leaves free
Progress = Callable[[float], None]  # beats done


def beside(
    sampler: DirectedSampler, given: deque[tuple[np.ndarray, int]], begin: int, end: int,
    feed: Callable[[np.ndarray, int], None], make_room: Callable[[], None] = lambda: None,
) -> Iterator[tuple[np.ndarray, int, bool]]:  # fmt: skip
    """Draw the events from step `begin` to before `end`, in turn with those that are given.

    Given and new ones are one sequence to the model. Whenever it would play a new note before the next given event, in
    time or in the order of one moment, the note is taken; else the given event comes, and the note is drawn anew after
    it. Steps are those of the sampler's direction.

    Parameters
    ----------
    given : deque of (event (fields,), its step), in the model's order
        Those before `end` are taken from it.
    feed : callable
        Feeds a given event at its step.
    make_room : callable
        Called before anything is drawn: the next event, and a given one after it, must fit.

    Yields
    ------
    (fields,), int, bool
        An event that has just been fed, its step, and whether it is new.
    """
    encoding, continuer = sampler.encoding, sampler.continuer
    order = [encoding.index(name) for name in ('instrument', 'part', 'pitch') if name in encoding.fields]
    while True:
        row, at = given[0] if given and given[0][1] < end else (None, end)
        make_room()
        latest = at + 1 if row is not None and row[0] == NOTE else at
        event = sampler.next_events(earliest=begin - sampler.origin, latest=latest - sampler.origin)[0]
        if event[0] == NOTE:
            step = int(continuer.when(event)[0][0]) + sampler.origin
            # At one moment instruments rise: what comes after the given note is drawn again after it.
            if row is None or step < at or event[order].tolist() < row[order].tolist():
                sampler.advance(event[None])
                yield event, step, True
                continue
        if row is None:
            return
        given.popleft()
        feed(row, at)
        yield row, at, False


@dataclass
class Led:
    """Who leads the new part, and its bars."""

    leader: Bandleader
    bars: list[BarAt]  # in a row
    zero: int  # step of the score that is the writer's step 0

    def bar_at(self, step: int) -> BarAt:
        """The bar in which a step of the score lies."""
        return self.bars[max(bisect.bisect_right(self.bars, step, key=lambda bar: bar.begin) - 1, 0)]


class Writer:
    """Draws events up to a time, and keeps the session inside the context."""

    def __init__(
        self, decoder: Decoder, events: np.ndarray, controls: Controls, seed: int, told: Told | None = None,
        chords: np.ndarray | None = None, led: Led | None = None,
    ):  # fmt: skip
        """Goes on from events (n, fields). `told` goes to models that can be told; `chords` (n, 2), of
        `descriptions.chart_changes`, is what others may play.
        `led` directs every note instead of both.
        """
        self.encoding, self.led = decoder.encoding, led
        self.told = told if self.encoding.has_descriptions and led is None else None
        self.chords = None if self.encoding.has_descriptions or led is not None else chords
        self.key = controls.pitch_classes
        self.continuer = Continuer(decoder)
        self.continuer.feed(events)
        rngs = [np.random.default_rng(seed)]
        self.directed = None if led is None else DirectedSampler(self.continuer, controls, rngs, origin=led.zero)
        self.sampler = self.directed or EventSampler(self.continuer, controls, rngs)
        self.origin = 0  # steps that re-basing has taken off the front

    def write(self, begin: int, end: int, progress: Progress) -> tuple[np.ndarray, bool]:
        """Note rows (n, fields) with absolute onsets beside them; (table, whether the song ended)."""
        rows, onsets, ended = [], [], False
        turn = self._turn(begin - 1, end)  # a turn is where something is told, or other notes are allowed from
        if self.chords is not None and turn > begin and (self.chords[:, 0] < begin).any():
            self._tell(int(self.chords[self.chords[:, 0] < begin, 0].max()))
        self._bridge(begin)
        if self.led is not None and turn > begin:
            self._direct(begin)  # in the middle of a bar
        while True:
            if turn <= begin < end:
                self._tell(turn)
                turn = self._turn(turn, end)
            self._make_room()
            chosen = np.zeros((1, len(self.encoding.fields)), np.int64)
            if self.sampler.may_play:
                chosen = self.sampler.next_events(earliest=begin - self.origin, latest=turn - self.origin)
            if chosen[0, 0] != NOTE:
                ended = bool(chosen[0].any())
                if ended or turn >= end:
                    break
                begin = turn
                self._bridge(begin)
                continue
            self.sampler.advance(chosen)
            rows.append(chosen[0])
            onsets.append(int(self.continuer.steps[0, -1]) + self.origin)
            if self.led is not None and self.directed is not None:
                step = onsets[-1] + self.led.zero
                self.led.leader.played(self.led.bar_at(step), *self.directed.what(chosen[0]), step=step)
            progress((onsets[-1] - begin) / RESOLUTION)
        notes = np.array(rows, np.int16).reshape(len(rows), len(self.encoding.fields))
        table = decode_table(notes, self.encoding)
        table['step'] = onsets
        return table, ended

    def shares(self) -> tuple[float | None, float | None]:
        """Shares of the notes that were cued, and that rules played; None without direction."""
        return (None, None) if self.directed is None else self.directed.shares()

    def _turn(self, after: int, end: int) -> int:
        """The first step after `after` at which there is something to tell, or another chord; at most `end`."""
        if self.led is not None:
            return min(
                (bar.begin - self.led.zero for bar in self.led.bars if bar.begin - self.led.zero > after), default=end
            )
        steps = self.told[0] if self.told is not None else self.chords[:, 0] if self.chords is not None else ()
        return min((int(step) for step in steps if step > after), default=end) if len(steps) else end

    def _tell(self, step: int) -> None:
        """Feed what is told at `step`, or allow the notes of its chord only, or direct the bar that begins there."""
        if self.led is not None:
            self._direct(step)
        elif self.told is not None:
            rows = self.told[1][self.told[0] == step].astype(np.int64)
            self._feed_told(rows, step)
            self._rest(rows)
        elif self.chords is not None:
            chord = chord_of(int(self.chords[self.chords[:, 0] == step][-1, 1]))
            if chord is not None:
                both = chord.pitch_classes & (self.key or chord.pitch_classes)
                self.sampler.controls = self.sampler.controls.with_(pitch_classes=both or chord.pitch_classes)

    def _direct(self, step: int) -> None:
        """Direct the bar in which `step` lies, from there on; a model that can be told is told its chords."""
        assert self.led is not None and self.directed is not None
        bar = self.led.bar_at(step + self.led.zero)
        if self.encoding.has_descriptions and bar.begin == step + self.led.zero:
            self._feed_told(self.led.leader.told(bar).astype(np.int64), step)
        self.directed.direct(self.led.leader.direction(bar, step + self.led.zero))

    def _make_room(self, events: int = 1) -> None:
        self.origin += self.continuer.make_room(events, keep=1 - RESERVE)
        if self.led is not None and self.directed is not None:
            self.directed.origin = self.led.zero + self.origin

    def _feed_told(self, rows: np.ndarray, step: int) -> None:
        """Feed events (n, fields) without a time, at a step."""
        if not len(rows):
            return
        self._make_room(len(rows))
        now, at = int(self.continuer.steps[0, -1]), step - self.origin
        rows[:, 1], rows[:, 2] = 1, at % RESOLUTION + 1
        rows[0, 1] += at // RESOLUTION - now // RESOLUTION
        self.continuer.feed(rows)

    def _rest(self, rows: np.ndarray) -> None:
        """Silence the parts that are told to rest, and let those play that are told to."""
        column, resting = self.encoding.columns, set(self.sampler.resting)
        for row in rows[rows[:, 0] == PART]:
            who = int(row[column['instrument']]), int(row[column['part']])
            if row[column['density']] == RESTS:
                resting.add(who)
            else:
                resting.discard(who)
        if resting != self.sampler.resting:
            self.sampler.resting = resting

    def _bridge(self, begin: int) -> None:
        """Cross a rest that is longer than a beat code can say (a last chord held for minutes) by meter events."""
        encoding = self.encoding
        if not encoding.relative_beat:
            return
        longest = (encoding.max_beat - 1) * RESOLUTION
        while True:
            self._make_room()
            now = int(self.continuer.steps[0, -1])
            gap = begin - self.origin - now
            if gap <= longest:
                return
            events = self.continuer.events[0]
            meter = int(events[events[:, 0] == METER][-1, encoding.index('meter')])
            bar, line = bar_steps(meter), int(self.continuer.bar_lines[0])
            if gap > MAX_BRIDGED:  # what is longer still is silence all the same: whole bars of it are left out
                self.origin += (gap - MAX_BRIDGED + bar - 1) // bar * bar
                self._make_room()
                continue
            at = line + (now + longest - RESOLUTION - line) // bar * bar  # a bar line, so that none is moved
            at = at if at > now else now + longest - RESOLUTION
            row = np.zeros(len(encoding.fields), np.int64)
            row[[0, encoding.index('meter')]] = METER, meter
            self.continuer.feed(self.continuer.placed(row, at))
