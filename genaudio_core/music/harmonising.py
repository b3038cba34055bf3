"""Harmony for a tune: its keys, bar by bar, and a chord for each bar or half bar.

Both are paths of hidden Markov models (Viterbi). A key explains the notes of a bar by how likely it is to hold them;
keys change seldom. A chord explains what sounds over it, belongs to its key (the usual chords, sevenths and secondary
dominants), follows the chord before, and brings phrases home. Where enough is given to hear the chords, they are
recognised instead (`chord_recognition`): so harmonising is for a tune, a riff, a bass line.
"""

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.music.chord_recognition import Segment, recognise_score, slots_of
from genaudio_core.music.keys import CHORDS, SCALES, Chord, classes_of
from genaudio_core.score.notes import Note, Score

MODES = ('major', 'minor', 'harmonic minor', 'dorian', 'mixolydian', 'phrygian', 'lydian')
_RARE = {'harmonic minor': 0.4, 'dorian': 1.0, 'mixolydian': 1.0, 'phrygian': 3.0, 'lydian': 3.0}  # nats a piece
_TONIC, _MEDIANT, _IN, _OUT = 1.0, 0.75, 0.5, 0.05  # relative weights of a key's notes; fifths count as mediants
_MODULATES = 7.0  # nats that a new key must be worth
_SHIFTS = 5.0  # and one of the same tonic, or of the same notes
_HOME = 1.0  # nats for a tonic as the last note
LONGEST = 1.5  # quarter notes: what lasts longer tells no more

_PENALTY: dict[str, dict[tuple[int, str], float]] = {
    'major': {(0, ''): 0, (5, ''): 0.4, (7, ''): 0.2, (9, 'm'): 0.5, (2, 'm'): 0.7, (4, 'm'): 1.2, (7, '7'): 0.4,
              (2, 'm7'): 1.0, (10, ''): 2.2, (2, '7'): 2.3, (9, '7'): 2.4, (4, '7'): 2.4, (0, '7'): 2.6, (5, 'm'): 2.5},
    'minor': {(0, 'm'): 0, (5, 'm'): 0.4, (7, '7'): 0.4, (7, ''): 0.5, (8, ''): 0.4, (10, ''): 0.5, (3, ''): 0.6,
              (7, 'm'): 1.1, (2, 'm7b5'): 1.5, (0, '7'): 2.6, (5, ''): 2.4},
    'dorian': {(0, 'm'): 0, (5, ''): 0.5, (5, '7'): 0.6, (10, ''): 0.5, (3, ''): 0.8, (2, 'm'): 1.0, (7, 'm'): 0.9,
               (0, 'm7'): 0.3, (7, '7'): 2.0},
    'mixolydian': {(0, ''): 0, (10, ''): 0.3, (5, ''): 0.4, (7, 'm'): 0.9, (9, 'm'): 0.9, (2, 'm'): 0.9, (0, '7'): 0.4,
                   (7, ''): 1.8, (5, '7'): 1.5, (7, '7'): 2.0},
    'phrygian': {(0, 'm'): 0, (1, ''): 0.3, (10, 'm'): 0.6, (3, ''): 0.8, (8, ''): 0.8, (5, 'm'): 0.9},
    'lydian': {(0, ''): 0, (2, ''): 0.5, (7, ''): 0.4, (9, 'm'): 0.6, (4, 'm'): 1.0, (11, 'm'): 1.2},
}  # fmt: skip
_PENALTY['harmonic minor'] = _PENALTY['minor']

# Nats of a chord over what is given, and of the step from one to the next.
_FOREIGN = 5.0  # all that sounds is foreign to it
_RUBS = 2.5  # all that sounds lies a semitone beside a tone of it
_BASS = 1.6  # its root is the lowest note, where a bass line is given
_CHANGE, _CHANGE_INSIDE, _STAYS = 0.2, 2.2, 0.5
_FALL, _RISE, _SAME_ROOT = 0.7, 0.25, 0.6  # root a fifth down, a fifth up; another chord on the same root
_CADENCE, _HALF_CADENCE = 2.5, 0.6  # the last chord is the tonic; a phrase ends on tonic or dominant
_OPENING = 1.0  # and the first, if a piece begins with a note of it
_STRANGE = 1.5  # where nothing sounds, a chord with a note that is not in the key has no reason
FULL = 0.3  # share of the slots with a chord in them, from which on chords are heard and not made


@dataclass(frozen=True)
class Key:
    """A tonic (pitch class) and a mode of `MODES`."""

    tonic: int
    mode: str

    @property
    def classes(self) -> frozenset[int]:
        """The pitch classes of its scale."""
        return classes_of(self.tonic, SCALES[self.mode])


