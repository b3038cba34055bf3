"""How good is a model? Held-out likelihood, and the paper's metrics on what it plays beside what people wrote.

Notable choices

* Music is made by `genaudio_core.continuation.generation` over the exported graph, or by the baselines' own sampler:
  what is measured is what plays.
* Truth goes through the model's layout as well, so that what the layout cannot say (drums, short notes) is held
  against nobody.
* Likelihood is told per event and per note. Per note compares layouts; but a layout that also says velocity or meter
  has more to say, so compare those field by field.
* A continuation is measured alone, without what was given, beside the true one of the same pieces.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import continue_score, generate
from genaudio_core.continuation.published import EVENTS, check_published, draw_events
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.files import make_folder
from genaudio_core.music.events import (
    DRUM_PROGRAM,
    decode_table,
    encode_table,
    first_beat,
    header,
    note_table,
    table_to_tracks,
)
from genaudio_core.music.layouts import METERS, MMT, NOTE, RESOLUTION, START_OF_SONG, Encoding
from genaudio_core.music.metrics import PUBLISHED_BEATS, Interval, begun_before, interval, repeated_share, summary
from genaudio_core.score.joining import struck_once
from genaudio_core.score.notes import Meter, Score, Tempo
from genaudio_core.score.reading import write_midi
from genaudio_core.training.scores.batches import bar_line
from genaudio_core.training.scores.packed_scores import ScoreData

REPEATED = 0.9  # a continuation with this share of copied notes counts as a loop
EARLY = 4.0  # beats: one that begins no note in its last bar of four has stopped early
Progress = Callable[[str, int, int], None]  # what is being made, how many are done, of how many
PieceNLL = Callable[[np.ndarray], dict[str, float]]  # one sequence -> nats per event, by field, with 'events'


def _no_progress(what: str, done: int, total: int) -> None:
    pass


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a held-out piece; step 0 is its first bar line."""

    source: str
    table: np.ndarray
    meter: tuple[int, int]


@dataclass
class MusicSet:
    """Some pieces of one kind and how long they took to make."""

    tables: list[np.ndarray]
    seconds: float = 0.0
    meters: Sequence[tuple[int, int]] = ()  # of each piece, where it is known


def source_shares(data: ScoreData, balance: float, exclude: tuple[str, ...] = ()) -> dict[int, float]:
    """Source number -> its share of what a model hears in training (``batches.WindowSampler``); shares add up to 1."""
    pieces = data.indices('train')
    notes = np.array([data.n_notes(int(index)) for index in pieces], float)
    totals = np.bincount(data.source[pieces], notes, minlength=len(data.sources)) ** balance
    if not totals.any():  # nothing to train on: all alike
        totals += 1
    totals[[number for number, name in enumerate(data.sources) if name in exclude]] = 0
    return {number: float(total / max(totals.sum(), 1e-9)) for number, total in enumerate(totals)}


def excerpts(
    data: ScoreData, split: str, encoding: Encoding, n: int, *, beats: float, balance: float = 0.0,
    exclude: tuple[str, ...] = (),
) -> list[Excerpt]:  # fmt: skip
    """Beginnings of up to `n` pieces of a split that are longer than `beats`, in a fixed shuffle.

    Parameters
    ----------
    balance : float
        Sources are drawn in proportion to their notes in training to this power: 0 all alike, 1 by size. What a
        model makes out of nothing has the proportions it was trained with, and is held against the same.
    exclude : sources to leave out

    Raises
    ------
    GenaudioError
        If there is none.
    """
    shares = source_shares(data, balance, exclude)
    queues: dict[int, list[int]] = {}
    for index in np.random.default_rng(0).permutation(data.indices(split)):
        source = int(data.source[index])
        if shares[source]:
            queues.setdefault(source, []).append(int(index))
    found: list[Excerpt] = []
    given = dict.fromkeys(queues, 0)
    while len(found) < n and queues:
        # The source that lags furthest behind its share; the largest first.
        source = max(queues, key=lambda s: (shares[s] * (len(found) + 1) - given[s], shares[s], -s))
        queue = queues[source]
        excerpt = None
        while queue and excerpt is None:
            excerpt = _excerpt(data, queue.pop(0), encoding, beats)
        if excerpt is None:
            del queues[source]
            continue
        given[source] += 1
        found.append(excerpt)
    if not found:
        raise GenaudioError(f'{data.path} contains no {split} piece longer than {beats:g} beats. Try another --split.')
    return found


