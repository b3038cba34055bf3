"""The cues and rules under which the model plays the parts of a live band in the bars of a request.

The harmony is what the request expects; `genaudio_core.continuation.leading` says who does what with it. Where a chord
can only be guessed, pitched parts wait until it is heard; one who solos (the first part of an answer) takes up the
phrase that was played. Times are session steps, 12 to the quarter note.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np

from bridge.musicians.harmony import heard_key
from bridge.musicians.musician import MusicControls, Request
from bridge.musicians.phrase import read_phrase
from bridge.settings.key import wanted_key
from bridge.settings.voice import OCTAVE
from genaudio_core.continuation.cues import Cue, Direction, PartRules, Who
from genaudio_core.continuation.directing import DirectedSampler
from genaudio_core.continuation.leading import Bandleader
from genaudio_core.continuation.roles import BASS, CHORDS, LINE, PAD, BarAt, Role, accompanying_roles
from genaudio_core.continuation.sampling import Controls, Place, lean
from genaudio_core.music import grooves
from genaudio_core.music.chord_recognition import Segment
from genaudio_core.music.drum_grooves import Stroke
from genaudio_core.music.harmonising import Harmony, Key
from genaudio_core.music.keys import classes_of
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import DRUMS, DRUMS_CODE, instrument_code, instrument_name, voices_of
from genaudio_core.score.notes import Note

AHEAD = 2  # bars behind a request for which its harmony goes on
RECENT, OFTEN = 64, 0.06  # notes of the player that are looked at, and share of them that makes a tone usual
KICK = 36
TAP = Stroke(0.0, 'hat')  # what keeps time
HEAVY = ('kick', 'snare', 'clap')
STAB, SHORTEST = 4, 5  # steps that a stab lasts at most, and a note of the bass that is asked for at least
FIGURES = {('four-on-the-floor', BASS): (6, 18, 30, 42), ('four-on-the-floor', CHORDS): (6, 18, 30)}
"""Rhythms (steps of a bar) that belong to a style."""
LEAN = 3.0  # nats by which a part is likelier for a whole of density
SPARSE, DENSE = 0.35, 0.65  # density below and above which a part's rhythm is chosen for it
Played = tuple[Who, int, int, int]  # part, step, note 0..127, steps that it lasts


class Directions:
    """Directions of one request; a leader for each take.

    Parameters
    ----------
    request : Request
    heard : pitched notes of the player before the request: the last `RECENT` at least, and all of `KEY_BARS` bars
    past : what the band itself has played in the bars before
    seed : of the band: the same one has the same rhythms in every request
    who : the part of each instrument of the request; those that the model does not tell apart are the same.
        By default it tells none apart
    """

    def __init__(
        self, request: Request, heard: Sequence[Note], past: Iterable[Played], others: Iterable[int], seed: int,
        who: Sequence[Who] = (),
    ) -> None:  # fmt: skip
        self._who = list(who) or [(instrument_code(name), 1) for name in request.instruments]
        self.bar, self._meter = round(request.bar * RESOLUTION), request.meter
        self.start, self.end = round(request.start * RESOLUTION), round(request.end * RESOLUTION)
        self.others = frozenset(others)
        self._again = None if request.again is None else {self._who[part] for part in request.again.parts}
        if self._again is not None:  # the others play by themselves
            self.others |= {code for code, _ in self._who} - {code for code, _ in self._again}
        pitched = [number for number, name in enumerate(request.instruments) if name != DRUMS]
        self._lead = pitched[0] if request.role == 'continue' and pitched else None
        notes = sorted(heard)
        whole = request
        if request.again is not None:  # what comes out of the phrase stands where it stood
            whole = replace(request, start=request.again.begin)
            notes = [note for note in notes if note.beat < whole.start] or notes
        heard_in, phrase = self._key(notes, whole), None
        if self._lead is not None:
            own = request.own[self._lead] if request.own else None
            name, part = request.instruments[self._lead], self._who[self._lead]
            phrase = read_phrase(notes, whole, name, part, heard_in, own)
        self._soloist = None if phrase is None else phrase.role
        if phrase is not None and not any(each.source == 'chart' for each in request.chords):
            request = replace(request, chords=phrase.chords)
        self.request = request
        rng = np.random.default_rng(seed)
        roles = self._roles(notes, rng)
        strokes = [(round(stroke.beat * RESOLUTION), stroke.kind) for stroke in request.groove.strokes]
        self._kicks = [place for place, kind in strokes if kind == 'kick']
        taken = {*self._kicks, *(round(beat * RESOLUTION) for beat in request.groove.backbeats)}
        free = [place for place in request.feel.grid(request.meter) if place not in taken]
        kit = request.instruments.index(DRUMS) if DRUMS in request.instruments else 0
        n_more = min(1 + 2 * (request.controls_of(kit).density > DENSE), len(free))
        self._more_kicks = [] if request.controls_of(kit).density < SPARSE else rng.permutation(free)[:n_more].tolist()
        named = wanted_key(request.controls.key)
        key = None if named is None else classes_of(*named)
        # One who answers alone stays in the key of what was played, and may have all that was played in it.
        recent = Counter(note.note % 12 for note in notes[-RECENT:])
        own = {each for each, times in recent.items() if times >= OFTEN * recent.total()}
        scale = frozenset[int]() if heard_in is None else heard_in.classes | own
        self._played = own if key is None else own & key
        harmony = Harmony(tuple(self._segments()), () if heard_in is None else ((0.0, heard_in),))
        self._allowed = scale if key is None else scale & key or key
        self._charted = self._chart_tones(key)
        self.leaders = [
            Bandleader(roles, harmony, (), request.feel, np.random.default_rng([request.seed, self.start, take]), key)
            for take in range(request.takes)
        ]
        self._own = _own_controls(request, self._who)
        self._thinning = [np.random.default_rng([request.seed, self.start, take, 1]) for take in range(request.takes)]
        # Who is to be sparser than the band does not go on with what he played before.
        led = {role.who for role in roles if self._beside(role.who) >= 0}
        for note in past:
            if note[0] in led:
                self.played(note)

    def played(self, note: Played, take: int | None = None) -> None:
        """Take note of what a part plays, in one take or in all."""
        who, step, pitch, length = note
        for leader in self.leaders if take is None else [self.leaders[take]]:
            leader.played(self._bar_at(step), who, pitch, length, step=step)

    def bars(self) -> list[tuple[int, int]]:
        """Steps from which to which each bar of the request goes."""
        edges = [self.start, *range((self.start // self.bar + 1) * self.bar, self.end, self.bar), self.end]
        return [(begin, end) for begin, end in itertools.pairwise(edges) if end > begin]

    def of(self, begin: int) -> list[Direction]:
        """Directions of the rest of a bar from step `begin` on, one for each take."""
        found = [self._heard_first(self._with_lead(self._of(leader, begin), begin)) for leader in self.leaders]
        if self._own:
            found = [self._as_told(one, rng, begin) for one, rng in zip(found, self._thinning, strict=True)]
        return found if self._again is None else [self._of_some(one, self._again) for one in found]

    def _of_some(self, direction: Direction, parts: Set[Who]) -> Direction:
        """For some of the parts alone."""
        cues = tuple(cue for cue in direction.cues if cue.who in parts)
        rules = {who: each for who, each in direction.rules.items() if who in parts}
        return replace(direction, cues=cues, rules=rules)

    def _of(self, leader: Bandleader, begin: int) -> Direction:
        told = leader.direction(self._bar_at(begin), begin, self.others)
        rules = dict(told.rules)
        drums, keys = rules.get((DRUMS_CODE, 1)), self.request.drum_keys
        if drums is not None:
            open_at = np.flatnonzero(drums.may_begin[: self.bar].any(axis=1))
            self._limit_kicks(drums)
            if keys:
                drums.may_begin[np.ix_(open_at, np.array(TAP.keys(keys), np.int64))] = True
                drums.may_begin &= np.isin(np.arange(drums.may_begin.shape[1]), keys)
        for role in leader.roles:
            if role.kind == LINE:  # of two violins each has a voice
                rules[role.who].voices = role.notes
            elif role.kind == CHORDS and (self.request.groove.style, CHORDS) in FIGURES:
                for place in role.figure:  # stabs are short
                    rules[role.who].may_sound[place + STAB : place + STAB + 1] = False
        basses = {role.who for role in leader.roles if role.kind == BASS}
        cues = [
            replace(cue, lasts=max(cue.lasts, SHORTEST)) if cue.who in basses else cue
            for cue in told.cues
            if cue.instrument != DRUMS_CODE
        ]
        if self.request.groove.binds:
            cues += _each_once(cue for cue in told.cues if cue.instrument == DRUMS_CODE)
        return replace(told, cues=tuple(self._with_notes(cue, leader, rules) for cue in cues), rules=rules)

    def _with_notes(self, cue: Cue, leader: Bandleader, rules: dict[Who, PartRules]) -> Cue:
        """A cue off the grid, where a new chord was heard, names its notes: the bass of that chord, or its tones."""
        chord = self.request.chord_at(cue.latest / RESOLUTION)
        if cue.pitches or chord is None or cue.who not in rules:
            return cue
        role = next(role for role in leader.roles if role.who == cue.who)
        classes = {chord.chord.bass} if role.kind == BASS else chord.chord.pitch_classes
        notes = [note for note in range(role.low, role.high + 1) if note % 12 in classes]
        rules[cue.who].may_begin[rules[cue.who].rows(cue.latest, cue.latest + 1), notes] = True
        return replace(cue, pitches=frozenset(notes))

    def _is_light(self, stroke: Stroke) -> bool:
        """Whether a stroke only keeps time, between the beats or beside a heavier one.

        Who has few keys may leave it out; his tap would stand for the slap.
        """
        if stroke.kind in HEAVY:
            return False
        beside = any(other.kind in HEAVY and other.beat == stroke.beat for other in self.request.groove.strokes)
        return beside or round(stroke.beat * RESOLUTION) not in grooves.pulses(self._meter)

    def _limit_kicks(self, drums: PartRules) -> None:
        """One kick drum, where the groove has it and at the few other places that this band likes."""
        drums.may_begin[:, [key for key in grooves.KICKS if key != KICK]] = False
        places = np.zeros(self.bar, bool)
        places[[place for place in (*self._kicks, *self._more_kicks) if place < self.bar]] = True
        drums.may_begin[: self.bar, KICK] &= places

    def _with_lead(self, direction: Direction, begin: int) -> Direction:
        """With the one who solos, free where no phrase was heard. A phrase may have tones that are in no key, and then
        so may he. In every bar a note begins.
        """
        if self._lead is None:
            return direction
        who, bar = self._who[self._lead], self._bar_at(begin)
        rules, cues = dict(direction.rules), direction.cues
        if self._soloist is not None:
            own, heads = rules[who], grooves.strong_places(self._meter)
            for row in np.flatnonzero(own.may_begin[: bar.length].any(axis=1)).tolist():
                low, high = np.flatnonzero(own.may_begin[row])[[0, -1]].tolist()
                if row not in heads:
                    own.may_begin[row, [note for note in range(low, high + 1) if note % 12 in self._played]] = True
        else:
            own = rules[who] = PartRules.free(self.request.instruments[self._lead], bar.begin, bar.length)
            for at, until, classes in self._charted or [(bar.begin, bar.end, self._allowed)]:
                if classes:
                    own.only(at, until, classes)
        latest = max(begin, bar.begin + bar.length // 2)
        if latest < min(bar.end, self.end) and not any(cue.who == who for cue in cues):
            if self._soloist is not None:  # the phrase had nothing there
                own.may_begin[latest - bar.begin] |= own.may_begin[: bar.length].any(axis=0)
            cues = (*cues, Cue(who[0], latest, begin, who[1]))
        return replace(direction, cues=cues, rules=rules)

    def _heard_first(self, direction: Direction) -> Direction:
        """Pitched parts wait where only the player can tell the chord."""
        waits = self._waits()
        if not waits:
            return direction
        for (code, _), rules in direction.rules.items():
            for begin, until in waits if code != DRUMS_CODE else ():
                rules.may_begin[rules.rows(begin, until)] = False
                rules.may_sound[rules.rows(begin, begin + 1)] = False
        kept = [cue for cue in direction.cues if cue.instrument == DRUMS_CODE or not _inside(cue.latest, waits)]
        there = {(cue.who, cue.latest) for cue in kept}
        for cue in direction.cues:
            until = None if cue.instrument == DRUMS_CODE else _inside(cue.latest, waits)
            if until and until < self.end and (cue.who, until) not in there:
                kept.append(replace(cue, latest=until, earliest=None))
                there.add((cue.who, until))  # of several, the first
        return replace(direction, cues=tuple(kept))

    # --- parts that have a density or a range for themselves

    @property
    def ranges(self) -> dict[Who, tuple[int, int]]:
        """Lowest and highest note of the pitched ones among them."""
        return {who: (own.low, own.high) for who, own in self._own.items() if who[0] != DRUMS_CODE}

    def _beside(self, who: Who) -> float:
        """By how much a part is denser than the band, -1 to 1."""
        return self._own[who].density - self.request.controls.density if who in self._own else 0.0

    def to_tell(self) -> list[tuple[Who, float, int]]:
        """What a model can be told of parts that have settings for themselves: onsets to the quarter note that their
        rhythm has, and the middle of their range; 0 for drums.
        """
        roles = {role.who: role for role in self.leaders[0].roles}
        found = []
        for who in self._own:
            if (role := roles.get(who)) is not None and not role.given:
                onsets = len({at for at, _ in role.struck}) if role.kind == DRUMS else len(role.figure)
                middle = 0 if role.kind == DRUMS else (role.low + role.high) // 2
                found.append((who, onsets * RESOLUTION / self.bar, middle))
        return found

    def _as_told(self, direction: Direction, rng: np.random.Generator, begin: int) -> Direction:
        """With each part in its range, and with fewer places for what nobody asks it for where it is to be sparser.

        A cue keeps its moment: where its notes lie outside the range, it has those of the range that the rules allow.
        """
        rules, cues = dict(direction.rules), []
        for who, own in self._own.items():
            bar = self._bar_at(begin)
            if who not in rules:
                rules[who] = PartRules.free(instrument_name(who[0]), bar.begin, bar.length)
            if self._beside(who) < 0:
                called = {cue.latest - bar.begin for cue in direction.cues if cue.who == who}
                for place in range(bar.length):
                    if place not in called and rng.random() >= 1 + 2 * self._beside(who):
                        rules[who].may_begin[place] = False
            if who[0] != DRUMS_CODE:
                rules[who].may_begin[:, : own.low] = False
                rules[who].may_begin[:, own.high + 1 :] = False
        for cue in direction.cues:
            own = self._own.get(cue.who)
            if own is not None and cue.instrument != DRUMS_CODE:
                inside, classes = frozenset(range(own.low, own.high + 1)), {note % 12 for note in cue.pitches}
                other = frozenset(note for note in inside if note % 12 in classes)
                cue = replace(cue, pitches=cue.pitches & inside or other or inside)
            cues.append(cue)
        return replace(direction, cues=tuple(cues), rules=rules)

    def _waits(self) -> list[tuple[int, int]]:
        """Steps from which to which pitched parts wait."""
        request, length = self.request, round(self.request.listens * RESOLUTION)
        if request.role != 'accompany' or not length:
            return []
        begins = [round(each.beat * RESOLUTION) for each in request.chords if not each.sure]
        return [(max(at, self.start), at + length) for at in begins if at + length > self.start]

    def _bar_at(self, step: int) -> BarAt:
        number = step // self.bar
        return BarAt(number, number * self.bar, self.bar, self._meter)

    # --- what the leaders know

    def _roles(self, notes: Sequence[Note], rng: np.random.Generator) -> list[Role]:
        request = self.request
        feel = request.feel
        roles = accompanying_roles(
            request.instruments, (), notes[-64:], request.meter, feel, request.tempo, rng, self._who
        )  # fmt: skip
        for role, own in zip(roles, map(request.controls_of, range(len(roles))), strict=True):
            chosen = not SPARSE <= own.density <= DENSE
            if role.kind == DRUMS:
                strokes = request.groove.strokes
                if request.drum_keys:
                    strokes = tuple(stroke for stroke in strokes if not self._is_light(stroke))
                role.struck = replace(request.groove, strokes=strokes).struck(request.drum_keys)
            elif role.figure and chosen:
                make = grooves.bass_figures if role.kind == BASS else grooves.comping_figures
                figures = sorted(make(request.meter, feel), key=len)
                role.figure = figures[min(int(own.density * len(figures)), len(figures) - 1)]
                if request.own and role.kind == PAD:
                    role.notes = max(
                        min(role.notes + (1 if own.density > DENSE else -1), voices_of(role.instrument)), 1
                    )
            if request.own and role.kind != DRUMS:
                role.low, role.high = _moved_into(role.low, role.high, own.low, own.high)
            if (
                role.kind in (BASS, CHORDS)
                and not (request.own and chosen)
                and (figure := FIGURES.get((request.groove.style, role.kind)))
            ):
                role.figure = figure
        each: dict[Who, Role] = {} if self._soloist is None else {self._soloist.who: self._soloist}
        for number, role in enumerate(roles):
            if number == self._lead:
                continue
            if role.who in each:  # two violins that the model does not tell apart are one part of two notes
                other = each[role.who]
                other.notes, other.low = other.notes + role.notes, min(other.low, role.low)
                other.high = max(other.high, role.high)
            else:
                each[role.who] = role
        return list(each.values())

    def _segments(self) -> list[Segment]:
        """The chords from the moment on at which they may be played; one before the bar, so that the first comes in."""
        request = self.request
        end = request.end + AHEAD * request.bar
        waits, found = self._waits(), []
        for at, to, chord in request.harmony(request.start, end):
            at = (_inside(round(at * RESOLUTION), waits) or at * RESOLUTION) / RESOLUTION
            if to > at + 1e-6:
                found.append(Segment(at, to - at, chord))
        line = self._bar_at(self.start).begin / RESOLUTION
        if found:
            found.insert(0, Segment(line - request.bar, found[0].beat - line + request.bar, found[0].chord))
        return found

    def _chart_tones(self, key: frozenset[int] | None) -> list[tuple[int, int, frozenset[int]]]:
        """Notes for a solo over a chart: (from, to, pitch classes), in steps."""
        if not any(each.source == 'chart' for each in self.request.chords):
            return []
        found = []
        for at, to, chord in self.request.harmony(self.request.start, self.request.end):
            tones = chord.pitch_classes
            found.append(
                (round(at * RESOLUTION), round(to * RESOLUTION), tones if key is None else tones & key or tones)
            )
        return found

    @staticmethod
    def _key(notes: Sequence[Note], request: Request) -> Key | None:
        """The key of what was heard last, if it is asked for."""
        if request.role != 'continue' or request.controls.key == 'off':
            return None  # who accompanies plays the tones of the chord, whatever the key
        return heard_key(notes, request.start, request.bar)


def _own_controls(request: Request, who: Sequence[Who]) -> dict[Who, MusicControls]:
    """Part -> its controls, where parts have some; of two that the model does not tell apart, what holds for both."""
    found: dict[Who, MusicControls] = {}
    for one, own in zip(who, request.own, strict=False):
        other = found.get(one, own)
        low, high = max(own.low, other.low), min(own.high, other.high)
        low, high = (low, high) if low <= high else (own.low, own.high)
        found[one] = replace(own, low=low, high=high, density=(own.density + other.density) / 2)
    return found


def _moved_into(low: int, high: int, lowest: int, highest: int) -> tuple[int, int]:
    """A window of notes moved by octaves, and cut, so that it lies in lowest..highest."""
    shift = 12 * (max(-(-(lowest - low) // 12), 0) or min((highest - high) // 12, 0))
    low, high = max(low + shift, lowest), min(high + shift, highest)
    if high - low < OCTAVE:
        low = max(min(low, highest - OCTAVE), lowest)
        high = min(max(high, low + OCTAVE), highest)
    return low, high


def _inside(step: int, waits: Sequence[tuple[int, int]]) -> int | None:
    """The end of the wait that a step falls into."""
    return next((until for begin, until in waits if begin <= step < until), None)


def _each_once(cues: Iterable[Cue]) -> list[Cue]:
    """Cues of drums, of those that mean the same stroke (a hi-hat, and an open one) the one that says more."""
    kept: list[Cue] = []
    for cue in sorted(cues, key=lambda cue: (cue.latest, len(cue.pitches))):
        if not any(cue.latest == other.latest and cue.pitches & other.pitches for other in kept):
            kept.append(cue)
    return kept


class Sampler(DirectedSampler):
    """A sampler that says of each event it has just chosen why it came, and leans to those who are to be denser."""

    lean: np.ndarray | None = None  # (instruments,) nats
    ranges: Mapping[Who, tuple[int, int]] = {}  # lowest and highest note of a part, whatever a cue asks for

    def _draw(self, take: int, name: str, logits: np.ndarray, allowed: np.ndarray) -> int:
        if name == 'instrument' and self.lean is not None:
            logits = logits + self.lean
        return super()._draw(take, name, logits, allowed)

    def _above(self, notes: np.ndarray, who: Who, step: int, place: Place) -> np.ndarray:
        if who in self.ranges:
            low, high = self.ranges[who]
            notes[:low], notes[high + 1 :] = False, False
        return super()._above(notes, who, step, place)

    def advance(self, chosen: np.ndarray) -> None:
        """Feed chosen events (takes, fields) as ever; why they came can still be asked."""
        why = self._why.copy()
        super().advance(chosen)
        self._why[:] = why

    def was_cued(self, take: int) -> bool:
        """Whether the event chosen last came because a cue was due."""
        return bool(self._why[take] > 0)

    def was_by_rule(self, take: int) -> bool:
        """Whether, moreover, the cue left no choice of pitch."""
        return bool(self._why[take] > 1)


def leaning(request: Request, n_instruments: int) -> np.ndarray | None:
    """Nats by instrument code, (n_instruments,), for those that are to be denser or sparser than the band."""
    if not request.own:
        return None
    found, times = np.zeros(n_instruments), np.zeros(n_instruments)
    for name, own in zip(request.instruments, request.own, strict=True):
        found[instrument_code(name)] += LEAN * (own.density - request.controls.density)
        times[instrument_code(name)] += 1
    return found / np.maximum(times, 1)


def sampling(request: Request) -> Controls:
    """The request's controls as the sampler knows them; which notes go with harmony and key, directions say."""
    controls, own = request.controls, request.own or (request.controls,)
    parts = range(len(request.instruments)) if request.again is None else request.again.parts
    density = sum(one.density for one in own) / len(own)
    return Controls(
        temperature=controls.temperature, top_p=controls.top_p, density=lean(density),
        lowest=min(one.low for one in own), highest=max(one.high for one in own), velocity_scale=controls.velocity,
        instruments=tuple(dict.fromkeys(request.instruments[part] for part in parts)),
    )  # fmt: skip