@dataclass(frozen=True)
class Harmony:
    """Chords and keys of a stretch of music."""

    chords: tuple[Segment, ...]
    keys: tuple[tuple[float, Key], ...]  # beat from which on each holds

    def chord_at(self, beat: float) -> Chord | None:
        """The chord at a beat; the last one goes on, and before the first there is that."""
        index = bisect.bisect_right(self.chords, beat + 1e-6, key=lambda one: one.beat) - 1
        return self.chords[max(index, 0)].chord if self.chords else None

    def key_at(self, beat: float) -> Key | None:
        """The key at a beat, likewise."""
        return _key_at(self.keys, beat) if self.keys else None


def _key_at(keys: Sequence[tuple[float, Key]], beat: float) -> Key:
    return keys[max(bisect.bisect_right(keys, beat + 1e-6, key=lambda one: one[0]) - 1, 0)][1]


def scale_over(key: Key | None, chord: Chord | None, heard: Sequence[int] = ()) -> frozenset[int]:
    """Pitch classes that may be played over a chord: its own, and those of the key that lie beside none of them.

    Parameters
    ----------
    heard : pitch classes that the tune has here; they bend the scale as the chord does (F sharp in C instead of F)
    """
    if key is None and chord is None:
        return frozenset(range(12))
    scale = set(key.classes) if key is not None else set()
    strange = (set(chord.pitch_classes) if chord is not None else set()) | set(heard)
    if key is not None:
        for tone in sorted(strange - scale):
            # What is bent is the degree beside it that the chord does not have.
            beside = [c for c in ((tone - 1) % 12, (tone + 1) % 12) if c in scale and c not in strange]
            scale -= set(beside[:1])
    return frozenset(scale | (set(chord.pitch_classes) if chord is not None else set()))


def pitched(score: Score) -> list[Note]:
    """The notes of a score without its drums, as long as they sound, sorted."""
    return sorted(note for track in score.tracks if not track.is_drum for note in track.sustained())


# --- keys ------------------------------------------------------------------------------------------------------------


def _profiles() -> tuple[np.ndarray, list[Key]]:
    rows, keys = [], []
    for mode in MODES:
        scale = SCALES[mode]
        weight = np.full(12, _OUT)
        weight[list(scale)] = _IN
        weight[[scale[2], 7]] = _MEDIANT
        weight[0] = _TONIC
        for tonic in range(12):
            rows.append(np.log(np.roll(weight / weight.sum(), tonic)))
            keys.append(Key(tonic, mode))
    return np.array(rows), keys


_LOG_PROFILE, KEYS = _profiles()
_CLASSES = np.array([[c in key.classes for c in range(12)] for key in KEYS])
_TONICS = np.array([key.tonic for key in KEYS])
_SAME = (_TONICS[:, None] == _TONICS) | (_CLASSES[:, None] == _CLASSES[None]).all(axis=2)
_EACH = np.arange(len(KEYS))
_STEP = np.where(np.eye(len(KEYS), dtype=bool), 0.0, np.where(_SAME, -_SHIFTS, -_MODULATES))


def find_keys(notes: Sequence[Note], lines: Sequence[float], end: float) -> list[tuple[float, Key]]:
    """Keys of a piece, each with the bar line from which on it holds; nothing without notes.

    Parameters
    ----------
    notes : pitched ones, sorted; times in quarter notes
    lines : the bar lines, ascending
    end : beat at which the last bar ends
    """
    if not notes or not lines:
        return []
    edges = np.append(np.asarray(lines, float), end)
    weights = _weights(notes, edges)
    path = weights @ _LOG_PROFILE.T
    path[0] -= [_RARE.get(key.mode, 0.0) for key in KEYS]
    head, last = notes[0].note % 12, max(notes, key=lambda n: (n.beat + n.duration, -n.note)).note % 12
    path[0] += 0.4 * _CLASSES[:, head]
    path[-1] += _HOME * (last == _TONICS)
    begins = [note.beat for note in notes]
    for bar, at in enumerate(lines if len(lines) <= 64 else ()):
        # The lowest note at the head of a bar is often its tonic or dominant.
        near = notes[bisect.bisect_left(begins, at - 0.1) : bisect.bisect_right(begins, at + 0.1)]
        if heads := [n.note for n in near if abs(n.beat - at) < 0.1]:
            path[bar] += 0.15 * (min(heads) % 12 == _TONICS)
    best, back = path[0], []
    for row in path[1:]:
        moved = best[:, None] + _STEP
        back.append(moved.argmax(axis=0))
        best = moved[back[-1], _EACH] + row
    states = [int(best.argmax())]
    for step in reversed(back):
        states.append(int(step[states[-1]]))
    states.reverse()
    return [(float(lines[i]), KEYS[state]) for i, state in enumerate(states) if i == 0 or state != states[i - 1]]


