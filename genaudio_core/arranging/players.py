"""The limits of players, and the score around the notes that are given to them."""

from typing import Any

from genaudio_core.score.instruments import RANGE
from genaudio_core.score.joining import struck_once
from genaudio_core.score.notes import Note, Score, Track


def handed_on(notes: list[Note], voices: int) -> list[Note]:
    """Notes of one instrument, of which those that are held longest end where there would be more than `voices`."""
    result: list[Note] = []
    held: list[int] = []  # indices of what sounds, the longest held first
    for note in struck_once(notes):
        held = [i for i in held if result[i].beat + result[i].duration > note.beat + 1e-6]
        while len(held) >= voices and result[held[0]].beat < note.beat - 1e-6:
            first = held.pop(0)
            result[first] = result[first]._replace(duration=note.beat - result[first].beat)
        held.append(len(result))
        result.append(note)
    return result


def emptied(score: Score, tracks: list[Track], givers: list[int]) -> Score:
    """A copy of `score` with `tracks` for its own notes; the track number `givers[i]` gave ``tracks[i]`` its notes."""
    result = score.copy()
    for track in result.tracks:
        track.notes.clear()
    for giver in set(givers):
        old = result.tracks[giver]
        for track in (track for track, number in zip(tracks, givers, strict=True) if number == giver):
            track.others = [(beat, message) for beat, message in old.others if not _is_of_instrument(message)]
        old.others = [(beat, message) for beat, message in old.others if _is_of_instrument(message)]
    # Without a file to keep whole, an empty track is of no use.
    result.tracks = [*(result.tracks if score.source else []), *tracks]
    return result


def _is_of_instrument(message: Any) -> bool:
    """Whether a message is about an instrument and not its notes: bank selects, and what goes to a whole device."""
    return message.type == 'sysex' or (message.type == 'control_change' and message.control in (0, 32))


def many_are(count: int) -> str:
    """How many notes there are, and the verb."""
    return '1 note is' if count == 1 else f'{count} notes are'


def nearest(pitch: int, names: list[str]) -> int:
    """The pitch, or the octave of it nearest to it that one of the instruments has; of none the nearest note."""
    ranges = [RANGE[name] for name in names]
    octaves = [pitch + 12 * i for i in range(-10, 11)]
    there = [note for note in octaves if any(low <= note <= high for low, high in ranges)]
    there = there or [edge for both in ranges for edge in both]
    return min(there, key=lambda note: (abs(note - pitch), note))
