"""The engine of every continuation: a decoder that remembers, steps, and can take back what it heard.

    decoder = Decoder.load('presets/models/live.onnx')
    continuer = Continuer(decoder)
    continuer.feed(prompt)                        # (n, fields): prefill
    chosen = np.zeros((1, len(encoding.fields)), np.int64)
    for field in encoding.order:                  # what to choose is the business of
    genaudio_core.continuation.sampling
        logits = continuer.logits(field, chosen)  # (takes, classes)
        chosen[:, encoding.index(field)] = pick(logits)
    continuer.feed(chosen[:, None])               # one step, whatever the length

* `rewind` forgets events in no time: regenerate, undo, the estimated length of a held note corrected.
* `fork` makes several takes of one past; they are computed in one batch.
* `start_rebase`, `Rebase.run` (in any thread) and `adopt` shorten a session that outlives the context, while it plays.

A `Continuer` belongs to one thread at a time; several may work on one `Decoder` at once. No torch, no randomness and
no taste in here.
"""

from __future__ import annotations

import numpy as np

from genaudio_core.continuation.context_window import Window, last_bars
from genaudio_core.continuation.decoder import CHUNK, Buffers, Decoder
from genaudio_core.music.events import bar_steps
from genaudio_core.music.layouts import METER, N_PHASES, PHASE_STEPS, RESOLUTION, TIMED, Encoding

__all__ = ['ContextFull', 'Continuer', 'Decoder', 'Rebase']

LAST_BEAT = 240  # of a layout with absolute beats, which end at 256: from here on a session is shortened


class ContextFull(ValueError):
    """More events than the cache can hold. Callers look at `Continuer.room`, and re-base before it is 0."""


