"""A whole piece: its form, who plays where, and the parts of `drums`, `bass`, `comping` and `melody` put together."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from genaudio_core.music.keys import NOTE_NAMES
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE
from genaudio_core.score.notes import Note, Score, Tempo, Track
from genaudio_core.training.band_writer import bass as bass_lines
from genaudio_core.training.band_writer import comping, drums, melody
from genaudio_core.training.band_writer.harmony import ChordSpan, spell, write_numerals
from genaudio_core.training.band_writer.meters import FOUR, Bar, choose_bar
from genaudio_core.training.band_writer.performance import one_at_a_time, perform, untangled
from genaudio_core.training.band_writer.performances import Performances
from genaudio_core.training.band_writer.styles import STYLES, Style

MAX_BARS = 48
_GAINS = {'I': 0.86, 'A': 0.92, 'B': 1.02, 'C': 0.97, 'O': 0.9, 'E': 0.98}
_KINDS = sorted(
    (
        'sustained',
        'blocks',
        'stabs',
        'sixteenth stabs',
        'house stabs',
        'charleston',
        'bossa',
        'strums',
        'quarter chops',
        'skank',
        'bubble',
        'oom-pah',
        'boom-chick',
        'boogie',
        'eighth chugs',
        'gallop',
        'arpeggio',
        'broken',
        'ostinato',
    ),
    key=len,
    reverse=True,
)
_SECTIONS = {  # players of a section, low to high
    'horns': (
        ('trombone', 'tenor-saxophone', 'trumpet'),
        ('tenor-saxophone', 'alto-saxophone', 'trumpet'),
        ('trombone', 'trumpet'),
        ('brasses',),
        ('tenor-saxophone', 'trumpet'),
    ),
    'strings': (
        ('cello', 'viola', 'violin'),
        ('viola', 'violin', 'violin'),
        ('strings',),
        ('cello', 'viola', 'violin', 'violin'),
    ),
}
_CHORDAL = {'keys', 'organ', 'guitar', 'ensemble', 'synth'}  # families that play more than one note at a time


@dataclass(frozen=True)
class Section:
    """A stretch of the form; sections of one label have the same chords and tune."""

    label: str  # I (introduction), A, B, C, O (coda), E (the last bar)
    beat: float  # quarter notes
    n_bars: int
    tonic: int  # pitch class
    parts: tuple[str, ...]  # roles that play


@dataclass
class WrittenPiece:
    """A written arrangement and what is known about it. `roles` names the role of each track of the score."""

    seed: int
    style: str
    mode: str
    bar: Bar
    score: Score
    chords: list[ChordSpan]
    sections: list[Section]
    roles: list[str]

    @property
    def key(self) -> str:
        return f'{NOTE_NAMES[self.sections[0].tonic]} {self.mode}'

    def facts(self) -> dict:
        """Facts on the piece, as plain data for a JSON line: times in quarter notes."""
        return {
            'seed': self.seed,
            'style': self.style,
            'key': self.key,
            'tempo': self.score.tempos[0].tempo,
            'meter': f'{self.bar.numerator}/{self.bar.denominator}',
            'roles': self.roles,
            'chords': [[span.beat, span.duration, str(span.chord)] for span in self.chords],
            'sections': [[s.label, s.beat, s.n_bars, NOTE_NAMES[s.tonic], list(s.parts)] for s in self.sections],
        }


@dataclass
class _Part:
    role: str
    instrument: str
    kind: str = ''
    centre: float = 60.0
    late: float = 0.0
    notes: list[Note] = field(default_factory=list)


def _draw(weights: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _comp(text: str, rng: random.Random) -> tuple[str, str]:
    kind = next(kind for kind in _KINDS if text.startswith(kind + ' '))
    return kind, rng.choice(text[len(kind) + 1 :].split())


def _plan_parts(style: Style, rng: random.Random) -> list[_Part]:
    """Who is in the band: drums and bass where the style has them, one to three chord players, a lead, and more."""
    parts = []
    groove = rng.choice(style.grooves)
    if groove != 'none':
        parts.append(_Part('drums', DRUMS, groove))
    parts.append(_Part('bass', rng.choice(style.basses), _draw(style.bass, rng), late=rng.gauss(0, 0.006)))
    wanted = rng.choices((1, 2, 3), (3, 5, 2))[0]
    taken: set[str] = set()
    for _ in range(wanted):
        kind, instrument = _comp(_draw(style.comps, rng), rng)
        if kind in taken and rng.random() < 0.8:
            continue
        taken.add(kind)
        number = sum(part.role.startswith('comp') for part in parts) + 1
        parts.append(
            _Part(f'comp {number}', instrument, kind, _centre(instrument, kind, number, rng), rng.gauss(0, 0.006))
        )
    if rng.random() < 0.45:
        parts.append(_Part('pad', rng.choice(style.pads), 'sustained', rng.uniform(58, 68)))
    lead = rng.choice(style.leads)
    parts.append(_Part('lead', lead, late=rng.gauss(0.004, 0.008)))
    if rng.random() < style.horns:
        for i, instrument in enumerate(rng.choice(_SECTIONS['horns'])):
            parts.append(_Part(f'horns {i + 1}', instrument, late=rng.gauss(0, 0.004)))
    elif rng.random() < 0.22:
        for i, instrument in enumerate(rng.choice(_SECTIONS['strings'])):
            parts.append(_Part(f'section {i + 1}', instrument, late=rng.gauss(0, 0.005)))
    other = [instrument for instrument in style.leads if instrument != lead] or [lead]
    kind = rng.choices(('', 'harmony', 'answer', 'guide'), (4, 2, 2, 2))[0]
    if kind:
        parts.append(_Part('counter', lead if kind == 'harmony' and rng.random() < 0.5 else rng.choice(other), kind))
    return parts


def _centre(instrument: str, kind: str, number: int, rng: random.Random) -> float:
    low, high = RANGE[instrument]
    wanted = {
        'arpeggio': 66.0,
        'broken': 60.0,
        'ostinato': 65.0,
        'house stabs': 62.0,
        'skank': 62.0,
        'sixteenth stabs': 63.0,
    }.get(kind, 59.0)
    wanted += (number - 1) * rng.choice((-4, 5, 7)) + rng.uniform(-2, 2)
    return max(low + 6.0, min(high - 6.0, wanted))


def _active(parts: list[_Part], label: str, again: int, rng: random.Random) -> tuple[str, ...]:
    """Which roles play a section: introductions and first verses are thin, refrains are full."""
    roles = [part.role for part in parts]
    if label == 'I':
        keep = [
            role
            for role in roles
            if role not in ('lead', 'counter') and rng.random() < (0.7 if role in ('drums', 'bass') else 0.75)
        ]
        return tuple(keep) or (roles[0],)
    if label in 'BE':
        return tuple(role for role in roles if role != 'counter' or rng.random() < 0.8)
    if label == 'O':
        return tuple(role for role in roles if role != 'lead' or rng.random() < 0.5)
    chance = 0.75 if label == 'A' and not again else 0.9
    thin = label == 'C' and rng.random() < 0.35
    section = rng.random() < chance
    kept = []
    for role in roles:
        if role in ('bass', 'lead'):
            keep = True
        elif role == 'drums':
            keep = not thin
        elif role.startswith(('horns', 'section')):
            keep = section and bool(again or label == 'C')
        elif role in ('pad', 'counter'):
            keep = rng.random() < chance - 0.25
        else:
            keep = role == 'comp 1' or rng.random() < chance
        if keep:
            kept.append(role)
    return tuple(kept)


def write_piece(
    seed: int, style: str | None = None, meter: str | None = None, performances: Performances | None = None
) -> WrittenPiece:
    """Write the arrangement of a seed.

    Parameters
    ----------
    seed : any whole number; the same seed gives the same piece
    style, meter : of `STYLES`, and such as ``'3/4'``; drawn by default
    performances : drummers who play some of the pieces instead of written patterns
    """
    rng = random.Random(seed)
    name = style or rng.choice(sorted(STYLES))
    row = STYLES[name]
    bar = choose_bar(meter or _draw(row.meters, rng), rng)
    mode, tonic = _draw(row.modes, rng), rng.randrange(12)
    richness = _draw(row.richness, rng)
    tempo = rng.uniform(*row.tempo) * (
        1.5 if bar.groups[0] == 1.5 and bar.denominator == 8 and bar.numerator != 7 else 1.0
    )
    swing = rng.uniform(*row.swing)
    parts = _plan_parts(row, rng)
    form = _write_form(row, bar, mode, tonic, parts, rng)
    grooves: dict[str, drums.Groove] = {}
    drummer = None
    if performances and bar is FOUR and performances.has(row.groove_names) and rng.random() < 0.35:
        drummer, swing = performances, 0.5 if row.swing[1] < 0.58 else swing
    lead: melody.Lead | None = None
    chords: list[ChordSpan] = []
    numerals: dict[str, list[list[str]]] = {}
    seeds: dict[str, int] = {}
    for section in form:
        if section.label not in numerals:
            kind = _draw(row.harmony, rng)
            home = 'i' if mode in ('minor', 'dorian', 'phrygian') else 'I'
            numerals[section.label] = (
                [[home]] if section.label == 'E' else write_numerals(kind, mode, section.n_bars, rng)
            )
            seeds[section.label] = rng.randrange(1 << 30)
        # The same label: the same colours and figures, so that it is heard again.
        spans = spell(
            numerals[section.label],
            section.tonic,
            section.beat,
            bar.length,
            bar.half,
            richness,
            random.Random(seeds[section.label]),
        )
        chords += spans
        gain = _GAINS[section.label] * rng.uniform(0.97, 1.03)
        kicks = [0.0]
        tune: list[Note] = []
        for part in parts:
            if part.role not in section.parts:
                continue
            figures = random.Random(f'{seeds[section.label]} {part.role}')
            key = (section.tonic, mode)
            end = section.beat + section.n_bars * bar.length
            low, high = RANGE[part.instrument]
            level = row.levels[0] + (row.levels[1] - row.levels[0]) * {'lead': 0.6, 'bass': 0.45, 'pad': 0.0}.get(
                part.role, 0.2
            )
            level = round(level)
            if part.role == 'drums':
                place = section.label if section.label in 'BC' else 'A'
                if place not in grooves:
                    grooves[place] = drums.write_groove(part.kind, bar, row.percussion, row.backbeat, rng)
                kicks = grooves[place].kicks
                if section.label == 'E':
                    notes = [Note(section.beat, 0.25, drum, row.levels[1]) for drum in (drums.KICK, drums.CRASH)]
                elif drummer:
                    bars = drummer.draw(row.groove_names, section.n_bars, figures)
                    part.notes += [
                        note._replace(beat=max(0.0, section.beat + number * bar.length + note.beat))
                        for number, played in enumerate(bars)
                        for note in played
                    ]
                    kicks = drums.kicks_of(bars[0], bar)
                    continue
                else:
                    fill = 8 if section.n_bars >= 16 else 4
                    notes = drums.play(
                        grooves[place],
                        section.beat,
                        section.n_bars,
                        *row.levels,
                        rng,
                        fill_every=fill,
                        crash=name not in ('bossa', 'swing', 'waltz'),
                    )
            elif section.label == 'E':
                notes = _last_chord(part, spans[0], bar, (low, high), level)
            elif part.role == 'bass':
                notes = bass_lines.write_bass(
                    part.kind, spans, bar, section.beat, section.n_bars, kicks, (low, high), key, level, figures
                )
            elif part.role == 'lead':
                if lead is None:
                    fine = bar.denominator == 4 and row.levels[0] > 60 and rng.random() < 0.4
                    lead = melody.Lead((max(low, 48), min(high, 88)), rng.uniform(*row.density), fine, rng)
                lift = (
                    12
                    if section.label == 'B' and rng.random() < 0.15
                    else rng.choice((0, 0, 2, 3))
                    if section.label == 'B'
                    else 0
                )
                notes = tune = lead.play(section.label, spans, bar, section.beat, section.n_bars, key, level, lift)
            elif part.role == 'counter':
                notes = _counter(part, tune, spans, key, section, end, (low, high), level, rng)
            elif part.role.startswith(('horns', 'section')):
                notes = _section_player(
                    part, parts, spans, bar, section, level, random.Random(f'{seeds[section.label]} section')
                )
            else:
                bounds = (max(low, 40), min(high, 86))
                notes = comping.write_comping(
                    part.kind, spans, bar, section.beat, section.n_bars, bounds, part.centre, level, figures
                )
            accents = 4.0 if part.role in ('drums', 'pad') else 14.0
            part.notes += perform(
                notes, bar, section.beat, section.n_bars, gain, swing, part.late, row.tightness, rng, accents=accents
            )
    return _finish(seed, name, mode, bar, tempo, parts, chords, form)


def _write_form(style: Style, bar: Bar, mode: str, tonic: int, parts: list[_Part], rng: random.Random) -> list[Section]:
    """Sections of 4, 8, 12 or 16 bars; the last refrain may rise, a middle part may go elsewhere."""
    letters = rng.choice(style.forms)
    blues = style.harmony.get('blues', 0) > 5
    lengths: dict[str, int] = {}
    rise = rng.choice((1, 2)) if rng.random() < 0.15 and letters.count('B') > 1 else 0
    away = rng.choice((5, 7, 3, 9, 2)) if rng.random() < 0.3 else 0
    sections: list[Section] = []
    beat, total = 0.0, 0
    seen: dict[str, int] = {}
    for number, letter in enumerate(letters):
        if letter not in lengths:
            usual = 12 if blues else rng.choices((4, 8, 16), (2, 7, 1))[0]
            lengths[letter] = rng.choice((2, 4, 4, 8)) if letter in 'IO' else usual
        n_bars = lengths[letter]
        if total + n_bars > MAX_BARS and total >= 16:
            break
        here = tonic + (away if letter == 'C' else 0)
        if rise and letter in 'BO' and seen.get('B', 0) >= 1 and number >= len(letters) - 3:
            here += rise
        sections.append(Section(letter, beat, n_bars, here % 12, _active(parts, letter, seen.get(letter, 0), rng)))
        seen[letter] = seen.get(letter, 0) + 1
        beat += n_bars * bar.length
        total += n_bars
    if rng.random() < 0.75:
        sections.append(Section('E', beat, 1, sections[-1].tonic, _active(parts, 'E', 0, rng)))
    return sections


def _last_chord(part: _Part, span: ChordSpan, bar: Bar, bounds: tuple[int, int], level: int) -> list[Note]:
    low, high = bounds
    length = bar.length * 0.95
    if part.role == 'bass':
        return [Note(span.beat, length, bass_lines.near(span.chord.root, low + 10, low, high), level)]
    if part.role.startswith(('comp', 'pad')) and FAMILY[part.instrument] in _CHORDAL:
        voicing = comping.voice_lead(span.chord, [], (max(low, 40), min(high, 86)), 3, part.centre)
        return [Note(span.beat, length, note, level) for note in voicing]
    tones = sorted(span.chord.pitch_classes)
    number = sum(ord(letter) for letter in part.role)
    middle = min(max((low + high) // 2, 60), 74)
    return [Note(span.beat, length, bass_lines.near(tones[number % len(tones)], middle, low, high), level)]


def _counter(
    part: _Part,
    tune: list[Note],
    spans: list[ChordSpan],
    key: tuple[int, str],
    section: Section,
    end: float,
    bounds: tuple[int, int],
    level: int,
    rng: random.Random,
) -> list[Note]:
    low, high = max(bounds[0], 48), min(bounds[1], 84)
    if part.kind == 'harmony':
        return melody.harmony_line(tune, spans, key, (low, high))
    if part.kind == 'answer':
        return melody.answer_line(tune, spans, key, section.beat, end, (low, high), level, rng)
    return melody.guide_line(spans, section.beat, end, (low + high) // 2, (low, high), level - 6)


def _section_player(
    part: _Part,
    parts: list[_Part],
    spans: list[ChordSpan],
    bar: Bar,
    section: Section,
    level: int,
    figures: random.Random,
) -> list[Note]:
    """One player of a section: all read the same chords, figure and length, and take a note each."""
    prefix = part.role.split()[0]
    players = [other for other in parts if other.role.startswith(prefix)]
    kind = figures.choice(
        ('stabs', 'stabs', 'charleston', 'sustained') if prefix == 'horns' else ('sustained', 'blocks', 'sustained')
    )
    bounds = (max(48, min(RANGE[p.instrument][0] for p in players)), 84)
    notes = comping.write_comping(kind, spans, bar, section.beat, section.n_bars, bounds, 64.0, level + 6, figures)
    if len(players) == 1:
        return notes
    own = comping.split_voices(notes, len(players))[players.index(part)]
    low, high = RANGE[part.instrument]
    return [note._replace(note=bass_lines.near(note.note, note.note, low, high)) for note in own]


def _finish(
    seed: int,
    style: str,
    mode: str,
    bar: Bar,
    tempo: float,
    parts: list[_Part],
    chords: list[ChordSpan],
    form: list[Section],
) -> WrittenPiece:
    tracks, roles = [], []
    for part in parts:
        notes = sorted(part.notes)
        if not notes:
            continue
        low, high = RANGE[part.instrument]
        if part.role != 'drums':
            notes = [
                note._replace(
                    note=note.note if low <= note.note <= high else bass_lines.near(note.note, note.note, low, high)
                )
                for note in notes
            ]
            alone = part.role in ('bass', 'lead', 'counter') or FAMILY[part.instrument] not in _CHORDAL
            notes = one_at_a_time(notes) if alone and part.instrument != 'harp' else notes
        track = Track.of(part.instrument, untangled(notes))
        track.name = part.role
        tracks.append(track)
        roles.append(part.role)
    merged: list[ChordSpan] = []
    for span in chords:
        if merged and merged[-1].chord == span.chord and abs(merged[-1].end - span.beat) < 1e-6:
            merged[-1] = ChordSpan(merged[-1].beat, merged[-1].duration + span.duration, span.chord)
        else:
            merged.append(span)
    score = Score(tracks, [Tempo(0.0, round(tempo, 2))], [bar.meter(0.0)])
    return WrittenPiece(seed, style, mode, bar, score, merged, form, roles)
