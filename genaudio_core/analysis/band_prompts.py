"""Music to ask a band about: a dozen short pieces of ours in as many styles, each with what is known about it.

Every piece has a tune that can stand alone (to be accompanied), a band around it (to be continued), and its chords.
They are held out by nature: nothing here is made by the writer that models train on (`training/band_writer`).

A tune is written as ``'A4:1 C5:.5 r:2.5 | ...'``: note, octave (C4 is middle C), length in quarter notes; r rests; bars
end at ``|``. Chords are written bar by bar, and share a bar equally.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from genaudio_core.music.chord_recognition import Segment
from genaudio_core.music.keys import LETTERS, parse_chord, pitch_classes
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Meter, Note, Score, Tempo, Track

KICK, STICK, SNARE, CLAP, HAT, OPEN, RIDE, PEDAL = 36, 37, 38, 39, 42, 46, 51, 44
Hits = Sequence[tuple[float, float]]  # (beat in the bar, length), quarter notes
Line = Sequence[tuple[float, float, str]]  # and a tone: R root, 3, 5, 7, 8 the root above, lower with a - before it


@dataclass(frozen=True)
class Prompt:
    """A short piece and what is known about it."""

    name: str
    key: str  # such as 'A minor'
    tempo: float  # quarter notes a minute
    meter: tuple[int, int]
    chords: tuple[Segment, ...]
    parts: Mapping[str, Sequence[Note]]  # name of the track -> notes, the tune first
    instruments: Mapping[str, str]  # name of the track -> class
    backbeat: tuple[float, ...] = ()  # quarter notes from the line; none: the style has none
    asked: tuple[str, ...] = ()  # who accompanies the tune; by default the other instruments
    arranged: tuple[str, ...] = ()  # whom it can be arranged for; none: it has drums
    rehearsed: str = ''  # hands that play its chords as a loop for the preset `band`: 'right', 'both', or none
    scale: frozenset[int] = field(default_factory=frozenset)  # pitch classes of its key and of its chords

    @property
    def bar(self) -> float:
        """Length of a bar in quarter notes."""
        return self.meter[0] * 4 / self.meter[1]

    @property
    def end(self) -> float:
        """Where its last bar ends, in quarter notes."""
        return self.chords[-1].beat + self.chords[-1].duration

    @property
    def tune(self) -> str:
        """Name of the track with the tune."""
        return next(iter(self.parts))

    @property
    def accompanists(self) -> tuple[str, ...]:
        """Instruments that are asked to play with the tune."""
        own = self.instruments[self.tune]
        return self.asked or tuple(dict.fromkeys(name for name in self.instruments.values() if name != own))

    def score(self, names: Sequence[str] | None = None) -> Score:
        """The piece, or only some tracks of it."""
        tracks = []
        for name in names or tuple(self.parts):
            track = Track.of(self.instruments[name], sorted(self.parts[name]))
            track.name = name
            tracks.append(track)
        return Score(tracks, [Tempo(0.0, self.tempo)], [Meter(0.0, *self.meter)])

    def phrase(self, bars: int) -> Score:
        """The first bars of its tune, on a piano."""
        track = Track.of('piano', [note for note in sorted(self.parts[self.tune]) if note.beat < bars * self.bar - 0.1])
        track.name = self.tune
        return Score([track], [Tempo(0.0, self.tempo)], [Meter(0.0, *self.meter)])

    def loop(self, times: int = 4, bars: int = 4) -> tuple[Score, tuple[Segment, ...]]:
        """Its first bars on a piano, chords on every quarter, again and again; and the chords of that."""
        length = bars * self.bar
        first = [segment for segment in self.chords if segment.beat < length - 1e-6]
        chords = tuple(
            Segment(turn * length + segment.beat, segment.duration, segment.chord)
            for turn in range(times) for segment in first
        )  # fmt: skip
        hits = [(beat, 0.9) for beat in range(round(self.bar))]
        notes = comp(chords, self.bar, hits, low=55)
        if self.rehearsed == 'both':
            notes += walk(chords, self.bar, [(0, self.bar - 0.1, 'R')], low=36, velocity=84)
        track = Track.of('piano', sorted(notes))
        track.name = 'comping'
        return Score([track], [Tempo(0.0, self.tempo)], [Meter(0.0, *self.meter)]), chords


# --- how it is written -----------------------------------------------------------------------------------------------


def tune(text: str, bar: float, velocity: int = 92) -> list[Note]:
    """Notes of a written tune.

    Raises
    ------
    ValueError
        If a bar is too long or too short, or a word no note.
    """
    notes, beat = [], 0.0
    for number, written in enumerate(text.split('|')):
        for word in written.split():
            name, _, length = word.partition(':')
            if name != 'r':
                found = re.fullmatch(r'([A-G])([#b]?)(\d)', name)
                if found is None:
                    raise ValueError(f'{word} is not a note')
                sign = {'#': 1, 'b': -1}.get(found[2], 0)
                pitch = 12 * (int(found[3]) + 1) + LETTERS[found[1].lower()] + sign
                accent = 0 if beat % bar < 1e-6 else 8 if beat % 1 < 1e-6 else 14
                notes.append(Note(beat, 0.94 * float(length), pitch, velocity - accent))
            beat += float(length)
        if abs(beat - (number + 1) * bar) > 1e-6:
            raise ValueError(f'bar {number + 1} of {text} ends at {beat}')
    return notes


def spell(text: str, bar: float) -> tuple[Segment, ...]:
    """Chords such as ``'C | Am F'``, bar by bar."""
    segments = []
    for number, written in enumerate(text.split('|')):
        names = written.split()
        for i, name in enumerate(names):
            length = bar / len(names)
            segments.append(Segment(number * bar + i * length, length, parse_chord(name)))
    return tuple(segments)


def _bars(chords: Sequence[Segment], bar: float) -> range:
    return range(round((chords[-1].beat + chords[-1].duration) / bar))


def _at(chords: Sequence[Segment], beat: float) -> Segment:
    return next(segment for segment in reversed(chords) if segment.beat <= beat + 1e-6)


def comp(chords: Sequence[Segment], bar: float, hits: Hits, *, low: int = 55, velocity: int = 78) -> list[Note]:
    """Chords struck at `hits` of every bar, in close position from `low` on."""
    notes = []
    for number in _bars(chords, bar):
        for offset, length in hits:
            beat = number * bar + offset
            tones = sorted(low + (tone - low) % 12 for tone in _at(chords, beat).chord.pitch_classes)
            notes += [Note(beat, length, tone, velocity - 8 * bool(offset % 1)) for tone in tones]
    return notes


def broken(chords: Sequence[Segment], bar: float, step: float, order: Sequence[int], *, low: int = 55) -> list[Note]:
    """Chords tone by tone, one every `step`; `order` counts tones from the lowest, those over three an octave up."""
    notes = []
    for number in _bars(chords, bar):
        for i in range(round(bar / step)):
            beat = number * bar + i * step
            tones = sorted(low + (tone - low) % 12 for tone in _at(chords, beat).chord.pitch_classes)
            octave, tone = divmod(order[i % len(order)], len(tones))
            notes.append(Note(beat, step * 0.95, tones[tone] + 12 * octave, 74 if i else 84))
    return notes


def walk(chords: Sequence[Segment], bar: float, line: Line, *, low: int = 33, velocity: int = 92) -> list[Note]:
    """A bass line: the tones of `line` in every bar, roots from `low` on; where a chord comes in, its root."""
    notes = []
    for number in _bars(chords, bar):
        for offset, length, tone in line:
            beat = number * bar + offset
            segment = _at(chords, beat)
            if abs(segment.beat - beat) < 1e-6:
                tone = 'R'
            root = low + (segment.chord.root - low) % 12
            classes = sorted((c - segment.chord.root) % 12 for c in segment.chord.pitch_classes)
            third = next((c for c in classes if c in (3, 4)), 5)
            seventh = next((c for c in classes if c in (10, 11)), 9)
            fifth = next((c for c in classes if c in (6, 7, 8)), 7)
            above = {'R': 0, '3': third, '5': fifth, '7': seventh, '8': 12}[tone.lstrip('-')]
            notes.append(Note(beat, length, root + above - 12 * tone.startswith('-'), velocity - 10 * bool(offset)))
    return notes


def kit(rows: Mapping[int, str], bar: float, bars: int) -> list[Note]:
    """Drums: a row of strokes for each key, X loud, x usual, o soft, over one bar or more."""
    notes = []
    for key, row in rows.items():
        text = row.replace(' ', '').replace('|', '')
        wide = row.count('|') + 1
        step = wide * bar / len(text)
        for start in range(0, bars, wide):
            for i, stroke in enumerate(text):
                beat = start * bar + i * step
                if stroke != '.' and beat < bars * bar - 1e-6:
                    notes.append(Note(beat, 0.2, key, {'X': 112, 'x': 88, 'o': 54}[stroke]))
    return notes


def swung(notes: Sequence[Note]) -> list[Note]:
    """The off-beat quavers of a straight part a third of a quarter late."""
    return [n._replace(beat=n.beat + 1 / 6, duration=max(n.duration - 1 / 6, 0.1)) if n.beat % 1 == 0.5 else n
            for n in notes]  # fmt: skip


# --- the pieces ------------------------------------------------------------------------------------------------------


def _prompt(
    name: str,
    key: str,
    tempo: float,
    meter: tuple[int, int],
    chords: str,
    parts: Mapping[str, tuple[str, list[Note] | Callable]],
    **more,
) -> Prompt:
    """`parts`: name of the track -> (instrument, notes or a function of chords and bar)."""
    bar = meter[0] * 4 / meter[1]
    spelled = spell(chords, bar)
    played = {track: notes(spelled, bar) if callable(notes) else notes for track, (_, notes) in parts.items()}
    instruments = {track: instrument for track, (instrument, _) in parts.items()}
    scale = pitch_classes(key).union(*(segment.chord.pitch_classes for segment in spelled))
    return Prompt(name, key, tempo, meter, spelled, played, instruments, scale=scale, **more)


_Maker = Callable[[Sequence[Segment], float], list[Note]]


def _comp(hits: Hits, **more) -> _Maker:
    return lambda chords, bar: comp(chords, bar, hits, **more)


def _broken(step: float, order: Sequence[int], **more) -> _Maker:
    return lambda chords, bar: broken(chords, bar, step, order, **more)


def _walk(line: Line, **more) -> _Maker:
    return lambda chords, bar: walk(chords, bar, line, **more)


def _kit(**rows: str) -> _Maker:
    keys = {
        'kick': KICK, 'stick': STICK, 'snare': SNARE, 'clap': CLAP, 'hat': HAT, 'open': OPEN, 'ride': RIDE,
        'pedal': PEDAL,
    }  # fmt: skip
    named = {keys[name]: row for name, row in rows.items()}
    return lambda chords, bar: kit(named, bar, len(_bars(chords, bar)))


def _swung(maker: _Maker) -> _Maker:
    return lambda chords, bar: swung(maker(chords, bar))


def _pop() -> Prompt:
    return _prompt(
        'pop', 'A major', 112, (4, 4), 'F#m | D | A | E | F#m | D | A | E',
        {
            'voice': ('voices', tune(
                'r:1 C#5:.5 C#5:.5 B4:.5 A4:1 C#5:.5 | D5:1.5 A4:.5 A4:2 | r:.5 E5:.5 E5:.5 D5:.5 C#5:1 A4:1 |'
                'B4:1.5 C#5:.5 B4:1 r:1 | r:1 C#5:.5 C#5:.5 B4:.5 A4:1 C#5:.5 | D5:1.5 F#5:.5 F#5:2 |'
                'r:.5 E5:.5 E5:.5 D5:.5 C#5:1 E5:1 | B4:3 r:1', 4.0)),
            'piano': ('piano', _comp([(0, 1.4), (1.5, 0.45), (2, 0.9), (3, 0.9)], low=57)),
            'bass': ('electric-bass', _walk([(i / 2, 0.45, 'R') for i in range(8)])),
            'drums': (DRUMS, _kit(kick='X.....x.X.......', snare='....X.......X...', hat='x.o.x.o.x.o.x.o.')),
        },
        backbeat=(1.0, 3.0), rehearsed='both',
    )  # fmt: skip


def _ballad() -> Prompt:
    return _prompt(
        'ballad', 'C major', 70, (4, 4), 'C | G/B | Am | F | C | Em | F | G',
        {
            'oboe': ('oboe', tune(
                'E5:2 G5:1.5 E5:.5 | D5:3 r:1 | C5:2 E5:1.5 C5:.5 | A4:3 r:1 | G4:1 C5:1 D5:1 E5:1 | G5:2 B4:2 |'
                'A4:1 C5:1 F5:1 E5:1 | D5:3 r:1', 4.0, 82)),
            'piano': ('piano', _broken(0.5, (0, 1, 2, 3, 4, 3, 2, 1), low=52)),
            'strings': ('strings', _comp([(0, 3.9)], low=60, velocity=58)),
            'bass': ('electric-bass', _walk([(0, 2.9, 'R'), (3, 0.9, '5')], velocity=80)),
            'drums': (DRUMS, _kit(kick='x.......x.x.....', stick='....x.......x...', hat='o.o.o.o.o.o.o.o.')),
        },
        backbeat=(1.0, 3.0), rehearsed='right',
    )  # fmt: skip


def _jazz() -> Prompt:
    return _prompt(
        'jazz', 'F major', 144, (4, 4), 'Fmaj7 | D7 | Gm7 | C7 | Am7 D7 | Gm7 C7 | Fmaj7 | Gm7 C7',
        {
            'saxophone': ('tenor-saxophone', swung(tune(
                'r:.5 C4:.5 F4:.5 A4:.5 C5:1 A4:1 | F#4:1.5 A4:.5 C5:2 | r:.5 Bb4:.5 A4:.5 G4:.5 D5:1 Bb4:1 |'
                'G4:1 E4:.5 G4:.5 Bb4:2 | C5:.5 A4:.5 G4:.5 E4:.5 F#4:1 A4:1 | Bb4:.5 D5:.5 G4:.5 Bb4:.5 E4:1 G4:1 |'
                'A4:1.5 F4:.5 C4:2 | r:4', 4.0))),
            'piano': ('piano', swung(comp(spell(
                'Fmaj7 | D7 | Gm7 | C7 | Am7 D7 | Gm7 C7 | Fmaj7 | Gm7 C7', 4.0), 4.0, [(0, 1.3), (1.5, 0.8), (3, 0.8)],
                low=52))),
            'bass': ('bass', _walk([(0, 0.9, 'R'), (1, 0.9, '3'), (2, 0.9, '5'), (3, 0.9, '7')], low=31)),
            'drums': (DRUMS, _kit(ride='x..x.xx..x.x', pedal='...x.....x..', kick='o..o..o..o..')),
        },
    )  # fmt: skip


def _waltz() -> Prompt:
    return _prompt(
        'waltz', 'A minor', 138, (3, 4), 'Am | Dm | E7 | Am | F | Dm | E7 | Am',
        {
            'accordion': ('accordion', tune(
                'A4:1 C5:1 E5:1 | F5:2 D5:1 | E5:1 D5:1 B4:1 | C5:2 A4:1 | A4:1 F5:1 E5:1 | D5:1.5 C5:.5 B4:1 |'
                'G#4:1 B4:1 E5:1 | A4:2 r:1', 3.0)),
            'piano': ('piano', _comp([(1, 0.7), (2, 0.7)], low=57, velocity=66)),
            'contrabass': ('contrabass', _walk([(0, 0.9, 'R')], low=33)),
        },
        arranged=('flute', 'clarinet', 'bassoon'),
    )  # fmt: skip


def _seven() -> Prompt:
    return _prompt(
        'seven', 'E minor', 132, (7, 8), 'Em | Em | C | D | Em | Em | C | D',
        {
            'lead': ('lead', tune(
                'E5:1 G5:.5 F#5:.5 E5:1.5 | B4:1 D5:1 E5:1.5 | G5:1 E5:.5 C5:.5 D5:1.5 | A4:1 F#4:1 A4:1.5 |'
                'E5:1 G5:.5 F#5:.5 E5:1.5 | B4:1 D5:1 G5:1.5 | E5:1 C5:1 G4:1.5 | F#4:1 A4:1 D5:1.5', 3.5)),
            'guitar': ('electric-guitar', _broken(0.5, (0, 2, 3, 2, 0, 2, 1), low=52)),
            'bass': ('electric-bass', _walk([(0, 0.9, 'R'), (1, 0.9, 'R'), (2, 0.9, '5'), (3, 0.45, '8')], low=28)),
            'drums': (DRUMS, _kit(kick='X...x.x', snare='..X.X..', hat='xoxoxoo')),
        },
    )  # fmt: skip


def _house() -> Prompt:
    return _prompt(
        'house', 'C minor', 124, (4, 4), 'Cm7 | Cm7 | Abmaj7 | Bb | Cm7 | Cm7 | Abmaj7 | Gm7',
        {
            'lead': ('lead', tune(
                'r:.5 G5:.5 Eb5:.5 G5:.5 r:1 C5:1 | r:.5 G5:.5 Bb5:.5 G5:.5 r:2 | r:.5 C6:.5 G5:.5 Eb5:.5 r:1 Ab5:1 |'
                'F5:1.5 D5:.5 Bb4:2 | r:.5 G5:.5 Eb5:.5 G5:.5 r:1 C5:1 | r:.5 G5:.5 Bb5:.5 G5:.5 r:2 |'
                'r:.5 C6:.5 G5:.5 Eb5:.5 r:1 Ab5:1 | G5:1.5 F5:.5 D5:2', 4.0)),
            'stabs': ('organ', _comp([(0, 0.3), (0.75, 0.3), (1.5, 0.3), (2.5, 0.3), (3.25, 0.3)], low=58)),
            'bass': ('synth-bass', _walk([(0.5, 0.4, 'R'), (1.5, 0.4, 'R'), (2.5, 0.4, 'R'), (3.5, 0.4, '8')])),
            'drums': (DRUMS, _kit(kick='X...X...X...X...', clap='....x.......x...', open='..x...x...x...x.',
                                  hat='x..ox..ox..ox..o')),
        },
        backbeat=(1.0, 3.0), rehearsed='both',
    )  # fmt: skip


def _hymn() -> Prompt:
    voices = {
        'soprano': 'G4:1 G4:1 A4:1 B4:1 | C5:2 B4:2 | D5:1 B4:1 A4:1 G4:1 | A4:3 r:1 |'
                   'B4:1 D5:1 C5:1 B4:1 | A4:1 G4:1 E5:2 | D5:1 B4:1 A4:2 | G4:3 r:1',
        'alto': 'D4:1 E4:1 F#4:1 G4:1 | G4:2 G4:2 | F#4:1 G4:1 E4:1 E4:1 | F#4:3 r:1 |'
                'G4:1 G4:1 A4:1 G4:1 | F#4:1 E4:1 G4:2 | G4:1 G4:1 F#4:2 | D4:3 r:1',
        'tenor': 'B3:1 C4:1 D4:1 D4:1 | E4:2 D4:2 | A3:1 D4:1 C4:1 B3:1 | D4:3 r:1 |'
                 'D4:1 B3:1 D4:1 D4:1 | D4:1 B3:1 C4:2 | D4:1 D4:1 C4:2 | B3:3 r:1',
        'bass': 'G3:1 C3:1 D3:1 G3:1 | C3:2 G3:2 | D3:1 G3:1 A3:1 E3:1 | D3:3 r:1 |'
                'G3:1 G3:1 F#3:1 G3:1 | D3:1 E3:1 C3:2 | B2:1 G2:1 D3:2 | G2:3 r:1',
    }  # fmt: skip
    chords = 'G C D G | C G | D G Am Em | D | G G D7 G | D Em C C | G/B G D7 D7 | G'
    return _prompt(
        'hymn', 'G major', 84, (4, 4), chords,
        {name: ('voices', tune(text, 4.0, 80)) for name, text in voices.items()},
        asked=('strings', 'contrabass'), arranged=('violin', 'viola', 'cello', 'contrabass'),
    )  # fmt: skip


def _invention() -> Prompt:
    upper = (
        'r:.5 D5:.5 E5:.5 F5:.5 G5:.5 E5:.5 C#5:.5 A4:.5 | D5:.5 F5:.5 A5:.5 F5:.5 D5:1 r:1 |'
        'r:.5 A4:.5 Bb4:.5 C5:.5 D5:.5 Bb4:.5 G4:.5 E4:.5 | A4:.5 C5:.5 F5:.5 C5:.5 A4:1 r:1 |'
        'F5:.5 E5:.5 D5:.5 C5:.5 Bb4:.5 D5:.5 G5:.5 F5:.5 | E5:.5 D5:.5 C5:.5 Bb4:.5 A4:.5 C5:.5 F5:.5 E5:.5 |'
        'D5:.5 E5:.5 F5:.5 G5:.5 E5:.5 D5:.5 C#5:.5 E5:.5 | D5:3 r:1'
    )
    lower = (
        'D3:2 A3:2 | r:.5 D3:.5 E3:.5 F3:.5 G3:.5 E3:.5 C#3:.5 A2:.5 | D3:2 G3:2 |'
        'r:.5 F3:.5 G3:.5 A3:.5 Bb3:.5 G3:.5 E3:.5 C3:.5 | Bb2:2 G3:1 G2:1 | C3:2 F3:1 F2:1 |'
        'Bb2:1 G2:1 A2:1 A2:1 | D3:3 r:1'
    )
    return _prompt(
        'invention', 'D minor', 92, (4, 4), 'Dm A | Dm A | Gm C | F C7 | Bb Gm | C F | Bb A | Dm',
        {'right': ('harpsichord', tune(upper, 4.0, 80)), 'left': ('harpsichord', tune(lower, 4.0, 76))},
        asked=('cello',), arranged=('violin', 'cello'),
    )  # fmt: skip


def _funk() -> Prompt:
    return _prompt(
        'funk', 'E dorian', 104, (4, 4), 'Em7 | Em7 | A7 | Em7 | Em7 | Em7 | A7 | B7',
        {
            'trumpet': ('trumpet', tune(
                'r:.5 B4:.25 D5:.25 E5:1 r:2 | r:1 D5:.5 B4:.5 A4:.5 G4:.5 E4:1 | r:.5 C#5:.25 E5:.25 A5:1 r:2 |'
                'r:1 G5:.5 E5:.5 D5:.5 B4:.5 E5:1 | r:.5 B4:.25 D5:.25 E5:1 r:2 | r:1 D5:.5 B4:.5 A4:.5 G4:.5 E4:1 |'
                'r:.5 C#5:.25 E5:.25 G5:1 F#5:1 E5:1 | D#5:1 F#5:1 A5:1 r:1', 4.0, 98)),
            'clavinet': ('clavinet', _comp([(0, 0.2), (0.75, 0.2), (1.25, 0.2), (1.75, 0.2), (2.5, 0.2), (3.25, 0.2),
                                            (3.75, 0.2)], low=59)),
            'bass': ('slap-bass', _walk([(0, 0.4, 'R'), (0.75, 0.2, 'R'), (1.5, 0.3, '8'), (2.25, 0.2, '7'),
                                         (2.5, 0.3, '8'), (3.5, 0.3, '5')], low=28)),
            'drums': (DRUMS, _kit(kick='X.x....x..x.....', snare='....X..o.o..X..o', hat='xxxxxxxxxxxxxxxx')),
        },
        backbeat=(1.0, 3.0), rehearsed='right',
    )  # fmt: skip


def _bossa() -> Prompt:
    return _prompt(
        'bossa', 'D minor', 132, (4, 4), 'Dm7 | Dm7 | Gm7 | Gm7 | Em7b5 | A7 | Dm7 | A7',
        {
            'flute': ('flute', tune(
                'A5:1.5 G5:.5 F5:1 D5:1 | r:.5 E5:.5 F5:.5 A5:.5 C6:2 | Bb5:1.5 A5:.5 G5:1 F5:1 | D5:3 r:1 |'
                'r:.5 G5:.5 Bb5:.5 G5:.5 E5:2 | r:.5 C#5:.5 E5:.5 G5:.5 Bb5:2 | A5:1.5 F5:.5 D5:2 | C#5:3 r:1',
                4.0, 78)),
            'guitar': ('nylon-string-guitar', _comp([(0, 0.9), (1.5, 0.9), (2.5, 0.4), (3, 0.9)], low=57, velocity=62)),
            'bass': ('bass', _walk([(0, 1.4, 'R'), (1.5, 0.45, '5'), (2, 1.4, '5'), (3.5, 0.45, 'R')], velocity=78)),
            'drums': (DRUMS, _kit(kick='x..xx..xx..xx..x', stick='x..x..x...x..x..', hat='oooooooooooooooo')),
        },
        rehearsed='both',
    )  # fmt: skip


def _shuffle() -> Prompt:
    chords = 'A7 | D7 | A7 | A7 | D7 | D7 | A7 | A7 | E7 | D7 | A7 | E7'
    riff = 'r:1 A4:.5 C5:.5 E5:.5 D5:.5 C5:.5 A4:.5'
    four = 'r:1 A4:.5 C5:.5 D5:.5 C5:.5 A4:1'
    return _prompt(
        'shuffle', 'A major', 116, (4, 4), chords,
        {
            'harmonica': ('harmonica', swung(tune(
                f'{riff} | {four} | {riff} | G5:2 E5:1 r:1 | {four} | {four} | {riff} | G5:2 E5:1 r:1 |'
                'E5:1 D5:.5 B4:.5 G#4:1 B4:1 | D5:1 C5:.5 A4:.5 F#4:1 A4:1 | A4:2 C#5:1 E5:1 | E5:2 r:2', 4.0))),
            'guitar': ('electric-guitar', _swung(_comp([(i / 2, 0.4) for i in range(8)], low=52))),
            'bass': ('electric-bass', _swung(_walk([(0, 0.9, 'R'), (1, 0.9, '3'), (2, 0.9, '5'), (3, 0.9, '7')]))),
            'drums': (DRUMS, _kit(kick='X.....x.....', snare='...X.....X..', hat='x.ox.ox.ox.o')),
        },
        backbeat=(1.0, 3.0),
    )  # fmt: skip


def _reggae() -> Prompt:
    return _prompt(
        'reggae', 'G major', 76, (4, 4), 'G | C | G | D | G | C | D | G',
        {
            'trombone': ('trombone', tune(
                'r:1 B3:.5 D4:.5 G4:1 r:1 | r:.5 E4:.5 G4:.5 E4:.5 C4:2 | r:1 B3:.5 D4:.5 B4:1 G4:1 | A4:2 F#4:1 r:1 |'
                'r:1 B3:.5 D4:.5 G4:1 r:1 | r:.5 E4:.5 G4:.5 E4:.5 C4:2 | r:.5 A4:.5 A4:.5 F#4:.5 D4:2 | G4:3 r:1',
                4.0, 86)),
            'skank': ('electric-guitar', _comp([(0.5, 0.2), (1.5, 0.2), (2.5, 0.2), (3.5, 0.2)], low=59)),
            'organ': ('organ', _comp([(0.5, 0.2), (0.75, 0.2), (2.5, 0.2), (2.75, 0.2)], low=55, velocity=60)),
            'bass': ('electric-bass', _walk([(0, 0.9, 'R'), (1, 0.4, '3'), (1.5, 0.4, '5'), (2.5, 0.9, 'R')], low=31)),
            'drums': (DRUMS, _kit(kick='........X.......', stick='........X.......', hat='x.o.x.o.x.o.x.oo')),
        },
        rehearsed='right',
    )  # fmt: skip


def _metal() -> Prompt:
    chords = 'E5 | E5 | G5 F#5 | E5 | E5 | E5 | C5 | D5'
    return _prompt(
        'metal', 'E minor', 164, (4, 4), chords,
        {
            'lead': ('lead', tune(
                'E5:.5 F#5:.5 G5:1 B5:2 | A5:1 G5:.5 F#5:.5 E5:2 | B5:1.5 G5:.5 A5:1 F#5:1 | E5:3 r:1 |'
                'E5:.5 F#5:.5 G5:1 B5:2 | D6:1 B5:.5 A5:.5 G5:2 | C6:1.5 B5:.5 G5:2 | F#5:1 A5:1 D6:2', 4.0, 106)),
            'guitar': ('electric-guitar', _comp([(0, 0.45), (0.5, 0.2), (0.75, 0.2), (1, 0.45), (1.5, 0.2), (1.75, 0.2),
                                                 (2, 0.45), (2.5, 0.2), (2.75, 0.2), (3, 0.45), (3.5, 0.45)], low=40,
                                                velocity=104)),
            'bass': ('electric-bass', _walk([(i / 2, 0.45, 'R') for i in range(8)], low=28, velocity=104)),
            'drums': (DRUMS, _kit(kick='X.xxX.xxX.xxX.x.', snare='....X.......X...', open='X...X...X...X...')),
        },
        backbeat=(1.0, 3.0),
    )  # fmt: skip


def _six() -> Prompt:
    return _prompt(
        'six-eight', 'D major', 96, (6, 8), 'D | A/C# | Bm | G | D | Em | G | A',
        {
            'violin': ('violin', tune(
                'A4:1.5 D5:1 E5:.5 | E5:1.5 C#5:1.5 | D5:1 B4:.5 F#5:1.5 | G5:1 F#5:.5 D5:1.5 | F#5:1.5 A5:1 F#5:.5 |'
                'G5:1.5 E5:1.5 | D5:1 B4:.5 G4:1.5 | A4:2.5 r:.5', 3.0, 84)),
            'guitar': ('steel-string-guitar', _broken(0.5, (0, 1, 2, 3, 2, 1), low=50)),
            'bass': ('bass', _walk([(0, 1.4, 'R'), (1.5, 1.4, '5')], velocity=80)),
            'drums': (DRUMS, _kit(kick='x.....', snare='...x..', hat='xooxoo')),
        },
        backbeat=(1.5,),
    )  # fmt: skip


_MAKERS = (_pop, _ballad, _jazz, _waltz, _seven, _house, _hymn, _invention, _funk, _bossa, _shuffle, _reggae, _metal,
           _six)  # fmt: skip


def band_prompts() -> list[Prompt]:
    """All pieces, always the same."""
    return [make() for make in _MAKERS]
