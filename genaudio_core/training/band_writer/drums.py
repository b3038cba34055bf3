"""Drum grooves, fills and percussion: rows of sixteenths, written by us.

``X`` is an accent, ``x`` a stroke, ``o`` a ghost note, ``?`` a stroke that every other groove has, ``.`` nothing.
A groove draws one row for each drum and keeps it for a section; single bars vary a little, phrases end in fills.
Bars that are not 4/4 are built from their pulses in the same manner of playing.
"""

import random
from dataclasses import dataclass

from genaudio_core.score.notes import Note
from genaudio_core.training.band_writer.meters import FOUR, Bar

KICK, RIM, SNARE, CLAP = 36, 37, 38, 39
CLOSED, PEDAL, OPEN, RIDE, BELL = 42, 44, 46, 51, 53
CRASH, CHINA, CRASH_2 = 49, 52, 57
TOMS = (50, 48, 47, 45, 43, 41)  # high to low
DRUM = {
    'kick': KICK,
    'rim': RIM,
    'snare': SNARE,
    'clap': CLAP,
    'closed': CLOSED,
    'pedal': PEDAL,
    'open': OPEN,
    'ride': RIDE,
    'bell': BELL,
    'china': CHINA,
    'tom': 43,
    'low tom': 41,
}
BACK = '....X.......X...'
EIGHTHS = 'x.x.x.x.x.x.x.x.'
STRONG_EIGHTHS = 'X.x.X.x.X.x.X.x.'
FOURS = 'X...X...X...X...'
OFF = '..X...X...X...X.'

