"""Notes with beats from the player's key events, and the feel of the playing.

`Listener` pairs note-ons with note-offs (sustain pedal included) and keeps the held notes at hand, with an estimate
of how long they will be. `PlayerFeel` learns the player's touch and micro-timing, so that the answer can take them on.
"""

import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bridge.midi.messages import (
    ENDS_NOTES,
    RESET_CONTROLLERS,
    SUSTAIN,
    Control,
    Event,
    Exclusive,
    NoteOff,
    NoteOn,
    Program,
    control,
    program,
)
from bridge.musicians.musician import HeardNote
from genaudio_core.score.drum_parts import BANK, DRUM_CHANNEL, DrumParts
from genaudio_core.score.instruments import DRUMS, PROGRAM_TO_LIVE_CODE, instrument_name

STEP = 1 / 12  # beats: the grid of the music model
LONGEST = 32.0  # beats after which a held note counts as forgotten by its sender


@dataclass
class _Held:
    id: int
    beat: float
    velocity: int
    instrument: str
    time: float  # bridge time of the note-on
    key_up: bool = False  # only the pedal holds it


class Listener:
    """Turns key events into `HeardNote`; ids count up from 1.

    Parameters
    ----------
    instrument : str
        Class of what comes on channels that sent no program change. Drums are channel 10, and what a keyboard has made
        drums (`drum_parts`).
    """

    def __init__(self, instrument: str = 'piano') -> None:
        self.instrument = instrument
        self.n_heard = 0  # note-ons
        self.last_on = -1e9  # session beat of the newest note-on
        self.last_off = -1e9  # session beat at which the last note ended
        self._held: dict[tuple[int, int, int], _Held] = {}  # (input, channel, note)
        self._pedal: set[tuple[int, int]] = set()
        self._programs: dict[tuple[int, int], str] = {}
        self._parts: dict[int, DrumParts] = defaultdict(DrumParts)  # input ->
        self._durations: deque[float] = deque(maxlen=16)
        self._next_id = 1

    def feed(self, source: int, event: Event, beat: float) -> list[HeardNote]:
        """Take an event of input `source` at session beat `beat`; return the notes that are now complete."""
        if isinstance(event, NoteOn):
            finished = self._end(source, event.channel, event.note, beat)
            place = (source, event.channel)
            is_drums = self.is_drums(source, event.channel)
            instrument = DRUMS if is_drums else self._programs.get(place, self.instrument)
            self._held[(*place, event.note)] = _Held(
                self._next_id, beat, event.velocity, instrument, event.time
            )  # fmt: skip
            self._next_id += 1
            self.n_heard += 1
            self.last_on = beat
            return finished
        if isinstance(event, NoteOff):
            held = self._held.get((source, event.channel, event.note))
            if held and (source, event.channel) in self._pedal:
                held.key_up = True
                return []
            return self._end(source, event.channel, event.note, beat)
        if isinstance(event, Exclusive):
            self._parts[source].feed(event.message)
        if isinstance(event, Control):
            return self._control(source, event, beat)
        if isinstance(event, Program):
            self._parts[source].feed(program(event.channel, event.program))
            code = PROGRAM_TO_LIVE_CODE[event.program]
            if code:
                self._programs[source, event.channel] = instrument_name(code)
        return []

    def is_drums(self, source: int, channel: int) -> bool:
        """Whether what comes on a channel of an input is drums."""
        return self._parts[source].is_drums(channel)

    def marked(self, source: int, event: NoteOn) -> NoteOn:
        """The same key on channel 10 if it is drums, and on another if it is not: so players know it."""
        return replace(event, channel=DRUM_CHANNEL if self.is_drums(source, event.channel) else 0)

    def _control(self, source: int, event: Control, beat: float) -> list[HeardNote]:
        place = (source, event.channel)
        if event.control == BANK:
            self._parts[source].feed(control(event.channel, BANK, event.value))
            return []
        if event.control == SUSTAIN and event.value >= 64:
            self._pedal.add(place)
            return []
        if event.control in (SUSTAIN, RESET_CONTROLLERS):
            self._pedal.discard(place)
            up = [key for key, held in self._held.items() if key[:2] == place and held.key_up]
        elif event.control in ENDS_NOTES:
            up = [key for key in self._held if key[:2] == place]
        else:
            return []
        return [note for key in up for note in self._end(*key, beat)]

    def _end(self, source: int, channel: int, note: int, beat: float) -> list[HeardNote]:
        held = self._held.pop((source, channel, note), None)
        if held is None:
            return []
        duration = max(beat - held.beat, STEP / 4)
        if held.instrument != DRUMS:
            self._durations.append(duration)
        self.last_off = beat
        return [HeardNote(held.id, held.beat, duration, note, held.velocity, held.instrument)]

    def release_all(self, beat: float, *, before_time: float = math.inf) -> list[HeardNote]:
        """End every held note that was struck before a bridge time: the transport stopped."""
        ends = [key for key, held in self._held.items() if held.time < before_time]
        return [note for key in ends for note in self._end(*key, beat)]

    def move_held(self, time: float, beat: float) -> list[NoteOn]:
        """The transport starts at `beat`: what is held, struck a little before it, begins there. Return the keys."""
        for held in self._held.values():
            held.beat = beat
        if self._held:
            self.last_on = beat
        return [NoteOn(time, note, held.velocity, channel) for (_, channel, note), held in self._held.items()]

    def release(self, source: int, beat: float) -> list[HeardNote]:
        """End what input `source` holds: its port is gone, and with it its pedals."""
        self._pedal = {place for place in self._pedal if place[0] != source}
        return [note for key in list(self._held) if key[0] == source for note in self._end(*key, beat)]

    def held(self, beat: float) -> list[HeardNote]:
        """Return the notes held at `beat`, with estimated durations.

        A note is taken to last as long as this player's notes usually do, and at least until now; one that already
        outlasted that is taken to go on to the next beat.
        """
        usual = sorted(self._durations)[len(self._durations) // 2] if self._durations else 1.0
        notes = []
        for (_, _, note), held in list(self._held.items()):
            elapsed = beat - held.beat
            if elapsed > LONGEST:
                continue
            estimate = usual if elapsed < usual else elapsed + (-(held.beat + elapsed) % 1.0 or 1.0)
            notes.append(HeardNote(held.id, held.beat, estimate, note, held.velocity, held.instrument, True))
        return notes

    @property
    def n_held(self) -> int:
        """Number of keys and strings that are held, by the hand or the pedal."""
        return len(self._held)

    def is_silent(self, beat: float, pause_beats: float) -> bool:
        """Whether the player has played and let go, and `pause_beats` passed since."""
        return self.n_heard > 0 and not self._held and beat - max(self.last_on, self.last_off) >= pause_beats


@dataclass
class PlayerFeel:
    """The player's loudness and place against the grid, as running means.

    `offsets` holds one mean deviation in beats for each sixteenth of the beat, so swing shows as such.
    """

    loudness: float = 80.0
    heard: int = 0  # notes; the first ones weigh more
    offsets: list[float] = field(default_factory=lambda: [0.0] * 4)

    def hear(self, notes: Sequence[HeardNote]) -> None:
        """Take complete notes into the means."""
        for note in notes:
            self.heard += 1
            self.loudness += max(0.1, 1 / self.heard) * (note.velocity - self.loudness)
            slot = round(note.beat * 4)
            deviation = note.beat - slot / 4
            if abs(deviation) < 0.09:  # further off, it is another subdivision and no feel
                self.offsets[slot % 4] += 0.15 * (deviation - self.offsets[slot % 4])

    def shape(self, beat: float, velocity: int, timing: float, touch: float) -> tuple[float, int]:
        """Return beat and velocity moved towards the player's; `timing` and `touch` are 0 (not) to 1 (fully)."""
        slot = round(beat * 4)
        if abs(beat - slot / 4) < 0.02:
            beat += timing * self.offsets[slot % 4]
        scaled = velocity * (1 + touch * (self.loudness / 80.0 - 1))
        return beat, int(min(max(scaled, 1), 127))
