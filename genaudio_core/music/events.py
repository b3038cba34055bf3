"""Scores as event arrays: the representation of the Multitrack Music Transformer and its live extension.

An event array is ``(n, fields)`` int16; 0 means undefined in every field but ``type``. Two layouts of one encoding:

``MMT`` (Dong et al., ICASSP 2023, section 3; the rules are those of the published code)
    Six fields: type, beat, position, pitch, duration, instrument. Beats are absolute, 0..255; there are no drums,
    no velocity, no meter. Sequence: start-of-song, instruments in order, start-of-notes, notes, end-of-song.

``LIVE`` (ours)
    Adds velocity and meter fields, drums as instrument 65, and a ``meter`` event. ``beat`` counts from the beat of
    the event before, so that a session has no last beat. The first event after start-of-notes is a meter event on a
    bar line; it is repeated where the meter changes and where a rest is longer than a beat code can say.

Times on the way in and out are steps: 12 to the quarter note.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.score.instruments import (
    CODE_TO_PROGRAM,
    DRUM_ALIASES,
    DRUMS_CODE,
    N_INSTRUMENTS,
    PROGRAM_TO_CODE,
    PROGRAM_TO_LIVE_CODE,
    instrument_code,
)
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

RESOLUTION = 12  # steps to the quarter note
START_OF_SONG, INSTRUMENT, START_OF_NOTES, NOTE, END_OF_SONG, METER = range(6)

DURATIONS = np.array(
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15, 16, 18, 20, 21, 24, 30, 36, 40, 42, 48, 60, 72, 84, 96, 120, 144, 168,
     192, 384]
)  # fmt: skip
MAX_DURATION = 384
# argmin takes the first of equals, so a tie goes to the shorter duration; 0 steps fall on class 1.
_DURATION_CODE = np.abs(np.arange(MAX_DURATION + 1)[:, None] - DURATIONS).argmin(axis=1).astype(np.int16) + 1

METERS: tuple[tuple[int, int], ...] = (
    (4, 4), (3, 4), (2, 4), (2, 2), (6, 8), (3, 8), (12, 8), (9, 8), (5, 4), (6, 4), (3, 2), (4, 2), (1, 4), (7, 8),
    (5, 8), (7, 4), (4, 8), (2, 8), (6, 16), (9, 4), (1, 8), (1, 2), (8, 4), (2, 1), (3, 1),
)  # fmt: skip
PHASE_STEPS = 6  # the model sees the place in the bar in eighth notes ...
N_PHASES = 48  # ... up to six whole notes
VELOCITY_BIN = 4

NOTE_TYPE = np.dtype(
    [('step', np.int32), ('duration', np.int32), ('pitch', np.uint8), ('velocity', np.uint8), ('program', np.uint8)]
)
"""A row of a note table: onset and duration in steps; program 128 is drums."""
DRUM_PROGRAM = 128


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
        return {field: i for i, field in enumerate(self.fields)}

    @property
    def has_drums(self) -> bool:
        return self.sizes[self.index('instrument')] > N_INSTRUMENTS + 1

    @property
    def has_velocity(self) -> bool:
        return 'velocity' in self.fields

    @property
    def has_meter(self) -> bool:
        return 'meter' in self.fields

    @property
    def fingerprint(self) -> str:
        """Short hash over everything that gives the codes their meaning."""
        tables = [DURATIONS.tolist(), METERS, PROGRAM_TO_CODE, PROGRAM_TO_LIVE_CODE, RESOLUTION, VELOCITY_BIN]
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
ENCODINGS = {encoding.name: encoding for encoding in (MMT, LIVE)}


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


# --- codes -----------------------------------------------------------------------------------------------------------


def duration_code(steps: np.ndarray) -> np.ndarray:
    """Nearest of the 32 durations to `steps`, any shape, as codes 1..32 of that shape; ties go to the shorter."""
    return _DURATION_CODE[np.clip(steps, 0, MAX_DURATION)]


def velocity_code(velocity: np.ndarray) -> np.ndarray:
    """Velocities 1..127, any shape, as codes 1..32 of that shape."""
    return np.clip(velocity, 0, 127) // VELOCITY_BIN + 1


def velocity_of(code: np.ndarray) -> np.ndarray:
    """Middle of the bin of velocity codes, any shape: 2..126, of that shape."""
    return (np.asarray(code) - 1) * VELOCITY_BIN + VELOCITY_BIN // 2


def meter_code(numerator: int, denominator: int) -> int:
    """Code of a meter; one that is not in the list gets that of the nearest bar length."""
    if (numerator, denominator) in METERS:
        return METERS.index((numerator, denominator)) + 1
    lengths = [abs(n * 4 / d - numerator * 4 / denominator) for n, d in METERS]
    return lengths.index(min(lengths)) + 1


_BAR_STEPS = np.array([4 * RESOLUTION] + [n * 4 * RESOLUTION // d for n, d in METERS])
"""Steps in a bar by meter code; code 0 (none) counts as 4/4."""


# --- score -> events -------------------------------------------------------------------------------------------------


def note_table(score: Score) -> np.ndarray:
    """All notes of a score as a table (n,) of `NOTE_TYPE`, unsorted. Drums get program 128."""
    tables = []
    for track in score.tracks:
        if not track.notes:
            continue
        beat, duration, pitch, velocity = np.array(track.notes, dtype=np.float64).T
        table = np.empty(len(beat), NOTE_TYPE)
        table['step'] = np.rint(beat * RESOLUTION)
        # Durations are rounded as ends minus onsets would not be: a quarter stays a quarter wherever it starts.
        table['duration'] = np.rint(duration * RESOLUTION)
        table['pitch'] = pitch
        table['velocity'] = velocity
        table['program'] = DRUM_PROGRAM if track.is_drum else track.program
        tables.append(table)
    return np.concatenate(tables) if tables else np.empty(0, NOTE_TYPE)


_LIVE_CODES = np.array([*PROGRAM_TO_LIVE_CODE, DRUMS_CODE])
_MMT_CODES = np.array([*PROGRAM_TO_CODE, 0])
_DRUM_NOTE = np.arange(256)
_DRUM_NOTE[list(DRUM_ALIASES)] = list(DRUM_ALIASES.values())
DRUM_DURATION = 3  # steps: a stroke has no length worth modelling


def encode(score: Score, encoding: Encoding = LIVE, *, start: float | None = None, end: bool = True) -> np.ndarray:
    """Encode a score.

    Parameters
    ----------
    start : float, optional
        Beat that becomes beat 0. By default the beat (MMT) or the bar line (LIVE) at or before the first note.
        Notes before it are left out.
    end : bool
        Whether to close with end-of-song. A prompt to be continued is left open.

    Returns
    -------
    array (n, fields) int16
    """
    meters = [
        (round(meter.beat * RESOLUTION), meter_code(meter.numerator, meter.denominator)) for meter in score.meters
    ]
    table = note_table(score)
    if start is None:
        first = int(table['step'].min()) if len(table) else 0
        if encoding.has_meter:
            origin = round(score.bar_start(first / RESOLUTION) * RESOLUTION)
        else:
            origin = first // RESOLUTION * RESOLUTION
    else:
        origin = round(start * RESOLUTION)
    return encode_table(table, encoding, meters=meters, origin=origin, end=end)


def encode_table(
    table: np.ndarray,
    encoding: Encoding,
    *,
    meters: Sequence[tuple[int, int]] = ((0, 1),),
    origin: int = 0,
    end: bool = True,
) -> np.ndarray:
    """Encode a note table; the vectorised heart of `encode`.

    Parameters
    ----------
    table : array (n,) of NOTE_TYPE
    meters : (step, meter code) pairs in order
    origin : step that becomes step 0; for LIVE it must lie on a bar line
    """
    if encoding is MMT or not encoding.relative_beat:
        notes, instruments = _encode_mmt_notes(table, origin)
    else:
        notes, instruments = _encode_live_notes(table, meters, origin)
    head = np.zeros((len(instruments) + 2, len(encoding.fields)), np.int16)
    head[0, 0] = START_OF_SONG
    head[1:-1, 0] = INSTRUMENT
    head[1:-1, encoding.index('instrument')] = instruments
    head[-1, 0] = START_OF_NOTES
    parts = [head, notes]
    if end:
        tail = np.zeros((1, len(encoding.fields)), np.int16)
        tail[0, 0] = END_OF_SONG
        parts.append(tail)
    return np.concatenate(parts)


def _encode_mmt_notes(table: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
    table = table[(table['program'] != DRUM_PROGRAM) & (table['step'] >= origin)]
    step = table['step'].astype(np.int64) - origin
    # The published order: beat, position, pitch, duration (not yet a class), program; equal notes count once.
    key = ((step * 128 + table['pitch']) * (1 << 20) + np.minimum(table['duration'], (1 << 20) - 1)) * 128
    key = np.unique(key + table['program'])
    program, key = key % 128, key // 128
    duration, key = key % (1 << 20), key // (1 << 20)
    pitch, step = key % 128, key // 128
    code = _MMT_CODES[program]
    keep = (code > 0) & (step < MMT.max_beat * RESOLUTION)
    step, pitch, duration, code = step[keep], pitch[keep], duration[keep], code[keep]
    notes = np.zeros((len(step), len(MMT.fields)), np.int16)
    notes[:, 0] = NOTE
    notes[:, 1] = step // RESOLUTION + 1
    notes[:, 2] = step % RESOLUTION + 1
    notes[:, 3] = pitch + 1
    notes[:, 4] = duration_code(duration)
    notes[:, 5] = code
    return notes, np.unique(code)


def _encode_live_notes(
    table: np.ndarray, meters: Sequence[tuple[int, int]], origin: int
) -> tuple[np.ndarray, np.ndarray]:
    code = _LIVE_CODES[table['program']]
    keep = (code > 0) & (table['step'] >= origin)
    table, code = table[keep], code[keep]
    step = table['step'].astype(np.int64) - origin
    drums = code == DRUMS_CODE
    pitch = np.where(drums, _DRUM_NOTE[table['pitch']], table['pitch'])
    duration = np.where(drums, DRUM_DURATION, table['duration'])
    # Order: time, instrument, pitch; of two equal notes the longer one stays.
    order = np.lexsort((-duration, pitch, code, step))
    step, code, pitch, duration = step[order], code[order], pitch[order], duration[order]
    velocity = table['velocity'][order]
    first = np.ones(len(step), bool)
    first[1:] = (step[1:] != step[:-1]) | (code[1:] != code[:-1]) | (pitch[1:] != pitch[:-1])
    step, code, pitch, duration, velocity = (a[first] for a in (step, code, pitch, duration, velocity))

    meter_steps, meter_codes = _live_meters(step, meters, origin)
    n_meters, n = len(meter_steps), len(meter_steps) + len(step)
    events = np.zeros((n, len(LIVE.fields)), np.int16)
    # A meter event precedes the notes of its step: merge the two sorted lists.
    meter_rows = np.searchsorted(step, meter_steps, side='left') + np.arange(n_meters)
    is_note = np.ones(n, bool)
    is_note[meter_rows] = False
    all_steps = np.empty(n, np.int64)
    all_steps[meter_rows] = meter_steps
    all_steps[is_note] = step
    events[:, 0] = np.where(is_note, NOTE, METER)
    events[:, 1] = np.diff(all_steps // RESOLUTION, prepend=0) + 1
    events[:, 2] = all_steps % RESOLUTION + 1
    events[is_note, 3] = pitch + 1
    events[is_note, 4] = duration_code(duration)
    events[is_note, 5] = code
    events[is_note, 6] = velocity_code(velocity)
    events[meter_rows, 7] = meter_codes
    return events, np.unique(code)


def _live_meters(step: np.ndarray, meters: Sequence[tuple[int, int]], origin: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps and codes of the meter events: at the start, at changes, and bridging rests too long for a beat code."""
    current = 1
    changes: dict[int, int] = {}
    last = int(step[-1]) if len(step) else 0
    for at, code in meters:
        if at <= origin:
            current = code
        elif at - origin <= last:
            changes[at - origin] = code
    changes[0] = current
    times = np.array(sorted(changes))
    codes = [changes[int(at)] for at in times]
    longest = (LIVE.max_beat - 1) * RESOLUTION
    anchors = np.union1d(times, step)
    gaps = np.flatnonzero(np.diff(anchors) > longest)
    if len(gaps):
        extra = []
        for gap in gaps:
            code = codes[int(np.searchsorted(times, anchors[gap], side='right')) - 1]
            bar = int(_BAR_STEPS[code])
            origin_of_bars = int(times[np.searchsorted(times, anchors[gap], side='right') - 1])
            at = int(anchors[gap])
            while anchors[gap + 1] - at > longest:
                # Bridge on a bar line, so that the event moves no bar line.
                reach = at + longest - RESOLUTION
                line = origin_of_bars + (reach - origin_of_bars) // bar * bar
                at = line if line > at else reach
                extra.append((at, code))
        pairs = sorted([*zip(times.tolist(), codes, strict=True), *extra])
        times, codes = np.array([at for at, _ in pairs]), [code for _, code in pairs]
    return times, np.array(codes, np.int16)


