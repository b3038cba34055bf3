"""Layouts of event arrays: which fields an event has, and what its codes mean.

An event array is ``(n, fields)`` int16; 0 means undefined in every field but ``type``. Three layouts of one encoding:

``MMT`` (Dong et al., ICASSP 2023, section 3; the rules are those of the published code)
    Six fields: type, beat, position, pitch, duration, instrument. Beats are absolute, 0..255; there are no drums,
    no velocity, no meter. Sequence: start-of-song, instruments in order, start-of-notes, notes, end-of-song.
    A duration runs from the rounded onset to the rounded end, beat 0 is that of the first note kept, and notes without
    length count as one step before equal notes are merged. What differs lies in reading, not here: a program change
    holds for its channel in every track of a MIDI file (muspy: in its own track), and files that muspy refuses are
    read.

``LIVE`` (ours)
    Adds velocity and meter fields, drums as instrument 65, and a ``meter`` event. ``beat`` counts from the beat of
    the event before, so that a session has no last beat. A duration is the rounded length: a quarter stays a quarter
    wherever it begins, where the published rule makes it a step longer or shorter now and then. The first event after
    start-of-notes is a meter event on a bar line; it is repeated where the meter changes and where a rest is longer
    than a beat code can say.

``DESCRIBED`` (ours; after FIGARO, von Rütte et al., ICLR 2023)
    LIVE, and on bar lines, before the notes of the bar, what the bar is to be: ``chord`` events (place, root, quality,
    bass) and ``part`` events (instrument, which part of that instrument, density, register, dynamics). A note knows
    its part, 1 to 4. All of it may be left out, event by event and field by field: what is not told is unknown.
    Without any of it the events are those of LIVE.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.score.instruments import N_INSTRUMENTS, PROGRAM_TO_CODE, PROGRAM_TO_LIVE_CODE

RESOLUTION = 12  # steps to the quarter note
TYPES = ('start of song', 'instrument', 'start of notes', 'note', 'end of song', 'meter', 'chord', 'part')
"""Of an event, by their codes; a layout has the first of them, as many as its field `type` has classes."""
START_OF_SONG, INSTRUMENT, START_OF_NOTES, NOTE, END_OF_SONG, METER, CHORD, PART = range(len(TYPES))
TIMED = (NOTE, METER, CHORD, PART)  # types of events that have a beat and a position

DURATIONS = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 18, 20, 21, 24, 30, 36, 40, 42, 48, 60, 72, 84, 96, 120, 144, 168,
     192, 384]
)  # fmt: skip
METERS: tuple[tuple[int, int], ...] = (
    (4, 4), (3, 4), (2, 4), (2, 2), (6, 8), (3, 8), (12, 8), (9, 8), (5, 4), (6, 4), (3, 2), (4, 2), (1, 4), (7, 8),
    (5, 8), (7, 4), (4, 8), (2, 8), (6, 16), (9, 4), (1, 8), (1, 2), (8, 4), (2, 1), (3, 1),
)  # fmt: skip
PHASE_STEPS = 6  # the model sees the place in the bar in eighth notes ...
N_PHASES = 48  # ... up to six whole notes
VELOCITY_BIN = 4

# What the described layout tells.
QUALITIES = ('', 'm', '7', 'maj7', 'm7', 'dim', 'm7b5', 'dim7', 'aug', 'sus4', 'sus2', '6', 'm6', '5')
"""Chords that are told apart: ninths count as their sevenths."""
N_PARTS = 4  # of one instrument
WHOLE_BAR, FIRST_HALF, SECOND_HALF, NEXT_BAR = range(1, 5)  # places of chords; NEXT_BAR is the head of the next bar
RESTS = 1  # density of a part that is silent for the whole bar
DENSITIES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Onsets to the quarter note: density 2 is up to the first of these, and so on (2: also one that only holds on)."""
REGISTER_STEP = 6  # semitones; register 1 is notes 0 to 5 on average
DYNAMICS_STEP = 16  # of velocity; dynamics 1 is 0 to 15 on average


