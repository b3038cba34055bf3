"""The musician that plays from the model: notes in, one step each; answers out, event by event.

All that was heard and played is one list of notes, in the model's order. The continuer's cache holds the same list;
whatever changes in it (a held note that ended, an answer taken back, another take chosen), `_sync` finds the first
difference, rewinds to it and feeds the rest. So the common case, one more note, costs one step, and every correction
costs only what came after it.

Times inside are steps of the model (12 to the quarter note) in session time.
"""

import bisect
import contextlib
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bridge.musicians.directions import RECENT, Directions, Sampler, sampling
from bridge.musicians.harmony import KEY_BARS
from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote, Musician, PlannedMusic, PlannedNote, Request
from genaudio_core.continuation.continuer import Continuer, Rebase
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.music.events import (
    DRUM_ALIASES,
    DRUM_DURATION,
    duration_code,
    header,
    meter_code,
    velocity_code,
    velocity_of,
)
from genaudio_core.music.layouts import DURATIONS, METER, METERS, NOTE, RESOLUTION
from genaudio_core.score.instruments import DRUMS, DRUMS_CODE, RANGE, instrument_code, instrument_name
from genaudio_core.score.notes import Note

REBASE_AT = 0.35  # share of the context that is left when a re-base begins ...
KEEP = 0.45  # ... and share that it keeps
AGAIN = 32  # events after which a re-base that failed is tried again
LAST_RESORT = 4  # events of room below which an answer cannot go on without re-basing at once
LONGEST_GAP = 48  # beats; longer rests are bridged, a beat code holds no more than 64


class _Event(NamedTuple):
    """A note as the model sees it, in the order the model wants."""

    step: int
    instrument: int  # code 1..65
    pitch: int  # note 0..127
    duration: int  # code
    velocity: int  # code


def _length_of(event: _Event) -> int:
    """Steps that an event lasts."""
    return int(DURATIONS[event.duration - 1])


