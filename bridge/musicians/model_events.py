"""The memory of a live model: notes, and the chords that it was told, each with its step in session time."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from bridge.musicians.musician import HeardNote, PlannedNote, Request
from genaudio_core.music.descriptions import chord_code, density_code, part_row, tell_chords
from genaudio_core.music.events import (
    DRUM_ALIASES,
    DRUM_DURATION,
    duration_code,
    meter_code,
    velocity_code,
    velocity_of,
)
from genaudio_core.music.layouts import (
    DESCRIBED,
    DURATIONS,
    N_PARTS,
    NEXT_BAR,
    NOTE,
    REGISTER_STEP,
    RESOLUTION,
    Encoding,
)
from genaudio_core.score.instruments import DRUMS, RANGE, instrument_code


class Event(NamedTuple):
    """A note as the model sees it, in the order the model wants."""

    step: int
    instrument: int  # code 1..65
    part: int  # of that instrument, from 1; 0 for models whose notes do not tell it
    pitch: int  # note 0..127
    duration: int  # code
    velocity: int  # code

    @property
    def length(self) -> int:
        """Steps that it lasts."""
        return int(DURATIONS[self.duration - 1])

    @property
    def who(self) -> tuple[int, int]:
        """Instrument code, and part from 1."""
        return self.instrument, self.part or 1


class DescriptionEvent(NamedTuple):
    """A description on a bar line. It comes before the notes there: its rank is below any instrument's."""

    step: int
    rank: int
    fields: tuple[int, ...]  # of the event, without a time


Entry = Event | DescriptionEvent


def heard_event(note: HeardNote, part: int) -> Event:
    """A note of the player as the model sees it."""
    drums = note.instrument == DRUMS
    steps = DRUM_DURATION if drums else max(round(note.duration * RESOLUTION), 1)
    pitch = DRUM_ALIASES.get(note.note, note.note) if drums else note.note
    return Event(
        round(note.beat * RESOLUTION), instrument_code(note.instrument), part, pitch,
        int(duration_code(np.array(steps))), int(velocity_code(np.array(note.velocity))),
    )  # fmt: skip


def played_event(note: PlannedNote, who: tuple[int, int], encoding: Encoding) -> Event:
    """A note of the band, by one of its parts, as the model sees it."""
    return Event(
        round(note.beat * RESOLUTION), who[0], who[1] if encoding.has_descriptions else 0, note.note,
        int(duration_code(np.array(max(round(note.duration * RESOLUTION), 1)))),
        int(velocity_code(np.array(note.velocity))),
    )  # fmt: skip


def event_of(row: np.ndarray, step: int, encoding: Encoding) -> Event:
    """A note row (fields,) at a step of the session."""
    column = encoding.columns
    return Event(
        step, int(row[column['instrument']]), int(row[column['part']]) if encoding.has_descriptions else 0,
        int(row[column['pitch']]) - 1, int(row[column['duration']]), int(row[column['velocity']]),
    )  # fmt: skip


def row_of(entry: Entry, step: int, last: int, encoding: Encoding) -> list[int]:
    """The event of the model (fields,) at its step `step` after one at `last`."""
    beat, position = step // RESOLUTION - last // RESOLUTION + 1, step % RESOLUTION + 1
    if isinstance(entry, DescriptionEvent):
        return [entry.fields[0], beat, position, *entry.fields[3:]]
    values = {
        'type': NOTE, 'beat': beat, 'position': position, 'instrument': entry.instrument, 'part': entry.part,
        'pitch': entry.pitch + 1, 'duration': entry.duration, 'velocity': entry.velocity,
    }  # fmt: skip
    return [values.get(name, 0) for name in encoding.fields]


def told_chords(request: Request, line: int) -> list[DescriptionEvent]:
    """The chords of the bar that begins at step `line`, as far as they are known and not only guessed.

    One who goes on by himself is not bound to the chord that was last played.
    """
    known = ('chart', 'heard', 'loop', 'phrase' if request.role == 'continue' else 'last')
    changes = [
        (round(each.beat * RESOLUTION), chord_code(each.chord) if each.source in known else 0)
        for each in request.chords
    ]
    if not changes:
        return []
    end, place = line + round(request.bar * RESOLUTION), DESCRIBED.columns['place']
    steps, rows = tell_chords(np.array(changes, np.int64), [(line, meter_code(*request.meter))], line, end)
    return [
        DescriptionEvent(line, int(row[place]) - NEXT_BAR - 1, tuple(row.tolist())) for row in rows[steps == line]
    ]  # fmt: skip


def told_part(line: int, who: tuple[int, int], onsets: float = -1.0, middle: int = 0) -> DescriptionEvent:
    """What a part does from step `line` on: onsets to the quarter note (under 0: unknown), the middle of its notes."""
    density = 0 if onsets < 0 else int(density_code(np.array([onsets]))[0])
    row = part_row(*who, density=density, register=middle // REGISTER_STEP + 1 if middle else 0)
    return DescriptionEvent(line, 0, tuple(row.tolist()))


class Cast:
    """Who of the band plays a note.

    A model whose notes tell their part says it. Else, of one class the one that is free, and whose last note lies
    nearest.

    Parameters
    ----------
    instruments : classes, by place
    playing : places of those who play; by default all
    """

    def __init__(self, instruments: Sequence[str], playing: Collection[int] | None = None) -> None:
        self._playing = range(len(instruments)) if playing is None else playing
        self._parts: dict[int, dict[int, tuple[int, int]]] = {}  # code -> place -> (step until it plays, last note)
        for place, name in enumerate(instruments):
            low, high = RANGE[name]
            of_class = self._parts.setdefault(instrument_code(name), {})
            of_class[place] = (-1, (low + high) // 2 + 12 - 5 * len(of_class))  # the first plays above the others

    def note(self, event: Event, *, cued: bool, by_rule: bool) -> PlannedNote:
        """The note as it is to be played."""
        places = self._parts[event.instrument]
        among = list(places)
        if event.part:
            among = among[event.part - 1 :] if event.part == N_PARTS else among[event.part - 1 : event.part]
        among = [place for place in among if place in self._playing]
        place = min(
            among or places, key=lambda each: (places[each][0] > event.step, abs(places[each][1] - event.pitch))
        )
        places[place] = (event.step + event.length, event.pitch)
        velocity = int(np.clip(velocity_of(np.array(event.velocity)), 1, 127))
        return PlannedNote(
            event.step / RESOLUTION, event.length / RESOLUTION, event.pitch, velocity, place, cued, by_rule
        )


def parts_of(instruments: Sequence[str], *, told: bool) -> list[tuple[int, int]]:
    """Who plays: the code of each instrument and which of its parts; all 1 where notes do not tell their part."""
    counts: dict[int, int] = {}
    found = []
    for name in instruments:
        code = instrument_code(name)
        counts[code] = min(counts.get(code, 0) + 1, N_PARTS) if told and name != DRUMS else 1
        found.append((code, counts[code]))
    return found
