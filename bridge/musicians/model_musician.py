"""The musician that plays from the model: notes in, one step each; answers out, event by event.

What it remembers is `model_memory`'s. Times inside are steps of the model (12 to the quarter note) in session time.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bridge.musicians.directions import RECENT, Directions, Sampler, leaning, sampling
from bridge.musicians.harmony import KEY_BARS
from bridge.musicians.model_events import (
    Cast,
    DescriptionEvent,
    Event,
    event_of,
    parts_of,
    played_event,
    row_of,
    told_chords,
    told_part,
)
from bridge.musicians.model_memory import LAST_RESORT, ModelMemory
from bridge.musicians.musician import Again, HeardNote, Leans, PlannedMusic, Request
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.cues import Who
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.influence import Influence
from genaudio_core.continuation.writer import beside
from genaudio_core.music.layouts import NOTE, PART, RESOLUTION
from genaudio_core.score.instruments import DRUMS_CODE, instrument_code
from genaudio_core.score.notes import Note

MOST_LEANS = 48  # notes that an answer may lean on: those just before its last one


class ModelMusician(ModelMemory):
    """A `Musician` over a live decoder.

    Parameters
    ----------
    decoder : Decoder
        Of the live layout (relative beats): a session has no last beat.
    """

    leans: Leans = ()  # see `leans_of`
    _influence: tuple[Influence, list[Event]] | None = None  # at work, and the notes that it looks at

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

    # --- answers

    def answer(self, request: Request) -> Iterator[PlannedMusic]:
        codes = {instrument_code(name) for name in request.instruments}
        start, end = round(request.start * RESOLUTION), round(request.end * RESOLUTION)
        if not self._fed and not len(self._heard) and not self._own:
            bar = round(request.bar * RESOLUTION)
            self._origin = start // bar * bar
        self.expect(request.instruments, request.bar)
        self._cast_player(request)
        if request.again is not None:
            yield from self._once_more(request, request.again)
            return
        continuer = self._past_of(start, codes, 2 * LAST_RESORT, math.inf)
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
        self._probe(request, work)
        for take in np.flatnonzero(active).tolist():
            # Out of room: what is covered is told honestly, the rest is the fallback's.
            until = own[take][-1].step / RESOLUTION if own[take] else request.start
            yield PlannedMusic(request.id, take, (), until, True)

    def _probe(self, request: Request, work: Continuer) -> None:
        """Begin to work out what the last note of an answer leaned on; `rest` does it, on a copy of the cache."""
        notes = np.flatnonzero(work.events[0, :, 0] == NOTE)
        if not request.leans or len(notes) < 2 or notes[-1] < 2:
            return
        at, over = int(notes[-1]), notes[-MOST_LEANS - 1 : -1].tolist()
        events = [event_of(work.events[0, i], int(work.steps[0, i]) + self._origin, self.encoding) for i in over]
        self._influence = Influence(work.fork(), at, over), events

    def rest(self) -> bool:
        """As `ModelMemory.rest`; then, a note at a time, what the last answer leaned on."""
        if super().rest():
            return True
        if self._influence is None:
            return False
        influence, events = self._influence
        if influence.step():
            return True
        self._influence, total = None, sum(influence.shares) or 1.0
        self.leans = tuple(
            (event.step / RESOLUTION, event.pitch, event.instrument == DRUMS_CODE, share / total)
            for event, share in zip(events, influence.shares, strict=True)
        )
        return False

    def _past_of(self, start: int, codes: set[int], room: int, until: float) -> Continuer:
        """The continuer with all before step `until`, ready for notes from `start` on."""
        continuer = self._sync(adopt=False, until=until)
        if continuer.room < room:
            self._make_room_now(continuer)
            continuer = self._rebuild(codes, until)
        bridge = self._bridge(self._last_step(continuer), start - self._origin)
        if bridge:
            continuer.feed(np.array(bridge, np.int64))
        return continuer

    def _once_more(self, request: Request, again: Again) -> Iterator[PlannedMusic]:
        """Compose some parts of an answer again, in turn with what the others play and with what was heard and told.

        What comes after it in the answer is fed behind it, when nobody waits.
        """
        start, end = round(request.start * RESOLUTION), round(request.end * RESOLUTION)
        who = parts_of(request.instruments, told=self.encoding.has_descriptions)
        mine = {who[part] for part in again.parts}
        before = self._own.get((request.id, again.of), [])
        own = [event for event in before if not start <= event.step < end]
        own += [played_event(note, who[note.part], self.encoding) for note in again.given]
        self._own[request.id, again.take] = own
        self._chosen[request.id] = again.take
        given = [entry for entry in self._wanted(end) if entry.step >= start]
        codes = {instrument_code(name) for name in request.instruments}
        replaced = sum(start <= event.step < end and event.who in mine for event in before)
        room = min(len(given) + 2 * replaced + 4 * LAST_RESORT, self.decoder.context // 2)
        continuer = self._past_of(start, codes, room, start)
        sampler = Sampler(
            continuer, sampling(request), [np.random.default_rng([request.seed, start])], origin=self._origin,
            parts=sorted(mine),
        )  # fmt: skip
        sampler.lean = leaning(request, self.encoding.sizes[self.encoding.columns['instrument']])
        directions = self._directions(request, who)
        sampler.ranges = directions.ranges
        cast = Cast(request.instruments, again.parts)
        rows = deque((np.array(row_of(one, one.step, one.step, self.encoding), np.int64), one.step) for one in given)
        entries, origin = deque(given), self._origin

        def feed(row: np.ndarray, step: int) -> None:
            continuer.feed(continuer.placed(row, step - origin))

        reached = start
        try:
            for begin, until in directions.bars():
                sampler.direct(directions.of(begin))
                for row, step, is_new in beside(sampler, rows, begin, until, feed):
                    entry = event_of(row, step, self.encoding) if is_new else entries.popleft()
                    self._fed.append(entry)
                    self._ends.append(continuer.length)
                    if isinstance(entry, Event) and is_new:
                        own.append(entry)
                        directions.played((entry.who, step, entry.pitch, entry.length))
                        note = cast.note(entry, cued=sampler.was_cued(0), by_rule=sampler.was_by_rule(0))
                        reached = step
                        yield PlannedMusic(request.id, again.take, (note,), note.beat, False)
                    if continuer.room < LAST_RESORT:
                        yield PlannedMusic(request.id, again.take, (), reached / RESOLUTION, True)
                        return
                reached = until
                yield PlannedMusic(request.id, again.take, (), until / RESOLUTION, until == end)
        finally:  # taken back half way, the rest is as it was
            own += [event for event in before if event.who in mine and reached < event.step < end]
            self._behind = True

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
            if number != request.id and not request.again and self._chosen[number] == take
            for event in events
            if since <= event.step < start
        ]
        codes = {instrument_code(name) for name in request.instruments}
        others = {self._events[note.id].instrument for note in self._heard} - codes
        if self._seed is None:
            self._seed = request.seed
        # Who plays something once more is to play something else: another rhythm, too.
        return Directions(request, heard, past, others, request.seed if request.again else self._seed, who)