class ModelMusician(Musician):
    """A `Musician` over a live decoder.

    Parameters
    ----------
    decoder : Decoder
        Of the live layout (relative beats): a session has no last beat.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.encoding = decoder.encoding
        self.rebases = self.late_rebases = self.failed_rebases = self.rewound = 0
        self._bar = 4.0
        self._heard = HeardNotes()
        self._events: dict[int, _Event] = {}  # what was heard as the model sees it, by id
        self._own: dict[tuple[int, int], list[_Event]] = {}  # (request, take)
        self._chosen: dict[int, int] = {}  # request -> take that is played
        self._instruments: set[int] = set()
        self._origin = 0  # session step that is the model's step 0, on a bar line
        self._fed: list[_Event] = []
        self._ends: list[int] = []  # length of the past after each fed note
        self._head = 0
        self._continuer: Continuer | None = None
        self._rebase: Rebase | None = None
        self._worker: threading.Thread | None = None  # runs the newest re-base
        self._not_before = 0  # length of the past at which the next one may begin
        self._spare: Continuer | None = None
        self._seed: int | None = None  # of the band's rhythms: that of the first question
        self._behind = False  # something was heard that the cache does not hold yet

    @classmethod
    def load(cls, path: str | Path) -> 'ModelMusician':
        """Load a decoder file and run every path of it once.

        Raises
        ------
        GenaudioError
            If the file is no decoder of a layout for live use.
        """
        from genaudio_core.errors import GenaudioError

        decoder = Decoder.load(path)
        if not decoder.encoding.relative_beat or not decoder.encoding.has_velocity:
            raise GenaudioError(f'{path} has the published layout: for playing live, use a model of the live layout.')
        # Another one, which nobody will hear, runs every path once: the first run of each size allocates.
        list(cls(decoder).answer(Request(-1, 0.0, 1.0, ('piano',), 'free', takes=1)))
        return cls(decoder)

    # --- memory

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        """Put the instruments into the header now: a new one later costs the cache."""
        codes = {instrument_code(name) for name in instruments}
        if bar != self._bar or not codes <= self._instruments:
            self._bar = bar
            self._rebuild(codes)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        new = self._heard.hear(notes)
        for note in new:
            step = round(note.beat * RESOLUTION)
            instrument = instrument_code(note.instrument)
            pitch = DRUM_ALIASES.get(note.note, note.note) if note.instrument == DRUMS else note.note
            steps = DRUM_DURATION if note.instrument == DRUMS else max(round(note.duration * RESOLUTION), 1)
            self._events[note.id] = _Event(
                step, instrument, pitch, int(duration_code(np.array(steps))),
                int(velocity_code(np.array(note.velocity))),
            )  # fmt: skip
        # What is heard just before a question would be fed twice over: `rest` or the question itself does it once.
        self._behind = self._behind or bool(new)

    def choose(self, request: int, take: int) -> None:
        self._chosen[request] = take
        self._sync()

    def forget(self, request: int, beat: float) -> None:
        step = beat * RESOLUTION - 0.5
        for key in [key for key in self._own if key[0] == request]:
            self._own[key] = [event for event in self._own[key] if event.step < step]
            if not self._own[key]:
                del self._own[key]
        self._sync()

    def stats(self) -> dict[str, float]:
        length = self._continuer.length if self._continuer else 0
        return {
            'context': float(length), 'of': float(self.decoder.context), 'rebases': float(self.rebases),
            'late_rebases': float(self.late_rebases), 'failed_rebases': float(self.failed_rebases),
        }  # fmt: skip

    def rest(self) -> bool:
        """Take in what was heard; begin a re-base when the past grows long.

        A re-base runs in a thread and is adopted when it is done.
        """
        if self._behind:
            self._sync()
            return True
        self._adopt()
        continuer = self._continuer
        if continuer is None or self._rebase is not None or continuer.room > REBASE_AT * continuer.context:
            return False
        if continuer.length < self._not_before or (self._worker is not None and self._worker.is_alive()):
            return False
        self._rebase = continuer.start_rebase(int(KEEP * continuer.context))
        self._worker = threading.Thread(target=_run, args=(self._rebase,), name='rebase', daemon=True)
        self._worker.start()
        return False

    def settle(self) -> None:
        """Do all that `rest` would do in time, now: where time is simulated, nobody waits for a thread."""
        while self.rest():
            pass
        if self._worker is not None:
            self._worker.join()
        self._adopt()

    def close(self) -> None:
        """End the thread that may run; the musician is of no use afterwards."""
        self._drop_rebase()
        if self._worker is not None:
            self._worker.join(timeout=2)

    def _drop_rebase(self) -> None:
        """Of no use any more: the past that it shortens is another one now."""
        if self._rebase is not None:
            self._rebase.cancelled = True
            self._rebase = None
        self._not_before = 0

    def _adopt(self) -> None:
        rebase, continuer = self._rebase, self._continuer
        if rebase is None or continuer is None:
            return
        runs = self._worker is not None and self._worker.is_alive()
        if not rebase.done:
            if not runs:  # it failed: at worst, `_make_room_now`
                self._rebase = None
                self.failed_rebases += 1
                self._not_before = continuer.length + AGAIN
            return
        self._rebase = None
        dropped = continuer.adopt(rebase)
        if dropped is None:
            return  # the past was rewound beyond the snapshot: the next call of `rest` begins anew
        self.rebases += 1
        first = bisect.bisect_right(self._ends, rebase.window.first)
        self._shorten(first, dropped, rebase.window.origin)

    def _shorten(self, first: int, dropped: int, origin: int) -> None:
        """Forget the first notes, as the continuer did."""
        self._head = (self._ends[first] if first < len(self._ends) else self._ends[-1] + 1) - 1 - dropped
        self._fed = self._fed[first:]
        self._ends = [end - dropped for end in self._ends[first:]]
        self._origin += origin
        self._prune()

    def _prune(self) -> None:
        """Drop the notes before the window, so that memory stays flat in a session of hours."""
        start = self._origin
        self._heard.forget_before((start - 0.5) / RESOLUTION)
        self._events = {note.id: self._events[note.id] for note in self._heard}
        own = {key: [event for event in events if event.step >= start] for key, events in self._own.items()}
        self._own = {key: events for key, events in own.items() if events}
        live = {request for request, _ in self._own}
        self._chosen = {request: take for request, take in self._chosen.items() if request in live}

    # --- the past as the model sees it

    def _wanted(self) -> list[_Event]:
        events = [self._events[note.id] for note in self._heard]
        for (request, take), own in self._own.items():
            if self._chosen[request] == take:
                events += own
        events.sort()
        # Of two equal notes (two of one kind in unison) the longer stays: they differ in duration last.
        unique: dict[tuple[int, int, int], _Event] = {}
        for event in events:
            if event.step >= self._origin:
                unique[event[:3]] = event
        return list(unique.values())

    def _sync(self, *, adopt: bool = True) -> Continuer:
        """Make the cache hold what is wanted; return the continuer.

        Adopting a re-base feeds it what was heard since: not while somebody waits for an answer.
        """
        self._behind = False
        if adopt:
            self._adopt()
        wanted = self._wanted()
        codes = {event.instrument for event in wanted}
        if self._continuer is None or not codes <= self._instruments:
            return self._rebuild(codes)
        same = 0
        for fed, event in zip(self._fed, wanted, strict=False):
            if fed != event:
                break
            same += 1
        continuer = self._continuer
        length = self._ends[same - 1] if same else self._head
        if length < continuer.length:
            self.rewound += continuer.length - length
            continuer.rewind(length)
        del self._fed[same:], self._ends[same:]
        self._feed(continuer, wanted[same:])
        return continuer

    def _rebuild(self, codes: set[int]) -> Continuer:
        """Begin anew with the last notes, because the ensemble changed."""
        self._instruments |= codes
        wanted = self._wanted()
        room = int(KEEP * self.decoder.context)
        bar = round(self._bar * RESOLUTION)
        if len(wanted) > room:
            self._origin = -(-wanted[-room].step // bar) * bar
        elif not self._fed and wanted:
            self._origin = wanted[0].step // bar * bar
        self._prune()
        continuer = Continuer(self.decoder)
        self._drop_rebase()
        names = [instrument_name(code) for code in sorted(self._instruments)]
        continuer.feed(header(names, self.encoding, meter=self._meter()))
        self._head = continuer.length
        self._fed, self._ends = [], []
        self._continuer = continuer
        self._feed(continuer, self._wanted())
        return continuer

    def _meter(self) -> tuple[int, int]:
        return next((meter for meter in METERS if meter[0] * 4 / meter[1] == self._bar), (4, 4))

    def _feed(self, continuer: Continuer, events: list[_Event]) -> None:
        rows: list[list[int]] = []
        ends: list[int] = []
        last = self._last_step(continuer)
        for event in events:
            step = event.step - self._origin
            bridge = self._bridge(last, step)
            rows += bridge
            last = last if not bridge else self._after(last, bridge)
            rows.append(self._row(event, last))
            last = step
            ends.append(len(rows))
        if not rows:
            return
        if len(rows) > continuer.room - LAST_RESORT:
            self._make_room_now(continuer)
            self._sync()  # what was not fed yet is found again
            return
        before = continuer.length
        continuer.feed(np.array(rows, np.int64))
        self._fed += events
        self._ends += [before + end for end in ends]

    def _last_step(self, continuer: Continuer) -> int:
        return int(continuer.steps[0, -1]) if continuer.length else 0

    def _row(self, event: _Event, last: int) -> list[int]:
        step = event.step - self._origin
        values = {
            'type': NOTE, 'beat': step // RESOLUTION - last // RESOLUTION + 1, 'position': step % RESOLUTION + 1,
            'instrument': event.instrument, 'pitch': event.pitch + 1, 'duration': event.duration,
            'velocity': event.velocity,
        }  # fmt: skip
        return [values.get(name, 0) for name in self.encoding.fields]

    def _bridge(self, last: int, step: int) -> list[list[int]]:
        """Meter events on bar lines over a rest that is too long for one beat code."""
        rows = []
        bar = round(self._bar * RESOLUTION)
        while step // RESOLUTION - last // RESOLUTION > LONGEST_GAP:
            line = (last + LONGEST_GAP * RESOLUTION) // bar * bar
            values = {
                'type': METER, 'beat': line // RESOLUTION - last // RESOLUTION + 1, 'position': line % RESOLUTION + 1,
                'meter': meter_code(*self._meter()),
            }  # fmt: skip
            rows.append([values.get(name, 0) for name in self.encoding.fields])
            last = line
        return rows

    def _after(self, last: int, bridge: list[list[int]]) -> int:
        for row in bridge:
            last = (last // RESOLUTION + row[1] - 1) * RESOLUTION + row[2] - 1
        return last

    def _make_room_now(self, continuer: Continuer) -> None:
        """Re-base while the music waits: only if the background was too slow, and counted."""
        self.late_rebases += 1
        self._drop_rebase()
        bar = round(self._bar * RESOLUTION)
        keep = self._wanted()[-int(KEEP * self.decoder.context) :]
        self._origin = -(-keep[0].step // bar) * bar if keep else self._origin
        self._fed, self._ends, self._continuer = [], [], None
        self._prune()

    # --- answers

    def answer(self, request: Request) -> Iterator[PlannedMusic]:
        codes = {instrument_code(name) for name in request.instruments}
        start, end = round(request.start * RESOLUTION), round(request.end * RESOLUTION)
        if not self._fed and not len(self._heard) and not self._own:
            bar = round(request.bar * RESOLUTION)
            self._origin = start // bar * bar
        self.expect(request.instruments, request.bar)
        continuer = self._sync(adopt=False)
        if continuer.room < 2 * LAST_RESORT:
            self._make_room_now(continuer)
            continuer = self._rebuild(codes)
        bridge = self._bridge(self._last_step(continuer), start - self._origin)
        if bridge:
            continuer.feed(np.array(bridge, np.int64))
        single = request.takes == 1
        work = continuer if single else continuer.fork(request.takes, self._spare)
        self._spare = None if single else work  # what an answer forked is free again when the next one begins
        rngs = [np.random.default_rng([request.seed, start, take]) for take in range(request.takes)]
        sampler = Sampler(work, sampling(request), rngs, origin=self._origin)
        directions = self._directions(request)
        own: list[list[_Event]] = [[] for _ in range(request.takes)]
        self._chosen[request.id] = 0  # until another one is chosen
        for take in range(request.takes):
            self._own[request.id, take] = own[take]
        casts = [_Cast(request.instruments) for _ in range(request.takes)]
        active = np.ones(request.takes, bool)
        origin = self._origin
        for begin, until in directions.bars():
            sampler.direct(directions.of(begin))
            going = active.copy()
            while going.any() and work.room > 0:
                chosen = sampler.next_events(earliest=begin - origin, latest=until - origin, active=going)
                onsets = work.when(chosen)[0]
                for take in np.flatnonzero(going).tolist():
                    row = chosen[take]
                    if row[0] != NOTE:
                        going[take] = False
                        if until == end:
                            active[take] = False
                            yield PlannedMusic(request.id, take, (), request.end, True)
                        continue
                    event = self._event(row, int(onsets[take]) + origin)
                    own[take].append(event)
                    directions.played((event.instrument, event.step, event.pitch, _length_of(event)), take)
                    note = replace(
                        casts[take].note(event), cued=sampler.was_cued(take), by_rule=sampler.was_by_rule(take)
                    )
                    yield PlannedMusic(request.id, take, (note,), note.beat, False)
                if not going.any():
                    break
                sampler.advance(chosen)
                if single:
                    self._fed.append(own[0][-1])
                    self._ends.append(work.length)
        for take in np.flatnonzero(active).tolist():
            # Out of room: what is covered is told honestly, the rest is the fallback's.
            until = own[take][-1].step / RESOLUTION if own[take] else request.start
            yield PlannedMusic(request.id, take, (), until, True)

    def _directions(self, request: Request) -> Directions:
        """What the parts of a request have to do, after what was heard and played so far."""
        start = round(request.start * RESOLUTION)
        events = [self._events[note.id] for note in self._heard.between(-math.inf, (start - 0.5) / RESOLUTION)]
        pitched = [event for event in events if event.instrument != DRUMS_CODE]
        first, key_from = max(len(pitched) - 2 * RECENT, 0), start - (KEY_BARS + 1) * round(request.bar * RESOLUTION)
        while first and pitched[first - 1].step >= key_from:
            first -= 1
        heard = [
            Note(event.step / RESOLUTION, _length_of(event) / RESOLUTION, event.pitch, 80) for event in pitched[first:]
        ]
        since = start - 3 * round(request.bar * RESOLUTION)  # further back nobody looks
        past = [
            (event.instrument, event.step, event.pitch, _length_of(event))
            for (number, take), events in self._own.items()
            if number != request.id and self._chosen[number] == take
            for event in events
            if since <= event.step < start
        ]
        codes = {instrument_code(name) for name in request.instruments}
        others = {self._events[note.id].instrument for note in self._heard} - codes
        if self._seed is None:
            self._seed = request.seed
        return Directions(request, heard, past, others, self._seed)

    def _event(self, row: np.ndarray, step: int) -> _Event:
        column = self.encoding.columns
        return _Event(
            step, int(row[column['instrument']]), int(row[column['pitch']]) - 1, int(row[column['duration']]),
            int(row[column['velocity']]),
        )  # fmt: skip


def _run(rebase: Rebase) -> None:
    """Run it in the thread. A failure is seen by `done`: its reason is of no use to a player."""
    with contextlib.suppress(Exception):
        rebase.run()


class _Cast:
    """Who of the parts plays a note: of one class the one that is free, and whose last note lies nearest."""

    def __init__(self, instruments: tuple[str, ...]) -> None:
        self._parts: dict[int, dict[int, tuple[int, int]]] = {}  # code -> part -> (step until it plays, last note)
        for part, name in enumerate(instruments):
            low, high = RANGE[name]
            of_class = self._parts.setdefault(instrument_code(name), {})
            of_class[part] = (-1, (low + high) // 2 + 12 - 5 * len(of_class))  # the first plays above the others

    def note(self, event: _Event) -> PlannedNote:
        parts = self._parts[event.instrument]
        part = min(parts, key=lambda each: (parts[each][0] > event.step, abs(parts[each][1] - event.pitch)))
        parts[part] = (event.step + _length_of(event), event.pitch)
        velocity = int(np.clip(velocity_of(np.array(event.velocity)), 1, 127))
        return PlannedNote(event.step / RESOLUTION, _length_of(event) / RESOLUTION, event.pitch, velocity, part)
