"""Whole pieces, offline: continue a score, make a new one, spread one over other instruments.

The same `Continuer` and `EventSampler` that play live do the work. Times in the events are steps (12 to the quarter
note), times in scores are beats.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.continuation.context_window import last_bars
from genaudio_core.continuation.continuer import Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.sampling import Controls, EventSampler, sample
from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import Told, chart_changes, chord_of, tell_chords
from genaudio_core.music.events import (
    bar_steps,
    decode_table,
    encode,
    first_beat,
    header,
    meter_code,
    note_table,
    table_to_tracks,
)
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import (
    INSTRUMENT,
    METER,
    METERS,
    NOTE,
    PART,
    RESOLUTION,
    RESTS,
    START_OF_NOTES,
    Encoding,
)
from genaudio_core.score.instruments import instrument_code, instrument_name
from genaudio_core.score.joining import LATE, append_notes, let_go, struck_once
from genaudio_core.score.notes import Meter, Score, Tempo, Track

MAX_BEATS = 100_000  # of one piece of music that is made
MAX_BRIDGED = 256 * RESOLUTION  # steps of rest that the model is told of
RESERVE = 0.25  # share of the context that a prompt leaves free
Progress = Callable[[float], None]  # beats done


@dataclass
class Generated:
    """What was made, and where it begins."""

    score: Score
    start: float  # beat of the first new bar or beat
    notes: int  # new notes
    dropped: tuple[str, ...] = ()  # instruments of the input that the model has no class for
    silent: tuple[str, ...] = ()  # instruments that were asked for and have nothing to play
    remarks: tuple[str, ...] = ()  # what else a person should know, in sentences

    def told(self, model: str, where: str = '') -> list[str]:
        """Return what a person should know of it, in sentences; `where` says which of several takes this is."""
        lines = [f"{model} has no '{name}': it is kept as it is and not continued." for name in self.dropped]
        if self.silent:
            verb = 'has' if len(self.silent) == 1 else 'have'
            lines.append(f'{" and ".join(self.silent)} {verb} nothing to play{where}.')
        return [*lines, *self.remarks]


def no_progress(beats: float) -> None:
    pass


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
            raise GenaudioError('The file holds only drums, and this model has none. Use a live model, or add notes.')
        raise GenaudioError('The file holds no instrument that this model knows.')
    window = last_bars(events, encoding, room)
    return window.events, origin + window.origin / RESOLUTION


class Writer:
    """Draws events up to a time, and keeps the session inside the context."""

    def __init__(
        self, decoder: Decoder, events: np.ndarray, controls: Controls, seed: int, told: Told | None = None,
        chords: np.ndarray | None = None,
    ):  # fmt: skip
        """`told` goes to models that can be told; `chords` (`descriptions.chart_changes`) is what others may play."""
        self.encoding = decoder.encoding
        self.told = told if self.encoding.has_descriptions else None
        self.chords = None if self.encoding.has_descriptions else chords
        self.key = controls.pitch_classes
        self.continuer = Continuer(decoder)
        self.continuer.feed(events)
        self.sampler = EventSampler(self.continuer, controls, [np.random.default_rng(seed)])
        self.origin = 0  # steps that re-basing has taken off the front

    def write(self, begin: int, end: int, progress: Progress) -> tuple[np.ndarray, bool]:
        """Note rows (n, fields) with absolute onsets beside them; (table, whether the song ended)."""
        rows, onsets, ended = [], [], False
        turn = self._turn(begin - 1, end)  # a turn is where something is told, or other notes are allowed from
        if self.chords is not None and turn > begin and (self.chords[:, 0] < begin).any():
            self._tell(int(self.chords[self.chords[:, 0] < begin, 0].max()))
        self._bridge(begin)
        while True:
            if turn <= begin < end:
                self._tell(turn)
                turn = self._turn(turn, end)
            self.origin += self.continuer.make_room(keep=1 - RESERVE)
            chosen = np.zeros((1, len(self.encoding.fields)), np.int64)
            if self.sampler.may_play:
                chosen = self.sampler.next_events(earliest=begin - self.origin, latest=turn - self.origin)
            if chosen[0, 0] != NOTE:
                ended = bool(chosen[0].any())
                if ended or turn >= end:
                    break
                begin = turn
                self._bridge(begin)
                continue
            self.sampler.advance(chosen)
            rows.append(chosen[0])
            onsets.append(int(self.continuer.steps[0, -1]) + self.origin)
            progress((onsets[-1] - begin) / RESOLUTION)
        notes = np.array(rows, np.int16).reshape(len(rows), len(self.encoding.fields))
        table = decode_table(notes, self.encoding)
        table['step'] = onsets
        return table, ended

    def _turn(self, after: int, end: int) -> int:
        """The first step after `after` at which there is something to tell, or another chord; at most `end`."""
        steps = self.told[0] if self.told is not None else self.chords[:, 0] if self.chords is not None else ()
        return min((int(step) for step in steps if step > after), default=end) if len(steps) else end

    def _tell(self, step: int) -> None:
        """Feed what is told at `step`, or allow the notes of its chord only."""
        if self.told is not None:
            rows = self.told[1][self.told[0] == step].astype(np.int64)
            self.origin += self.continuer.make_room(len(rows), keep=1 - RESERVE)
            now, at = int(self.continuer.steps[0, -1]), step - self.origin
            rows[:, 1], rows[:, 2] = 1, at % RESOLUTION + 1
            rows[0, 1] += at // RESOLUTION - now // RESOLUTION
            self.continuer.feed(rows)
            self._rest(rows)
        elif self.chords is not None:
            chord = chord_of(int(self.chords[self.chords[:, 0] == step][-1, 1]))
            if chord is not None:
                both = chord.pitch_classes & (self.key or chord.pitch_classes)
                self.sampler.controls = self.sampler.controls.with_(pitch_classes=both or chord.pitch_classes)

    def _rest(self, rows: np.ndarray) -> None:
        """Silence the parts that are told to rest, and let those play that are told to."""
        column, resting = self.encoding.columns, set(self.sampler.resting)
        for row in rows[rows[:, 0] == PART]:
            who = int(row[column['instrument']]), int(row[column['part']])
            if row[column['density']] == RESTS:
                resting.add(who)
            else:
                resting.discard(who)
        if resting != self.sampler.resting:
            self.sampler.resting = resting

    def _bridge(self, begin: int) -> None:
        """Cross a rest that is longer than a beat code can say (a last chord held for minutes) by meter events."""
        encoding = self.encoding
        if not encoding.relative_beat:
            return
        longest = (encoding.max_beat - 1) * RESOLUTION
        while True:
            self.origin += self.continuer.make_room(keep=1 - RESERVE)
            now = int(self.continuer.steps[0, -1])
            gap = begin - self.origin - now
            if gap <= longest:
                return
            events = self.continuer.events[0]
            meter = int(events[events[:, 0] == METER][-1, encoding.index('meter')])
            bar, line = bar_steps(meter), int(self.continuer.bar_lines[0])
            if gap > MAX_BRIDGED:  # what is longer still is silence all the same: whole bars of it are left out
                self.origin += (gap - MAX_BRIDGED + bar - 1) // bar * bar
                continue
            at = line + (now + longest - RESOLUTION - line) // bar * bar  # a bar line, so that none is moved
            at = at if at > now else now + longest - RESOLUTION
            row = np.zeros(len(encoding.fields), np.int64)
            row[[0, encoding.index('meter')]] = METER, meter
            self.continuer.feed(self.continuer.placed(row, at))


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
    told, changes = None, None
    if chart:
        meters = [(round((m.beat - origin) * RESOLUTION), meter_code(m.numerator, m.denominator)) for m in score.meters]
        changes = chart_changes(chart, meters, begin, end)
        told = tell_chords(changes, meters, begin, end)
    writer = Writer(decoder, announce(prompt, controls, encoding), controls, seed, told, changes)
    table, _ = writer.write(begin, end, progress)
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
    return Generated(result, start, notes, dropped, without_notes(asked, new), tuple(remarks))


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
    'pitch': (0.97, None),
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
    progress: Progress = no_progress,
) -> Generated:
    """Make music for `instruments` (or, without any, for an ensemble that the model chooses).

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
    writer = Writer(decoder, events, balanced(_controls(controls, instruments)), seed)
    table, _ = writer.write(0, round(beats * RESOLUTION), progress)
    tracks = table_to_tracks(table)
    for track in tracks:
        track.notes = struck_once(note._replace(duration=min(note.duration, beats - note.beat)) for note in track.notes)
    score = Score(tracks, [Tempo(0.0, tempo)], [Meter(0.0, *meter)])
    return Generated(score, 0.0, score.n_notes, silent=without_notes(asked, tracks))


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
