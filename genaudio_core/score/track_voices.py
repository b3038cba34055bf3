"""Which track plays on: new notes of an instrument shared out among the tracks that play it.

A hymn of four voices on one program, two hands of a piano, a kit in four tracks: each voice goes on where it was. Notes
that begin together go to the voices from low to high without crossing, each near to where its voice was last.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.score.notes import Note, Track

RECENT = 32  # notes by which a voice is known
CROWDED = 24.0  # semitones that a note costs which is one more than the voice ever played at once


@dataclass
class _Voice:
    number: int
    register: float  # mean pitch of its recent notes
    last: float  # mean pitch of what it played last
    notes_at_once: int


def share_out(notes: Sequence[Note], tracks: Sequence[Track]) -> list[list[Note]]:
    """Return the notes for each of `tracks`, which all have notes and all play the instrument of `notes`."""
    result: list[list[Note]] = [[] for _ in tracks]
    if len(tracks) == 1:
        return [list(notes)]
    if tracks[0].is_drum:
        keys = [Counter(note.note for note in track.notes) for track in tracks]
        for note in notes:
            result[_kit_of(note.note, keys)].append(note)
        return result
    voices = sorted((_voice(number, track) for number, track in enumerate(tracks)), key=lambda voice: voice.register)
    busy: list[list[float]] = [[] for _ in tracks]  # ends of what a voice plays
    for beat, group in itertools.groupby(sorted(notes), key=lambda note: note.beat):
        for ends in busy:
            ends[:] = [end for end in ends if end > beat + 1e-6]
        chord = sorted(group, key=lambda note: note.note)
        free = [max(voice.notes_at_once - len(busy[voice.number]), 0) for voice in voices]
        for voice, (begin, end) in zip(voices, _cut(chord, voices, free), strict=True):
            mine = chord[begin:end]
            if mine:
                result[voice.number] += mine
                busy[voice.number] += [note.beat + note.duration for note in mine]
                voice.last = float(np.mean([note.note for note in mine]))
    return result


def _voice(number: int, track: Track) -> _Voice:
    recent = sorted(track.notes)[-RECENT:]
    pitches = [note.note for note in recent]
    last = [note.note for note in recent if note.beat == recent[-1].beat]
    edges = sorted([(n.beat, 1) for n in recent] + [(n.beat + max(n.duration - 0.25, 0.01), -1) for n in recent])
    at_once = max(itertools.accumulate(step for _, step in edges))
    return _Voice(number, float(np.mean(pitches)), float(np.mean(last)), at_once)


def _cut(chord: list[Note], voices: list[_Voice], free: list[int]) -> list[tuple[int, int]]:
    """Cut a chord, low to high, into one (maybe empty) run of notes for each voice, at the least cost."""
    n = len(chord)
    best = [0.0] + [np.inf] * n  # cost of giving the first i notes to the voices so far
    cuts: list[list[int]] = []
    for voice, room in zip(voices, free, strict=True):
        near = [abs(note.note - (voice.register + voice.last) / 2) for note in chord]
        before, best, cut = best, [np.inf] * (n + 1), [0] * (n + 1)
        for end in range(n + 1):
            for begin in range(end + 1):
                cost = before[begin] + sum(near[begin:end]) + CROWDED * max(end - begin - room, 0)
                if cost < best[end]:
                    best[end], cut[end] = cost, begin
        cuts.append(cut)
    runs, end = [], n
    for cut in reversed(cuts):
        runs.append((cut[end], end))
        end = cut[end]
    return runs[::-1]


def _kit_of(key: int, keys: list[Counter]) -> int:
    """The drum track that plays a key most often, or that plays its nearest neighbour."""
    most = max(range(len(keys)), key=lambda i: keys[i][key])
    if keys[most][key]:
        return most
    return min(range(len(keys)), key=lambda i: min((abs(other - key) for other in keys[i]), default=128))
