"""Who does what in the next bar: the cues and rules of a band that listens.

A `Bandleader` knows the harmony, what is given beside the new parts (a tune) and the parts with their roles. Bar by
bar it gives the `Direction` under which the model plays. What it asks for is little: a bass at the root where a chord
comes in, chords where they change, a pulse of the drums, a note of a line; rules keep notes to the chord, the key, the
range, and off the tune's semitones. From the third bar on a part goes on with what it played two bars before (so the
rhythm is the model's own), except where a phrase ends; a part that has played before (`Role.given`) goes on with its
own bars.

Times are steps from the beginning of the score.
"""

import bisect
import itertools
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from genaudio_core.continuation.cues import N_PITCHES, Cue, Direction, PartRules, Who, notes_of
from genaudio_core.continuation.roles import BASS, CHORDS, PAD, BarAt, Hit, Role, Struck
from genaudio_core.music import grooves
from genaudio_core.music.descriptions import chord_code, tell_chords
from genaudio_core.music.events import meter_code
from genaudio_core.music.grooves import Feel
from genaudio_core.music.harmonising import Harmony, scale_over
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import DESCRIBED, RESOLUTION
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Note

_PHRASE = 4  # bars: in the last of them parts are free, and drums fill in
_TOUCHES = 2  # steps that two notes may sound together without being heard against each other
_PASSES = 5  # steps of a note of the tune that is heard against what is held
_SHORTEST = 6  # steps that a note which is cued can last at least, where there is such a note
OTHER_BAR = 0.2  # of the bars of a part that goes on take their rhythm from another given one
LEFT_OUT = 0.1  # of the notes off the heads (no snares) are not asked for again
FEW = 2  # voices of those whose notes end with the bar, so that their hands are free for the next


@lru_cache(maxsize=64)
def _beside(pitch: int) -> np.ndarray:
    """Notes a semitone beside a pitch, in any octave."""
    return notes_of(frozenset({(pitch + 1) % 12, (pitch - 1) % 12}))


