"""Which chord sounds when: read from the notes of a score.

A hidden Markov model over slots of time (half bars): a chord explains the pitch classes that sound in its slot (how
long, how strong a place, and which of them is lowest), and changes cost something, more inside a bar than at its line.
The key is not asked: on written music it told nothing that the notes did not. Viterbi's algorithm finds the best path.
After Pardo and Birmingham (Computer Music Journal 2002: templates and penalties) and Raphael and Stoddard (ISMIR 2003:
the model over time).
"""

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.music.keys import CHORDS, Chord
from genaudio_core.music.layouts import QUALITIES
from genaudio_core.score.notes import Note, Score

_CLASS = {'9': '7', 'm9': 'm7', 'maj9': 'maj7', 'add9': '', '7sus4': 'sus4', 'maj': '', 'min': 'm'}


@dataclass(frozen=True)
class Weights:
    """The weights of the recogniser; chosen on 60 written pieces (seeds 1,000 on), in nats a slot."""

    outside: float = -6.3  # all that sounds is foreign to the chord
    missing: float = -1.26  # a tone of the chord that does not sound
    root: float = 1.2  # the root is the lowest note
    tone_below: float = 0.56  # another tone of the chord is
    change: float = -2.2  # another chord inside a bar
    change_at_line: float = -0.96  # and at its line
    rare: float = -0.7  # a chord that is neither major, minor nor a seventh


@dataclass(frozen=True)
class Segment:
    """A chord and how long it holds, in quarter notes."""

    beat: float
    duration: float
    chord: Chord


def simple(quality: str) -> str:
    """The quality of `QUALITIES` that a quality of `keys.CHORDS` counts as."""
    return _CLASS.get(quality, quality)


_COMMON = {'', 'm', '7', 'maj7', 'm7'}
_MEMBER = np.zeros((len(QUALITIES) * 12, 12))  # chord q * 12 + root -> its pitch classes
for _q, _quality in enumerate(QUALITIES):
    for _root in range(12):
        _MEMBER[_q * 12 + _root, [(_root + tone) % 12 for tone in CHORDS[_quality]]] = 1.0
_SIZE = _MEMBER.sum(axis=1)
_IS_ROOT = np.tile(np.eye(12, dtype=bool), (len(QUALITIES), 1))
_UNUSUAL = np.repeat([quality not in _COMMON for quality in QUALITIES], 12)


def half_bar(numerator: int, denominator: int) -> float | None:
    """How far into a bar its second half begins, in quarter notes; None if it has no halves.

    Bars of an even number of quarters or of two or four dotted ones are halved; a bar of three stays whole; 5/4 and 7/8
    are cut behind their first three (two) pulses.
    """
    length = numerator * 4 / denominator
    return {(5, 4): 3.0, (7, 8): 2.0, (6, 8): 1.5, (12, 8): 3.0, (9, 8): None, (3, 4): None, (3, 8): None}.get(
        (numerator, denominator), length / 2 if length >= 2 else None
    )


def slots_of(score: Score, end: float) -> list[float]:
    """Beats at which a chord may change, up to `end`: bar lines, and the middle of bars that have one (`half_bar`)."""
    slots: list[float] = []
    beat = 0.0
    while beat < end - 1e-6:
        meter = score.meter_at(beat)
        length = min(score.next_bar(beat), end) - beat if score.next_bar(beat) > beat else meter.bar_length
        slots.append(beat)
        half = half_bar(meter.numerator, meter.denominator)
        if half and half < length - 1e-6:
            slots.append(beat + half)
        beat += length
    return slots


