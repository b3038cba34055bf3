"""Writing beside music that is there: other instruments along with it, and bars that are missing in it (offline)."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from genaudio_core.continuation.continuer import LAST_BEAT, Continuer
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.directing import DirectedSampler, may_listen
from genaudio_core.continuation.generation import (
    Generated,
    Progress,
    Writer,
    announce,
    encodable,
    lead,
    no_progress,
    prompt_events,
    without_notes,
)
from genaudio_core.continuation.leading import Bandleader
from genaudio_core.continuation.roles import BarAt, accompanying_roles, bars_between, charted
from genaudio_core.continuation.sampling import Controls, EventSampler
from genaudio_core.continuation.writer import beside
from genaudio_core.errors import GenaudioError
from genaudio_core.music.events import decode_table, encode, table_to_tracks, timeline
from genaudio_core.music.grooves import Feel
from genaudio_core.music.harmonising import harmonise, pitched
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import METER, NOTE, RESOLUTION, Encoding
from genaudio_core.score.instruments import instrument_code
from genaudio_core.score.joining import append_notes
from genaudio_core.score.notes import Score

MAX_BARS = 1000  # that are filled in one go
LOOK_AHEAD = 64  # events after a gap that a candidate is judged by


def accompany(
    decoder: Decoder,
    score: Score,
    instruments: Iterable[str],
    *,
    controls: Controls | None = None,
    seed: int = 0,
    listen: bool = False,
    chart: Sequence[Sequence[Chord]] = (),
    progress: Progress = no_progress,
) -> Generated:
    """Write `instruments` beside a score, whose own notes stay.

    The given notes and the new ones are one sequence to the model. Whenever it would play a new note before the next
    given one, the note is taken; where it would play one of the given instruments, the given note comes instead.

    Parameters
    ----------
    listen : bool
        The new parts follow the harmony of what is given, keep off its semitones and play to its end (see `leading`);
        otherwise they are what the model alone would play. The published layout, and published sampling, never listen.
    chart : bars of chords (`keys.parse_chart`), optional
        Instead of the chords that are found, from the first bar with notes on; it comes round.

    Raises
    ------
    GenaudioError
        If there is nothing to accompany, or no instrument that is not there already.
    """
    encoding = decoder.encoding
    given_names = encodable(encoding, score.instruments)
    new_names = [name for name in dict.fromkeys(instruments) if name not in given_names]
    if not new_names:
        raise GenaudioError('These instruments play already. Name others to be written beside them.')
    if not score.n_notes:
        raise GenaudioError('There is no note to accompany. Give a MIDI file with notes in it.')
    first = min(note.beat for track in score.tracks for note in track.notes)
    origin = score.bar_start(first) if encoding.has_meter else float(int(first))
    header, given, steps = _events(score, encoding, origin)
    controls = (controls or Controls()).with_(instruments=(*given_names, *new_names))
    head = announce(header, controls, encoding)
    cued = by_rule = None
    if listen and may_listen(decoder, controls):
        session = _Session(
            decoder, head, controls.with_(instruments=tuple(new_names)), seed, round(origin * RESOLUTION)
        )
        leader = _leader(score, given_names, new_names, origin, controls, seed, chart)
        rows, onsets = _listening(session, score, given, steps, leader, progress)
        cued, by_rule = session.sampler.shares()
    else:
        session = _Session(decoder, head, controls, seed)
        rows, onsets = _free(session, given, steps, {instrument_code(name) for name in new_names}, progress)
    table = decode_table(np.array(rows, np.int16).reshape(len(rows), len(encoding.fields)), encoding)
    table['step'] = onsets
    result, new = score.copy(), table_to_tracks(table, offset=origin)
    notes = append_notes(result, new, max(score.end, 1.0), like=score)
    return Generated(result, 0.0, notes, silent=without_notes(new_names, new), cued=cued, by_rule=by_rule)


def _free(
    session: '_Session', given: np.ndarray, steps: np.ndarray, new_codes: set[int], progress: Progress
) -> tuple[list[np.ndarray], list[int]]:
    """The new events that the model alone puts between the given ones, and their steps."""
    column = session.encoding.index('instrument')
    rows, onsets = [], []
    for row, at in zip(given.astype(np.int64), steps.tolist(), strict=True):
        while row[0] == NOTE and session.started:
            session.make_room()
            event = session.draw(latest=at + 1)
            code = int(event[column])
            if event[0] != NOTE or code not in new_codes:
                break
            onset = session.onset(event)
            if onset == at and code > row[column]:
                break  # its place is after the given note
            session.feed(event)
            rows.append(event)
            onsets.append(onset)
        session.feed_at(row, at)
        progress(at / RESOLUTION)
    return rows, onsets


def _leader(
    score: Score, given: list[str], names: list[str], origin: float, controls: Controls, seed: int,
    chart: Sequence[Sequence[Chord]],
) -> Bandleader:  # fmt: skip
    """Who leads the new parts `names` beside all that is given."""
    rng = np.random.default_rng([seed, 11])
    harmony = charted(harmonise(score, seed=seed), chart, score, origin)
    tune = pitched(score)
    feel = Feel.of([note.beat for note in tune] or [note.beat for track in score.tracks for note in track.notes])
    meter, tempo = score.meter_at(origin), score.tempo_at(origin)
    who = [(instrument_code(name), 1) for name in names]
    roles = accompanying_roles(names, given, tune, (meter.numerator, meter.denominator), feel, tempo, rng, who)
    return Bandleader(roles, harmony, tune, feel, rng, controls.pitch_classes)


def _listening(
    session: '_Session', score: Score, given: np.ndarray, steps: np.ndarray, leader: Bandleader, progress: Progress
) -> tuple[list[np.ndarray], list[int]]:
    """The new events under direction, to the end of the last bar, and their steps."""
    encoding, zero = session.encoding, session.zero
    column = encoding.index('instrument')
    waiting = deque(zip(given.astype(np.int64), (steps + zero).tolist(), strict=True))
    others = frozenset(int(code) for code in given[given[:, 0] == NOTE, column])
    rows, onsets = [], []
    for bar in bars_between(score, zero / RESOLUTION, score.end):
        begin, end = bar.begin, min(bar.end, math.ceil(score.end * RESOLUTION - 0.5))
        while waiting and waiting[0][0][0] != NOTE and waiting[0][1] <= begin:
            session.feed_given(*waiting.popleft())
        since = begin
        if not rows and waiting and waiting[0][1] - begin >= bar.length / 2:
            since = waiting[0][1]  # an upbeat: nobody is there before it
        session.tell(leader, bar)
        session.sampler.direct(leader.direction(bar, since, others))
        for event, step, is_new in beside(session.sampler, waiting, since, end, session.feed_given, session.make_room):
            if is_new:
                rows.append(event)
                onsets.append(step - zero)
                leader.played(bar, *session.sampler.what(event), step=step)
        progress((end - zero) / RESOLUTION)
    return rows, onsets


def _events(score: Score, encoding: Encoding, origin: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The header of a score, its notes and meters (n, fields), and their steps (n,) from beat `origin` on."""
    span = score.end - origin if encoding.relative_beat else LAST_BEAT  # absolute beats end
    rows, steps, header = [], [], None
    for start in np.arange(origin, score.end, span):
        part = encode(score, encoding, start=start, end=False)
        step, _ = timeline(part, encoding)
        timed = np.isin(part[:, 0], (NOTE, METER))
        header = part[~timed] if header is None else header
        timed &= (step < span * RESOLUTION) | encoding.relative_beat
        rows.append(part[timed])
        steps.append(step[timed] + round((start - origin) * RESOLUTION))
    assert header is not None  # there is a note
    return header, np.concatenate(rows), np.concatenate(steps)


