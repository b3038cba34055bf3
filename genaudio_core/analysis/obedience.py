"""Whether a model plays the chords that it is told: held-out music continued with its own chords, and without."""

from collections.abc import Callable

import numpy as np

from genaudio_core.continuation.context_window import last_bars
from genaudio_core.continuation.decoder import Decoder
from genaudio_core.continuation.generation import RESERVE, Writer
from genaudio_core.continuation.sampling import Controls
from genaudio_core.errors import GenaudioError
from genaudio_core.music.descriptions import bars, chord_of, tell_chords
from genaudio_core.music.events import DRUM_PROGRAM, encode_table, part_codes
from genaudio_core.music.layouts import DESCRIBED, RESOLUTION
from genaudio_core.score.instruments import PROGRAM_TO_LIVE_CODE, instrument_name
from genaudio_core.training.scores.batches import bar_line
from genaudio_core.training.scores.packed_scores import ScoreData


def on_chord(table: np.ndarray, chords: np.ndarray, lines: np.ndarray) -> tuple[int, int]:
    """Of the pitched notes on strong beats (the first of a bar, and every second quarter from there) how many are tones
    of the chord that holds, and how many there are."""
    hits = notes = 0
    for row in table[table['program'] != DRUM_PROGRAM]:
        line = np.searchsorted(lines, row['step'], side='right') - 1
        index = np.searchsorted(chords[:, 0], row['step'], side='right') - 1
        if line < 0 or index < 0 or (row['step'] - lines[line]) % (2 * RESOLUTION):
            continue
        chord = chord_of(int(chords[index, 1]))
        if chord is not None:
            notes += 1
            hits += int(row['pitch']) % 12 in chord.pitch_classes
    return hits, notes


def obedience(
    decoder: Decoder,
    data: ScoreData,
    split: str,
    n: int,
    *,
    given: int = 4,
    asked: int = 8,
    seed: int = 1,
    exclude: tuple[str, ...] = (),
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> dict[str, float]:
    """Continue `n` held-out pieces by `asked` bars after their first `given` ones.

    Returns
    -------
    dict
        Shares of the notes on strong beats that are tones of the piece's chords: ``true`` (the piece itself), ``told``
        (continued with its chords told) and ``untold``; and ``pieces``.

    Raises
    ------
    GenaudioError
        If the model cannot be told chords, or no piece is long enough.
    """
    if not decoder.encoding.has_descriptions:
        raise GenaudioError(f'{decoder.model.path} cannot be told chords: it has the layout {decoder.encoding.name}.')
    counts = {'true': [0, 0], 'told': [0, 0], 'untold': [0, 0]}
    done = 0
    for index in np.random.default_rng(0).permutation(data.indices(split)):
        source = data.sources[data.source[index]]
        chords, meters = data.chords(int(index)).astype(np.int64), data.meters(int(index))
        if done == n or source in exclude or not len(chords):
            continue
        table = data.notes(int(index), tracks=True)
        origin = bar_line(int(table['step'][0]), meters)
        lines = bars(meters, origin, int(table['step'].max()) + 1)[0]
        if len(lines) <= given + asked:
            continue
        begin, end = int(lines[given]), int(lines[given + asked])
        before = table[table['step'] < begin]
        if len(before) < 16:
            continue
        prompt = encode_table(before, DESCRIBED, meters=meters, origin=origin, end=False, parts=part_codes(before))
        window = last_bars(prompt, DESCRIBED, int(decoder.context * (1 - RESERVE)))
        moved = origin + window.origin
        shifted = [(step - moved, code) for step, code in meters]
        of_window = np.stack((chords[:, 0] - moved, chords[:, 1]), axis=1)
        codes = {PROGRAM_TO_LIVE_CODE[p] for p in np.unique(before['program']) if p != DRUM_PROGRAM} - {0}
        controls = Controls(instruments=tuple(instrument_name(code) for code in sorted(codes)))
        told = tell_chords(of_window, shifted, begin - moved, end - moved)
        done += 1
        for name, what in (('told', told), ('untold', None)):
            writer = Writer(decoder, window.events, controls, seed, what)
            new, _ = writer.write(begin - moved, end - moved, lambda beats: None)
            _add(counts[name], on_chord(new, of_window, lines - moved))
        _add(counts['true'], on_chord(table[(table['step'] >= begin) & (table['step'] < end)], chords, lines))
        progress('pieces told their chords', done, n)
    if not done:
        raise GenaudioError(f'{data.path} contains no {split} piece of {given + asked} bars with chords.')
    return {name: hits / max(notes, 1) for name, (hits, notes) in counts.items()} | {'pieces': done}


def _add(sums: list[int], more: tuple[int, int]) -> None:
    sums[0], sums[1] = sums[0] + more[0], sums[1] + more[1]
