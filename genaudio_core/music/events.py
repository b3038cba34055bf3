"""Scores as event arrays, and back: see `genaudio_core.music.layouts` for what the events mean.

Times on the way in and out are steps: 12 to the quarter note.
"""

from collections.abc import Sequence

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.music.layouts import (
    DURATIONS,
    END_OF_SONG,
    INSTRUMENT,
    LIVE,
    METER,
    METERS,
    MMT,
    N_PARTS,
    N_PHASES,
    NOTE,
    PHASE_STEPS,
    RESOLUTION,
    START_OF_NOTES,
    START_OF_SONG,
    TIMED,
    VELOCITY_BIN,
    Encoding,
)
from genaudio_core.score.instruments import (
    CODE_TO_PROGRAM,
    DRUM_ALIASES,
    DRUMS_CODE,
    PROGRAM_TO_CODE,
    PROGRAM_TO_LIVE_CODE,
    instrument_code,
)
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

MAX_DURATION = 384
# argmin takes the first of equals, so a tie goes to the shorter duration; 0 steps fall on class 1.
_DURATION_CODE = np.abs(np.arange(MAX_DURATION + 1)[:, None] - DURATIONS).argmin(axis=1).astype(np.int16) + 1
NOTE_TYPE = np.dtype(
    [('step', np.int32), ('duration', np.int32), ('pitch', np.uint8), ('velocity', np.uint8), ('program', np.uint8)]
)
"""A row of a note table: onset and duration in steps; program 128 is drums."""
TRACKED_NOTE_TYPE = np.dtype([*NOTE_TYPE.descr, ('track', np.uint8)])
"""The same with the number of the track that the note stands in, so that two tracks of an instrument stay two."""
DRUM_PROGRAM = 128


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


def note_table(score: Score, *, tracks: bool = False, as_published: bool = False) -> np.ndarray:
    """All notes of a score as a table (n,) of `NOTE_TYPE`, unsorted. Drums get program 128.

    Parameters
    ----------
    tracks : bool
        Whether it is of `TRACKED_NOTE_TYPE`; tracks beyond the 255th count as that.
    as_published : bool
        Whether a note is as long as from its rounded onset to its rounded end (muspy's rule, which the published
        layout was trained with). Ours rounds the length itself: a quarter stays a quarter wherever it begins.
    """
    tables, kind = [], TRACKED_NOTE_TYPE if tracks else NOTE_TYPE
    for number, track in enumerate(score.tracks):
        if not track.notes:
            continue
        beat, duration, pitch, velocity = np.array(track.notes, dtype=np.float64).T
        table = np.empty(len(beat), kind)
        if tracks:
            table['track'] = min(number, 255)
        if as_published:
            table['step'] = _published_step(beat, score.ticks_per_beat)
            table['duration'] = _published_step(beat + duration, score.ticks_per_beat) - table['step']
        else:
            table['step'] = np.rint(beat * RESOLUTION)
            table['duration'] = np.rint(duration * RESOLUTION)
        table['pitch'] = pitch
        table['velocity'] = velocity
        table['program'] = DRUM_PROGRAM if track.is_drum else track.program
        tables.append(table)
    return np.concatenate(tables) if tables else np.empty(0, kind)


def _published_step(beat: np.ndarray, ticks_per_beat: int) -> np.ndarray:
    """Steps of beats (n,): ticks times the ratio of the resolutions, a half to the even one, as muspy computes it.

    Where halves fall depends on the very products, so times that lie on ticks go by them.
    """
    ticks = np.rint(beat * ticks_per_beat)
    on_ticks = np.abs(beat * ticks_per_beat - ticks) < 1e-6 * np.maximum(ticks, 1)
    return np.rint(np.where(on_ticks, ticks * (RESOLUTION / ticks_per_beat), beat * RESOLUTION))


_LIVE_CODES = np.array([*PROGRAM_TO_LIVE_CODE, DRUMS_CODE])
_MMT_CODES = np.array([*PROGRAM_TO_CODE, 0])
_DRUM_NOTE = np.arange(256)
_DRUM_NOTE[list(DRUM_ALIASES)] = list(DRUM_ALIASES.values())
DRUM_DURATION = 3  # steps: a stroke has no length worth modelling


