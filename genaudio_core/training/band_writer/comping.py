"""Chords as a player plays them: voicings that move little, and figures of rhythm for them."""

import random
from itertools import pairwise, product

from genaudio_core.music.keys import CHORDS
from genaudio_core.score.notes import Note
from genaudio_core.training.band_writer.harmony import ChordSpan, chord_at
from genaudio_core.training.band_writer.meters import Bar

# What is struck at a place: c the chord, b its bass, u its upper notes, d and a strokes down and up, p and s a power
# chord with its fifth or sixth, 0..9 notes of an arpeggio.
Figure = list[tuple[float, float, str]]
_STABS = (
    '..x...x...x...x.',
    'x.....x...x.....',
    '...x..x....x..x.',
    'x..x..x.........',
    '....x..x....x..x',
    'x.....x.x.....x.',
    '..x..x....x.....',
)
_SIXTEENTHS = ('x.xx.x.xx.xx.x.x', '..xx.xx...xx.xx.', 'x..xx.x.x..xx.x.', '.xx.xx.x.xx.xx.x', 'x.xxx.x.xx.x.xx.')
_HOUSE = (
    'x..x..x...x..x..',
    'x..x...x..x.x...',
    '..x..x..x..x..x.',
    'x...x..x..x..x..',
    '...x..x...x..x..',
    'x..x..x..x..x...',
)
_CHARLESTON = (
    'x.....x.........',
    '......x.......x.',
    'x.....x...x.....',
    '..x.......x.....',
    '......x.x.......',
    'x.............x.',
    '....x.....x.....',
)
_BOSSA = ('x..x..x...x..x..', 'x.....x...x..x..', '..x..x....x..x..')
_STRUMS = (
    'd.d.a.d.a.d.a...',
    'd...d.a.d...d.a.',
    'd...d.a...a.d.a.',
    'd...d...d...d...',
    'd.d.d.d.d.d.d.d.',
    'd.dad.dad.dad.da',
    'd.....a.d.a.d.a.',
)
_ORDERS = ('0123', '0121', '0213', '01232', '0231', '02123', '0132', '012321')


def voice_lead(chord, previous: list[int], bounds: tuple[int, int], n_voices: int, centre: float) -> list[int]:
    """The voicing of `n_voices` notes that is near the one before and near `centre`: low to high, no two alike.

    The third and the seventh are always there; the root may be left to the bass where there are more tones than voices.
    """
    tones = list(CHORDS[chord.quality])
    essential = [tone for tone in tones if tone in (2, 3, 4, 5) or tone in (6, 8, 9, 10, 11)]
    rest = [tone for tone in tones if tone not in essential]
    chosen = (essential + [tone for tone in (0, 7) if tone in rest])[:n_voices]
    while len(chosen) < n_voices:
        chosen.append(tones[len(chosen) % len(tones)])
    low, high = bounds
    best: tuple[float, list[int]] = (1e9, [])
    places = [
        [note for note in range(low, high + 1) if note % 12 == (chord.root + tone) % 12 and abs(note - centre) <= 14]
        for tone in chosen
    ]
    if not all(places):
        places = [
            [note for note in range(low, high + 1) if note % 12 == (chord.root + tone) % 12] or [low] for tone in chosen
        ]
    for combination in product(*[sorted(place, key=lambda n: abs(n - centre))[:3] for place in places]):
        notes = sorted(set(combination))
        if len(notes) < len(combination):
            continue
        gaps = [b - a for a, b in pairwise(notes)]
        cost = abs(sum(notes) / len(notes) - centre) * 0.5 + sum(6 for gap in gaps if gap == 1 or gap > 12)
        cost += (notes[-1] - notes[0] > 19) * 8 + (notes[0] < 48 and bool(gaps) and gaps[0] < 4) * 6
        if previous:
            cost += sum(min(abs(note - other) for other in previous) for note in notes)
        if cost < best[0]:
            best = (cost, notes)
    return best[1] or sorted({place[0] for place in places})


def _from_row(row: str, bar: Bar, long: float = 0.9, short: float | None = None) -> Figure:
    row = (row * 2)[: bar.steps]
    places = [i for i, sign in enumerate(row) if sign != '.']
    ends = [*places[1:], bar.steps]
    return [
        (at / 4, short if short is not None else (end - at) / 4 * long, 'c' if row[at] == 'x' else row[at])
        for at, end in zip(places, ends, strict=True)
    ]


