"""What a live model remembers: the notes heard and played, in its cache in the model's order.

All that was heard and played is one list of notes. The continuer's cache holds the same list; whatever changes in it (a
held note that ended, an answer taken back, another take chosen), `_sync` finds the first difference, rewinds to it and
feeds the rest. So the common case, one more note, costs one step, and every correction costs only what came after it.

Times inside are steps of the model (12 to the quarter note) in session time.
"""

import bisect
import contextlib
import math
import threading
from collections.abc import Sequence

import numpy as np

from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.model_events import DescriptionEvent, Entry, Event, heard_event, parts_of, row_of
from bridge.musicians.musician import HeardNote, Musician, Request
from genaudio_core.continuation.continuer import Continuer, Rebase
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.music.events import header, meter_code
from genaudio_core.music.layouts import METER, METERS, N_PARTS, RESOLUTION
from genaudio_core.score.instruments import DRUMS_CODE, instrument_code, instrument_name

REBASE_AT = 0.35  # share of the context that is left when a re-base begins ...
KEEP = 0.45  # ... and share that it keeps
AGAIN = 32  # events after which a re-base that failed is tried again
LAST_RESORT = 4  # events of room below which an answer cannot go on without re-basing at once
LONGEST_GAP = 48  # beats; longer rests are bridged, a beat code holds no more than 64


class ModelMemory(Musician):
    """The memory of a `Musician` over a live decoder; its answers are `model_musician`'s.

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

    def _wanted(self, until: float = math.inf) -> list[Entry]:
        """All before step `until` of the session, in the model's order."""
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
            if self._origin <= event.step < until:
                unique[event[:4]] = event
        return list(unique.values())

    def _sync(self, *, adopt: bool = True, until: float = math.inf) -> Continuer:
        """Make the cache hold what is wanted before step `until`; return the continuer.

        Adopting a re-base feeds it what was heard since: not while somebody waits for an answer.
        """
        self._behind = False
        if adopt:
            self._adopt()
        wanted = self._wanted(until)
        codes = {event.instrument for event in wanted if isinstance(event, Event)}
        if self._continuer is None or not codes <= self._instruments:
            return self._rebuild(codes, until)
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
        self._feed(continuer, wanted[same:], until)
        return self._continuer  # a new one, where there was no room in that

    def _rebuild(self, codes: set[int], until: float = math.inf) -> Continuer:
        """Begin again with the last notes, because the ensemble changed."""
        self._instruments |= codes
        wanted = self._wanted(until)
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
        self._feed(continuer, self._wanted(until), until)
        return self._continuer

    def _meter(self) -> tuple[int, int]:
        return next((meter for meter in METERS if meter[0] * 4 / meter[1] == self._bar), (4, 4))

    def _feed(self, continuer: Continuer, events: list[Entry], until: float = math.inf) -> None:
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
            self._sync(until=until)  # what was not fed yet is found again
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


def _run(rebase: Rebase) -> None:
    """Run it in the thread. A failure is seen by `done`: its reason is of no use to a player."""
    with contextlib.suppress(Exception):
        rebase.run()