def _excerpt(data: ScoreData, index: int, encoding: Encoding, beats: float) -> Excerpt | None:
    table = data.notes(index, as_published=encoding.is_published)
    if not encoding.has_drums:
        table = table[table['program'] != DRUM_PROGRAM]
    if not len(table):
        return None
    meters = data.meters(index)
    begin = first_beat(table) if encoding.is_published else bar_line(int(table['step'][0]), meters)
    table['step'] -= begin
    code = next((code for at, code in reversed(meters) if at <= begin), 1)
    events = encode_table(
        begun_before(table, max(beats, PUBLISHED_BEATS) + EARLY), encoding, meters=[(0, code)], end=False
    )
    if encoding.is_published:
        events = events[: EVENTS - 1]  # as the published dataset cuts them, whose last row is the end-of-song
    heard = decode_table(events, encoding)
    # A piece must go on behind the time that is asked for, or an early end of it would be the composer's.
    if len(heard) < 8 or heard['step'].max() < beats * RESOLUTION:
        return None
    return Excerpt(data.sources[data.source[index]], heard, METERS[max(code, 1) - 1])


# --- likelihood ------------------------------------------------------------------------------------------------------


def likelihood(windows: dict[str, list[np.ndarray]], piece_nll: PieceNLL) -> dict:
    """NLL in nats on held-out windows, one for each piece.

    Returns
    -------
    dict
        ``per_event`` and ``per_note`` (means over sources, which weigh alike), ``per_note_interval`` over pieces,
        ``fields`` (nats per event by field), ``pieces``, and ``sources`` with the same for each source.
    """
    sources, notes_of_pieces = {}, []
    for source, sequences in windows.items():
        rows = [piece_nll(sequence) for sequence in sequences]
        events = np.array([row['events'] for row in rows], float)
        notes = np.array([max(int((sequence[1:, 0] == NOTE).sum()), 1) for sequence in sequences], float)
        nats = np.array([row['nll'] for row in rows]) * events
        fields = [key for key in rows[0] if key not in ('nll', 'events')]
        sources[source] = {
            'per_note': float(nats.sum() / notes.sum()),
            'per_event': float(nats.sum() / events.sum()),
            'fields': {field: float(sum(r[field] * r['events'] for r in rows) / events.sum()) for field in fields},
            'pieces': len(sequences),
        }
        notes_of_pieces += (nats / notes).tolist()
    mean = {key: float(np.mean([row[key] for row in sources.values()])) for key in ('per_note', 'per_event')}
    first = next(iter(sources.values()))
    fields = {field: float(np.mean([row['fields'][field] for row in sources.values()])) for field in first['fields']}
    spread = interval(notes_of_pieces)
    return mean | {
        'per_note_interval': [spread.mean, spread.half_width], 'fields': fields,
        'pieces': len(notes_of_pieces), 'sources': sources,
    }  # fmt: skip


# --- music -----------------------------------------------------------------------------------------------------------


def unconditional(
    decoder: Decoder, n: int, beats: float, controls: Controls, seed: int, progress: Progress = _no_progress
) -> MusicSet:
    """`n` pieces out of nothing; the model also chooses the ensemble."""
    began, tables = time.perf_counter(), []
    for i in range(n):
        tables.append(_sorted_table(generate(decoder, beats, controls=controls, seed=seed + i).score))
        progress('pieces out of nothing', i + 1, n)
    return MusicSet(tables, time.perf_counter() - began)


