"""Melodies: a motive, its answers and returns, over chords; counter lines that leave it room."""

import random
from dataclasses import dataclass

from genaudio_core.music.keys import CHORDS
from genaudio_core.score.notes import Note
from genaudio_core.training.band_writer.harmony import ChordSpan, chord_at, scale_of
from genaudio_core.training.band_writer.meters import Bar

_FORMS = ('abac', 'aaba', 'abab', 'aabc', 'abcd', 'aaab')  # phrases of two bars
_LENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass
class Motive:
    """A rhythm of some bars and a line of steps on the scale; `places` are (place, length)."""

    places: list[tuple[float, float]]
    steps: list[int]


def write_motive(bar: Bar, n_bars: int, density: float, fine: bool, rng: random.Random) -> Motive:
    """Draw a rhythm that breathes at its end, and a contour: mostly steps, some skips, now and then a leap."""
    length = bar.length * n_bars
    breath = rng.choice((0.5, 0.5, 1.0, 1.0, 1.5) if length >= 6 else (0.5, 0.5, 1.0))
    unit = 0.25 if fine else 0.5
    if bar.denominator == 8 or bar.groups[0] == 1.5:
        unit = 0.5
    place = rng.choice((0.0, 0.0, 0.0, 0.5, 1.0)) if rng.random() < 0.8 else bar.length / 2
    places: list[tuple[float, float]] = []
    lengths = [value for value in _LENGTHS if value >= unit and (value / unit) % 1 < 1e-6]
    mean = 0.3 + 1.1 * (1 - density) ** 1.5
    cell: list[float] = []
    while place < length - breath - 1e-6:
        if cell and rng.random() < 0.45:  # a rhythm that was there comes again
            value = cell[len(places) % len(cell)]
        else:
            weights = [
                1 / (0.15 + abs(value - mean)) * (1.3 if (place % 1 < 1e-6) == (value >= 0.5) else 0.5)
                for value in lengths
            ]
            value = rng.choices(lengths, weights)[0]
            cell = [*cell, value][:4]
        value = min(value, length - breath - place)
        if value < unit:
            break
        if places and rng.random() < 0.06:  # a rest
            place += value
            continue
        places.append((place, value))
        place += value
    if not places:
        places = [(0.0, length - breath)]
    last, _ = places[-1]
    places[-1] = (last, max(unit, min(length - last - breath / 2, 3.0)))
    steps, position = [0], 0
    for _ in places[1:]:
        step = rng.choices((-1, 1, 0, -2, 2, 3, -3, 4, -4, 5), (26, 26, 9, 10, 10, 4, 4, 2, 2, 1))[0]
        if abs(position + step) > 5:
            step = -step
        position += step
        steps.append(position)
    return Motive(places, steps)


def _varied(motive: Motive, rng: random.Random) -> Motive:
    """The same rhythm with another end, a turned contour, or one note more or less."""
    steps, places = list(motive.steps), list(motive.places)
    kind = rng.choice(('end', 'turn', 'shift', 'split', 'less'))
    if kind == 'end' and len(steps) > 2:
        steps[-2:] = [steps[-3] + rng.choice((-1, 1, 2)), steps[-3] + rng.choice((0, -2, 2))]
    elif kind == 'turn':
        steps = [-step for step in steps]
    elif kind == 'shift':
        steps = [step + rng.choice((1, 2, -1)) for step in steps]
    elif kind == 'split':
        longest = max(range(len(places)), key=lambda i: places[i][1])
        at, length = places[longest]
        if length >= 1:
            places[longest : longest + 1] = [(at, length / 2), (at + length / 2, length / 2)]
            steps.insert(longest + 1, steps[longest] + rng.choice((-1, 1)))
    elif len(places) > 3:
        gone = rng.randrange(1, len(places) - 1)
        at, length = places[gone - 1]
        places[gone - 1] = (at, length + places[gone][1])
        del places[gone], steps[gone]
    return Motive(places, steps)