def write_figure(kind: str, bar: Bar, rng: random.Random) -> Figure:
    """The figure of one bar of a kind of comping."""
    if kind == 'sustained':
        return [(0.0, bar.length, 'c')]
    if kind == 'blocks':
        style = rng.choice(('half', 'pulse', 'push', 'whole'))
        if style == 'whole':
            return [(0.0, bar.length * 0.97, 'c')]
        if style == 'pulse':
            return [(at, length * 0.9, 'c') for at, length in zip(bar.pulses, bar.groups, strict=True)]
        if style == 'push' and bar.length >= 4:
            return [(0.0, 1.4, 'c'), (1.5, bar.length - 1.6, 'c')]
        return [(0.0, bar.half * 0.95, 'c'), (bar.half, (bar.length - bar.half) * 0.95, 'c')]
    if kind == 'stabs':
        return _from_row(rng.choice(_STABS), bar, short=rng.choice((0.2, 0.4)))
    if kind == 'sixteenth stabs':
        return _from_row(rng.choice(_SIXTEENTHS), bar, short=0.14)
    if kind == 'house stabs':
        return _from_row(rng.choice(_HOUSE), bar, short=rng.choice((0.2, 0.35, 0.6)))
    if kind == 'charleston':
        return _from_row(rng.choice(_CHARLESTON), bar, short=rng.choice((0.3, 0.9)))
    if kind == 'bossa':
        return [*_from_row(rng.choice(_BOSSA), bar, short=0.4)]
    if kind == 'strums':
        if bar.length == 4:
            return _from_row(rng.choice(_STRUMS), bar, long=0.95)
        return [
            (at, 0.45, 'd' if at in bar.pulses else 'a') for at in bar.eighths if at in bar.pulses or rng.random() < 0.7
        ]
    if kind == 'quarter chops':
        return [(at, 0.35, 'c') for at in bar.pulses]
    if kind == 'skank':
        return (
            [(pulse + 0.5, 0.2, 'c') for pulse in bar.pulses]
            if rng.random() < 0.5
            else [(at, 0.2, 'c') for at in bar.pulses[1::2]]
        )
    if kind == 'bubble':
        return [(at, 0.2, 'c') for at in bar.eighths if at not in bar.pulses] + [
            (at + 0.25, 0.15, 'c') for at in bar.pulses[1::2]
        ]
    if kind == 'oom-pah':
        return [(at, length * 0.7, 'u') for at, length in list(zip(bar.pulses, bar.groups, strict=True))[1:]]
    if kind == 'boom-chick':
        figure: Figure = [(at, 0.8, 'b') for at in bar.pulses[::2]] + [(at, 0.4, 'u') for at in bar.pulses[1::2]]
        return sorted(figure + [(at + 0.5, 0.3, 'u') for at in bar.pulses[1::2] if rng.random() < 0.6])
    if kind == 'boogie':
        return [
            (at + shift, 0.4, 'p' if i % 2 == 0 else 's')
            for i, at in enumerate(bar.pulses)
            for shift in (0.0, bar.groups[0] / 2)
        ]
    if kind == 'eighth chugs':
        return [(at, 0.45, 'p') for at in bar.eighths]
    if kind == 'gallop':
        return [
            (pulse + at, 0.2, 'p')
            for pulse, length in zip(bar.pulses, bar.groups, strict=True)
            for at in (0.0, 0.5, 0.75, 1.0)
            if at < length
        ]
    if kind in ('arpeggio', 'broken', 'ostinato'):
        order = rng.choice(_ORDERS)
        step = 0.5 if (kind != 'ostinato' and rng.random() < 0.6) or bar.denominator == 8 else 0.25
        n = round(bar.length / step)
        long = step * 0.95 if kind != 'broken' else 2 * step
        return [(i * step, min(long, bar.length - i * step), order[i % len(order)]) for i in range(n)]
    raise ValueError(f'unknown comping {kind!r}')


