"""Progressions in Roman numerals, and the chords that they mean in a key.

Numerals count from the major scale of the tonic in every mode (the minor third is ``bIII``); small letters are minor.
A comma splits a bar in two; ``V7/ii`` is the dominant of ii; ``I>3`` has its third in the bass.
"""

import itertools
import random
import re
from dataclasses import dataclass

from genaudio_core.music.keys import CHORDS, SCALES, Chord

_DEGREES = {'I': 0, 'II': 2, 'III': 4, 'IV': 5, 'V': 7, 'VI': 9, 'VII': 11}
_NUMERAL = re.compile(r'^([b#]?)([IViv]+)(°7|°|ø7|\+)?([a-z0-9]*)(?:/([b#]?[IViv]+))?(?:>([35]))?$')

LOOPS: dict[str, tuple[str, ...]] = {
    'major': (
        'I V vi IV',
        'vi IV I V',
        'I vi IV V',
        'I IV V V',
        'I IV vi V',
        'IV I V vi',
        'I iii IV V',
        'IV V iii vi',
        'I I IV V',
        'I V IV IV',
        'vi V IV V',
        'I ii IV V',
        'I IV I V',
        'IV IV I V',
        'ii IV I V',
        'I V>3 vi IV',
        'I bVII IV I',
        'I iii vi IV',
        'IV iv I I',
        'I I>3 IV V',
        'vi ii V I',
        'I V vi iii IV I IV V',
        'I IV I IV ii V I V',
        'vi vi IV IV I I V V',
        'IV V vi I',
        'I V/vi vi IV',
        'I,V vi,IV I,V IV',
        'I IV,V',
        'vi,IV I,V',
        'I vi',
        'I III IV iv',
        'I V ii IV',
        'IV vi I V',
    ),
    'minor': (
        'i bVI bIII bVII',
        'i bVII bVI V',
        'i iv V i',
        'i bVI iv V',
        'i bVII bVI bVII',
        'i iv bVII bIII',
        'i i iv iv',
        'bVI bVII i i',
        'i bIII bVII iv',
        'i v bVI bVII',
        'i bVI bVII i',
        'i bVII iv bVI',
        'i V i V',
        'iv i V i',
        'i i bVI bVII',
        'i bIII iv bVI',
        'i,bVII bVI,V',
        'i bVI',
        'i iv',
        'i bVII bIII bVI iv i V V',
        'bVI bVII i bIII',
        'i i>3 iv V',
        'i iiø7 V i',
    ),
    'dorian': ('i IV', 'i IV i IV', 'i bVII IV i', 'i ii bIII IV', 'i i IV IV', 'i bIII IV i'),
    'mixolydian': ('I bVII', 'I bVII IV I', 'I bVII IV IV', 'I v bVII IV', 'I IV bVII I', 'I I bVII bVII'),
    'phrygian': ('i bII', 'i bII bIII bII', 'i bII bvii i', 'i i bII bII'),
    'lydian': ('I II', 'I II I vii', 'I II vi II', 'I I II II'),
}
BLUES: dict[str, tuple[str, ...]] = {
    'major': (
        'I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7',
        'I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7',
        'I7 IV7 I7 v7,I7 IV7 #iv°7 I7 VI7 ii7 V7 I7,VI7 ii7,V7',
        'I7 V7 IV7 IV7 I7 V7 I7,IV7 I7,V7',
        'I7 I7 I7 I7 IV7 IV7 IV7 IV7 I7 I7 I7 I7 V7 IV7 I7 V7',
    ),
    'minor': (
        'i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7',
        'i7 iv7 i7 i7 iv7 iv7 i7 i7 iiø7 V7 i7 iiø7,V7',
    ),
}
JAZZ: dict[str, tuple[str, ...]] = {
    'major': (
        'ii7 V7 Imaj7 Imaj7',
        'Imaj7 VI7 ii7 V7',
        'iii7 VI7 ii7 V7',
        'Imaj7,VI7 ii7,V7',
        'iii7,VI7 ii7,V7',
        'ii7 V7 Imaj7 VI7',
        'Imaj7 IVmaj7 iii7,VI7 ii7,V7',
        'Imaj7 II7 ii7 V7',
        'ii7,V7 Imaj7',
        'Imaj7 #i°7 ii7 V7',
        'IVmaj7 iv6 iii7 VI7',
        'Imaj7 III7 VI7 II7',
        'ii7 bII7 Imaj7 Imaj7',
        'Imaj7 Imaj7 ii7 V7',
        'v7 I7 IVmaj7 bVII7',
    ),
    'minor': (
        'iiø7 V7 i7 i7',
        'i7 iv7 iiø7 V7',
        'i7 bVImaj7 iiø7 V7',
        'iv7 bVII7 bIIImaj7 bVImaj7',
        'iiø7,V7 i7',
        'i6 i6 iiø7 V7',
    ),
}
# Weights of what may follow: the grammar of tonic, subdominant and dominant.
_NEXT: dict[str, dict[str, dict[str, float]]] = {
    'major': {
        'I': {'IV': 4, 'vi': 3, 'ii': 2, 'V': 3, 'iii': 1, 'V7/IV': 0.4, 'I>3': 0.8, 'V7/vi': 0.4},
        'ii': {'V': 6, 'IV': 1, 'V7': 2, 'I>3': 0.5},
        'iii': {'vi': 4, 'IV': 4, 'ii': 1},
        'IV': {'V': 5, 'I': 3, 'ii': 2, 'iv': 0.4, 'I>3': 1, 'V7': 1},
        'V': {'I': 6, 'vi': 3, 'IV': 1, 'V7': 1},
        'vi': {'IV': 4, 'ii': 3, 'V': 2, 'iii': 1, 'V7/V': 0.6},
        'iv': {'I': 4, 'V': 1},
        'I>3': {'IV': 5, 'ii': 1},
        'V7': {'I': 6, 'vi': 2},
        'V7/IV': {'IV': 1},
        'V7/vi': {'vi': 1},
        'V7/V': {'V': 1},
    },
    'minor': {
        'i': {'iv': 3, 'bVI': 3, 'bVII': 3, 'V': 2, 'bIII': 1, 'v': 1, 'i>3': 0.6},
        'iv': {'V': 4, 'i': 2, 'bVII': 2, 'bVI': 1},
        'V': {'i': 6, 'bVI': 2},
        'v': {'bVI': 2, 'iv': 1, 'i': 1},
        'bVI': {'bVII': 4, 'iv': 2, 'V': 2, 'bIII': 2, 'iiø7': 0.6},
        'bVII': {'bIII': 3, 'i': 4, 'bVI': 1},
        'bIII': {'bVI': 2, 'iv': 2, 'bVII': 2},
        'i>3': {'iv': 1},
        'iiø7': {'V': 1},
    },
}