GROOVES: dict[str, dict[str, tuple[str, ...]]] = {
    'rock': {
        'kick': (
            'X.......X.?.....',
            'X.....x.X.......',
            'X.x.....X.x..?..',
            'X......xX.x.....',
            'X..x....X.x.....',
            'X.......x.X.....',
        ),
        'snare': (BACK, '....X..?....X...', '....X.......X..o'),
        'closed': (STRONG_EIGHTHS, EIGHTHS, 'x.x.x.x.x.x.x...'),
        'open': ('................', '..............x.'),
    },
    'rock driving': {
        'kick': ('X.x.X.x.X.x.X.x.', 'X...x.x.X...x.x.', 'X.x...x.X.x...x.', 'X.....x...X.....'),
        'snare': (BACK,),
        'ride': (STRONG_EIGHTHS, 'X...X...X...X...'),
        'crash': ('X...............',),
    },
    'rock half': {
        'kick': ('X.....x.........', 'X.x.......x...x.', 'X..x......x.....'),
        'snare': ('........X.......',),
        'closed': ('X...X...X...X...', STRONG_EIGHTHS),
        'backs': ('8',),
    },
    'pop': {
        'kick': ('X.......X.......', 'X.....x.X.....?.', 'X..x..x.X..x....', 'X.......x.x.....', 'X.....xx..x.....'),
        'snare': (BACK, '....X.......X..o'),
        'closed': (EIGHTHS, STRONG_EIGHTHS),
        'open': ('................', '......x.........'),
    },
    'pop sixteenth': {
        'kick': ('X..x..x...x.....', 'X.....x..?x.....', 'X..x....X..x....'),
        'snare': (BACK,),
        'closed': ('xoxoxoxoxoxoxoxo', 'xxxxxxxxxxxxxxxx', 'x.xxx.xxx.xxx.xx'),
    },
    'pop claps': {
        'kick': (FOURS, 'X...X...X...X.x.'),
        'clap': (BACK,),
        'closed': (OFF, EIGHTHS),
        'snare': ('................', '.......o.......o'),
    },
    'ballad': {
        'kick': ('X.......x.......', 'X......xx.......', 'X.....x.x.......'),
        'snare': (BACK,),
        'closed': (EIGHTHS, 'x...x...x...x...'),
    },
    'ballad rim': {
        'kick': ('X.......x.......', 'X.......x.x.....'),
        'rim': (BACK, '....x.......x..x'),
        'ride': (EIGHTHS, 'x...x...x...x...'),
        'pedal': ('....x.......x...',),
    },
    'soul': {
        'kick': ('X..x..x.X.x..x..', 'X..x....X.x.....', 'X.x...x...x..x..'),
        'snare': ('....X..o.o..X..o', '....X..o....X...', 'x...X..ox...X..o'),
        'closed': (EIGHTHS, 'x.xxx.x.x.xxx.x.'),
    },
    'soul straight': {
        'kick': ('X.......X.x.....', 'X.x.....X.x.....'),
        'snare': ('X...X...X...X...', BACK),
        'closed': (EIGHTHS, STRONG_EIGHTHS),
    },
    'funk': {
        'kick': ('X.x...x..xx..x..', 'X.x....x..x..x..', 'X..x..x...x..x..', 'X.....x..xx.....'),
        'snare': ('....X..o.o.oX..o', '....X..o.o..X.o.', '....X.o..o..X..o'),
        'closed': ('x.xxx.xxx.xxx.xx', 'xoxoxoxoxoxoxoxo', 'xxxxxxxxxxxxxxxx'),
        'open': ('................', '......x.......x.', '.......x........'),
    },
    'funk linear': {
        'kick': ('X..x......x..x..', 'X......x.x......', 'X.x....x..x.....'),
        'snare': ('....X..o.o..X...', '....X.....o.X..o'),
        'closed': ('.xx..xx.x..x.xx.', 'x.xx.xx.x.xx.xx.'),
    },
    'funk open': {
        'kick': ('X.x...x...x.....', 'X..x..x..x......'),
        'snare': ('....X.......X..o', '....X..o....X...'),
        'closed': ('x.x.x.x.x.x.x...', 'x.xxx.xxx.xxx...'),
        'open': ('..............X.', '......X.......X.'),
    },
    'disco': {
        'kick': (FOURS,),
        'snare': (BACK,),
        'closed': ('x...x...x...x...', 'x.xxx.xxx.xxx.xx', 'xx.xxx.xxx.xxx.x'),
        'open': (OFF,),
    },
    'house': {
        'kick': (FOURS,),
        'clap': (BACK,),
        'open': (OFF,),
        'closed': ('x.x.x.x.x.x.x.x.', 'xx.xxx.xxx.xxx.x', '................'),
        'rim': ('................', '...x..x....x..x.', '..........x..x..'),
    },
    'house shuffled': {
        'kick': (FOURS, 'X...X...X...X..x'),
        'clap': (BACK, '....X.......X..x'),
        'open': (OFF,),
        'closed': ('x..xx..xx..xx..x', '.x.x.x.x.x.x.x.x'),
    },
    'techno': {
        'kick': (FOURS,),
        'open': (OFF,),
        'closed': ('xxxxxxxxxxxxxxxx', 'x.xxx.xxx.xxx.xx'),
        'clap': (BACK, '................', '............X...'),
        'tom': ('...x..x....x..x.', '................', '..x..x..x..x..x.'),
    },
    'techno bare': {
        'kick': (FOURS,),
        'closed': (OFF, '..x.....x...x..x'),
        'rim': ('...x......x.....', '.....x.......x..', '................'),
        'ride': ('................', OFF),
    },
    'hip-hop': {
        'kick': ('X.....x...x.....', 'X..x......x..x..', 'X.x.......x.....', 'X......x..x.....', 'X.....xx..x..x..'),
        'snare': (BACK, '....X.......X.o.'),
        'closed': (EIGHTHS, 'x.x.x.xxx.x.x.x.', 'x.x.x.x.x.xxx.x.'),
    },
    'hip-hop trap': {
        'kick': ('X.........x.....', 'X..x......x...x.', 'X.....x.........', 'X......x..x..x..'),
        'clap': ('........X.......',),
        'closed': ('x.x.x.xxx.x.xxxx', 'x.x.x.x.xxxxx.x.', 'x.xxx.x.x.x.x.xx'),
        'open': ('................', '..........x.....'),
        'backs': ('8',),
    },
    'reggae one drop': {
        'kick': ('........X.......',),
        'rim': ('........X.......', '........X.....x.'),
        'closed': (EIGHTHS, '..x...x...x...x.'),
    },
    'reggae steppers': {'kick': (FOURS,), 'rim': ('........X.......', '...x..x.X..x..x.'), 'closed': (EIGHTHS,)},
    'reggae rockers': {
        'kick': ('X.......X.......', 'X.....x.X.......'),
        'snare': ('........X.......',),
        'closed': (EIGHTHS, 'x.xxx.xxx.x.x.x.'),
    },
    'bossa': {
        'kick': ('X.....x.X.....x.', 'X...............'),
        'rim': ('x..x..x...x..x..', 'x..x..x...x..x....x..x...x..x...', '..x.x..x..x.x...x..x..x...x..x..'),
        'closed': (EIGHTHS, 'xxxxxxxxxxxxxxxx'),
        'pedal': ('....x.......x...',),
    },
    'swing': {
        'ride': ('X...x.x.X...x.x.', 'x...X.x.x...X.x.', 'x...x.x.x...x...'),
        'pedal': ('....x.......x...',),
        'kick': ('o...o...o...o...', '................', '......?.........'),
        'snare': ('................', '......o.........', '..............o.', '..o.......o.....'),
    },
    'shuffle': {
        'kick': ('X.......X.......', 'X.....x.X.....x.', FOURS),
        'snare': (BACK, '....X.o.....X.o.'),
        'closed': (STRONG_EIGHTHS, EIGHTHS),
        'ride': ('................',),
    },
    'waltz': {
        'kick': ('X...........',),
        'snare': ('....o...o...', '....x...x...'),
        'closed': ('....x...x...', 'x...x...x...'),
    },
    'country train': {
        'kick': ('X.......X.......', FOURS),
        'snare': ('o.ooX.ooo.ooX.oo', 'ooooXoooooooXooo', 'o.o.X.o.o.o.X.o.'),
        'pedal': ('....x.......x...', '..x...x...x...x.'),
    },
    'country': {
        'kick': ('X.......X.......', 'X.....x.X.......'),
        'snare': (BACK,),
        'closed': (EIGHTHS,),
        'rim': ('................',),
    },
    'metal': {
        'kick': ('xxxxxxxxxxxxxxxx', 'X.x.X.x.X.x.X.x.', 'X.xxX.xxX.xxX.xx'),
        'snare': (BACK, '..X...X...X...X.'),
        'crash': ('X...X...X...X...', 'X...............'),
        'ride': ('................', 'X...X...X...X...'),
    },
    'metal gallop': {
        'kick': ('X.xxX.xxX.xxX.xx', 'X.xx..xxX.xx..xx'),
        'snare': (BACK,),
        'closed': ('X...X...X...X...', STRONG_EIGHTHS),
    },
    'metal half': {
        'kick': ('X.x...x.....x.x.', 'X..x..x.....x..x', 'xxxx....xxxx....'),
        'snare': ('........X.......',),
        'china': ('X...X...X...X...',),
        'backs': ('8',),
    },
    'cinematic': {
        'low tom': ('X..x..x.X..x..x.', 'X...x.x.X...x.xx', 'X..x..x.....x.x.', 'X.x.X.x.X.x.X.x.'),
        'tom': ('......x.......x.', '................', '...x.....x......'),
        'kick': ('X...............', 'X.......X.......'),
    },
}
PERCUSSION: dict[str, tuple[int, tuple[str, ...]]] = {
    'tambourine': (54, (BACK, EIGHTHS, 'xoXoxoXoxoXoxoXo')),
    'shaker': (82, ('xoXoxoXoxoXoxoXo', EIGHTHS, 'xoxoxoxoxoxoxoxo')),
    'congas': (63, ('..x.x.xx..x.x.xx', 'x..x..xx..x...xx', '...x..xx...x..x.')),
    'cowbell': (56, (FOURS, 'x.x...x.x.x...x.', 'X...X...X...X...')),
}
_LEVEL = {'X': 1.0, 'x': 0.78, 'o': 0.38, '?': 0.7}
_QUIET = {CLOSED: 0.82, OPEN: 0.85, RIDE: 0.82, PEDAL: 0.6, RIM: 0.8, 54: 0.7, 82: 0.6, 63: 0.75, 56: 0.75}