class _Session:
    """A continuer that is fed given and new events in turn, with absolute onsets; `zero` is the score's step of 0."""

    def __init__(self, decoder: Decoder, head: np.ndarray, controls: Controls, seed: int, zero: int | None = None):
        self.encoding = decoder.encoding
        self.continuer = Continuer(decoder)
        self.continuer.feed(head)
        rngs = [np.random.default_rng(seed)]
        self.zero = zero or 0
        directed = DirectedSampler if zero is not None else EventSampler
        self.sampler: Any = directed(self.continuer, controls, rngs)
        self.origin = 0
        self.started = False  # the first event, a meter or a note, must be the given one
        self._met_parts = zero is None or not self.encoding.has_descriptions

    def make_room(self, events: int = 2) -> None:
        self.origin += self.continuer.make_room(events)  # for a new event, and the given one after it
        self.sampler.origin = self.zero + self.origin

    def draw(self, latest: int, earliest: int = 0) -> np.ndarray:
        return self.sampler.next_events(earliest=earliest - self.origin, latest=latest - self.origin)[0]

    def onset(self, row: np.ndarray) -> int:
        return int(self.continuer.when(row)[0][0]) + self.origin

    def feed(self, row: np.ndarray) -> None:
        self.continuer.feed(row)
        if row[0] == NOTE and not self._met_parts:
            self.sampler.meet_parts()
            self._met_parts = True
        self.started = True

    def feed_at(self, row: np.ndarray, onset: int) -> None:
        """Feed an event at an absolute onset: its beat code follows from the event before."""
        self.make_room()
        self.feed(self.continuer.placed(row, onset - self.origin))

    def feed_given(self, row: np.ndarray, step: int) -> None:
        """The same by the step of the score."""
        self.feed_at(row, step - self.zero)

    def tell(self, leader: Bandleader, bar: BarAt) -> None:
        """Tell a model that can be told the chords of a bar."""
        if not self.encoding.has_descriptions:
            return
        rows = leader.told(bar)
        self.make_room(len(rows) + 2)
        for row in rows:
            self.continuer.feed(self.continuer.placed(row.astype(np.int64), bar.begin - self.zero - self.origin))


