"""Whole pieces, offline: continue a score, make a new one, spread one over other instruments.

The same `Continuer` and `EventSampler` that play live do the work. Times in the events are steps (12 to the quarter
note), times in scores are beats.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.continuation.context_window import last_bars
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.directing import may_listen
from genaudio_core.continuation.leading import Bandleader, Roll
from genaudio_core.continuation.roles import accompanying_roles, bars_between, charted, going_on
from genaudio_core.continuation.sampling import Controls, sample
from genaudio_core.continuation.writer import RESERVE, Led, Progress, Writer
from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import chart_changes, tell_chords
from genaudio_core.music.events import (
    encode,
    first_beat,
    header,
    meter_code,
    note_table,
    table_to_tracks,
)
from genaudio_core.music.grooves import Feel
from genaudio_core.music.harmonising import Harmony, harmonise, pitched
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import (
    INSTRUMENT,
    METERS,
    NOTE,
    RESOLUTION,
    START_OF_NOTES,
    Encoding,
)
from genaudio_core.score.instruments import instrument_code, instrument_name
from genaudio_core.score.joining import LATE, append_notes, let_go, struck_once
from genaudio_core.score.notes import Meter, Score, Tempo, Track

MAX_BEATS = 100_000  # of one piece of music that is made


@dataclass
class Generated:
    """The music made, and where it begins."""

    score: Score
    start: float  # beat of the first new bar or beat
    notes: int  # new notes
    dropped: tuple[str, ...] = ()  # instruments of the input that the model has no class for
    silent: tuple[str, ...] = ()  # instruments that were asked for and have nothing to play
    remarks: tuple[str, ...] = ()  # what else a person should know, in sentences
    cued: float | None = None  # share of the new notes that a cue has asked for: a part was due; None: no direction
    by_rule: float | None = None  # share of them for which a rule alone decided when, who and what

    def told(self, model: str, where: str = '') -> list[str]:
        """Return what a person should know of it, in sentences; `where` says which of several takes this is."""
        lines = [f"{model} has no '{name}': it is kept as it is and not continued." for name in self.dropped]
        if self.silent:
            verb = 'has' if len(self.silent) == 1 else 'have'
            lines.append(f'{" and ".join(self.silent)} {verb} nothing to play{where}.')
        return [*lines, *self.remarks]


def no_progress(beats: float) -> None:
    """Tell nobody: the default where progress (in beats) can be told."""


def check_beats(beats: float) -> None:
    """Raise GenaudioError unless `beats` is a length that can be made."""
    if not 0 < beats <= MAX_BEATS:
        raise GenaudioError(f'`beats` must be more than 0 and at most {MAX_BEATS}, not {beats:g}.')


def prompt_events(score: Score, encoding: Encoding, room: int) -> tuple[np.ndarray, float]:
    """The last `room` events of a score as a prompt (n, fields), and the beat of the score that is their beat 0.

    Raises
    ------
    GenaudioError
        If the score has no notes, or none that the layout can hold.
    """
    if not score.n_notes:
        raise GenaudioError('There is no note to continue. Give a MIDI file with notes in it.')
    if encoding.has_meter:
        origin = score.bar_start(min(note.beat for track in score.tracks for note in track.notes))
    else:
        # Absolute beats end: a long score is taken from its last beats, half of what a song may hold.
        first = first_beat(note_table(score, as_published=True)) / RESOLUTION
        origin = math.floor(max(first, score.end - encoding.max_beat / 2))
    events = encode(score, encoding, start=origin, end=False)
    if not (events[:, 0] == NOTE).any():
        if all(track.is_drum for track in score.tracks if track.notes):
            raise GenaudioError('The file contains only drums, which this model lacks. Use a live model, or add notes.')
        raise GenaudioError('The file contains no instrument that this model knows.')
    window = last_bars(events, encoding, room)
    return window.events, origin + window.origin / RESOLUTION


def _controls(controls: Controls | None, instruments: Iterable[str]) -> Controls:
    controls = controls or Controls()
    return controls if controls.instruments is not None else controls.with_(instruments=tuple(instruments))


def end_of(score: Score) -> float:
    """Beat at which a continuation begins: the first whole beat at which everything has ended (or is only `LATE`)."""
    return float(max(math.ceil(score.end - LATE), 1))


def continue_score(
    decoder: Decoder,
    score: Score,
    beats: float,
    *,
    controls: Controls | None = None,
    seed: int = 0,
    start: float | None = None,
    chart: Sequence[Sequence[Chord]] = (),
    listen: bool = False,
    progress: Progress = no_progress,
) -> Generated:
    """Continue a score for some beats; its own part stays as it is.

    Parameters
    ----------
    beats : float
        Quarter notes to add, over 0.
    controls : Controls, optional
        By default the score's own instruments play.
    start : float, optional
        Beat at which the new part begins; by default where everything has ended.
    chart : bars of chords (`keys.parse_chart`), optional
        The chords of the new part; it comes round. A model of the described layout is told them; of others only notes
        of the chords are taken.
    listen : bool
        Each part goes on with what it did: the loop of chords, its rhythm and register (see `leading`); otherwise the
        music is what the model alone would play. The published layout, and published sampling, never listen.

    Raises
    ------
    GenaudioError
        If `beats` is not positive, or the score has nothing this model can continue.
    """
    check_beats(beats)
    encoding = decoder.encoding
    known = encodable(encoding, score.instruments)
    dropped = tuple(name for name in score.instruments if name not in known)
    prompt, origin = prompt_events(score, encoding, int(decoder.context * (1 - RESERVE)))
    asked = controls.instruments if controls and controls.instruments else ()
    controls = _controls(controls, known)
    start = end_of(score) if start is None else start
    begin = round((start - origin) * RESOLUTION)
    end = begin + round(beats * RESOLUTION)
    told, changes, led = None, None, None
    if listen and may_listen(decoder, controls):
        led = lead(score, start, start + beats, controls, seed, chart, round(origin * RESOLUTION), decoder.encoding)
    elif chart:
        meters = [(round((m.beat - origin) * RESOLUTION), meter_code(m.numerator, m.denominator)) for m in score.meters]
        changes = chart_changes(chart, meters, begin, end)
        told = tell_chords(changes, meters, begin, end)
    writer = Writer(decoder, announce(prompt, controls, encoding), controls, seed, told, changes, led)
    table, _ = writer.write(begin, end, progress)
    cued, by_rule = writer.shares()
    if not encoding.has_velocity:  # the published layout has none: play on as loud as before
        velocity = [note.velocity for track in score.tracks for note in track.notes]
        table['velocity'] = round(sum(velocity) / len(velocity))
    result, new = score.copy(), table_to_tracks(table, offset=origin)
    parts = None
    if encoding.has_descriptions:  # one track for each program and part, as `table_to_tracks` sorts them
        key = np.unique(table['program'].astype(np.int64) * 256 + table['track'])
        parts = (key % 256).tolist()
    notes = append_notes(result, new, start + beats, like=score, parts=parts)
    remarks = let_go(result, start)
    silent = without_notes(asked, new)
    return Generated(result, start, notes, dropped, silent, tuple(remarks), cued, by_rule)


def lead(
    score: Score, begin: float, end: float, controls: Controls, seed: int, chart: Sequence[Sequence[Chord]], zero: int,
    encoding: Encoding,
) -> Led:  # fmt: skip
    """Who leads the beats from `begin` to `end` of a score, where what stands outside of them goes on."""
    rng = np.random.default_rng([seed, 13])
    given = score.copy()
    for track in given.tracks:
        track.notes = [note for note in track.notes if not begin - 1e-6 <= note.beat < end - 1e-6]
    names = controls.instruments or tuple(given.instruments)
    roles, harmony, bars = going_on(
        given, harmonise(given, seed=seed), begin, end, names, parts=encoding.has_descriptions
    )
    feel = Feel.of([note.beat for track in given.tracks for note in track.notes])
    there = {role.instrument for role in roles}
    new = [name for name in dict.fromkeys(names) if name not in there]
    meter = bars[0].meter
    roles += accompanying_roles(
        new, [role.instrument for role in roles], pitched(given), meter, feel, score.tempo_at(begin), rng,
        [(instrument_code(name), 1) for name in new],
    )  # fmt: skip
    harmony = charted(harmony, chart, score, bars[0].begin / RESOLUTION, bars[-1].end / RESOLUTION)
    return Led(Bandleader(roles, harmony, (), feel, rng, controls.pitch_classes), bars, zero)


def encodable(encoding: Encoding, names: Iterable[str]) -> list[str]:
    """Those of `names` that the layout has a class for."""
    return [name for name in names if instrument_code(name) < encoding.sizes[encoding.index('instrument')]]


def without_notes(names: Iterable[str], tracks: Iterable[Track]) -> tuple[str, ...]:
    """Those of the instruments `names` that none of `tracks` has a note for."""
    playing = {track.instrument for track in tracks if track.notes}
    return tuple(name for name in names if name not in playing)


def announce(prompt: np.ndarray, controls: Controls, encoding: Encoding) -> np.ndarray:
    """The prompt (n, fields) with the instruments that are to play added to its header: (more, fields)."""
    column = encoding.index('instrument')
    present = set(prompt[prompt[:, 0] == INSTRUMENT, column].tolist())
    wanted = {instrument_code(name) for name in controls.instruments or ()} | present
    head = header([], encoding)[: -1 - encoding.has_meter]  # start-of-song alone
    rows = np.zeros((len(wanted), prompt.shape[1]), prompt.dtype)
    rows[:, 0], rows[:, column] = INSTRUMENT, sorted(wanted)
    return np.concatenate([head, rows, prompt[1 + len(present) :]])


# Out of nothing, a model of this size repeats its rhythms more than people do, and wanders from its key. Timing drawn
# from all that it holds possible, and pitch a little closer to the likeliest, bring groove and scale consistency near
# those of held-out music (docs/models.md). Field -> factor on the temperature, top-p for the usual one.
OUT_OF_NOTHING: dict[str, tuple[float, float | None]] = {
    'beat': (1.0, 1.0),
    'position': (1.0, 1.0),
    'pitch': (0.94, None),
}


def balanced(controls: Controls) -> Controls:
    """Return `controls` with `OUT_OF_NOTHING` worked in; fields that the person has set stay as they are."""
    if controls.published_top_k:
        return controls
    per_field: dict[str, dict[str, float]] = {
        name: {'temperature': controls.temperature * factor} | ({} if top_p is None else {'top_p': top_p})
        for name, (factor, top_p) in OUT_OF_NOTHING.items()
    }
    return controls.with_(per_field=per_field | controls.per_field)


def generate(
    decoder: Decoder,
    beats: float,
    *,
    instruments: Iterable[str] = (),
    controls: Controls | None = None,
    tempo: float = 100.0,
    meter: tuple[int, int] = (4, 4),
    seed: int = 0,
    listen: bool = False,
    progress: Progress = no_progress,
) -> Generated:
    """Make music for `instruments` (or, without any, for an ensemble that the model chooses).

    With `listen`, each instrument that is named plays in each bar; otherwise when the model likes.

    Raises
    ------
    GenaudioError
        If `beats` is not positive, or the model has no class for an instrument.
    """
    check_beats(beats)
    encoding = decoder.encoding
    asked = instruments = tuple(instruments)
    events = header(instruments, encoding, meter=meter)
    if not instruments:
        events, instruments = _free_header(decoder, events, seed)
    led = None
    controls = _controls(controls, instruments)
    if listen and asked and may_listen(decoder, controls):
        led = _roll(asked, beats, meter, tempo, seed)
    writer = Writer(decoder, events, balanced(controls), seed, led=led)
    table, _ = writer.write(0, round(beats * RESOLUTION), progress)
    cued, by_rule = writer.shares()
    tracks = table_to_tracks(table)
    for track in tracks:
        track.notes = struck_once(note._replace(duration=min(note.duration, beats - note.beat)) for note in track.notes)
    score = Score(tracks, [Tempo(0.0, tempo)], [Meter(0.0, *meter)])
    return Generated(score, 0.0, score.n_notes, silent=without_notes(asked, tracks), cued=cued, by_rule=by_rule)


def _roll(names: Sequence[str], beats: float, meter: tuple[int, int], tempo: float, seed: int) -> Led:
    rng = np.random.default_rng([seed, 17])
    who = [(instrument_code(name), 1) for name in names]
    roles = accompanying_roles(names, (), (), meter, Feel(), tempo, rng, who)
    bars = bars_between(Score(meters=[Meter(0.0, *meter)]), 0.0, beats)
    return Led(Roll(roles, Harmony((), ()), (), Feel(), rng), bars, 0)


def _free_header(decoder: Decoder, opening: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Let the model name the ensemble: unconditional generation, from start-of-song."""
    encoding, rng = decoder.encoding, np.random.default_rng([seed, 1])
    column = encoding.index('instrument')
    continuer = Continuer(decoder)
    continuer.feed(opening[:1])
    codes: list[int] = []
    while len(codes) < 16:
        row = np.zeros(len(encoding.fields), np.int64)
        allowed = np.zeros(encoding.sizes[0], bool)
        allowed[[INSTRUMENT, START_OF_NOTES] if codes else [INSTRUMENT]] = True
        row[0] = sample(continuer.logits('type', row)[0], rng, allowed=allowed)
        if row[0] != INSTRUMENT:
            break
        allowed = np.arange(encoding.sizes[column]) > (codes[-1] if codes else 0)
        if not allowed.any():
            break
        # The fields between are undefined in an instrument event, and so they are 0 here.
        row[column] = sample(continuer.logits('instrument', row)[0], rng, allowed=allowed, top_p=0.98)
        codes.append(int(row[column]))
        continuer.feed(row)
    names = tuple(instrument_name(code) for code in codes)
    meter_rows = opening[1:]
    return np.concatenate([header(names, encoding)[: len(codes) + 1], meter_rows]), names


def meter_of(text: str) -> tuple[int, int]:
    """Parse a meter such as ``"3/4"``.

    Raises
    ------
    GenaudioError
        If it is none that the live layout knows.
    """
    parts = text.split('/')
    if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
        meter = (int(parts[0]), int(parts[1]))
        if meter in METERS:
            return METERS[meter_code(*meter) - 1]
    raise GenaudioError(f"Unknown meter '{text}'. Known are {', '.join(f'{n}/{d}' for n, d in METERS)}.")