def realise(
    motive: Motive,
    start: float,
    spans: list[ChordSpan],
    key: tuple[int, str],
    centre: int,
    bounds: tuple[int, int],
    level: int,
    last: int | None,
    closing: bool,
    bar: Bar,
    rng: random.Random,
) -> list[Note]:
    """Turn a motive into notes: chord tones where it is heard, steps of the scale between, a chord tone at the end.

    A tone beside the chord may stand on a weak pulse, or lean on the next one (an appoggiatura); a long one that would
    grate (a half step above a tone of the chord) gives way. `closing` leads the last note to root or third.
    """
    low, high = bounds
    notes: list[Note] = []
    anchor: int | None = None
    for i, ((place, length), step) in enumerate(zip(motive.places, motive.steps, strict=True)):
        beat = start + place
        span = chord_at(spans, beat + 1e-3)
        scale = scale_of(*key, span.chord)
        ladder = [note for note in range(low, high + 1) if note % 12 in scale]
        tones = [note for note in ladder if note % 12 in span.chord.pitch_classes]
        if anchor is None:
            wanted = centre if last is None else (centre + last) / 2
            anchor = min(range(len(ladder)), key=lambda n: abs(ladder[n] - wanted))
        index = max(0, min(len(ladder) - 1, anchor + step))
        note = ladder[index]
        final = i == len(motive.places) - 1
        weight = bar.weight(beat - start)
        heard = weight >= 0.8 or length >= 1.5 or final or (weight >= 0.6 and rng.random() < 0.4)
        leans = length <= 1.0 and not final and rng.random() < 0.15
        grates = length >= 0.75 and any((note - tone) % 12 == 1 for tone in span.chord.pitch_classes)
        if note not in tones and tones and ((heard and not leans) or grates):
            before = notes[-1].note if notes else note
            moved = [tone for tone in tones if tone != before] or tones
            onward = [tone for tone in moved if (tone - before) * (note - before) > 0] or moved
            note = min(onward if note != before else tones, key=lambda n: (abs(n - note), n))
        if final and closing and tones:
            goal = {span.chord.root, (span.chord.root + CHORDS[span.chord.quality][1]) % 12}
            note = min([n for n in tones if n % 12 in goal] or tones, key=lambda n: abs(n - note))
        end = beat + length
        if end > span.end + 1e-6:  # a note tied over a change must fit the next chord, or ends with this one
            following = chord_at(spans, span.end + 1e-3)
            if note % 12 not in scale_of(*key, following.chord) or any(
                (note - t) % 12 in (1, 11) for t in following.chord.pitch_classes
            ):
                end = span.end
        if end - beat > 0.1:
            notes.append(Note(beat, (end - beat) * (0.95 if length > 0.3 else 0.8), note, level))
    return notes


