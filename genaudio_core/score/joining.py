"""New notes joined to a score: into the tracks that play their instrument, with no key struck while it is down."""

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.score.track_voices import share_out

LATE = 0.25  # beats; a release up to this late counts as on time, as played music asks for
_ROOM = 1 / 48  # beats
_SHORTEST = 1e-3  # beats; what is left of a note when less than this is left is no note
_HOLDING = (64, 66)  # sustain and sostenuto: what holds notes after their keys
_LOUDNESS = {7: 'volume', 11: 'expression'}


def append_notes(
    score: Score, tracks: list[Track], end: float, *, like: Score, parts: Sequence[int] | None = None
) -> int:
    """Add notes to the tracks that play the same instrument, or as new tracks; return how many.

    Parameters
    ----------
    end : float
        Beat at which the new notes end.
    like : Score
        What `score` is a copy of. Several tracks of one instrument share the notes as they play there (see `voices`).
    parts : for each of `tracks`, optional
        Which of the tracks of its instrument plays it, from 0, where that is known.
    """
    count = 0
    for number, new in enumerate(tracks):
        notes = struck_once(note._replace(duration=min(note.duration, end - note.beat)) for note in new.notes)
        homes = [i for i, track in enumerate(like.tracks) if track.instrument == new.instrument and track.notes]
        if not homes:
            score.tracks.append(replace(new, notes=notes))
            count += len(notes)
            continue
        if parts is not None:
            homes = [homes[min(parts[number], len(homes) - 1)]]
        there = [_channel(like.tracks[i]) for i in homes]
        if len(set(there)) < len(there):
            notes = _apart(notes)
        for i, mine in zip(homes, share_out(notes, [like.tracks[i] for i in homes]), strict=True):
            if not mine:
                continue
            home = score.tracks[i]
            channel = _channel(home)
            sounding = [note for track in score.tracks if _channel(track) == channel for note in track.notes]
            mine = struck_once(mine, sounding)
            home.notes.extend(mine)
            count += len(mine)
    return count


def _channel(track: Track) -> object:
    """The key that two tracks of one channel share: a new track has one of its own."""
    return track.place.channel if track.place is not None else id(track)


def _apart(notes: list[Note]) -> list[Note]:
    """Notes with a little room before the same key is struck again.

    A release in one track of a file comes after an onset at the same tick in another.
    """
    result, onset = [], {}
    for note in reversed(notes):
        room = onset.get(note.note, math.inf) - note.beat
        onset[note.note] = note.beat
        result.append(note._replace(duration=min(note.duration, max(room - _ROOM, room / 2))))
    return result[::-1]


def struck_once(notes: Iterable[Note], given: Iterable[Note] = ()) -> list[Note]:
    """Return `notes`, sorted, so that none strikes a key that is down: in MIDI the first release would end both.

    A note ends where its key is struck again, and of two that begin together the longer one stays. Notes of `given`
    keep their times: a new one begins after a release that is at most `LATE` late, is left out while the key is held
    longer, and ends where a given one begins.
    """
    held: dict[int, list[Note]] = defaultdict(list)
    for note in sorted(given):
        held[note.note].append(note)
    by_key: dict[int, list[Note]] = defaultdict(list)
    for note in sorted(notes):
        there = held.get(note.note)
        fitted = _beside(note, there) if there else note
        mine = by_key[note.note]
        if fitted is None:
            continue
        if mine:
            before = mine[-1]
            if fitted.beat - before.beat < _SHORTEST:
                length = max(before.duration, fitted.duration)
                mine[-1] = before._replace(duration=length, velocity=max(before.velocity, fitted.velocity))
                continue
            if before.beat + before.duration > fitted.beat:
                mine[-1] = before._replace(duration=fitted.beat - before.beat)
        mine.append(fitted)
    return sorted(note for mine in by_key.values() for note in mine)


def _beside(note: Note, there: list[Note]) -> Note | None:
    """A new note beside the given ones of its key (by onset); None if there is no room for it."""
    after = bisect.bisect_right(there, note.beat + 1e-9, key=lambda other: other.beat)
    begin = max((other.beat + other.duration for other in there[:after]), default=0.0)
    begin = max(begin, note.beat)
    end = note.beat + note.duration
    if after < len(there):
        end = min(end, there[after].beat)
    if begin == note.beat and end == note.beat + note.duration:
        return note
    if begin > note.beat + LATE or end - begin < _SHORTEST:
        return None
    return note._replace(beat=begin, duration=end - begin)


def let_go(score: Score, start: float) -> list[str]:
    """Let go, where a continuation begins, of what the given part of a score holds for ever in channels that play on.

    A pedal that is not lifted any more would smear over all that follows, and a bend that does not go back would put it
    out of tune. What was set once, before or with the first note, is a setting and no gesture (a detuned track, a piano
    that is to ring): it stays. So does the volume of a channel that was faded out. Both are told, except the tuning.

    Parameters
    ----------
    score : Score
        A score that was read and then added to; it is changed.
    start : float
        Beat at which the new part begins.

    Returns
    -------
    list of str
        Sentences for the person.
    """
    told = []
    channels: dict[object, list[Track]] = defaultdict(list)
    for track in score.tracks:
        channels[_channel(track)].append(track)
    for tracks in channels.values():
        if not any(note.beat >= start - 1e-6 for track in tracks for note in track.notes):
            continue
        first = min(note.beat for track in tracks for note in track.notes)
        said: dict[object, list[tuple[float, Any, Track]]] = defaultdict(list)
        everything = [(beat, message, track) for track in tracks for beat, message in track.others]
        for beat, message, track in sorted(everything, key=lambda item: item[0]):
            what = message.control if message.type == 'control_change' else message.type
            if what == 121:  # all controllers reset; a volume stays
                for reset in (*_HOLDING, 11, 'pitchwheel'):
                    said.pop(reset, None)
            said[what].append((beat, message, track))
        name = tracks[0].name or tracks[0].instrument
        for control in _HOLDING:
            if control not in said or said[control][-1][1].value < 64:
                continue
            beat, message, track = said[control][-1]
            if beat > first or any(message.value < 64 for _, message, _ in said[control]):
                track.others.append((max(start, beat), message.copy(value=0)))
            else:
                told.append(f'The pedal of {name} is down from its first note on, and stays down in the new part.')
        bends = said.get('pitchwheel', [])
        if len(bends) > 1 and bends[-1][1].pitch and bends[-1][0] > first:
            beat, message, track = bends[-1]
            track.others.append((max(start, beat), message.copy(pitch=0)))
        silent = [word for control, word in _LOUDNESS.items() if control in said and not said[control][-1][1].value]
        if silent:
            told.append(f'{name} is faded out ({silent[0]} 0) where the new part begins, and will not be heard.')
    return told