class Bandleader:
    """Gives the direction of one bar after another.

    Parameters
    ----------
    roles : the new parts
    harmony : chords and keys of all the bars to come
    tune : what is given and sounds with the new notes, sorted
    feel : of the music
    rng : decides what is left open
    key : pitch classes that the person allows, if any
    """

    def __init__(
        self, roles: Sequence[Role], harmony: Harmony, tune: Sequence[Note], feel: Feel, rng: np.random.Generator,
        key: frozenset[int] | None = None,
    ):  # fmt: skip
        self.roles, self.harmony, self.feel, self.rng = list(roles), harmony, feel, rng
        self.key = key
        self.tune = [(round(n.beat * RESOLUTION), max(round(n.duration * RESOLUTION), 3), n.note) for n in tune]
        self._starts = np.array([at for at, _, _ in self.tune])
        self._longest = max((length for _, length, _ in self.tune), default=0)
        self._turns = [round(one.beat * RESOLUTION) for one in harmony.chords]
        self._own: dict[Who, dict[int, dict[int, list[Hit]]]] = defaultdict(dict)  # part -> bar -> place -> notes

    def played(self, bar: BarAt, who: Who, pitch: int, n_steps: int, *, step: int) -> None:
        """Take note of what a part plays in a bar, from `step` on for `n_steps`."""
        chord = self.harmony.chord_at(step / RESOLUTION)
        hit = Hit(pitch, n_steps, -1 if chord is None else (pitch - chord.root) % 12)
        self._own[who].setdefault(bar.number, {}).setdefault(step - bar.begin, []).append(hit)

    def direction(self, bar: BarAt, since_step: int, others: frozenset[int] = frozenset()) -> Direction:
        """Cues and rules of a bar from `since_step` on."""
        cues: list[Cue] = []
        rules: dict[Who, PartRules] = {}
        for role in self.roles:
            source = self._source(role, bar)
            mine = self._rules(role, bar, source)
            if role.who in rules:  # another track of the instrument: its notes are this one's, too
                both = rules[role.who]
                both.may_begin |= mine.may_begin
                both.may_sound |= mine.may_sound
                both.voices = min(both.voices + mine.voices, N_PITCHES)
            else:
                rules[role.who] = mine
            cues += [cue for cue in self._cues(role, bar, source, mine, since_step) if cue.latest >= since_step]
        return Direction(tuple(cues), rules, others)

    def told(self, bar: BarAt) -> np.ndarray:
        """A bar in the described layout: its chords, events (n, fields) without a time."""
        if not self._turns:
            return np.empty((0, len(DESCRIBED.fields)), np.int16)
        first = max(bisect.bisect_right(self._turns, bar.begin) - 1, 0)
        last = bisect.bisect_right(self._turns, bar.end + bar.length)
        changes = np.array([(self._turns[i], chord_code(self.harmony.chords[i].chord)) for i in range(first, last)])
        steps, rows = tell_chords(changes, [(bar.begin, meter_code(*bar.meter))], bar.begin, bar.end + 1)
        return rows[steps == bar.begin]

    # --- harmony ---

    def _chords(self, begin: int, end: int) -> list[tuple[int, int, Chord, frozenset[int]]]:
        """Chords between two steps: (from, to, chord, pitch classes that may be played over it)."""
        found = []
        first = max(bisect.bisect_right(self._turns, begin) - 1, 0)
        for i in range(first, len(self._turns)):
            at = max(self._turns[i], begin) if i > first else begin
            until = min(self._turns[i + 1], end) if i + 1 < len(self._turns) else end
            if at >= end:
                break
            if until <= at:
                continue
            chord = self.harmony.chords[i].chord
            key = self.harmony.key_at((at + 0.5) / RESOLUTION)
            scale = scale_over(key, chord, [pitch % 12 for _, _, pitch in self._sounding(at, until, longer=11)])
            if self.key is not None:
                scale = scale & self.key or scale
            found.append((at, until, chord, scale))
        return found

    def _sounding(self, begin: int, end: int, longer: int = 0) -> list[tuple[int, int, int]]:
        """Notes of the tune that sound between two steps and last more than `longer`."""
        first = int(np.searchsorted(self._starts, begin - self._longest))
        last = int(np.searchsorted(self._starts, end))
        return [one for one in self.tune[first:last] if one[0] + one[1] > begin and one[1] > longer]

    def _tones(self, chord: Chord) -> frozenset[int]:
        return (chord.pitch_classes & self.key or chord.pitch_classes) if self.key is not None else chord.pitch_classes

    # --- rules ---

    def _rules(self, role: Role, bar: BarAt, source: Struck | None) -> PartRules:
        ahead = bar.length + 2 * max(bar.length, 4 * RESOLUTION)
        rules = PartRules.free(role.instrument, bar.begin, ahead)
        places = self._places(role, bar, source)
        closed = np.ones(bar.length, bool)
        closed[[at for at in places if at < bar.length]] = False
        rules.may_begin[: bar.length][closed] = False
        if role.kind == DRUMS:
            self._kit(role, bar, rules, source)
            return rules
        if rules.voices <= FEW:
            rules.may_sound[bar.length] = False  # nobody knows yet what the next bar asks for
        rules.may_begin[:, : role.low] = False
        rules.may_begin[:, role.high + 1 :] = False
        if self.key is not None and not self._turns:
            rules.only(bar.begin, bar.begin + ahead, self.key)
        heads = grooves.strong_places(bar.meter) if role.kind != BASS else grooves.pulses(bar.meter)
        for at, until, chord, scale in self._chords(bar.begin, bar.begin + ahead):
            tones = self._tones(chord)
            rows = rules.rows(at, until)
            rules.may_begin[rows] &= notes_of(tones if role.kind in (CHORDS, PAD) else scale)
            for step in range(at, min(until, bar.end)):
                if step - bar.begin in heads or step == at:
                    rules.may_begin[step - bar.begin] &= notes_of(tones)
                    if step > bar.begin or step == at:
                        rules.may_sound[step - bar.begin] &= notes_of(tones)
            if self._is_turn(at):
                rules.may_sound[at - bar.begin] &= notes_of(tones)
                if role.kind == BASS:
                    rules.may_begin[at - bar.begin] &= notes_of(frozenset({self._bass(chord)}))
                    rules.may_sound[at - bar.begin] = False
        if role.near and source:
            _keep_near(role.near, source, rules.may_begin[: bar.length], rules.may_sound[: bar.length])
            rules.moves = frozenset(bar.begin + at for at in _moving(source))
        for at, length, pitch in self._sounding(bar.begin, bar.begin + ahead):
            beside = _beside(pitch)
            rules.may_begin[rules.rows(at - _TOUCHES, at + length)] &= ~beside
            if length >= _PASSES:
                rules.may_sound[rules.rows(at, at + length)] &= ~beside
        return rules

    def _is_turn(self, step: int) -> bool:
        """Whether a chord comes in."""
        index = bisect.bisect_left(self._turns, step)
        return index < len(self._turns) and self._turns[index] == step

    def _bass(self, chord: Chord) -> int:
        tones = self._tones(chord)
        return chord.bass if chord.bass in tones else chord.root if chord.root in tones else min(tones)

    def _places(self, role: Role, bar: BarAt, source: Struck | None) -> set[int]:
        """Places of the bar at which a part may begin a note."""
        if role.kind == PAD and not role.given:  # it lies, and moves with the chords
            turns = self._turns[bisect.bisect_left(self._turns, bar.begin) : bisect.bisect_left(self._turns, bar.end)]
            return {*grooves.strong_places(bar.meter), *(at - bar.begin for at in turns)}
        grid = set(self.feel.grid(bar.meter))
        if source is None or (not role.given and bar.number % _PHRASE == _PHRASE - 1):
            return grid | set(self._figure(role, bar))
        return set(source) | set(self._figure(role, bar)) | {at for at in grid if self.rng.random() < 0.1}

    def _figure(self, role: Role, bar: BarAt) -> list[int]:
        if role.given:
            return []
        return (
            [at for at in role.figure if at < bar.length] or [0]
            if role.kind != DRUMS
            else [at for at, _ in role.struck if at < bar.length]
        )

    def _kit(self, role: Role, bar: BarAt, rules: PartRules, source: Struck | None) -> None:
        """Which drums may be struck where: kick and pulse on the grid, snares on the backbeat, toms in a fill."""
        allowed = np.zeros((bar.length, N_PITCHES), bool)
        if role.given:
            used = {key for one in role.given for hits in one.values() for key, *_ in hits}
            for at, hits in (source or {}).items():
                for key, *_ in hits:
                    if at < bar.length:
                        allowed[at, list(_alike(key) & used)] = True
            open_at = rules.may_begin[: bar.length].any(axis=1)
            allowed[np.ix_(np.flatnonzero(open_at), np.array(sorted(used - grooves.SNARES), np.int64))] = True
        else:
            top = next(iter(role.struck))[1] if role.struck else grooves.HATS
            top = next((kit for _, keys in role.struck for kit in (grooves.HATS, grooves.RIDES) if keys <= kit), top)
            allowed[:, [*grooves.KICKS, *top]] = True
            for at in (*grooves.backbeats(bar.meter), *(at for at, keys in role.struck if keys <= grooves.SNARES)):
                if at < bar.length:
                    allowed[at, list(grooves.SNARES)] = True
            if bar.number % _PHRASE == _PHRASE - 1:
                last = grooves.pulses(bar.meter)[-1]
                allowed[last:, [*grooves.SNARES, *grooves.TOMS]] = True
            if bar.number and bar.number % _PHRASE == 0:
                allowed[0, list(grooves.CRASHES)] = True
        rules.may_begin[: bar.length] &= allowed

    # --- cues ---

    def _source(self, role: Role, bar: BarAt) -> Struck | None:
        """The bar that a part goes on with: one of its own, or None."""
        if role.given:
            own = role.given[bar.number % len(role.given)]
            other = role.given[int(self.rng.integers(len(role.given)))]
            # Now and then the rhythm of another bar, and without a weak note: nobody plays a bar twice the same.
            if role.kind != DRUMS and own and other and self.rng.random() < OTHER_BAR:
                own = other
            if len(own) < 4:
                return own
            kept = {*grooves.strong_places(bar.meter), *grooves.backbeats(bar.meter)}
            if role.kind == DRUMS:
                kept |= {at for at, hits in own.items() if any(key in grooves.SNARES for key, *_ in hits)}
            return {at: hits for at, hits in own.items() if at in kept or self.rng.random() >= LEFT_OUT}
        before = self._own[role.who].get(bar.number - 2)
        if before is None or bar.number % _PHRASE == _PHRASE - 1 or max(before) >= bar.length:
            return None
        return before

    def _cues(self, role: Role, bar: BarAt, source: Struck | None, rules: PartRules, since_step: int) -> list[Cue]:
        if role.kind == DRUMS:
            return self._drum_cues(role, bar, source)
        wanted: dict[int, list[Hit]] = {}  # place -> what was played there, or as many notes without a length
        if source is not None and (role.given or role.kind != PAD):
            wanted = {at: list(hits) for at, hits in source.items() if at < bar.length}
        if not role.given:
            alone = [Hit(0, 0, -1)] * role.notes
            if role.kind != PAD:
                for at in self._figure(role, bar):
                    wanted.setdefault(at, alone)
            if role.kind in (BASS, PAD) or (role.kind == CHORDS and not _offbeat(role.figure)):
                for at in {
                    bar.begin,
                    *self._turns[
                        bisect.bisect_right(self._turns, bar.begin) : bisect.bisect_left(self._turns, bar.end)
                    ],
                }:
                    wanted[at - bar.begin] = alone
            late = max(since_step - bar.begin, 0)
            wanted = {at: hits for at, hits in wanted.items() if at >= late} or {late: alone}
        if role.near:  # each note has its own neighbourhood
            wanted_alone = [(at, [hit]) for at, hits in sorted(wanted.items()) for hit in sorted(hits)]
            return [self._cue(role, bar, at, hit, sorted(wanted), rules) for at, hit in wanted_alone]
        return [self._cue(role, bar, at, hits, sorted(wanted), rules) for at, hits in sorted(wanted.items())]

    def _cue(
        self, role: Role, bar: BarAt, place: int, hits: Sequence[Hit], places: Sequence[int], rules: PartRules
    ) -> Cue:
        step, notes = bar.begin + place, len({hit.pitch for hit in hits}) if role.given else len(hits)
        allowed = rules.pitches(step)
        assert allowed is not None
        there = np.flatnonzero(allowed).tolist()
        index = bisect.bisect_right(self._turns, step)
        turn = self._turns[index - 1] if index else bar.begin
        following = self._turns[index] if index < len(self._turns) else bar.end
        lasts = 0
        if role.kind == PAD:
            lasts = min(following, bar.end) - step
        elif role.near:
            lasts = min(3 * hits[0].length // 4, following - step)
        elif role.kind == CHORDS and role.given:
            lasts = min(3 * min((hit.length for hit in hits), default=0) // 4, following - step)
            lasts = lasts if lasts >= RESOLUTION else 0
        chord = self.harmony.chord_at(step / RESOLUTION)
        if not there and chord is not None:  # the tune rubs against all of it: the chord all the same
            tones = self._tones(chord)
            there = [note for note in range(role.low, role.high + 1) if note % 12 in tones]
        if role.near:
            there = [note for note in there if abs(note - hits[0].pitch) <= role.near] or there
        if role.kind == BASS and chord is not None:
            # The first note over a chord, and what has been its root.
            first = not any(turn <= bar.begin + at < step for at in places) and (
                turn >= bar.begin or place == places[0]
            )
            if any(hit.degree == 0 for hit in hits) or (first and step - turn <= (following - turn) / 2):
                root = self._bass(chord)
                there = [note for note in there if note % 12 == root] or there
        # Notes that would have to be cut at once are taken only if there are no others.
        held = [note for note in there if (rules.longest(step, note) or 99) >= min(max(lasts, _SHORTEST), 24)]
        if len({note % 12 for note in held}) >= min(notes, 2):
            there = held
        code, part = role.who
        notes = max(min(notes, len(there)), 1)
        return Cue(code, step, part=part, pitches=frozenset(there), notes=notes, lasts=lasts)

    def _drum_cues(self, role: Role, bar: BarAt, source: Struck | None) -> list[Cue]:
        code, part = role.who
        found: set[tuple[int, frozenset[int]]] = set()
        if source is not None:
            used = {key for one in role.given for hits in one.values() for key, *_ in hits}
            for at, hits in source.items():
                for key, *_ in hits:
                    alike = frozenset(_alike(key) & used) if used else _alike(key)
                    if at < bar.length:
                        found.add((at, alike or frozenset({key})))
        if not role.given:
            fill = bar.number % _PHRASE == _PHRASE - 1
            last = grooves.pulses(bar.meter)[-1]
            for at, keys in role.struck:
                kept = keys <= grooves.SNARES or keys <= grooves.KICKS  # in a fill, too
                if at < bar.length and (kept or not (fill and at >= last)):
                    found.add((at, keys))
            after = [at for at in self.feel.grid(bar.meter) if last < at < bar.length]
            if fill and after and not any(at > last and keys <= grooves.SNARES for at, keys in found):
                found.add((after[len(after) // 2], grooves.SNARES | grooves.TOMS))  # what fills in
        return [Cue(code, bar.begin + at, part=part, pitches=keys) for at, keys in sorted(found, key=_first)]


class Roll(Bandleader):
    """Who calls the names, and no more: each part plays in each bar, by the model's own lights."""

    def direction(self, bar: BarAt, since_step: int, others: frozenset[int] = frozenset()) -> Direction:
        cues, rules = [], {}
        for role in self.roles:
            places = [at for at in grooves.pulses(bar.meter) if at < bar.length] or [0]
            latest = max(bar.begin + places[int(self.rng.integers(len(places)))], since_step)
            cues.append(Cue(role.who[0], latest, since_step, role.who[1]))
            mine = rules[role.who] = PartRules.free(role.instrument, bar.begin, bar.length + 1)
            mine.may_sound[-1] = mine.voices > FEW
        return Direction(tuple(cues), rules, others)


def _keep_near(near: int, source: Struck, may_begin: np.ndarray, may_sound: np.ndarray) -> None:
    """New notes lie around the given ones of the bar, and last about as long as they, until the next one there.

    Parameters
    ----------
    may_begin, may_sound : (steps, 128) bool, of the bar; changed in place
    """
    places, begin = sorted(at for at in source if at < len(may_begin)), 0
    for at, following in itertools.pairwise([*places, len(may_begin)]):
        window = np.zeros(N_PITCHES, bool)
        for hit in source[at]:
            around = slice(max(hit.pitch - near, 0), hit.pitch + near + 1)
            window[around] = True
            may_sound[at, around] = False
            end = at + max(2 * hit.length, _SHORTEST)
            if end < following:
                may_sound[end, around] = False
        may_begin[begin:following] &= window  # what begins before the first lies around it, too
        begin = following


def _moving(source: Struck) -> list[int]:
    """Places of a bar at which none of the notes is struck that were struck just before; the first is one."""
    places = sorted(source)
    pitches = [{hit.pitch for hit in source[at]} for at in places]
    before = [set[int](), *pitches[:-1]]
    return [at for at, last, now in zip(places, before, pitches, strict=True) if not last & now]


def _first(one: tuple[int, frozenset[int]]) -> tuple[int, int]:
    return one[0], min(one[1])


def _offbeat(figure: Sequence[int]) -> bool:
    """Whether a rhythm leaves the head of the bar to others."""
    return bool(figure) and 0 not in figure


def _alike(key: int) -> frozenset[int]:
    """Drum keys that stand for this one."""
    return next((keys for keys in grooves.KIT if key in keys), frozenset({key}))