@dataclass(frozen=True)
class ChordSpan:
    """A chord and how long it holds."""

    beat: float  # quarter notes
    duration: float
    chord: Chord

    @property
    def end(self) -> float:
        return self.beat + self.duration


def _degree(sign: str, numeral: str) -> int:
    return (_DEGREES[numeral.upper()] + {'b': -1, '#': 1, '': 0}[sign]) % 12


def read_numeral(text: str, tonic: int) -> Chord:
    """Return the chord of a numeral in the key of pitch class `tonic`."""
    match = _NUMERAL.match(text)
    if not match:
        raise ValueError(f'{text!r} is not a Roman numeral')
    sign, numeral, mark, figures, of, bass = match.groups()
    if of:
        lead, target = re.match(r'^([b#]?)(.+)$', of).groups()  # type: ignore[union-attr]
        tonic = (tonic + _degree(lead, target)) % 12
    root = (tonic + _degree(sign, numeral)) % 12
    minor = numeral.islower()
    if mark:
        quality = {'°7': 'dim7', '°': 'dim', 'ø7': 'm7b5', '+': 'aug'}[mark]
    else:
        quality = ('m' if minor else '') + figures
    third = CHORDS[quality][1] if len(CHORDS[quality]) > 1 else 7
    low = {None: root, '3': (root + third) % 12, '5': (root + 7) % 12}[bass]
    return Chord(root, quality, low)


def _fill(loop: str, n_bars: int) -> list[list[str]]:
    bars = [bar.split(',') for bar in loop.split()]
    return [bars[i % len(bars)] for i in range(n_bars)]


def _functional(mode: str, n_bars: int, rng: random.Random) -> list[list[str]]:
    """A walk through the grammar: an open half, then a closed one."""
    table = _NEXT[mode]
    home, dominant = ('I', 'V') if mode == 'major' else ('i', 'V')
    bars: list[list[str]] = []
    now = home
    for bar in range(n_bars):
        place = bar % 8 if n_bars >= 8 else bar + 8 - n_bars
        chords = [now]
        if place in (3, 7) and rng.random() < 0.85:
            chords = [dominant] if place == 3 or rng.random() < 0.4 else [home]
        elif place == 6 and rng.random() < 0.6:
            chords = [rng.choice(('IV', 'ii') if mode == 'major' else ('iv', 'bVI')), dominant]
        elif rng.random() < 0.12:
            follow = table[now]
            chords.append(rng.choices(list(follow), list(follow.values()))[0])
        bars.append(chords)
        follow = table.get(chords[-1], table[home])
        now = rng.choices(list(follow), list(follow.values()))[0] if place != 7 else home
    return bars