class Continuer:
    """A past of events, and the logits of what comes next.

    Parameters
    ----------
    decoder : Decoder
    takes : int
        Parallel continuations, all of one length.

    Attributes
    ----------
    length : int
        Events in the past of each take.
    """

    def __init__(self, decoder: Decoder, takes: int = 1):
        self.decoder, self.takes, self.length = decoder, takes, 0
        n = decoder.context
        self._buffers = Buffers(decoder, takes)
        self._events = np.zeros((takes, n, len(decoder.encoding.fields)), np.int16)
        self._hidden = np.zeros((takes, n, decoder.dim), np.float32)
        # Where each event is in time: beats so far, onset, place in the bar, and the bar lines that hold from it on.
        self._beats, self._step, self._phase = (np.zeros((takes, n), np.int64) for _ in range(3))
        self._bar_origin, self._bar = np.zeros((takes, n), np.int64), np.full((takes, n), bar_steps(0), np.int64)

    @property
    def encoding(self) -> Encoding:
        """The decoder's layout of events."""
        return self.decoder.encoding

    @property
    def context(self) -> int:
        """Events that fit in."""
        return self.decoder.context

    @property
    def room(self) -> int:
        """Events that can still be fed."""
        return self.context - self.length

    @property
    def events(self) -> np.ndarray:
        """The past, (takes, length, fields) int16; a view that is valid until the next call of a method."""
        return self._events[:, : self.length]

    @property
    def steps(self) -> np.ndarray:
        """Onsets of the past events in steps, (takes, length); a view. As `events.timeline` gives them."""
        return self._step[:, : self.length]

    @property
    def phases(self) -> np.ndarray:
        """Places in the bar of the past events, (takes, length); a view. As `events.timeline` gives them."""
        return self._phase[:, : self.length]

    @property
    def bar_lines(self) -> np.ndarray:
        """A step, (takes,), that the bar lines after the last event are counted from: that of the last meter event."""
        return self._bar_origin[:, self.length - 1]

    @property
    def hidden(self) -> np.ndarray:
        """Hidden state of the last event, (takes, dim): all that the logits of the next one depend on."""
        if not self.length:
            raise ValueError('feed at least one event (start-of-song) first')
        return self._hidden[:, self.length - 1]

    def feed(self, events: np.ndarray) -> None:
        """Add events to the past: a step if it is one, a prefill if there are many.

        Parameters
        ----------
        events : (fields,) or (n, fields), the same for all takes; or (takes, n, fields)

        Raises
        ------
        ContextFull
            If they do not fit. Nothing was fed then.
        ValueError
            If the shape is wrong, or a code is outside its field.
        """
        events = np.asarray(events)
        if events.ndim < 3:
            events = np.broadcast_to(np.atleast_2d(events), (self.takes, *np.atleast_2d(events).shape))
        fields = len(self.encoding.fields)
        if events.ndim != 3 or events.shape[0] != self.takes or events.shape[2] != fields:
            raise ValueError(f'events must be (n, {fields}) or ({self.takes}, n, {fields}), not {events.shape}')
        # An index outside an embedding table would stop the runtime in the middle of a song.
        if events.size and ((events < 0).any() or (events >= np.asarray(self.encoding.sizes)).any()):
            raise ValueError('an event has a code outside its field')
        n = events.shape[1]
        if n > self.room:
            raise ContextFull(f'{n} events do not fit: {self.room} of {self.context} are free')
        for start in range(0, n, CHUNK):
            self._feed_chunk(events[:, start : start + CHUNK])

    def _feed_chunk(self, events: np.ndarray) -> None:
        old, new = self.length, self.length + events.shape[1]
        self._events[:, old:new] = events
        for take in range(self.takes):
            for i, row in enumerate(events[take].tolist(), start=old):
                place = self._place(take, i, row)
                self._beats[take, i], self._step[take, i], self._phase[take, i] = place[:3]
                self._bar_origin[take, i], self._bar[take, i] = place[3:]
        step, phase = self._step[:, old:new], self._phase[:, old:new]
        self._hidden[:, old:new] = self._buffers.step(events, step, phase, old)
        self.length = new

    def _place(self, take: int, i: int, row: list[int]) -> tuple[int, int, int, int, int]:
        """Beats, step, phase, bar origin and bar length (steps) of event `row` at index `i`; as `events.timeline`."""
        encoding = self.encoding
        if i:
            beats, step = int(self._beats[take, i - 1]), int(self._step[take, i - 1])
            origin, bar = int(self._bar_origin[take, i - 1]), int(self._bar[take, i - 1])
        else:
            beats = step = origin = 0
            bar = bar_steps(0)
        if row[0] in TIMED:
            beats = beats + row[1] - 1 if encoding.relative_beat else row[1] - 1
            step = beats * RESOLUTION + row[2] - 1
            if row[0] == METER and encoding.has_meter:
                origin, bar = step, bar_steps(row[encoding.index('meter')])
        phase = min((step - origin) % bar // PHASE_STEPS, N_PHASES - 1)
        return beats, step, phase, origin, bar

    def when(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Onset in steps and place in the bar, each (takes,), of a next event that is chosen up to its position.

        Parameters
        ----------
        chosen : (takes, fields), or (fields,) for all takes
        """
        if chosen.ndim < 2:
            chosen = np.broadcast_to(chosen, (self.takes, len(self.encoding.fields)))
        places = [self._place(take, self.length, row) for take, row in enumerate(chosen.tolist())]
        return np.array([place[1] for place in places]), np.array([place[2] for place in places])

    def placed(self, row: np.ndarray, step: int) -> np.ndarray:
        """Return a copy of an event (fields,) with the beat and position codes that put it at `step` after the past."""
        row, (beat, position) = row.copy(), divmod(step, RESOLUTION)
        base = int(self.steps[0, -1]) // RESOLUTION if self.encoding.relative_beat else 0
        row[1] = np.clip(beat - base + 1, 1, self.encoding.max_beat)
        row[2] = position + 1
        return row

    def logits(self, field: str, chosen: np.ndarray | None = None) -> np.ndarray:
        """Logits of one field of the next event.

        Parameters
        ----------
        field : str
            In the order ``encoding.order`` for a chained decoder; in any order otherwise.
        chosen : (takes, fields) or (fields,) int, optional
            The next event so far. Chained decoders look at the fields before `field` in ``encoding.order``;
            the others are ignored. Not needed for the first field, nor by decoders that are not chained.

        Returns
        -------
        (takes, classes) float32, the caller's to change
        """
        phase = None
        if chosen is not None:
            if self.decoder.has_phase:
                phase = self.when(chosen)[1]
        elif self.decoder.chained and field != self.encoding.order[0]:
            raise ValueError(f"'{field}' depends on the fields chosen before it: pass them as `chosen`")
        return self._buffers.logits(self.encoding.index(field), self.hidden, chosen, phase)

    def rewind(self, length: int) -> None:
        """Forget all events from index `length` on. Costs nothing.

        Raises
        ------
        ValueError
            If `length` is negative or more than there is.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f'cannot rewind to {length}: there are {self.length} events')
        self.length = length

    def fork(self, takes: int = 1, spare: Continuer | None = None) -> Continuer:
        """A continuer with `takes` copies of this past (of take 0, where there are several); see `select`."""
        return self.select(np.zeros(takes, np.int64), spare)

    def select(self, takes: np.ndarray | int, spare: Continuer | None = None) -> Continuer:
        """A continuer with copies of these takes, in this order; ``select(2)`` goes on with take 2 alone.

        Parameters
        ----------
        spare : Continuer, optional
            One that nobody needs any more. It is overwritten and returned if it fits (decoder, number of takes):
            fresh memory costs the system several times what the copy does.
        """
        rows = np.atleast_1d(np.asarray(takes, np.int64))
        fits = spare is not None and spare.decoder is self.decoder and spare.takes == len(rows)
        other = spare if fits and spare is not self else Continuer(self.decoder, len(rows))
        assert other is not None
        for name in ('_events', '_hidden', '_beats', '_step', '_phase', '_bar_origin', '_bar'):
            getattr(other, name)[:, : self.length] = getattr(self, name)[rows, : self.length]
        other._buffers.copy_from(self._buffers, rows, self.length)
        other.length = self.length
        return other

    # --- sessions longer than the context ---

    def start_rebase(self, keep: int) -> Rebase:
        """Begin to shorten the past to its header and its last bars, at most `keep` events in all.

        Call ``run`` of the result in another thread, go on feeding, and `adopt` it once it is ``done``.
        """
        if self.takes != 1:
            raise ValueError('only a single take can be re-based: select one first')
        return Rebase(self.decoder, self.events[0].copy(), keep)

    def make_room(self, events: int = 1, step: int | None = None, keep: float = 0.75) -> int:
        """Shorten the past at once if it leaves no room for what comes; return the steps taken off its front.

        Parameters
        ----------
        events : int
            That must fit.
        step : int, optional
            Onset of the last of them; that of the last one of the past by default. Absolute beats end.
        keep : float
            Share of the context for the past. Where it is beats that end, half of the past stays.
        """
        step = int(self.steps[0, -1]) if step is None else step
        out_of_beats = not self.encoding.relative_beat and step >= LAST_BEAT * RESOLUTION
        if self.room >= events and not out_of_beats:
            return 0
        rebase = self.start_rebase(self.length // 2 if out_of_beats else int(self.context * keep))
        rebase.run()
        self.adopt(rebase)
        return rebase.window.origin

    def adopt(self, rebase: Rebase) -> int | None:
        """Go on with a re-based past. What was fed since is fed to it as well.

        Returns
        -------
        int or None
            By how much lengths and indices of events fell: an event that was at ``i`` is now at ``i`` minus this.
            None if the re-base is not done, or of no use because the past was rewound to before its start; then
            nothing happened.
        """
        n, window, twin = len(rebase.snapshot), rebase.window, rebase.continuer
        if not rebase.done or self.length < n or not np.array_equal(self._events[0, :n], rebase.snapshot):
            return None
        if self.length > n:
            twin.feed(window.recode(self.events[0], n))
        # The twin's memory becomes ours; whoever holds this object notices nothing but the length.
        self.length, self._buffers = twin.length, twin._buffers
        self._events, self._hidden = twin._events, twin._hidden
        self._beats, self._step, self._phase = twin._beats, twin._step, twin._phase
        self._bar_origin, self._bar = twin._bar_origin, twin._bar
        return window.dropped


class Rebase:
    """A shorter past in the making. ``run`` may take as long as it likes, in a thread of its own."""

    def __init__(self, decoder: Decoder, snapshot: np.ndarray, keep: int):
        self.snapshot = snapshot
        self.window: Window = last_bars(snapshot, decoder.encoding, keep)
        self.continuer = Continuer(decoder)
        self.done = False
        self.cancelled = False

    def run(self) -> None:
        """Prefill; looks at `cancelled` between chunks."""
        events = self.window.events
        for start in range(0, len(events), CHUNK):
            if self.cancelled:
                return
            self.continuer.feed(events[start : start + CHUNK])
        self.done = True
