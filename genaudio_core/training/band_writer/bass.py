"""Bass lines: a figure of scale degrees that goes along with chords and drums, and walking."""

import random
from collections.abc import Callable

from genaudio_core.music.keys import CHORDS
from genaudio_core.score.notes import Note
from genaudio_core.training.band_writer.harmony import ChordSpan, chord_at, scale_of
from genaudio_core.training.band_writer.meters import Bar

Figure = list[tuple[float, float, str]]  # (place in the bar, length, degree): R 3 5 7 8 (octave), L (next root)


def _roots(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(0.0, bar.length, 'R')]


def _eighths(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    figure: Figure = [(place, 0.45, 'R') for place in bar.eighths]
    if rng.random() < 0.5:
        figure[-1] = (figure[-1][0], 0.45, rng.choice('5L8'))
    return figure


def _kick(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    ends = [*kicks[1:], bar.length]
    return [
        (at, max(0.25, min(end - at, 1.5) * rng.choice((0.6, 0.95))), 'R' if i == 0 else rng.choice('RRR58'))
        for i, (at, end) in enumerate(zip(kicks, ends, strict=True))
    ]


def _syncopated(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    places = {0.0, *[place for place in kicks if rng.random() < 0.8]}
    for step in range(bar.steps):
        place = step / 4
        chance = 0.4 if step % 2 == 0 and place not in bar.pulses else 0.2 if step % 2 else 0.15
        if rng.random() < chance:
            places.add(place)
    ordered = sorted(places)
    ends = [*ordered[1:], bar.length]
    degrees = ['R', *[rng.choice('RRR5587') for _ in ordered[1:]]]
    if len(ordered) > 2 and rng.random() < 0.5:
        degrees[-1] = 'L'
    return [
        (at, min(end - at, 1.0) * rng.choice((0.55, 0.9)), degree)
        for at, end, degree in zip(ordered, ends, degrees, strict=True)
    ]


def _slap(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(at, 0.2, degree) for at, _, degree in _syncopated(bar, kicks, rng)] + [
        (place + 0.5, 0.15, '8') for place in bar.pulses if rng.random() < 0.5 and place + 0.5 < bar.length
    ]


def _octaves(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(place, 0.4, 'R' if place in bar.pulses else '8') for place in bar.eighths]


def _offbeat(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(pulse + 0.5, 0.35, 'R') for pulse in bar.pulses if pulse + 0.5 < bar.length]


def _sixteenths(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    rests = rng.choice(({0}, {0}, set(), {0, 3}))
    return [(step / 4, 0.2, rng.choices('R8', (8, 1))[0]) for step in range(bar.steps) if step % 4 not in rests]


def _fifths(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    second = bar.half if len(bar.strong) > 1 else bar.pulses[-1]
    return [(0.0, second * 0.9, 'R'), (second, (bar.length - second) * 0.85, '5')]


def _arpeggio(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    order = rng.choice(('R5835', 'R358', 'R5853'))
    step = bar.groups[0] if rng.random() < 0.5 else 0.5
    return [
        (i * step, step * 0.9, order[i % len(order)]) for i in range(round(bar.length / step)) if i * step < bar.length
    ]


def _bossa(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [
        (0.0, 1.4, 'R'),
        (1.5, 0.45, '5'),
        (2.0, 1.4, '5' if rng.random() < 0.6 else 'R'),
        (3.5, 0.45, rng.choice('RL5')),
    ]


def _reggae(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    places = rng.choice(
        ([1.0, 1.5, 2.5, 3.0, 3.5], [0.0, 1.0, 1.5, 2.5, 3.0], [0.5, 1.0, 2.0, 3.0, 3.5], [0.0, 0.5, 1.5, 2.0, 3.0])
    )
    degrees = ['R', *[rng.choice('R358') for _ in places[1:]]]
    return [(at, 0.45, degree) for at, degree in zip(places, degrees, strict=True)]


def _waltz(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(0.0, rng.choice((0.9, 2.8)), 'R')]


def _shuffle(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    order = rng.choice(('RR55665', 'R3567653', 'R5867658', 'RR885566'))
    places = (
        list(bar.pulses)
        if rng.random() < 0.4
        else [p for pulse in bar.pulses for p in (pulse, pulse + bar.groups[0] / 2)]
    )
    return [(place, 0.4, order[i % len(order)]) for i, place in enumerate(places)]


def _gallop(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [
        (pulse + at, 0.2, 'R')
        for pulse, length in zip(bar.pulses, bar.groups, strict=True)
        for at in (0.0, 0.5, 0.75, 1.0)
        if at < length
    ]


def _ostinato(bar: Bar, kicks: list[float], rng: random.Random) -> Figure:
    return [(place, 0.45, 'R' if place in bar.pulses else rng.choice('R58')) for place in bar.eighths]


BASS: dict[str, Callable[[Bar, list[float], random.Random], Figure] | None] = {
    'roots': _roots,
    'eighths': _eighths,
    'kick': _kick,
    'syncopated': _syncopated,
    'slap': _slap,
    'octaves': _octaves,
    'offbeat': _offbeat,
    'sixteenths': _sixteenths,
    'fifths': _fifths,
    'two feel': _fifths,
    'arpeggio': _arpeggio,
    'bossa': _bossa,
    'reggae': _reggae,
    'waltz': _waltz,
    'shuffle': _shuffle,
    'gallop': _gallop,
    'ostinato': _ostinato,
    'walking': None,
    'pedal': None,
}


def near(pitch_class: int, centre: float, low: int, high: int) -> int:
    """The note of a pitch class nearest to `centre` inside [low, high]."""
    candidates = [note for note in range(low, high + 1) if note % 12 == pitch_class % 12]
    return min(candidates, key=lambda note: abs(note - centre))


def _tone(chord_tones: tuple[int, ...], degree: str) -> int:
    """Half steps above the root of a degree of the chord."""
    third = next((i for i in chord_tones if i in (3, 4)), 7)
    fifth = next((i for i in chord_tones if i in (6, 7, 8)), 7)
    seventh = next((i for i in chord_tones if i in (10, 11)), 12)
    return {'R': 0, '3': third, '5': fifth, '7': seventh if seventh != 12 else 0, '8': 12, '6': 9}[degree]


def write_bass(
    kind: str,
    spans: list[ChordSpan],
    bar: Bar,
    start: float,
    n_bars: int,
    kicks: list[float],
    bounds: tuple[int, int],
    key: tuple[int, str],
    level: int,
    rng: random.Random,
) -> list[Note]:
    """A bass line of `n_bars` bars: one figure that returns in every bar, bent by the chords.

    A chord that begins inside a bar is struck on its root; where a chord changes its root comes first.
    """
    low, high = bounds[0], min(bounds[1], bounds[0] + 24)
    if kind == 'walking':
        return _walk(spans, bar, start, n_bars, (low, high), key, level, rng)
    make = BASS[kind]
    notes: list[Note] = []
    figure = make(bar, kicks, rng) if make else [(0.0, bar.length, 'R')]
    other = make(bar, kicks, rng) if make and rng.random() < 0.4 else figure  # of every fourth bar
    centre = low + 10.0
    tonic_pedal = near(key[0], centre, low, high)
    for number in range(n_bars):
        at = start + number * bar.length
        events: list[tuple[float, float, str]] = [
            (at + place, length, degree) for place, length, degree in (other if number % 4 == 3 else figure)
        ]
        if kind != 'pedal':
            for span in spans:  # the head of a chord inside the bar belongs to its root
                inside = at <= span.beat < at + bar.length - 1e-6
                struck = any(abs(beat - span.beat) < 0.3 for beat, *_ in events)
                if inside and not struck and kind not in ('offbeat', 'reggae', 'sixteenths'):
                    events.append((span.beat, 0.5 if kind != 'roots' else bar.length, 'R'))
        events.sort()
        for i, (beat, length, degree) in enumerate(events):
            span = chord_at(spans, beat + 1e-3)
            tones = CHORDS[span.chord.quality]
            first = not any(other_beat >= span.beat - 1e-6 and other_beat < beat - 1e-6 for other_beat, *_ in events)
            root = near(span.chord.bass, centre, low, high - 5)
            if kind == 'pedal':
                note = tonic_pedal
            elif (first and abs(beat - max(span.beat, at)) < 0.6 and degree not in '8') or degree == 'R':
                note = root
            elif degree == 'L':
                following = chord_at(spans, beat + length + 0.25)
                target = near(following.chord.bass, root, low, high)
                note = target + rng.choice((-1, 1, -2, 2)) if following is not span else root + _tone(tones, '5')
            else:
                note = near(span.chord.root, root, low, high) + _tone(tones, degree)
            while note > high:
                note -= 12
            while note < low:
                note += 12
            end = min(
                beat + length, start + n_bars * bar.length, events[i + 1][0] if i + 1 < len(events) else 1e9, span.end
            )
            if end - beat > 0.05:
                notes.append(Note(beat, end - beat, note, level))
    return notes


def _walk(
    spans: list[ChordSpan],
    bar: Bar,
    start: float,
    n_bars: int,
    bounds: tuple[int, int],
    key: tuple[int, str],
    level: int,
    rng: random.Random,
) -> list[Note]:
    low, high = bounds
    beats = [start + number * bar.length + pulse for number in range(n_bars) for pulse in bar.pulses]
    notes: list[Note] = []
    last, direction = low + 12.0, 1
    for i, beat in enumerate(beats):
        end = beats[i + 1] if i + 1 < len(beats) else start + n_bars * bar.length
        span = chord_at(spans, beat + 1e-3)
        following = chord_at(spans, end + 1e-3)
        if i == 0 or abs(beat - span.beat) < 1e-3:
            note = near(span.chord.bass, last + direction, low, high)
        elif following is not span and end < start + n_bars * bar.length:
            target = near(following.chord.bass, last, low, high)
            note = target + rng.choice((-1, 1, -1, 1, -2, 2, 7))
        else:
            tones = sorted(span.chord.pitch_classes if rng.random() < 0.6 else scale_of(*key, span.chord))
            steps = [
                n for n in range(low, high + 1) if n % 12 in tones and n != last and 0 < (n - last) * direction <= 5
            ]
            note = steps[0 if direction > 0 else -1] if steps else near(span.chord.root, last, low, high)
        if note <= low + 2:
            direction = 1
        elif note >= high - 4 or rng.random() < 0.2:
            direction = -direction if note > low + 6 else 1
        note = max(low, min(high, note))
        notes.append(Note(beat, (end - beat) * 0.92, note, level))
        if rng.random() < 0.08 and end - beat >= 1:  # a skipped eighth
            notes.append(Note(beat + (end - beat) / 2, (end - beat) * 0.3, note, level - 12))
            notes[-2] = notes[-2]._replace(duration=(end - beat) * 0.45)
        last = note
    return notes