def write_numerals(kind: str, mode: str, n_bars: int, rng: random.Random) -> list[list[str]]:
    """Return the numerals of `n_bars` bars, one or two in each.

    `kind` is ``loop``, ``functional``, ``blues``, ``jazz`` or ``vamp`` (one or two chords).
    """
    simple = 'minor' if mode in ('minor', 'dorian', 'phrygian') else 'major'
    if kind == 'functional' and mode in _NEXT:
        half = _functional(mode, n_bars // 2 if n_bars >= 16 else n_bars, rng)
        return (half * 2)[:n_bars]
    if kind == 'blues':
        return _fill(rng.choice(BLUES[simple]), n_bars)
    if kind == 'jazz':
        bars: list[list[str]] = []
        while len(bars) < n_bars:
            cell = rng.choice(JAZZ[simple])
            bars += _fill(cell, len(cell.split()))
        return bars[:n_bars]
    loops = LOOPS[mode]
    if kind == 'vamp':
        loops = tuple(loop for loop in loops if len(loop.split()) <= 2) or loops
    loop = rng.choice(loops)
    if kind == 'loop' and len(loop.split()) == 4 and rng.random() < 0.2:  # two bars a chord
        loop = ' '.join(numeral for numeral in loop.split() for _ in range(2))
    return _fill(loop, n_bars)


_SEVENTH = {'': 'maj7', 'm': 'm7', 'dim': 'm7b5'}
_NINTH = {'': 'maj9', 'maj7': 'maj9', 'm': 'm9', 'm7': 'm9', '7': '9'}


def colour(chord: Chord, richness: str, tonic: int, rng: random.Random) -> Chord:
    """Return the chord as a style would play it: ``power``, ``triad``, ``seventh`` or ``ninth``."""
    quality = chord.quality
    dominant = quality == '' and (chord.root - tonic) % 12 == 7
    if richness == 'power':
        quality = '5' if quality in ('', 'm', '7', 'm7', 'maj7') else quality
    elif richness == 'triad':
        if quality in ('', 'm') and rng.random() < 0.06:
            quality = rng.choice(('sus4', 'sus2', 'add9')) if quality == '' else 'm7'
        elif dominant and rng.random() < 0.2:
            quality = '7'
    else:
        quality = '7' if dominant else _SEVENTH.get(quality, quality)
        if richness == 'ninth' and rng.random() < 0.6:
            quality = _NINTH.get(quality, quality)
    return Chord(chord.root, quality, chord.bass)


def spell(
    numerals: list[list[str]],
    tonic: int,
    start: float,
    bar_length: float,
    half: float,
    richness: str,
    rng: random.Random,
) -> list[ChordSpan]:
    """Return the chords of bars from `start` on; equal neighbours are one span. The same numeral gets one colour."""
    coloured: dict[str, Chord] = {}
    spans: list[ChordSpan] = []
    for number, bar in enumerate(numerals):
        at = start + number * bar_length
        pieces = [(at, bar_length)] if len(bar) == 1 else [(at, half), (at + half, bar_length - half)]
        for (beat, duration), numeral in zip(pieces, bar, strict=False):
            if numeral not in coloured:
                coloured[numeral] = colour(read_numeral(numeral, tonic), richness, tonic, rng)
            chord = coloured[numeral]
            if spans and spans[-1].chord == chord:
                spans[-1] = ChordSpan(spans[-1].beat, spans[-1].duration + duration, chord)
            else:
                spans.append(ChordSpan(beat, duration, chord))
    return spans


def _unevenness(scale: set[int]) -> int:
    tones = sorted(scale)
    return sum((b - a) ** 2 for a, b in itertools.pairwise([*tones, tones[0] + 12]))


def scale_of(tonic: int, mode: str, chord: Chord) -> tuple[int, ...]:
    """Pitch classes for a melody over `chord`: the scale of the key, bent where the chord bends it.

    A tone of the chord that is foreign to the key takes the place of the neighbour without which the scale is
    most even; of equals tonic and fifth stay.
    """
    own = chord.pitch_classes
    scale = {(tonic + step) % 12 for step in SCALES[mode]}
    for tone in sorted(own - scale):
        neighbours = [n for n in ((tone - 1) % 12, (tone + 1) % 12) if n in scale and n not in own]
        scale.add(tone)
        if neighbours:
            scale.remove(min(neighbours, key=lambda n: (_unevenness(scale - {n}), (n - tonic) % 12 in (0, 7))))
    return tuple(sorted(scale))


def chord_at(spans: list[ChordSpan], beat: float) -> ChordSpan:
    """The chord that sounds at `beat`; the nearest one outside."""
    for span in spans:
        if beat < span.end - 1e-6:
            return span
    return spans[-1]