def _weights(notes: Sequence[Note], edges: np.ndarray) -> np.ndarray:
    """How long each pitch class sounds between edges, (n, 12); what is held for long counts as `LONGEST`."""
    lines = edges.tolist()  # of Python's own numbers: there are few, and each is looked at alone
    weights = [[0.0] * 12 for _ in lines[1:]]
    for note in notes:
        slot = max(bisect.bisect_right(lines, note.beat + 1e-3) - 1, 0)
        left = min(max(note.duration, 0.1), LONGEST)
        begin = note.beat
        while slot < len(weights) and left > 1e-3:
            here = min(left, max(lines[slot + 1] - begin, 0.0))
            weights[slot][note.note % 12] += here
            left, begin, slot = left - here, lines[slot + 1], slot + 1
    return np.array(weights)


# --- chords ----------------------------------------------------------------------------------------------------------


def is_full(score: Score) -> bool:
    """Whether chords can be heard in what is given: three different notes of some length at once, often enough."""
    notes = pitched(score)
    if not notes:
        return False
    slots = slots_of(score, score.next_bar(max(score.end - 1e-3, 0.0)))
    moments = [slot + 0.05 for slot in slots]  # of Python's own numbers: each is looked at alone
    sounding: list[set[int]] = [set() for _ in moments]
    for note in notes:
        first = bisect.bisect_left(moments, note.beat - 0.55)  # broken chords and stabs beside the beat, too
        last = bisect.bisect_left(moments, note.beat + note.duration)
        for slot in range(first, max(last, first + (first < len(moments) and moments[first] - note.beat < 0.55))):
            if slot < len(sounding):
                sounding[slot].add(note.note % 12)
    used = [classes for classes in sounding if classes]
    return sum(len(classes) >= 3 for classes in used) >= FULL * max(len(used), 1)


def harmonise(score: Score, end: float | None = None, *, seed: int | None = None, key: Key | None = None) -> Harmony:
    """Keys and chords for what a score holds, to `end` (the end of its last bar).

    Parameters
    ----------
    seed : chords of about the same merit are chosen by it; None: always the best
    key : of all of it, where that is known already
    """
    notes = pitched(score)
    end = score.next_bar(max(score.end - 1e-3, 0.0)) if end is None else end
    slots = slots_of(score, end)
    lines = [slot for slot in slots if abs(score.bar_start(slot) - slot) < 1e-6]
    keys = find_keys(notes, lines, end) if key is None or not notes else [(0.0, key)]
    if not keys:
        return Harmony((), ())
    if is_full(score):
        chords = [one for one in recognise_score(score) if one.beat < end]
        last = chords[-1]
        chords[-1] = Segment(last.beat, end - last.beat, last.chord)
        return Harmony(tuple(chords), tuple(keys))
    return Harmony(tuple(_chords(notes, slots, lines, end, keys, seed)), tuple(keys))


def _vocabulary() -> list[tuple[int, str]]:
    qualities = sorted({quality for table in _PENALTY.values() for _, quality in table})
    return [(root, quality) for root in range(12) for quality in qualities]


_CHORDS = _vocabulary()
_TONES = np.array([[c in classes_of(root, CHORDS[quality]) for c in range(12)] for root, quality in _CHORDS], float)
_RUB = ((np.roll(_TONES, 1, axis=1) + np.roll(_TONES, -1, axis=1)) > 0) * (1 - _TONES)
_ROOT = np.array([root for root, _ in _CHORDS])
_INTERVAL = (_ROOT[None] - _ROOT[:, None]) % 12
_MOVES = np.select(
    [np.eye(len(_CHORDS), dtype=bool), _INTERVAL == 0, _INTERVAL == 5, _INTERVAL == 7, _INTERVAL == 6],
    [-_STAYS, -_SAME_ROOT, _FALL, _RISE, -1.0],
    0.0,
)


def _allowance(key: Key) -> np.ndarray:
    """Nats of every chord in a key; those that are not of it have none."""
    table = {((key.tonic + degree) % 12, quality): cost for (degree, quality), cost in _PENALTY[key.mode].items()}
    return np.array([-table.get(chord, np.inf) for chord in _CHORDS])