@dataclass
class Groove:
    """The strokes of one bar or two: (place in quarter notes, drum, level 0..1)."""

    bar: Bar
    strokes: list[tuple[float, int, float]]
    length: float
    kicks: list[float]  # places in the first bar, for a bass that goes with the drummer


def _strokes(row: str, drum: int, rng: random.Random) -> list[tuple[float, int, float]]:
    found = []
    for step, sign in enumerate(row):
        if sign != '.' and (sign != '?' or rng.random() < 0.5):
            found.append((step / 4, drum, _LEVEL[sign] * _QUIET.get(drum, 1.0)))
    return found


def write_groove(name: str, bar: Bar, percussion: tuple[str, ...], backbeat: bool, rng: random.Random) -> Groove:
    """Draw a groove of a row of `GROOVES` for a kind of bar; `backbeat` makes sure of the snare or clap."""
    rows = GROOVES[name]
    strokes: list[tuple[float, int, float]] = []
    fits = bar is FOUR or (name == 'waltz' and bar.length == 3 and bar.denominator == 4)
    if fits:
        for drum, choices in rows.items():
            if drum in DRUM:
                strokes += _strokes(rng.choice(choices), DRUM[drum], rng)
        if 'crash' in rows:
            strokes += _strokes(rng.choice(rows['crash']), CRASH, rng)
    else:
        strokes = _from_pulses(rows, bar, rng)
    if backbeat and 'backs' not in rows:
        drum = (
            CLAP if 'clap' in rows and 'snare' not in rows else RIM if 'rim' in rows and 'snare' not in rows else SNARE
        )
        loud = {place for place, stroke, level in strokes if stroke in (SNARE, CLAP, RIM) and level > 0.5}
        strokes += [(place, drum, 1.0) for place in bar.back if place not in loud]
    if percussion and rng.random() < 0.5:
        drum, choices = PERCUSSION[rng.choice(percussion)]
        strokes += _strokes((rng.choice(choices) * 2)[: bar.steps], drum, rng)
    length = bar.length
    while strokes and max(place for place, *_ in strokes) >= length - 1e-6:
        length += bar.length
    whole = [
        (place + again * bar.length, drum, level)
        for place, drum, level in strokes
        for again in range(round(length / bar.length))
        if place < bar.length or again == 0
    ]
    # Rows of two bars stand beside rows of one: what repeats inside them is not a second stroke.
    unique = {(round(place, 4), drum): level for place, drum, level in whole if place < length}
    strokes = [(place, drum, level) for (place, drum), level in sorted(unique.items())]
    kicks = sorted({place for place, drum, level in strokes if drum == KICK and place < bar.length and level > 0.5})
    return Groove(bar, strokes, length, kicks or [0.0])