def _profiles(notes: Sequence[Note], slots: np.ndarray, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (slots, 12) of what sounds in each slot, and the lowest pitch class (slots,), -1 for silence."""
    edges = [*slots.tolist(), end]  # Python's own numbers: each is looked at alone
    weights = [[0.0] * 12 for _ in slots]
    low = [-1] * len(slots)
    for note in notes:
        off = note.beat + max(note.duration, 0.1)
        index = max(bisect.bisect_right(edges, note.beat + 1e-3) - 1, 0)
        while index < len(slots) and edges[index] < off - 1e-3:
            length = edges[index + 1] - edges[index]
            part = min(off, edges[index + 1]) - max(note.beat, edges[index])
            onset = note.beat - edges[index]
            # What is struck at the head of the slot tells more than what passes; what is nearly over tells nothing.
            if part >= 0.1 * length or onset >= -0.05:
                head = 1.6 if -0.1 <= onset <= 0.1 else 1.0
                weights[index][note.note % 12] += head * (0.25 + min(part, 1.0)) * (0.6 + note.velocity / 200)
                if part >= 0.2 * length and onset <= 0.5 * length:
                    low[index] = note.note if low[index] < 0 else min(low[index], note.note)
            index += 1
    return np.array(weights), np.array([each % 12 if each >= 0 else -1 for each in low])


def recognise(
    notes: Iterable[Note],
    slots: Sequence[float],
    end: float,
    *,
    lines: Iterable[float] = (),
    weights: Weights | None = None,
) -> list[Segment]:
    """Return the chords of a stretch of music, equal neighbours as one; slots of silence keep the chord before.

    Parameters
    ----------
    notes : pitched ones, no drums; times in quarter notes
    slots : beats at which a chord may change, ascending; the first is where the music begins
    end : beat at which it ends
    lines : the slots that are bar lines (default: all)
    """
    weigh = weights or Weights()
    places = np.asarray(slots, float)
    if not len(places):
        return []
    loudness, bass = _profiles(sorted(notes), places, end)
    total = loudness.sum(axis=1)
    if not total.any():
        return []
    share = loudness / np.maximum(total, 1e-9)[:, None]
    present = np.minimum(share * 6, 1.0)
    emission = weigh.outside * (1 - share @ _MEMBER.T)
    emission += weigh.missing * (_SIZE - present @ _MEMBER.T)
    emission += weigh.rare * _UNUSUAL
    lowest = np.where(_IS_ROOT, weigh.root, weigh.tone_below * _MEMBER)  # (chords, 12): what each gains by its bass
    emission += np.where(bass >= 0, lowest[:, bass], 0.0).T
    emission[total == 0] = 0.0  # silence tells nothing
    at_line = {round(line, 3) for line in lines}
    costs = [weigh.change_at_line if not at_line or round(p, 3) in at_line else weigh.change for p in places.tolist()]
    best = emission[0]
    back: list[tuple[np.ndarray, int]] = []  # which chords stayed, and the one that all others came from
    for slot in range(1, len(places)):
        leap = int(best.argmax())
        moved = best[leap] + costs[slot]
        back.append((best >= moved, leap))
        best = np.maximum(best, moved) + emission[slot]
    path = [int(best.argmax())]
    for stayed, leap in reversed(back):
        path.append(path[-1] if stayed[path[-1]] else leap)
    path.reverse()
    edges = [*places.tolist(), end]
    found: list[Segment] = []
    for slot, state in enumerate(path):
        root, quality = state % 12, QUALITIES[state // 12]
        member = _MEMBER[state]
        low = int(bass[slot])
        chord = Chord(root, quality, low if low >= 0 and member[low] else root)
        if found and (found[-1].chord == chord or (found[-1].chord.root, found[-1].chord.quality) == (root, quality)):
            found[-1] = Segment(found[-1].beat, edges[slot + 1] - found[-1].beat, found[-1].chord)
        else:
            found.append(Segment(edges[slot], edges[slot + 1] - edges[slot], chord))
    return found


def recognise_score(score: Score, weights: Weights | None = None) -> list[Segment]:
    """The chords of a score by the half bar, held notes as long as the pedal holds them; drums do not count."""
    notes = [note for track in score.tracks if not track.is_drum for note in track.sustained()]
    end = score.next_bar(max(score.end - 1e-3, 0.0))
    slots = slots_of(score, end)
    lines = [slot for slot in slots if abs(score.bar_start(slot) - slot) < 1e-6]
    return recognise(notes, slots, end, lines=lines, weights=weights)