def continuations(
    decoder: Decoder, given: Sequence[Excerpt], given_beats: float, beats: float, controls: Controls, seed: int,
    progress: Progress = _no_progress,
) -> MusicSet:  # fmt: skip
    """The model's continuation of the first `given_beats` of each excerpt; step 0 is the beginning of the excerpt."""
    began, tables = time.perf_counter(), []
    for i, excerpt in enumerate(given):
        tracks = table_to_tracks(begun_before(excerpt.table, given_beats))
        score = Score(tracks, [Tempo(0.0, 100.0)], [Meter(0.0, *excerpt.meter)])
        made = continue_score(decoder, score, beats, controls=controls, seed=seed + i, start=given_beats)
        tables.append(_sorted_table(made.score))
        progress('continuations', i + 1, len(given))
    return MusicSet(tables, time.perf_counter() - began, [excerpt.meter for excerpt in given])


def informed(
    decoder: Decoder, given: Sequence[Excerpt], beats: float, controls: Controls, seed: int,
    progress: Progress = _no_progress,
) -> MusicSet:  # fmt: skip
    """Pieces for the instruments of each excerpt: the paper's instrument-informed set."""
    began, tables = time.perf_counter(), []
    for i, excerpt in enumerate(given):
        made = generate(
            decoder, beats, instruments=_instruments(excerpt), controls=controls, meter=excerpt.meter, seed=seed + i
        )
        tables.append(_sorted_table(made.score))
        progress('instrument-informed pieces', i + 1, len(given))
    return MusicSet(tables, time.perf_counter() - began, [excerpt.meter for excerpt in given])


def _instruments(excerpt: Excerpt) -> list[str]:
    return Score(table_to_tracks(excerpt.table)).instruments


def published_sets(
    decoder: Decoder, given: Sequence[Excerpt], n: int, given_beats: float, beats: float, seed: int,
    progress: Progress = _no_progress,
) -> tuple[MusicSet, MusicSet, MusicSet]:  # fmt: skip
    """Unconditional, instrument-informed and continued pieces by the published sampling, notes as they were drawn.

    Raises
    ------
    GenaudioError
        If the model is of another layout.
    """
    opening = np.zeros((1, len(MMT.fields)), np.int16)
    opening[0, 0] = START_OF_SONG
    prompts = {
        'pieces out of nothing': [opening] * n,
        'instrument-informed pieces': [header(_instruments(excerpt), MMT) for excerpt in given],
        'continuations': [encode_table(begun_before(e.table, given_beats), MMT, end=False) for e in given],
    }
    sets = []
    for what, starts in prompts.items():
        began, tables = time.perf_counter(), []
        end = round((given_beats + beats) * RESOLUTION) if what == 'continuations' else None
        for i, prompt in enumerate(starts):
            made = draw_events(decoder, prompt, np.random.default_rng(seed + i), end=end)
            tables.append(decode_table(np.concatenate([prompt, made]), MMT))
            progress(what, i + 1, len(starts))
        sets.append(MusicSet(tables, time.perf_counter() - began))
    return sets[0], sets[1], sets[2]


def save_set(folder: Path, music: MusicSet) -> None:
    """Write the pieces of a set as MIDI files, ``001.mid`` and so on, at 100 BPM as the published code decodes.

    Raises
    ------
    GenaudioError
        If a file cannot be written.
    """
    make_folder(folder)
    for i, table in enumerate(music.tables):
        tracks = table_to_tracks(table)
        for track in tracks:
            track.notes = struck_once(track.notes)  # two that strike one key would end together
        meter = Meter(0.0, *music.meters[i]) if music.meters else Meter(0.0, 4, 4)
        write_midi(Score(tracks, [Tempo(0.0, 100.0)], [meter]), folder / f'{i + 1:03}.mid')