def kicks_of(played: list[Note], bar: Bar) -> list[float]:
    """Places of the bass drum in a played bar, on the nearest sixteenths: what a bass line goes with."""
    found = {round(note.beat * 4) / 4 for note in played if note.note in (35, KICK)}
    return sorted(place for place in found if 0 <= place < bar.length) or [0.0]


def _from_pulses(rows: dict[str, tuple[str, ...]], bar: Bar, rng: random.Random) -> list[tuple[float, int, float]]:
    strokes: list[tuple[float, int, float]] = []
    kick = 'low tom' if 'kick' not in rows else 'kick'
    strokes.append((0.0, DRUM[kick], 1.0))
    for pulse in bar.pulses[1:]:
        chance = 0.75 if pulse in bar.strong else 0.15
        if pulse not in bar.back and rng.random() < chance:
            strokes.append((pulse, DRUM[kick], 0.9))
    for place in bar.eighths:
        if place not in bar.pulses and rng.random() < 0.18:
            strokes.append((place, DRUM[kick], 0.75))
    back = next((drum for drum in ('snare', 'clap', 'rim', 'tom') if drum in rows), None)
    if back and 'swing' not in rows:
        strokes += [(place, DRUM[back], 1.0) for place in bar.back]
        strokes += [(place, SNARE, 0.35) for place in bar.eighths if rng.random() < 0.06]
    cymbal = next((drum for drum in ('ride', 'closed', 'china', 'open') if drum in rows), None)
    if cymbal:
        fine = rng.random() < 0.25 and bar.denominator == 4
        for step in range(bar.steps if fine else round(bar.length * 2)):
            place = step / (4 if fine else 2)
            strokes.append((place, DRUM[cymbal], (0.9 if place in bar.pulses else 0.65) * 0.85))
    return strokes