# --- time of events --------------------------------------------------------------------------------------------------


def timeline(events: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """When each event happens.

    Returns
    -------
    step : array (n,) int64
        Onset in steps from the start of the sequence; events without a time have that of the event before.
    phase : array (n,) int64
        Place in the bar, in units of `PHASE_STEPS`, 0..N_PHASES-1. Without meter events bars are 4/4.
    """
    kind, beat, position = (events[:, i].astype(np.int64) for i in range(3))
    timed = (kind == NOTE) | (kind == METER)
    if encoding.relative_beat:
        beats = np.cumsum(np.where(timed, beat - 1, 0))
        step = np.where(timed, beats * RESOLUTION + position - 1, 0)
    else:
        step = np.where(timed, (beat - 1) * RESOLUTION + position - 1, 0)
    # Untimed events (the header, the end) take the time of the last timed one. Inside a beat the published
    # model may go back, so this is a carry-forward and no running maximum.
    last = np.maximum.accumulate(np.where(timed, np.arange(len(step)), -1))
    step = np.where(last >= 0, step[np.maximum(last, 0)], 0)
    if not encoding.has_meter:
        return step, step % _BAR_STEPS[0] // PHASE_STEPS
    is_meter = kind == METER
    latest = np.maximum.accumulate(np.where(is_meter, np.arange(len(step)), -1))
    seen = latest >= 0
    index = np.maximum(latest, 0)
    bar_origin = np.where(seen, step[index], 0)
    bar = _BAR_STEPS[np.where(seen, events[index, encoding.index('meter')], 0)]
    return step, np.minimum((step - bar_origin) % bar // PHASE_STEPS, N_PHASES - 1)


def bar_steps(code: int) -> int:
    """Steps in a bar of the meter with this code; 0 (none) counts as 4/4."""
    return int(_BAR_STEPS[code])


# --- events -> score -------------------------------------------------------------------------------------------------


def decode_table(events: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Notes of events (n, fields) as a table (notes,) of `NOTE_TYPE`, in the order of the events.

    Everything after end-of-song, and notes with an undefined field, are left out.
    """
    ends = np.flatnonzero(events[:, 0] == END_OF_SONG)
    if len(ends):
        events = events[: ends[0]]
    step, _ = timeline(events, encoding)
    # The published layout has no use for undefined fields either; what is undefined cannot sound.
    keep = (events[:, 0] == NOTE) & (events[:, 1:6] > 0).all(axis=1)
    events, step = events[keep], step[keep]
    table = np.empty(len(events), NOTE_TYPE)
    table['step'] = step
    table['pitch'] = events[:, 3] - 1
    table['duration'] = DURATIONS[events[:, 4] - 1]
    code = events[:, 5]
    programs = np.array(CODE_TO_PROGRAM)[code]
    table['program'] = np.where(code == DRUMS_CODE, DRUM_PROGRAM, programs) if encoding.has_drums else programs
    if encoding.has_velocity:
        table['velocity'] = velocity_of(np.maximum(events[:, encoding.index('velocity')], 1))
    else:
        table['velocity'] = 64
    return table


def table_to_tracks(table: np.ndarray, *, offset: float = 0.0) -> list[Track]:
    """Tracks of a note table (n,), one for each program, in the order of programs; `offset` in beats is added."""
    tracks = []
    for program in np.unique(table['program']):
        rows = table[table['program'] == program]
        rows = rows[np.lexsort((rows['pitch'], rows['step']))]
        columns = (
            (rows['step'] / RESOLUTION + offset).tolist(),
            (rows['duration'] / RESOLUTION).tolist(),
            rows['pitch'].tolist(),
            rows['velocity'].tolist(),
        )
        is_drum = bool(program == DRUM_PROGRAM)
        track = Track(0 if is_drum else int(program), is_drum, notes=list(map(Note, *columns)))
        track.name = track.instrument
        tracks.append(track)
    return tracks


def decode(events: np.ndarray, encoding: Encoding = LIVE, *, tempo: float = 100.0) -> Score:
    """Decode events (n, fields). The published code decodes at 100 BPM; the encoding itself has no tempo."""
    meters = [Meter(0.0, 4, 4)]
    if encoding.has_meter:
        step, _ = timeline(events, encoding)
        column = encoding.index('meter')
        rows = np.flatnonzero((events[:, 0] == METER) & (events[:, column] > 0))
        for row in rows:
            meter = Meter(float(step[row] / RESOLUTION), *METERS[int(events[row, column]) - 1])
            if meter.beat == 0:
                meters = [meter]
            elif meter[1:] != meters[-1][1:]:
                meters.append(meter)
    return Score(table_to_tracks(decode_table(events, encoding)), [Tempo(0.0, tempo)], meters)


def header(instruments: Sequence[str], encoding: Encoding, *, meter: tuple[int, int] = (4, 4)) -> np.ndarray:
    """Events (n, fields): a song's beginning for these instruments, what instrument-informed generation starts from.

    Raises
    ------
    GenaudioError
        If the encoding has no class for one of them.
    """
    codes = sorted(instrument_code(name) for name in set(instruments))
    if codes and codes[-1] >= encoding.sizes[encoding.index('instrument')]:
        raise GenaudioError("This model has no drums; leave out 'drums', or use a live model.")
    n = len(codes) + 2 + encoding.has_meter
    events = np.zeros((n, len(encoding.fields)), np.int16)
    events[1 : len(codes) + 1, 0] = INSTRUMENT
    events[1 : len(codes) + 1, encoding.index('instrument')] = codes
    events[len(codes) + 1, 0] = START_OF_NOTES
    if encoding.has_meter:
        events[-1, :3] = METER, 1, 1
        events[-1, encoding.index('meter')] = meter_code(*meter)
    return events