@dataclass(frozen=True)
class Encoding:
    """A layout: which fields an event has, how many classes each, and in which order they are chosen.

    It travels in the model card; two models understand each other's events if their `fingerprint` is the same.
    """

    name: str
    version: int
    fields: tuple[str, ...]
    sizes: tuple[int, ...]  # classes of each field, 0 (undefined) included
    order: tuple[str, ...]  # in which the live model chooses the fields of one event
    max_beat: int  # beats 0..max_beat-1: absolute (MMT), or from the event before (LIVE)
    relative_beat: bool

    def index(self, field: str) -> int:
        """Column of `field`."""
        return self.fields.index(field)

    @cached_property
    def columns(self) -> dict[str, int]:
        """Column of each field by its name."""
        return {field: i for i, field in enumerate(self.fields)}

    @property
    def is_published(self) -> bool:
        """Whether this is the layout of the published model, whose rules of rounding and of beat 0 hold in it."""
        return not self.relative_beat

    @property
    def has_drums(self) -> bool:
        """Whether drums are an instrument."""
        return self.sizes[self.index('instrument')] > N_INSTRUMENTS + 1

    @property
    def has_velocity(self) -> bool:
        """Whether notes have a velocity."""
        return 'velocity' in self.fields

    @property
    def has_meter(self) -> bool:
        """Whether meters are events."""
        return 'meter' in self.fields

    @property
    def has_descriptions(self) -> bool:
        """Whether chords and parts can be told, and notes know their part."""
        return 'part' in self.fields

    @property
    def fingerprint(self) -> str:
        """Short hash over everything that gives the codes their meaning."""
        tables = [DURATIONS.tolist(), METERS, PROGRAM_TO_CODE, PROGRAM_TO_LIVE_CODE, RESOLUTION, VELOCITY_BIN]
        if self.has_descriptions:
            tables += [QUALITIES, DENSITIES, REGISTER_STEP, DYNAMICS_STEP]
        text = json.dumps([asdict(self), tables], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict:
        """For a model card."""
        return asdict(self) | {'fingerprint': self.fingerprint, 'resolution': RESOLUTION}


MMT = Encoding(
    name='mmt', version=1,
    fields=('type', 'beat', 'position', 'pitch', 'duration', 'instrument'),
    sizes=(5, 257, RESOLUTION + 1, 129, len(DURATIONS) + 1, N_INSTRUMENTS + 1),
    order=('type', 'beat', 'position', 'pitch', 'duration', 'instrument'),
    max_beat=256, relative_beat=False,
)  # fmt: skip
LIVE = Encoding(
    name='live', version=1,
    fields=('type', 'beat', 'position', 'pitch', 'duration', 'instrument', 'velocity', 'meter'),
    sizes=(6, 66, RESOLUTION + 1, 129, len(DURATIONS) + 1, N_INSTRUMENTS + 2, 128 // VELOCITY_BIN + 1, len(METERS) + 1),
    # Time first, then who, then what: a musician fixes the when and the who, so masks on those come first.
    order=('type', 'beat', 'position', 'instrument', 'pitch', 'duration', 'velocity', 'meter'),
    max_beat=65, relative_beat=True,
)  # fmt: skip
DESCRIBED = Encoding(
    name='described', version=1,
    fields=(*LIVE.fields, 'part', 'place', 'root', 'quality', 'bass', 'density', 'register', 'dynamics'),
    sizes=(8, *LIVE.sizes[1:], N_PARTS + 1, NEXT_BAR + 1, 13, len(QUALITIES) + 1, 13, len(DENSITIES) + 3,
           127 // REGISTER_STEP + 2, 127 // DYNAMICS_STEP + 2),
    order=('type', 'beat', 'position', 'instrument', 'part', 'pitch', 'duration', 'velocity', 'meter',
           'place', 'root', 'quality', 'bass', 'density', 'register', 'dynamics'),
    max_beat=LIVE.max_beat, relative_beat=True,
)  # fmt: skip
ENCODINGS = {encoding.name: encoding for encoding in (MMT, LIVE, DESCRIBED)}


def find_encoding(card: dict) -> Encoding:
    """Return the encoding that a model card names.

    Raises
    ------
    GenaudioError
        If the card was written for an encoding this version does not have, or one of another meaning.
    """
    encoding = ENCODINGS.get(card.get('name', ''))
    if encoding is None or encoding.version != card.get('version') or encoding.fingerprint != card.get('fingerprint'):
        raise GenaudioError(
            f"The model uses the event layout '{card.get('name')}' version {card.get('version')}, which this version "
            'of genaudio does not read. Update genaudio, or export the model again.'
        )
    return encoding
