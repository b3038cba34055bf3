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
from pathlib import Path

import numpy as np

from bridge.musicians.directions import RECENT, Directions, Sampler, leaning, sampling
from bridge.musicians.harmony import KEY_BARS
from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.model_events import (
    Cast,
    DescriptionEvent,
    Entry,
    Event,
    event_of,
    heard_event,
    parts_of,
    row_of,
    told_chords,
    told_part,
)
from bridge.musicians.musician import HeardNote, Musician, PlannedMusic, Request
from genaudio_core.continuation.continuer import Continuer, Rebase
from genaudio_core.continuation.cues import Who
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.music.events import header, meter_code
from genaudio_core.music.layouts import METER, METERS, N_PARTS, NOTE, PART, RESOLUTION
from genaudio_core.score.instruments import DRUMS_CODE, instrument_code, instrument_name
from genaudio_core.score.notes import Note

REBASE_AT = 0.35  # share of the context that is left when a re-base begins ...
KEEP = 0.45  # ... and share that it keeps
AGAIN = 32  # events after which a re-base that failed is tried again
LAST_RESORT = 4  # events of room below which an answer cannot go on without re-basing at once
LONGEST_GAP = 48  # beats; longer rests are bridged, a beat code holds no more than 64


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
        self._events: dict[int, Event] = {}  # what was heard as the model sees it, by id
        self._own: dict[tuple[int, int], list[Event]] = {}  # (request, take)
        self._chosen: dict[int, int] = {}  # request -> take that is played
        self._told: dict[int, list[DescriptionEvent]] = {}  # bar line -> what was told there
        self._beside: dict[int, int] = {}  # instrument code -> part of the player, where the band plays it, too
        self._instruments: set[int] = set()
        self._origin = 0  # session step that is the model's step 0, on a bar line
        self._fed: list[Entry] = []
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
        first = cls(decoder)
        list(first.answer(Request(-2, 0.0, 1.0, ('piano', 'bass', 'drums'), 'free')))
        first.hear([HeardNote(beat, 4.0 + beat, 1.0, 60 + beat, 80, 'piano') for beat in range(4)])
        list(first.answer(Request(-1, 8.0, 9.0, ('piano', 'bass', 'drums'))))
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
            self._events[note.id] = heard_event(note, self._part_of_player(note.instrument))
        # What is heard just before a question would be fed twice over: `rest` or the question itself does it once.
        self._behind = self._behind or bool(new)

    def _part_of_player(self, instrument: str) -> int:
        """Which part of its instrument the player's is."""
        return self._beside.get(instrument_code(instrument), 1) if self.encoding.has_descriptions else 0

    def _cast_player(self, request: Request) -> None:
        """Beside a band that has the player's instrument, too, the player is a part of his own; an answer goes on with
        the part that was heard.
        """
        if request.role == 'continue':
            return
        parts = parts_of(request.instruments, told=True)
        beside = {code: min(part + 1, N_PARTS) for code, part in parts if code != DRUMS_CODE}  # the last of each counts
        if beside != self._beside:
            self._beside = beside
            self._events = {note.id: heard_event(note, self._part_of_player(note.instrument)) for note in self._heard}

    def choose(self, request: int, take: int) -> None:
        self._chosen[request] = take
        self._sync()

    def forget(self, request: int, beat: float) -> None:
        step = beat * RESOLUTION - 0.5
        for key in [key for key in self._own if key[0] == request]:
            self._own[key] = [event for event in self._own[key] if event.step < step]
            if not self._own[key]:
                del self._own[key]
        self._told = {line: told for line, told in self._told.items() if line < step}
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
            return  # the past was rewound beyond the snapshot: the next call of `rest` begins again
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
        self._told = {line: told for line, told in self._told.items() if line >= start}

    # --- the past as the model sees it

    def _wanted(self) -> list[Entry]:
        events: list[Entry] = [self._events[note.id] for note in self._heard]
        for told in self._told.values():
            events += told
        for (request, take), own in self._own.items():
            if self._chosen[request] == take:
                events += own
        events.sort()
        # Of two equal notes (two of one kind in unison) the longer stays: they differ in duration last.
        unique: dict[tuple, Entry] = {}
        for event in events:
            if event.step >= self._origin:
                unique[event[:4]] = event
        return list(unique.values())

    def _sync(self, *, adopt: bool = True) -> Continuer:
        """Make the cache hold what is wanted; return the continuer.

        Adopting a re-base feeds it what was heard since: not while somebody waits for an answer.
        """
        self._behind = False
        if adopt:
            self._adopt()
        wanted = self._wanted()
        codes = {event.instrument for event in wanted if isinstance(event, Event)}
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
        return self._continuer  # a new one, where there was no room in that

    def _rebuild(self, codes: set[int]) -> Continuer:
        """Begin again with the last notes, because the ensemble changed."""
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
        return self._continuer

    def _meter(self) -> tuple[int, int]:
        return next((meter for meter in METERS if meter[0] * 4 / meter[1] == self._bar), (4, 4))

    def _feed(self, continuer: Continuer, events: list[Entry]) -> None:
        rows: list[list[int]] = []
        ends: list[int] = []
        last = self._last_step(continuer)
        for event in events:
            step = event.step - self._origin
            bridge = self._bridge(last, step)
            rows += bridge
            last = last if not bridge else self._after(last, bridge)
            rows.append(row_of(event, step, last, self.encoding))
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
        self._cast_player(request)
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
        who = parts_of(request.instruments, told=self.encoding.has_descriptions)
        sampler = Sampler(work, sampling(request), rngs, origin=self._origin, parts=who)
        sampler.lean = leaning(request, self.encoding.sizes[self.encoding.columns['instrument']])
        directions = self._directions(request, who)
        sampler.ranges = directions.ranges
        request = directions.request  # it may know more of the harmony
        own: list[list[Event]] = [[] for _ in range(request.takes)]
        self._chosen[request.id] = 0  # until another one is chosen
        for take in range(request.takes):
            self._own[request.id, take] = own[take]
        casts = [Cast(request.instruments) for _ in range(request.takes)]
        active = np.ones(request.takes, bool)
        origin = self._origin
        for begin, until in directions.bars():
            self._tell(work, request, begin, directions.to_tell())
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
                    event = event_of(row, int(onsets[take]) + origin, self.encoding)
                    own[take].append(event)
                    directions.played((event.who, event.step, event.pitch, event.length), take)
                    note = casts[take].note(event, cued=sampler.was_cued(take), by_rule=sampler.was_by_rule(take))
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

    def _tell(self, work: Continuer, request: Request, begin: int, parts: Sequence[tuple[Who, float, int]]) -> None:
        """Tell a model that can be told the chords of the bar that begins at a step, and `parts` that do other things.

        Not as an answer begins: its first note would come a step later.
        """
        first = request.role == 'continue' and begin == round(request.start * RESOLUTION)
        if not self.encoding.has_descriptions or begin % round(request.bar * RESOLUTION) or first:
            return
        told, at = told_chords(request, begin) + self._news(begin, parts), begin - self._origin
        # What was heard there already would come before it; and what an earlier request told, stands.
        late = (work.events[:, -1, 0] == NOTE) & (work.steps[:, -1] >= at)
        if not told or begin in self._told or late.any() or len(told) > work.room - LAST_RESORT:
            return
        rows = []
        for take in range(work.takes):
            last = [int(work.steps[take, -1]), *(at for _ in told[1:])]
            rows.append([row_of(one, at, before, self.encoding) for one, before in zip(told, last, strict=True)])
        work.feed(np.array(rows, np.int64))
        self._told[begin] = told
        if work is self._continuer:
            self._fed += told
            self._ends += range(work.length - len(told) + 1, work.length + 1)

    def _news(self, begin: int, parts: Sequence[tuple[Who, float, int]]) -> list[DescriptionEvent]:
        """What was not told yet of parts, or holds no more: a part that is as the band again has nothing told."""
        column = self.encoding.columns
        known: dict[Who, tuple[int, ...]] = {}
        for line in sorted(line for line in self._told if line < begin):
            for _, _, fields in self._told[line]:
                if fields[0] == PART:
                    known[fields[column['instrument']], fields[column['part']]] = fields
        wanted = {one: told_part(begin, one) for one in known}
        wanted |= {one: told_part(begin, one, onsets, middle) for one, onsets, middle in parts}
        return sorted(told for one, told in wanted.items() if known.get(one) != told.fields)

    def _directions(self, request: Request, who: Sequence[Who]) -> Directions:
        """The tasks of the parts of a request, after the music heard and played so far."""
        start = round(request.start * RESOLUTION)
        events = [self._events[note.id] for note in self._heard.between(-math.inf, (start - 0.5) / RESOLUTION)]
        pitched = [event for event in events if event.instrument != DRUMS_CODE]
        first, key_from = max(len(pitched) - 2 * RECENT, 0), start - (KEY_BARS + 1) * round(request.bar * RESOLUTION)
        while first and pitched[first - 1].step >= key_from:
            first -= 1
        heard = [Note(event.step / RESOLUTION, event.length / RESOLUTION, event.pitch, 80) for event in pitched[first:]]
        since = start - 3 * round(request.bar * RESOLUTION)  # further back nobody looks
        past = [
            (event.who, event.step, event.pitch, event.length)
            for (number, take), events in self._own.items()
            if number != request.id and self._chosen[number] == take
            for event in events
            if since <= event.step < start
        ]
        codes = {instrument_code(name) for name in request.instruments}
        others = {self._events[note.id].instrument for note in self._heard} - codes
        if self._seed is None:
            self._seed = request.seed
        return Directions(request, heard, past, others, self._seed, who)


def _run(rebase: Rebase) -> None:
    """Run it in the thread. A failure is seen by `done`: its reason is of no use to a player."""
    with contextlib.suppress(Exception):
        rebase.run()