class Lead:
    """One singer or soloist of a piece: motives by section, so that a section that returns brings its tune along."""

    def __init__(self, bounds: tuple[int, int], density: float, fine: bool, rng: random.Random) -> None:
        room = min(bounds[1] - bounds[0], 30)
        middle = (bounds[0] + bounds[1]) / 2
        self.bounds = (round(max(bounds[0], middle - room / 2)), round(min(bounds[1], middle + room / 2)))
        self._density, self._fine, self._rng = density, fine, rng
        self._tunes: dict[str, tuple[str, dict[str, Motive]]] = {}

    def play(
        self,
        label: str,
        spans: list[ChordSpan],
        bar: Bar,
        start: float,
        n_bars: int,
        key: tuple[int, str],
        level: int,
        lift: int = 0,
    ) -> list[Note]:
        """Play a section; `lift` raises it by some half steps."""
        rng = self._rng
        if label not in self._tunes:
            form = rng.choice(_FORMS)
            density = max(0.1, min(0.95, self._density + rng.uniform(-0.1, 0.35)))
            motives = {'a': write_motive(bar, 2, density, self._fine, rng)}
            for letter in 'bcd':
                fresh = rng.random() < 0.5
                motives[letter] = (
                    write_motive(bar, 2, density, self._fine, rng) if fresh else _varied(motives['a'], rng)
                )
            self._tunes[label] = form, motives
        form, motives = self._tunes[label]
        centre = round((self.bounds[0] + self.bounds[1]) / 2) + lift
        notes: list[Note] = []
        for phrase in range((n_bars + 1) // 2):
            at = start + phrase * 2 * bar.length
            motive = motives[form[phrase % len(form)]]
            if phrase >= len(form) and rng.random() < 0.3:
                motive = _varied(motive, rng)
            closing = phrase % 4 == 3 or phrase == (n_bars + 1) // 2 - 1
            last = notes[-1].note if notes else None
            notes += realise(motive, at, spans, key, centre, self.bounds, level, last, closing, bar, rng)
        end = start + n_bars * bar.length
        return [note for note in notes if note.beat < end - 1e-6]


def harmony_line(lead: list[Note], spans: list[ChordSpan], key: tuple[int, str], bounds: tuple[int, int]) -> list[Note]:
    """A second voice under a melody: the nearest chord tone a third to a sixth below, by scale between."""
    result = []
    for note in lead:
        span = chord_at(spans, note.beat + 1e-3)
        scale, tones = scale_of(*key, span.chord), span.chord.pitch_classes
        below = [n for n in range(max(bounds[0], note.note - 9), note.note - 2) if n % 12 in scale]
        if below:
            chosen = next((n for n in reversed(below) if n % 12 in tones), below[-1])
            result.append(note._replace(note=chosen, velocity=max(1, note.velocity - 8)))
    return result


def guide_line(
    spans: list[ChordSpan], start: float, end: float, centre: int, bounds: tuple[int, int], level: int
) -> list[Note]:
    """Long notes on the tones that tell a chord, moving as little as they can."""
    notes: list[Note] = []
    last = centre
    for span in spans:
        first, until = max(span.beat, start), min(span.end, end)
        if until - first < 0.2:
            continue
        tones = [tone for tone in CHORDS[span.chord.quality] if tone not in (0, 7)] or [7]
        wanted = {(span.chord.root + tone) % 12 for tone in tones}
        note = min(
            [n for n in range(bounds[0], bounds[1] + 1) if n % 12 in wanted],
            key=lambda n: abs(n - last) + 0.2 * abs(n - centre),
        )
        if notes and notes[-1].note == note and abs(notes[-1].beat + notes[-1].duration - first) < 0.2:
            notes[-1] = notes[-1]._replace(duration=until - notes[-1].beat - 0.05)
        else:
            notes.append(Note(first, (until - first) - 0.05, note, level))
        last = note
    return notes


def answer_line(
    lead: list[Note],
    spans: list[ChordSpan],
    key: tuple[int, str],
    start: float,
    end: float,
    bounds: tuple[int, int],
    level: int,
    rng: random.Random,
) -> list[Note]:
    """Short figures in the rests of a melody."""
    notes: list[Note] = []
    edges = sorted((note.beat, note.beat + note.duration) for note in lead)
    free, at = [], start
    for begin, stop in edges:
        if begin - at >= 1.0:
            free.append((at, begin))
        at = max(at, stop)
    if end - at >= 1.0:
        free.append((at, end))
    centre = (bounds[0] + bounds[1]) // 2
    for begin, stop in free:
        if rng.random() < 0.35:
            continue
        beat = -(-begin * 2 // 1) / 2 + rng.choice((0.0, 0.5))
        note = centre
        while beat < stop - 0.4:
            span = chord_at(spans, beat + 1e-3)
            length = min(rng.choice((0.5, 0.5, 0.25, 1.0)), stop - beat)
            pool = span.chord.pitch_classes if beat % 1 == 0 else set(scale_of(*key, span.chord))
            near_notes = [
                n for n in range(max(bounds[0], note - 5), min(bounds[1], note + 5) + 1) if n % 12 in pool and n != note
            ]
            note = rng.choice(near_notes) if near_notes else note
            notes.append(Note(beat, length * 0.9, note, level))
            beat += length
    return notes