def beats_of_bars(score: Score, first: int, last: int) -> tuple[float, float]:
    """Return the beats at which bar `first` begins and bar `last` ends; bars count from 1.

    Raises
    ------
    GenaudioError
        If they are none of the score's bars, or too many.
    """
    bars = f'`bars` {first}-{last}' if last != first else f'`bars` {first}'
    if not 1 <= first <= last:
        raise GenaudioError(f'{bars}: bars count from 1, and the first comes before the last.')
    lines, over = [0.0], score.end
    while lines[-1] < over and len(lines) <= last:
        lines.append(score.next_bar(lines[-1] + 1e-3))
    if first > len(lines) or lines[first - 1] >= over:
        ends_in = max(sum(line < over for line in lines), 1)
        raise GenaudioError(f'{bars}: give a range within the piece; it ends in bar {ends_in}.')
    if last - first >= MAX_BARS:
        raise GenaudioError(f'{bars} is {last - first + 1} bars; at most {MAX_BARS} are filled in one go.')
    while len(lines) <= last:
        lines.append(score.next_bar(lines[-1] + 1e-3))
    return lines[first - 1], lines[last]


def infill(
    decoder: Decoder,
    score: Score,
    begin: float,
    end: float,
    *,
    controls: Controls | None = None,
    candidates: int = 4,
    seed: int = 0,
    listen: bool = False,
    chart: Sequence[Sequence[Chord]] = (),
    progress: Progress = no_progress,
) -> Generated:
    """Write the beats from `begin` to `end` again; what is before and after stays.

    The model hears only the past. So several candidates are written, and the one after which the given future is
    likeliest (its first `LOOK_AHEAD` events) is taken. With `listen` each goes on with what the parts do on both sides:
    their chords, rhythms and registers (see `leading`); with a `chart` (`keys.parse_chart`) over its chords, which come
    round from the bar of `begin` on.

    Raises
    ------
    GenaudioError
        If the range is empty, or nothing comes before it.
    """
    if not 0 <= begin < end:
        raise GenaudioError(f'The range to fill is empty: it goes from beat {begin:g} to {end:g}.')
    encoding = decoder.encoding
    names = encodable(encoding, score.instruments)
    past, future = score.copy(), score.copy()
    for track, before, after in zip(score.tracks, past.tracks, future.tracks, strict=True):
        before.notes = [note for note in track.notes if note.beat < begin - 1e-6]
        after.notes = [note for note in track.notes if note.beat >= end - 1e-6]
    if not past.n_notes:
        raise GenaudioError(f'Nothing comes before beat {begin:g}. Begin the range later.')
    controls = controls or Controls()
    asked = controls.instruments or ()
    if controls.instruments is None:
        controls = controls.with_(instruments=tuple(names))
    room = int(decoder.context * 0.5)
    prompt, origin = prompt_events(past, encoding, room)
    prompt = announce(prompt, controls, encoding)
    start, stop = round((begin - origin) * RESOLUTION), round((end - origin) * RESOLUTION)
    ahead = encode(future, encoding, start=origin, end=False) if future.n_notes else np.empty((0, len(encoding.fields)))
    best: tuple[float, np.ndarray, tuple[float | None, float | None]] | None = None
    for number in range(max(candidates, 1)):
        take, led = seed * 1000 + number, None
        if listen and may_listen(decoder, controls):
            led = lead(score, begin, end, controls, take, chart, round(origin * RESOLUTION), encoding)
        writer = Writer(decoder, prompt, controls, take, led=led)
        table, _ = writer.write(start, stop, no_progress)
        fit = _likelihood(writer, ahead, encoding) if len(ahead) else 0.0
        if best is None or fit > best[0]:
            best = fit, table, writer.shares()
        progress((end - begin) * (number + 1) / max(candidates, 1))
    assert best is not None
    result, new = score.copy(), table_to_tracks(best[1], offset=origin)
    for track, before, after in zip(result.tracks, past.tracks, future.tracks, strict=True):
        track.notes = before.notes + after.notes
    notes = append_notes(result, new, end, like=score)
    for track in result.tracks:
        track.notes.sort()
    cued, by_rule = best[2]
    return Generated(result, begin, notes, silent=without_notes(asked, new), cued=cued, by_rule=by_rule)


def _likelihood(writer: Writer, ahead: np.ndarray, encoding) -> float:
    """Mean log-probability of the first notes of `ahead` after what was written."""
    continuer = writer.continuer
    steps, _ = timeline(ahead, encoding)
    notes = np.flatnonzero(ahead[:, 0] == NOTE)[:LOOK_AHEAD]
    total, count = 0.0, 0
    for index in notes:
        if not continuer.room:
            break
        row = continuer.placed(ahead[index].astype(np.int64), int(steps[index]) - writer.origin)
        total += continuer_log_probability(continuer, row)
        count += 1
        continuer.feed(row)
    return total / max(count, 1)


def continuer_log_probability(continuer: Continuer, row: np.ndarray) -> float:
    """Log-probability (nats) of one event (fields,) after the past of a continuer; undefined fields do not count."""
    encoding, total = continuer.encoding, 0.0
    for name in encoding.order:
        code = int(row[encoding.index(name)])
        if code == 0 and name != 'type':
            continue
        logits = continuer.logits(name, row)[0].astype(np.float64)
        total += float(logits[code] - np.logaddexp.reduce(logits))
    return total