def encode(
    score: Score,
    encoding: Encoding = LIVE,
    *,
    start: float | None = None,
    end: bool = True,
    told: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Encode a score. The described layout gets the parts of its notes, and what is `told` of its bars.

    Parameters
    ----------
    start : float, optional
        Beat that becomes beat 0. By default the bar line at or before the first note (LIVE), or the beat of the first
        note that the layout keeps (MMT: neither drums nor programs without a class count). Notes before it are left
        out.
    end : bool
        Whether to close with end-of-song. A prompt to be continued is left open.
    told : arrays, optional
        See `encode_table`; `descriptions.describe` makes them.

    Returns
    -------
    array (n, fields) int16
    """
    meters = [
        (round(meter.beat * RESOLUTION), meter_code(meter.numerator, meter.denominator)) for meter in score.meters
    ]
    table = note_table(score, tracks=encoding.has_descriptions, as_published=encoding.is_published)
    if start is None:
        if encoding.is_published:
            origin = first_beat(table)
        else:
            first = int(table['step'].min()) if len(table) else 0
            origin = round(score.bar_start(first / RESOLUTION) * RESOLUTION)
    else:
        origin = round(start * RESOLUTION)
    parts = part_codes(table) if encoding.has_descriptions else None
    return encode_table(table, encoding, meters=meters, origin=origin, end=end, parts=parts, told=told)


def encode_table(
    table: np.ndarray,
    encoding: Encoding,
    *,
    meters: Sequence[tuple[int, int]] = ((0, 1),),
    origin: int = 0,
    end: bool = True,
    parts: np.ndarray | None = None,
    told: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Encode a note table; the vectorised heart of `encode`.

    Parameters
    ----------
    table : array (n,) of NOTE_TYPE
    meters : (step, meter code) pairs in order
    origin : step that becomes step 0; for layouts with meter it must lie on a bar line
    parts : (n,) the part of each note (`part_codes`), for the described layout; without it they are unknown
    told : what is told of the bars, for the described layout: steps (m,), and events (m, fields) without a time
    """
    if not encoding.relative_beat:
        notes, instruments = _encode_mmt_notes(table, origin)
    else:
        notes, instruments = _encode_live_notes(table, encoding, meters, origin, parts, told)
    head = np.zeros((len(instruments) + 2, len(encoding.fields)), np.int16)
    head[0, 0] = START_OF_SONG
    head[1:-1, 0] = INSTRUMENT
    head[1:-1, encoding.index('instrument')] = instruments
    head[-1, 0] = START_OF_NOTES
    blocks = [head, notes]
    if end:
        tail = np.zeros((1, len(encoding.fields)), np.int16)
        tail[0, 0] = END_OF_SONG
        blocks.append(tail)
    return np.concatenate(blocks)


def first_beat(table: np.ndarray) -> int:
    """Step of the beat that the published layout begins with, for a table (n,): of the first note it keeps, or 0."""
    kept = table['step'][_MMT_CODES[table['program']] > 0]
    return int(kept.min()) // RESOLUTION * RESOLUTION if len(kept) else 0


def published_notes(table: np.ndarray) -> np.ndarray:
    """The notes of a table (n,) sorted by step that the published layout keeps, its first beat being step 0."""
    kept = table[_MMT_CODES[table['program']] > 0]
    kept['step'] -= first_beat(kept)
    return kept


def part_codes(table: np.ndarray) -> np.ndarray:
    """Which part of its instrument each note belongs to, (n,) 1 to `N_PARTS`, for a table of `TRACKED_NOTE_TYPE`.

    The tracks of an instrument are its parts, in their order, the fifth and later ones with the fourth; drums are one.
    """
    code = _LIVE_CODES[table['program']].astype(np.int64)
    pairs, inverse = np.unique(code * 256 + table['track'], return_inverse=True)
    codes = pairs // 256
    rank = np.arange(len(pairs)) - np.searchsorted(codes, codes, side='left')
    rank[codes == DRUMS_CODE] = 0
    return np.minimum(rank[inverse], N_PARTS - 1) + 1


def _encode_mmt_notes(table: np.ndarray, origin: int) -> tuple[np.ndarray, np.ndarray]:
    table = table[(table['program'] != DRUM_PROGRAM) & (table['step'] >= origin)]
    step = table['step'].astype(np.int64) - origin
    # The published order: beat, position, pitch, duration (not yet a class), program; equal notes count once, and
    # notes without length have been made one step long by then.
    key = ((step * 128 + table['pitch']) * (1 << 20) + np.clip(table['duration'], 1, (1 << 20) - 1)) * 128
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
    table: np.ndarray, encoding: Encoding, meters: Sequence[tuple[int, int]], origin: int, parts: np.ndarray | None,
    told: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    code = _LIVE_CODES[table['program']]
    keep = (code > 0) & (table['step'] >= origin)
    part = np.zeros(len(table), np.int64) if parts is None else parts.astype(np.int64)
    table, code, part = table[keep], code[keep], part[keep]
    step = table['step'].astype(np.int64) - origin
    drums = code == DRUMS_CODE
    pitch = np.where(drums, _DRUM_NOTE[table['pitch']], table['pitch'])
    duration = np.where(drums, DRUM_DURATION, table['duration'])
    # Order: time, instrument, part, pitch; of two equal notes the longer one stays.
    order = np.lexsort((-duration, pitch, part, code, step))
    step, code, part, pitch, duration = step[order], code[order], part[order], pitch[order], duration[order]
    velocity = table['velocity'][order]
    first = np.ones(len(step), bool)
    first[1:] = np.any([a[1:] != a[:-1] for a in (step, code, part, pitch)], axis=0)
    step, code, part, pitch, duration, velocity = (a[first] for a in (step, code, part, pitch, duration, velocity))

    meter_steps, meter_codes = _live_meters(step, meters, origin)
    told_steps, told_rows = (np.empty(0, np.int64), np.empty((0, len(encoding.fields)))) if told is None else told
    # At one step: the meter, what is told of the bar, the notes.
    ends = np.cumsum([len(meter_steps), len(told_steps), len(step)])
    all_steps = np.concatenate((meter_steps, told_steps - (origin if told is not None else 0), step)).astype(np.int64)
    events = np.zeros((len(all_steps), len(encoding.fields)), np.int16)
    meter, notes = slice(0, ends[0]), slice(ends[1], ends[2])
    events[meter, 0] = METER
    events[meter, 7] = meter_codes
    events[ends[0] : ends[1]] = told_rows
    events[notes, 0] = NOTE
    events[notes, 3] = pitch + 1
    events[notes, 4] = duration_code(duration)
    events[notes, 5] = code
    events[notes, 6] = velocity_code(velocity)
    if encoding.has_descriptions:
        events[notes, encoding.index('part')] = part
    in_time = np.argsort(all_steps, kind='stable')
    events, all_steps = events[in_time], all_steps[in_time]
    events[:, 1] = np.diff(all_steps // RESOLUTION, prepend=0) + 1
    events[:, 2] = all_steps % RESOLUTION + 1
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
    timed = np.isin(kind, TIMED)
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

    For the described layout it is of `TRACKED_NOTE_TYPE`, and the track is the part less one.
    Everything after end-of-song, and notes with an undefined field, are left out.
    """
    ends = np.flatnonzero(events[:, 0] == END_OF_SONG)
    if len(ends):
        events = events[: ends[0]]
    step, _ = timeline(events, encoding)
    # The published layout has no use for undefined fields either; what is undefined cannot sound.
    keep = (events[:, 0] == NOTE) & (events[:, 1:6] > 0).all(axis=1)
    events, step = events[keep], step[keep]
    table = np.empty(len(events), TRACKED_NOTE_TYPE if encoding.has_descriptions else NOTE_TYPE)
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
    if encoding.has_descriptions:
        table['track'] = np.maximum(events[:, encoding.index('part')], 1) - 1
    return table


def table_to_tracks(table: np.ndarray, *, offset: float = 0.0) -> list[Track]:
    """Tracks of a note table (n,), one for each program, in the order of programs; `offset` in beats is added.

    A table of `TRACKED_NOTE_TYPE` gives a track for each program and track.
    """
    tracks = []
    key = table['program'].astype(np.int64) * 256
    if 'track' in (table.dtype.names or ()):
        key += table['track']
    for one in np.unique(key):
        rows, program = table[key == one], one // 256
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