def write_comping(
    kind: str,
    spans: list[ChordSpan],
    bar: Bar,
    start: float,
    n_bars: int,
    bounds: tuple[int, int],
    centre: float,
    level: int,
    rng: random.Random,
) -> list[Note]:
    """Chords from `start` on: one figure, a second one for every fourth bar; voicings lead on from each other."""
    figure = write_figure(kind, bar, rng)
    other = write_figure(kind, bar, rng) if rng.random() < 0.3 else figure
    n_voices = {'sustained': 3, 'ostinato': 3}.get(kind, rng.choice((3, 3, 4)))
    if kind in ('eighth chugs', 'gallop', 'boogie'):
        centre = bounds[0] + 8
    voicings: dict[tuple[float, object], list[int]] = {}
    previous: list[int] = []
    notes: list[Note] = []
    for number in range(n_bars):
        at = start + number * bar.length
        for place, length, sign in other if number % 4 == 3 else figure:
            beat = at + place
            # A stab just before the line already belongs to the next chord.
            ahead = 0.55 if sign == 'c' and kind in ('charleston', 'stabs', 'bossa') else 1e-3
            span = chord_at(spans, beat + ahead)
            key = (span.beat, span.chord)
            if key not in voicings:
                voicings[key] = voice_lead(span.chord, previous, bounds, n_voices, centre)
            previous = voicings[key]
            end = min(beat + length, start + n_bars * bar.length)
            if ahead < 0.1:
                end = min(end, span.end)
            notes += _strike(sign, beat, end - beat, span, previous, bounds, level, rng)
        if kind in ('sustained', 'blocks', 'strums'):  # a chord that changes between two strokes is struck too
            for span in spans:
                inside = at + 1e-6 < span.beat < at + bar.length - 1e-6
                if inside and not any(abs(note.beat - span.beat) < 0.3 for note in notes):
                    voicings[span.beat, span.chord] = voice_lead(span.chord, previous, bounds, n_voices, centre)
                    previous = voicings[span.beat, span.chord]
                    end = min(span.end, at + bar.length)
                    notes += _strike('c', span.beat, (end - span.beat) * 0.95, span, previous, bounds, level, rng)
    return _no_overlaps(notes)


def _strike(
    sign: str,
    beat: float,
    length: float,
    span: ChordSpan,
    voicing: list[int],
    bounds: tuple[int, int],
    level: int,
    rng: random.Random,
) -> list[Note]:
    if length < 0.05:
        return []
    low, high = bounds
    root = next(note for note in range(low, low + 12) if note % 12 == span.chord.root)
    if sign in 'ps':  # power chord, and its sixth
        pair = [root, root + (9 if sign == 's' and 7 in CHORDS[span.chord.quality] else 7)]
        return [Note(beat, length, note, level) for note in pair if note <= high]
    if sign == 'b':
        note = next(note for note in range(low, low + 12) if note % 12 == span.chord.bass)
        return [Note(beat, length, note, level)]
    if sign in 'da':
        ordered = voicing if sign == 'd' else voicing[::-1][:3]
        return [
            Note(beat + i * 0.012, length, note, level - (6 if sign == 'a' else 0)) for i, note in enumerate(ordered)
        ]
    if sign.isdigit():
        index = int(sign)
        note = voicing[index % len(voicing)] + 12 * (index // len(voicing))
        return [Note(beat, length, note if note <= high else note - 12, level)]
    return [Note(beat, length, note, level) for note in voicing]


def _no_overlaps(notes: list[Note]) -> list[Note]:
    """End a key before it is struck again."""
    following: dict[int, float] = {}
    result = []
    for note in sorted(notes, reverse=True):
        end = min(note.beat + note.duration, following.get(note.note, 1e9))
        following[note.note] = note.beat
        if end - note.beat > 0.02:
            result.append(note._replace(duration=end - note.beat))
    return result[::-1]


def split_voices(notes: list[Note], n: int) -> list[list[Note]]:
    """Chords among `n` players of one note each, low to high: what a section of strings or horns plays."""
    players: list[list[Note]] = [[] for _ in range(n)]
    chords: dict[float, list[Note]] = {}
    for note in notes:
        chords.setdefault(note.beat, []).append(note)
    for _, chord in sorted(chords.items()):
        chord.sort(key=lambda note: note.note)
        for i in range(n):
            players[i].append(chord[min(i * len(chord) // n, len(chord) - 1)])
    return players