def _chords(
    notes: Sequence[Note], slots: Sequence[float], lines: Sequence[float], end: float,
    keys: Sequence[tuple[float, Key]], seed: int | None,
) -> list[Segment]:  # fmt: skip
    edges = np.append(np.asarray(slots, float), end)
    weights = _heard(notes, edges)
    total = weights.sum(axis=1, keepdims=True)
    share = weights / np.maximum(total, 1e-9)
    sure = np.minimum(total, 1.0)  # a short note in an empty bar tells little
    scores = sure * (-_FOREIGN * (1 - share @ _TONES.T) - _RUBS * (share @ _RUB.T))
    scores += _bass_line(notes, edges)
    taste = 0.0 if seed is None else np.random.default_rng([seed, 7]).gumbel(0, 0.25, len(_CHORDS))
    allowances = {key: _allowance(key) + taste for _, key in keys}
    at_line = {round(line, 3) for line in lines}
    bars = np.array([round(slot, 3) in at_line for slot in slots])
    number = np.cumsum(bars) - 1
    n_bars, phrases = int(number[-1]) + 1, _phrase_ends(notes, lines, end)
    key_of = [_key_at(keys, slot) for slot in slots]
    for i, key in enumerate(key_of):
        scores[i] += allowances[key]
        tonic, dominant = key.tonic, (key.tonic + 7) % 12
        if not total[i]:
            scores[i] -= _STRANGE * (_TONES @ [c not in key.classes for c in range(12)] > 0)
        if i == 0 and weights[0, tonic]:
            scores[i] += _OPENING * (tonic == _ROOT)
        ends_bar = i + 1 == len(slots) or bars[i + 1]
        if number[i] == n_bars - 1 and ends_bar:
            scores[i] += _CADENCE * (tonic == _ROOT)
        elif ends_bar and int(number[i]) in phrases:
            scores[i] += _HALF_CADENCE * ((tonic == _ROOT) | (dominant == _ROOT))
    best, back = scores[0], []
    for i in range(1, len(slots)):
        change = np.where(np.eye(len(_CHORDS), dtype=bool), 0.0, -(_CHANGE if bars[i] else _CHANGE_INSIDE))
        moves = _MOVES if bars[i] else np.where(np.eye(len(_CHORDS), dtype=bool), 0.0, _MOVES)
        moved = best[:, None] + moves + change
        back.append(moved.argmax(axis=0))
        best = moved.max(axis=0) + scores[i]
    states = [int(best.argmax())]
    for step in reversed(back):
        states.append(int(step[states[-1]]))
    found: list[Segment] = []
    for state, (begin, until) in zip(reversed(states), itertools.pairwise(edges.tolist()), strict=True):
        root, quality = _CHORDS[state]
        chord = Chord(root, quality, root)
        if found and found[-1].chord == chord:
            found[-1] = Segment(found[-1].beat, until - found[-1].beat, chord)
        else:
            found.append(Segment(begin, until - begin, chord))
    return found


def _heard(notes: Sequence[Note], edges: np.ndarray) -> np.ndarray:
    """Pitch classes that a chord explains, (slots, 12): long notes and those on the beat more, passing ones less."""
    lines = edges.tolist()
    weights = [[0.0] * 12 for _ in lines[1:]]
    for note in notes:
        slot = max(bisect.bisect_right(lines, note.beat + 1e-3) - 1, 0)
        off = note.beat + max(note.duration, 0.1)
        while slot < len(weights) and lines[slot] < off - 1e-3:
            here = min(off, lines[slot + 1]) - max(note.beat, lines[slot])
            onset = note.beat - lines[slot]
            place = 1.6 if abs(onset) < 0.1 else 1.0 if abs(onset - round(onset)) < 0.1 else 0.6
            if here > 0.1:
                weights[slot][note.note % 12] += place * min(here, 2.0)
            slot += 1
    return np.array(weights)


def _bass_line(notes: Sequence[Note], edges: np.ndarray) -> np.ndarray:
    """Nats for the chord whose root a low line has at the head of a slot, (slots, chords)."""
    result = np.zeros((len(edges) - 1, len(_CHORDS)))
    lines = edges.tolist()
    for note in notes:
        slot = bisect.bisect_right(lines, note.beat + 0.1) - 1
        if 0 <= slot < len(result) and note.note < 50 and abs(note.beat - edges[slot]) < 0.1:
            result[slot] = np.maximum(result[slot], _BASS * (note.note % 12 == _ROOT))
    return result


def _phrase_ends(notes: Sequence[Note], lines: Sequence[float], end: float) -> set[int]:
    """Bars in which a phrase ends: every fourth, and those that the tune leaves by a rest or a long note."""
    ends = set(range(3, len(lines), 4))
    edges = [*lines, end]
    for before, after in itertools.pairwise(notes):
        off = before.beat + before.duration
        if after.beat - off >= 1.0 or (before.duration >= 2.0 and after.beat >= off - 1e-3):
            bar = int(np.searchsorted(edges, off - 0.1, side='right')) - 1
            if 0 <= bar < len(lines):
                ends.add(bar)
    return ends
