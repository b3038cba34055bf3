"""The sampler under direction: every event is the model's, and no cue is missed.

    sampler = DirectedSampler(continuer, controls, rngs, origin=0)
    sampler.direct(Direction(cues, rules))           # for the next bar, say; one for all takes, or one for each
    chosen = sampler.next_events(earliest=begin, latest=end)     # rows of zeros: nothing more, and no cue is open
    sampler.advance(chosen)

How: time and instrument of the next event are drawn as ever. One that is not allowed (the part has no note there, its
hands are full, or it is the turn of somebody who plays by himself) is left out, and time goes on from there: rules thin
the music out, they do not squeeze it together. If the next event lies behind the first open cue, it is drawn again at
the cue. Within one moment the model's order (instrument, part, pitch, all rising) holds, and cues wait in that order,
so that none is passed by. Costs no second pass; a redraw is two small heads, not a step.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.cues import N_PITCHES, Cue, Direction, Who
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.sampling import DRUM_DURATION_CODE, NOTE_FIELDS, Controls, EventSampler, Place
from genaudio_core.music.layouts import DURATIONS, NOTE, RESOLUTION
from genaudio_core.score.instruments import DRUMS_CODE

TRIES = 12  # events that may be left out in a row, before nothing more is expected until the next cue
LEGATO = 1  # steps by which a note of a line may last into the next
LOOK_BACK = 256  # events of the past in which a note may still sound


@dataclass
class _Open:
    """A cue that is not done."""

    cue: Cue
    played: int = 0  # notes of it, all at `step`
    step: int = -1


@dataclass
class _Due:
    """The next open cue of a take: when and who, the notes that do, and the highest that leaves room for the rest."""

    step: int
    who: Who
    pitches: np.ndarray  # (128,) bool
    top: int
    cue: _Open


@dataclass
class _Take:
    """The tasks of a take, open and done."""

    direction: Direction = field(default_factory=Direction)
    open: list[_Open] = field(default_factory=list)
    busy: dict[Who, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Of the notes that may still sound: begin, end, pitch."""
    struck: dict[Who, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """Of the notes that begin at the newest two steps: step, pitch."""


def may_listen(decoder: Decoder, controls: Controls) -> bool:
    """Whether music of a decoder can be directed: not that of the published layout, nor by published sampling."""
    return decoder.encoding.relative_beat and not controls.published_top_k


class DirectedSampler(EventSampler):
    """An `EventSampler` that keeps to a `Direction`. For layouts with relative beats; without a direction it is free.

    Belongs to one thread, as its continuer does.

    Parameters
    ----------
    origin : int
        Step of the direction that is the continuer's step 0; move it when the continuer is re-based.

    Attributes
    ----------
    notes, cued, by_rule : (takes,) int
        Notes fed by `advance`; those that came because a cue was due; and those of them for which the cue left no
        choice of pitch: a rule alone has decided when, who and what.
    """

    def __init__(
        self, continuer: Continuer, controls: Controls, rngs: list[np.random.Generator], *, origin: int = 0,
        parts: Iterable[Who] | None = None,
    ):  # fmt: skip
        super().__init__(continuer, controls, rngs, parts=parts)
        if not self.encoding.relative_beat:
            raise ValueError('a direction needs a layout that fixes time and instrument before the pitch')
        self.origin = origin
        self._takes = [_Take() for _ in range(continuer.takes)]
        self.notes, self.cued, self.by_rule = (np.zeros(continuer.takes, np.int64) for _ in range(3))
        self._why = np.zeros(continuer.takes, np.int64)  # of the events chosen last: 1 cued, 2 by rule
        self._called: list[_Open | None] = [None] * continuer.takes  # the cue that brought it
        start = max(continuer.length - LOOK_BACK, 0)
        events, steps = continuer.events[:, start:], continuer.steps[:, start:]
        # Only what sounds beyond the last event, or begins with it, can keep a hand from a note to come.
        ends = steps + DURATIONS[np.maximum(events[..., self.encoding.columns['duration']], 1) - 1]
        lying = (events[..., 0] == NOTE) & ((ends > steps[:, -1:]) | (steps == steps[:, -1:]))
        for take, at in np.argwhere(lying).tolist():
            self._sounds(self._takes[take], events[take, at].tolist(), int(steps[take, at]) + origin)

    def direct(self, directions: Direction | Sequence[Direction]) -> None:
        """Go on under a direction, the same for all takes or one for each. Open cues of the one before are dropped."""
        each = [directions] * len(self._takes) if isinstance(directions, Direction) else list(directions)
        for state, direction in zip(self._takes, each, strict=True):
            state.direction = direction
            state.open = [_Open(cue) for cue in direction.cues]

    def open_cues(self, take: int = 0) -> list[Cue]:
        """Cues that are not done yet."""
        return [each.cue for each in self._takes[take].open]

    def shares(self) -> tuple[float, float]:
        """Shares of `cued` notes and of those `by_rule` among all that were fed."""
        total = max(int(self.notes.sum()), 1)
        return int(self.cued.sum()) / total, int(self.by_rule.sum()) / total

    # --- drawing ---

    def next_events(
        self, *, earliest: int = 0, latest: int | None = None, active: np.ndarray | None = None
    ) -> np.ndarray:
        """Choose the next event of every take, as `EventSampler.next_events`: (takes, fields) int64.

        `active`, (takes,) bool, says which are wanted.

        A row of zeros says that nothing more begins before `latest`, and that no cue is due before it.

        Raises
        ------
        ValueError
            If there is a direction and no `latest`.
        """
        self._forget_why()
        if not any(state.direction.cues or state.direction.rules for state in self._takes):
            return super().next_events(earliest=earliest, latest=latest, active=active)
        if latest is None:
            raise ValueError('a direction needs to know until when')
        continuer, column = self.continuer, self.encoding.columns
        chosen = np.zeros((continuer.takes, len(self.encoding.fields)), np.int64)
        wanted = np.ones(continuer.takes, bool) if active is None else active.copy()
        places = [self._place(take, earliest) for take in range(continuer.takes)]
        due = self._draw_time_and_player(chosen, wanted, places, latest)
        for name in self.encoding.order[self.encoding.order.index('instrument') + 1 :]:
            if not wanted.any() or name not in NOTE_FIELDS or (name == 'part' and self._playing is None):
                continue
            logits = continuer.logits(name, chosen)
            for take in np.flatnonzero(wanted).tolist():
                row = chosen[take]
                allowed = self._allowed_now(name, take, row, places[take], due[take])
                row[column[name]] = self._draw(take, name, logits[take], allowed)
        self._finish(chosen)
        return chosen

    def _draw_time_and_player(
        self, chosen: np.ndarray, wanted: np.ndarray, places: list[Place], latest: int
    ) -> list[_Due | None]:
        """Fill type, beat, position and instrument of `chosen`; takes that have nothing to play leave `wanted`."""
        continuer, column = self.continuer, self.encoding.columns
        due: list[_Due | None] = [
            self._due(take, places[take]) if wanted[take] else None for take in range(len(chosen))
        ]
        chosen[wanted, 0] = NOTE
        beats = continuer.logits('beat', chosen)
        looking = wanted.copy()
        passed = np.zeros(len(chosen), np.int64)  # instruments up to this one have had their turn at `earliest`
        for attempt in range(TRIES + 1):
            last = attempt == TRIES
            if not last:
                self._draw_field('beat', beats, chosen, looking, places)
                self._draw_field('position', continuer.logits('position', chosen), chosen, looking, places)
            called: dict[int, bool] = {}  # take -> whether its cue is due before what the model would play
            for take in np.flatnonzero(looking).tolist():
                row, cue = chosen[take], due[take]
                step = latest if last else self._onset(row, places[take].beat)
                called[take] = cue is not None and step > cue.step
                if cue is not None and called[take]:
                    beat, position = divmod(cue.step, RESOLUTION)
                    row[column['beat']], row[column['position']] = beat - places[take].beat + 1, position + 1
                    step = cue.step
                if step >= latest:
                    row[:], looking[take], wanted[take], due[take] = 0, False, False, None
            if not looking.any():
                break
            logits = continuer.logits('instrument', chosen)
            for take in np.flatnonzero(looking).tolist():
                row, cue, place = chosen[take], due[take], places[take]
                step = self._onset(row, place.beat)
                if step < place.earliest and not called[take]:  # nothing more in this beat
                    place.earliest, passed[take] = (step // RESOLUTION + 1) * RESOLUTION, 0
                    continue
                state = self._takes[take]
                first = int(passed[take]) + 1 if step == place.earliest else 0
                allowed = self._who_may(state, place, step)
                if called[take] or not allowed.any():
                    player = 0
                else:
                    player = self._draw(take, 'instrument', logits[take], allowed)
                if cue is not None and step == cue.step and (called[take] or player == 0 or player > cue.who[0]):
                    row[column['instrument']] = cue.who[0]
                    self._why[take], self._called[take] = 1, cue.cue
                elif player >= max(first, 1) and self._is_open(take, player, step, place):
                    row[column['instrument']] = player
                else:  # time goes on
                    later = player >= max(first, 1) and allowed[player + 1 :].any()
                    place.earliest, passed[take] = (step, player) if later else (step + 1, 0)
                    continue
                looking[take] = False
                if cue is not None and (step != cue.step or row[column['instrument']] != cue.who[0]):
                    due[take] = None  # it waits: this event comes before it
        return due

    def _draw_field(
        self, name: str, logits: np.ndarray, chosen: np.ndarray, looking: np.ndarray, places: list[Place]
    ) -> None:
        """Beat or position. Where time has gone on from what was left out, a position may lie before it: nothing is
        in this beat then. To forbid it would press what the model holds for the whole beat into its rest.
        """
        for take in np.flatnonzero(looking).tolist():
            row, place = chosen[take], places[take]
            allowed = self._allowed(name, row, place, logits.shape[1])
            if name == 'position' and place.earliest > place.now:
                allowed[1:] = True
            biased = self._bias(name, logits[take], row, place)
            row[self.encoding.index(name)] = self._draw(take, name, biased, allowed)

    def _who_may(self, state: _Take, place: Place, step: int) -> np.ndarray:
        """Instruments whose turn may be drawn at this moment, those who play by themselves among them."""
        stays = place.instrument and step == place.now
        allowed = self._instruments_from(place) if stays else self._instruments.copy()
        others = list(state.direction.others)
        allowed[[code for code in others if not stays or code >= place.instrument]] = True
        return allowed

    def _allowed_now(self, name: str, take: int, row: np.ndarray, place: Place, due: _Due | None) -> np.ndarray:
        """Classes of a field after the instrument; never none."""
        column, state = self.encoding.columns, self._takes[take]
        step, instrument = self._onset(row, place.beat), int(row[column['instrument']])
        if name == 'part':
            allowed = self._allowed(name, row, place, self.encoding.sizes[column[name]])
            if due is not None:
                if self._why[take]:
                    allowed[:] = False
                allowed[due.who[1] + 1 :] = False
            for part in np.flatnonzero(allowed).tolist():
                allowed[part] = self._notes(state, (instrument, part), step, place).any()
            if due is not None:
                allowed[due.who[1]] = True
            return allowed
        here = instrument, int(row[column['part']]) if self._playing is not None else 1
        if name == 'pitch':
            notes = self._notes(state, here, step, place)
            if due is not None and here == due.who:
                notes[due.top + 1 :] = False
                if self._hands(state, here, step + self.origin) <= self._asked(state, here, step + self.origin):
                    notes &= due.pitches  # no hand is left for a note that nobody asks for
                if self._why[take] or not notes.any():
                    notes = due.pitches.copy()
                    notes[due.top + 1 :] = False
                    self._why[take] = 2 if notes.sum() == 1 and self._why[take] else self._why[take]
            return np.concatenate(([False], notes))
        allowed = np.ones(self.encoding.sizes[column[name]], bool)
        allowed[0] = False
        if name == 'duration' and instrument != DRUMS_CODE:
            pitch = int(row[column['pitch']]) - 1
            longest = self._longest(state, here, step, pitch)
            allowed[2:] = longest >= DURATIONS[1:]
            # A note that is struck again while it sounds does not end sooner for that.
            shortest = max((end - step - self.origin for _, end, lies in state.busy[here] if lies == pitch), default=0)
            if due is not None and here == due.who and due.pitches[pitch] and due.cue.cue.lasts:
                shortest = max(shortest, due.cue.cue.lasts)
            if shortest:
                allowed[1:] &= min(shortest, int(DURATIONS[np.flatnonzero(allowed)[-1] - 1])) <= DURATIONS
        return allowed

    def _finish(self, chosen: np.ndarray) -> None:
        column = self.encoding.columns
        chosen[chosen[:, column['instrument']] == DRUMS_CODE, column['duration']] = DRUM_DURATION_CODE
        self._scale_velocity(chosen)

    # --- rules ---

    def _notes(self, state: _Take, who: Who, step: int, place: Place) -> np.ndarray:
        """Notes that a part may begin at a step of the continuer, (128,) bool."""
        notes = self._pitches[who[0], 1:].copy()
        rules = state.direction.rules.get(who)
        if rules is not None:
            now = step + self.origin
            allowed = self._may_begin(state, who, now)
            if allowed is not None:
                notes &= allowed
            if self._hands(state, who, now) <= 0:
                notes[:] = False
        return self._above(notes, who, step, place)

    def _may_begin(self, state: _Take, who: Who, now: int) -> np.ndarray | None:
        """Notes that the rules let a part begin at a step of the direction, (128,) bool; None: any."""
        rules = state.direction.rules.get(who)
        allowed = None if rules is None else rules.pitches(now)
        if rules is None or allowed is None or now not in rules.moves:
            return allowed
        before = [(step, pitch) for step, pitch in state.struck[who] if step < now]
        newest = max(before, default=(0, 0))[0]
        others = allowed.copy()
        others[[pitch for step, pitch in before if step == newest]] = False
        return others if others.any() else allowed

    def _hands(self, state: _Take, who: Who, now: int) -> int:
        """Notes that a part can begin at a step of the direction."""
        rules = state.direction.rules.get(who)
        voices = N_PITCHES if rules is None else rules.voices
        return voices - sum(begin == now or end > now + LEGATO for begin, end, _ in state.busy[who])

    def _asked(self, state: _Take, who: Who, now: int) -> int:
        """Notes that cues ask a part for by a step of the direction."""
        asked = (each for each in state.open if self._of(each.cue) == who and each.cue.latest <= now)
        return sum(each.cue.notes - each.played for each in asked)

    def _above(self, notes: np.ndarray, who: Who, step: int, place: Place) -> np.ndarray:
        """Leave out what would come before the last note in the model's order."""
        if place.instrument and step == place.now and who[0] == place.instrument:
            if self._playing is not None and who[1] != place.part:
                notes[:] &= who[1] > place.part
            elif place.chord >= self._controls.max_chord:
                notes[:] = False
            else:
                notes[: place.pitch] = False  # a code, so this is the note itself and all below
        return notes

    def _is_open(self, take: int, instrument: int, step: int, place: Place) -> bool:
        """Whether a part of the instrument may begin a note."""
        state = self._takes[take]
        if instrument in state.direction.others or not self._instruments[instrument]:
            return False
        parts = [1] if self._playing is None else np.flatnonzero(self._playing[instrument]).tolist()
        return any(self._notes(state, (instrument, part), step, place).any() for part in parts)

    def _longest(self, state: _Take, who: Who, step: int, pitch: int) -> int:
        """Steps that a note may last at most; one of a line ends where the next one has to begin."""
        now, longest = step + self.origin, int(DURATIONS[-1])
        rules = state.direction.rules.get(who)
        if rules is None:
            return longest
        most = rules.longest(now, pitch)
        if most is not None:
            longest = min(longest, most)
        if rules.voices == 1:
            gaps = (each.cue.latest - now for each in state.open if self._of(each.cue) == who)
            longest = min((gap for gap in gaps if 0 < gap < longest), default=longest)
        return longest

    # --- cues ---

    def _of(self, cue: Cue) -> Who:
        return (cue.instrument, 1) if self._playing is None else cue.who

    def _due(self, take: int, place: Place) -> _Due | None:
        """The open cue that comes first in the order of events; times are the continuer's."""
        state = self._takes[take]
        first: tuple[int, Who] | None = None
        group: list[_Open] = []  # those of one part at one step
        for each in state.open:
            moment = self._moment(each, place)
            if moment is None or (first is not None and moment > first):
                continue
            group = [*group, each] if moment == first else [each]
            first = moment
        if first is None:
            return None
        step, who = first
        playable = self._above(self._pitches[who[0], 1:].copy(), who, step, place)
        allowed = self._may_begin(state, who, step + self.origin)
        allowed = playable if allowed is None else playable & allowed
        found = [(each, _wanted(each.cue, allowed, playable)) for each in group]
        # From the highest down each leaves room for those above it: within a moment pitches rise.
        found.sort(key=lambda one: int(np.flatnonzero(one[1])[-1]))
        limit, due = N_PITCHES, None
        for each, notes in reversed(found):
            there = np.flatnonzero(notes)
            below = there[there < limit]
            there = below if len(below) else there
            top = int(there[-min(each.cue.notes - each.played, len(there))])
            due = _Due(step, who, notes, top, each)
            limit = top
        return due

    def _moment(self, each: _Open, place: Place) -> tuple[int, Who] | None:
        """When a cue is due, and who: the order of events. None: it cannot be done (any more)."""
        who = self._of(each.cue)
        if not self._instruments[who[0]] or (self._playing is not None and not self._playing[who]):
            return None  # it rests, or is not asked for
        if each.played:
            step = each.step - self.origin
        else:
            step = max(each.cue.latest - self.origin, place.earliest)
        if place.instrument and step == place.now and who[0] <= place.instrument:
            notes = self._pitches[who[0], 1:]
            if who[0] < place.instrument or not self._above(notes.copy(), who, step, place).any():
                # It comes too late for this moment; what is left of a chord has no room there.
                return None if each.played else (step + 1, who)
        return step, who

    def advance(self, chosen: np.ndarray) -> None:
        """Feed chosen events (takes, fields), one for each take; what they do for the cues is counted."""
        super().advance(chosen)
        column = self.encoding.columns
        for take, row in enumerate(chosen.tolist()):
            if row[0] != NOTE:
                continue
            self.notes[take] += 1
            self.cued[take] += self._why[take] > 0
            self.by_rule[take] += self._why[take] == 2
            state, step = self._takes[take], int(self.continuer.steps[take, -1]) + self.origin
            who, pitch = self._sounds(state, row, step), row[column['pitch']] - 1
            state.open = [each for each in state.open if not each.played or step <= each.step]
            called = self._called[take]
            mine = [each for each in state.open if each is called] or [
                each for each in state.open if self._does(state, each, who, step, pitch)
            ]
            if mine:
                done = min(mine, key=lambda each: (not each.played, each.cue.latest, max(each.cue.pitches, default=0)))
                done.step, done.played = step, done.played + 1
                if done.played >= done.cue.notes:
                    state.open = [each for each in state.open if each is not done]
        self._forget_why()

    def _forget_why(self) -> None:
        self._why[:] = 0
        self._called[:] = [None] * len(self._called)

    def what(self, event: np.ndarray) -> tuple[Who, int, int]:
        """Of a note event (fields,): its part, its pitch and how many steps it lasts."""
        column = self.encoding.columns
        part = int(event[column['part']]) if self._playing is not None else 1
        length = int(DURATIONS[max(int(event[column['duration']]), 1) - 1])
        return (int(event[column['instrument']]), part), int(event[column['pitch']]) - 1, length

    def _sounds(self, state: _Take, row: list[int], step: int) -> Who:
        """Take note of what a part holds."""
        column = self.encoding.columns
        who = row[column['instrument']], row[column['part']] if self._playing is not None else 1
        end, pitch = step + int(DURATIONS[max(row[column['duration']], 1) - 1]), row[column['pitch']] - 1
        # Struck again, a note takes no second hand.
        lying = [note for note in state.busy[who] if note[0] == step or (note[1] > step and note[2] != pitch)]
        state.busy[who] = [*lying, (step, end, pitch)]
        newest = sorted({at for at, _ in state.struck[who]} | {step})[-2:]
        state.struck[who] = [one for one in (*state.struck[who], (step, pitch)) if one[0] in newest]
        return who

    def _does(self, state: _Take, each: _Open, who: Who, step: int, pitch: int) -> bool:
        """Whether a note of `who` that nobody called for does what a cue asks for, or a part of it."""
        cue = each.cue
        if who != self._of(cue) or (cue.pitches and pitch not in cue.pitches):
            return False
        if each.played:
            return step == each.step
        if step < (cue.latest if cue.earliest is None else cue.earliest):
            return False
        if cue.notes == 1:
            return True
        # A chord begins with a note that leaves room for the rest of it.
        rules = state.direction.rules.get(who)
        allowed = None if rules is None else rules.pitches(step)
        above = self._pitches[who[0], pitch + 2 :] if allowed is None else allowed[pitch + 1 :]
        room = np.flatnonzero(above) + pitch + 1
        return (len(room) if not cue.pitches else sum(note in cue.pitches for note in room.tolist())) >= cue.notes - 1


def _wanted(cue: Cue, allowed: np.ndarray, playable: np.ndarray) -> np.ndarray:
    """Notes (128,) bool that do a cue: as it asks and as is allowed; else the cue alone; else what is allowed."""
    wanted = np.zeros(N_PITCHES, bool)
    wanted[list(cue.pitches) or slice(None)] = True
    return next((notes for notes in (wanted & allowed, wanted & playable, allowed) if notes.any()), playable)