def play(
    groove: Groove,
    start: float,
    n_bars: int,
    base: int,
    accent: int,
    rng: random.Random,
    *,
    fill_every: int = 4,
    crash: bool = True,
    last: bool = False,
) -> list[Note]:
    """Play `n_bars` bars from beat `start` on: small changes, a fill at the end of phrases, a crash at their beginning.

    `base` and `accent` are velocities of an ordinary stroke and of an accented one; `last` ends on the next bar line.
    """
    bar, notes = groove.bar, []
    for number in range(n_bars):
        at = start + number * bar.length
        place_in_groove = (number * bar.length) % groove.length
        end_of_phrase = (number + 1) % fill_every == 0 or number == n_bars - 1
        filling = end_of_phrase and (number == n_bars - 1 or rng.random() < 0.5)
        fill_from = bar.length - rng.choice((1.0, 1.0, 2.0, 0.5)) if filling and bar.length > 2 else bar.length
        for place, drum, level in groove.strokes:
            place -= place_in_groove
            if not 0 <= place < fill_from - 1e-6:
                continue
            if level < 0.6 and rng.random() < 0.12:  # a ghost note less
                continue
            notes.append(_hit(at + place, drum, level, base, accent, rng))
        if rng.random() < 0.12 and not filling:
            place = rng.choice([p for p in bar.eighths if p not in bar.pulses] or [0.5])
            notes.append(_hit(at + place, KICK, 0.7, base, accent, rng))
        if filling:
            notes += _fill(at + fill_from, bar.length - fill_from, base, accent, rng)
        if crash and number % (2 * fill_every) == 0 and rng.random() < (0.9 if number == 0 else 0.5):
            notes = [note for note in notes if not (note.beat == at and note.note in (CLOSED, OPEN, RIDE))]
            notes.append(_hit(at, rng.choice((CRASH, CRASH, CRASH_2)), 0.95, base, accent, rng))
    if last:
        end = start + n_bars * bar.length
        notes += [_hit(end, CRASH, 1.0, base, accent, rng), _hit(end, KICK, 1.0, base, accent, rng)]
    return notes


def _hit(beat: float, drum: int, level: float, base: int, accent: int, rng: random.Random) -> Note:
    velocity = level * (accent if level > 0.9 else base + (accent - base) * 0.3)
    return Note(beat, 0.25, drum, round(max(12.0, min(127.0, velocity + rng.gauss(0, 4)))))


def _fill(start: float, length: float, base: int, accent: int, rng: random.Random) -> list[Note]:
    """A run over snare and toms, a build on one drum, or a few accents."""
    kind = rng.choice(('run', 'run', 'build', 'accents', 'triplets'))
    step = {'run': 0.25, 'build': 0.25, 'accents': 0.5, 'triplets': 1 / 3}[kind]
    steps = max(1, round(length / step))
    notes = []
    for i in range(steps):
        if kind == 'run' or kind == 'triplets':
            ladder = (SNARE, *TOMS)
            drum = ladder[min(len(ladder) - 1, i * len(ladder) // steps)]
            if kind == 'run' and rng.random() < 0.15:
                continue
        elif kind == 'build':
            drum = SNARE
        else:
            drum = rng.choice((SNARE, SNARE, *TOMS[1:4]))
            if rng.random() < 0.3:
                continue
        level = 0.6 + 0.4 * (i + 1) / steps if kind == 'build' else 0.8 + (0.15 if i % 2 == 0 else 0)
        notes.append(_hit(start + i * step, drum, level, base, accent, rng))
    if kind == 'accents':
        notes += [Note(note.beat, note.duration, KICK, note.velocity) for note in notes if rng.random() < 0.4]
    return notes