def _sorted_table(score: Score) -> np.ndarray:
    table = note_table(score)
    return table[np.lexsort((table['pitch'], table['step']))]


def describe(music: MusicSet, beats: float) -> dict:
    """The paper's metrics, notes, and speed, of whole pieces."""
    result: dict = {name: list(value[:2]) for name, value in summary(music.tables, beats).items()}
    notes = sum(len(table) for table in music.tables)
    result |= {'pieces': len(music.tables), 'notes': notes}
    if music.seconds:
        result['notes_per_second'] = notes / music.seconds
    return result


def describe_continuations(music: MusicSet, given_beats: float, beats: float) -> dict:
    """The metrics of the part behind `given_beats`; how many are loops, and how many stop early."""
    begin, end = round(given_beats * RESOLUTION), round((given_beats + beats) * RESOLUTION)
    parts, shares, early = [], [], []
    for table in music.tables:
        heard = table[table['step'] < end]
        part = heard[heard['step'] >= begin].copy()
        shares.append(repeated_share(heard, begin))
        # Nothing at all has stopped as early as can be.
        early.append(not len(part) or int(part['step'].max()) < end - EARLY * RESOLUTION)
        part['step'] -= begin
        parts.append(part)
    result = describe(MusicSet(parts, music.seconds), beats)
    told = [share for share in shares if not math.isnan(share)]
    copied: Interval = interval(told)
    return result | {
        'repeated_share': list(copied[:2]),
        'repeats_verbatim': float(np.mean([share >= REPEATED for share in told])) if told else math.nan,
        'stops_early': float(np.mean(early)),
    }


def measure(
    decoder: Decoder, data: ScoreData, split: str, n: int, *, given: float = 16, beats: float = 16,
    controls: Controls | None = None, seed: int = 1, balance: float = 0.5, exclude: tuple[str, ...] = (),
    as_published: bool = False, with_informed: bool = False, save: Path | None = None,
    progress: Progress = _no_progress,
) -> dict:  # fmt: skip
    """Truth, unconditional samples and continuations side by side.

    Parameters
    ----------
    n : int
        Samples of each kind.
    given, beats : beats given to a continuation, and asked of it
    balance, exclude : as in training, so that truth has the sources in the proportions the model knows
    as_published : sample as the published code does; `controls` have no say then
    with_informed : also make pieces for the instruments of the held-out ones; `as_published` always does
    save : folder for all that was made, and the truth, as MIDI files

    Raises
    ------
    GenaudioError
        If nothing is held out, a file cannot be written, or the published sampling is asked of another layout.
    """
    if as_published:
        check_published(decoder)
    controls = controls or Controls(allow_end=True)
    pieces = excerpts(data, split, decoder.encoding, n, beats=given + beats, balance=balance, exclude=exclude)
    truth = MusicSet([piece.table for piece in pieces], meters=[piece.meter for piece in pieces])
    of_instruments = None
    if as_published:
        made, of_instruments, continued = published_sets(decoder, pieces, n, given, beats, seed, progress)
    else:
        made = unconditional(decoder, n, PUBLISHED_BEATS, controls, seed, progress)
        if with_informed:
            of_instruments = informed(decoder, pieces, PUBLISHED_BEATS, controls, seed, progress)
        continued = continuations(decoder, pieces, given, beats, controls, seed, progress)
    sets = {'truth': truth, 'unconditional': made, 'continuation': continued}
    report = {
        'truth': describe(truth, PUBLISHED_BEATS),
        'unconditional': describe(made, PUBLISHED_BEATS),
        'truth_continuation': describe_continuations(truth, given, beats),
        'continuation': describe_continuations(continued, given, beats),
    }
    if of_instruments is not None:
        sets['instrument_informed'] = of_instruments
        report['instrument_informed'] = describe(of_instruments, PUBLISHED_BEATS)
    if save is not None:
        for name, music in sets.items():
            save_set(save / name, music)
    return report
