"""The band without a model: repeats, varies and accompanies what it heard, at once.

It is what plays when the model is late or gone (the deadline contract), and a musician of its own where no model is
installed. Everything is decided by the notes heard, the request and its seed.
"""

import math
import random
from collections.abc import Iterator, Sequence

from bridge.musicians import harmony
from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import HeardNote, MusicControls, Musician, PlannedMusic, PlannedNote, Request
from bridge.settings import key as key_module
from genaudio_core.music.drum_grooves import Stroke, groove
from genaudio_core.music.keys import SCALES
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE, voices_of

EARLY = 0.1  # beats before a line in which a note belongs to the line

BarChord = tuple[float, float, tuple[int, tuple[int, ...]]]  # (from, to, (bass pitch class, its tones)), in beats


class FallbackMusician(Musician):
    """A `Musician` of rules. Its answers take microseconds and come bar by bar.

    Parameters
    ----------
    heard : HeardNotes, optional
        A memory that somebody else writes to; by default its own, told by `hear`.
    """

    def __init__(self, heard: HeardNotes | None = None) -> None:
        self.notes = HeardNotes() if heard is None else heard
        self._known: tuple[Request | None, tuple[int, tuple[int, ...]] | None] = None, None  # the key, of a request

    def close(self) -> None:
        """Nothing to do: rules hold nothing."""

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        """Nothing to do: rules need no warming up."""

    def hear(self, notes: Sequence[HeardNote]) -> None:
        self.notes.hear(notes)

    def choose(self, request: int, take: int) -> None:
        """Nothing to do: only the player is remembered, whatever the band made of it."""

    def forget(self, request: int, beat: float) -> None:
        """Nothing to do, for the same reason."""

    def rest(self) -> bool:
        return False

    def settle(self) -> None:
        """Nothing to do: no work waits."""

    def stats(self) -> dict[str, float]:
        return {'context': float(len(self.notes))}

    # --- answering

    def answer(self, request: Request) -> Iterator[PlannedMusic]:
        for take in range(request.takes):
            notes = self._compose(request, take)
            if request.again is not None:
                notes, take = [note for note in notes if note.part in request.again.parts], request.again.take
            start = request.start
            while start < request.end - 1e-6:
                until = min(request.bar * math.floor(start / request.bar + 1 + 1e-6), request.end)
                piece = tuple(n for n in notes if start - 1e-9 <= n.beat < until - 1e-9)
                yield PlannedMusic(request.id, take, piece, until, until >= request.end - 1e-6)
                start = until

    def _compose(self, request: Request, take: int) -> list[PlannedNote]:
        rng = random.Random(f'{request.seed}/{request.start:.3f}/{take}')
        accompany = request.role == 'accompany'
        lead = next((i for i, name in enumerate(request.instruments) if name != DRUMS), None)
        bars = self._bars(request)
        notes: list[PlannedNote] = []
        for part, name in enumerate(request.instruments):
            if part == lead and not accompany:
                notes += self._phrase(request, take, part, rng)
            elif name == DRUMS and not accompany and (repeated := self._repeat_drums(request, part)):
                notes += repeated
            else:
                notes += _accompany(request, bars, part, name, rng)
        return sorted(_shaped(notes, request), key=lambda n: (n.beat, n.part, n.note))

    def _key(self, request: Request) -> tuple[int, tuple[int, ...]] | None:
        if self._known[0] is not request:
            self._known = request, self._find_key(request)
        return self._known[1]

    def _find_key(self, request: Request) -> tuple[int, tuple[int, ...]] | None:
        if request.controls.key == 'off':
            return None
        if (named := key_module.wanted_key(request.controls.key)) is not None:
            return named
        notes = self.notes.between(request.start - (harmony.KEY_BARS + 1) * request.bar, request.start)
        pitched = [note.plain for note in notes if note.instrument != DRUMS]
        key = harmony.heard_key(pitched, request.start, request.bar)
        return None if key is None else (key.tonic, SCALES[key.mode])

    def _source(self, request: Request, drums: bool) -> tuple[list[HeardNote], float, float]:
        """The player's last phrase: (notes, start of its first bar, length in whole bars)."""
        bar = request.bar
        notes = [n for n in self.notes.between(-math.inf, request.start) if (n.instrument == DRUMS) == drums]
        if not notes:
            return [], 0.0, bar
        # A note a little before its line belongs to the line, and one before the answer to what comes after it.
        notes = [n for n in notes if n.beat < request.start - EARLY] or notes
        last = notes[-1].beat + EARLY
        wanted = max(1, round((request.end - request.start) / bar))
        final = bar * math.floor(last / bar + 1e-6)
        first = final
        for _ in range(min(wanted, 8) - 1):  # as many bars as are asked for, unless a silent bar stands before
            if not any(first - bar <= n.beat + EARLY < first for n in notes):
                break
            first -= bar
        return [n for n in notes if n.beat >= first - EARLY], first, final + bar - first

    def _phrase(self, request: Request, take: int, part: int, rng: random.Random) -> list[PlannedNote]:
        """The player's own phrase, come back changed: take 0 stays close, others go further."""
        source, first, length = self._source(request, drums=False)
        if not source:
            return self._invent(request, part, rng) if request.role == 'free' else []
        key = self._key(request)
        shift = (0, 2, -2, 4, -3, 5, 1, -4)[take % 8]
        mirror = take % 4 == 3
        axis = source[0].note
        notes = []
        repeat = 0
        origin = request.bar * math.floor(request.start / request.bar + 1e-6)
        if request.start - origin > 1e-6:  # called in the middle of a bar: the phrase begins now
            origin = request.start - (source[0].beat - first)
        while origin + repeat * length < request.end:
            for note in source:
                beat = origin + repeat * length + (note.beat - first)
                if not request.start - EARLY <= beat < request.end - EARLY:
                    continue
                beat = max(beat, request.start)
                pitch = 2 * axis - note.note if mirror else note.note
                steps = shift
                # The last beat of the answer is free to turn elsewhere, more so the warmer the setting.
                if repeat or beat >= request.end - 2 or rng.random() < 0.15 * request.controls.temperature:
                    steps += rng.choice((-2, -1, 0, 1, 2))
                if key is not None:
                    pitch = harmony.step(pitch, steps, *key) if steps else harmony.snap(pitch, *key)
                notes.append(PlannedNote(beat, note.duration, pitch, note.velocity, part))
            repeat += 1
        if notes and key is not None:  # come home on the tonic or its third
            final = notes[-1]
            home = min(
                (
                    final.note + d
                    for d in range(-4, 5)
                    if (final.note + d - key[0]) % 12 in (0, key[1][2 % len(key[1])])
                ),
                key=lambda pitch: abs(pitch - final.note),
                default=final.note,
            )
            notes[-1] = PlannedNote(final.beat, max(final.duration, 0.5), home, final.velocity, part)
        return _thin(notes, request.controls_of(part), rng)

    def _progression(self, request: Request, start: float) -> tuple[int, tuple[int, ...]]:
        """I, vi, IV, V in the asked key (C major where none is asked): what to start from when nobody plays."""
        tonic, scale = self._key(request) or (0, SCALES['major'])
        degree = (0, 5, 3, 4)[round(start / request.bar) % 4]
        tones = [(tonic + scale[(degree + i) % len(scale)]) % 12 for i in (0, 2, 4)]
        return tones[0], tuple((tone - tones[0]) % 12 for tone in tones)

    def _invent(self, request: Request, part: int, rng: random.Random) -> list[PlannedNote]:
        """A melody from nothing: chord notes on the beats, scale steps between."""
        tonic, scale = self._key(request) or (0, SCALES['major'])
        notes, beat, pitch = [], request.start, 67
        while beat < request.end - 1e-6:
            root, intervals = self._progression(request, request.bar * math.floor(beat / request.bar + 1e-6))
            length = rng.choice(
                (0.5, 0.5, 1.0, 1.0, 1.5, 2.0) if request.controls_of(part).density <= 0.6 else (0.25, 0.5, 0.5, 1.0)
            )
            length = min(length, request.end - beat)
            if abs(beat - round(beat)) < 1e-6:
                tones = [pitch + d for d in range(-5, 6) if (pitch + d - root) % 12 in intervals]
                pitch = rng.choice(tones)
            else:
                pitch = harmony.step(pitch, rng.choice((-1, 1)), tonic, scale)
            pitch = harmony.fold(pitch, 57, 81)
            notes.append(PlannedNote(beat, length * 0.95, pitch, rng.randint(68, 92), part))
            beat += length
        return _thin(notes, request.controls_of(part), rng)

    def _repeat_drums(self, request: Request, part: int) -> list[PlannedNote]:
        source, first, length = self._source(request, drums=True)
        notes = []
        beat = request.bar * math.floor(request.start / request.bar + 1e-6)
        while source and beat < request.end:
            for n in source:
                at = beat + n.beat - first
                if request.start - EARLY <= at < request.end - EARLY:
                    notes.append(PlannedNote(max(at, request.start), n.duration, n.note, n.velocity, part))
            beat += length
        return notes

    def _bars(self, request: Request) -> list[tuple[float, list[BarChord]]]:
        """Each bar that is asked for: where it starts, and its chords."""
        start, bars = request.bar * math.floor(request.start / request.bar + 1e-6), []
        while start < request.end - 1e-6:
            bars.append((start, self._chords(request, start)))
            start += request.bar
        return bars

    def _chords(self, request: Request, start: float) -> list[BarChord]:
        """The chords of the bar at `start`, as far as it is asked for."""
        bar, begin = request.bar, max(start, request.start)
        end = min(start + bar, request.end)
        if not request.chords:
            return [(begin, end, self._progression(request, start))] if request.role == 'free' else []
        found = []
        for at, to, chord in request.harmony(begin, end):
            told = request.chord_at(at)
            if told is not None and request.waits(at):
                at = told.beat + request.listens
            if at < to - 1e-6:
                above = sorted((tone - chord.bass) % 12 for tone in chord.pitch_classes)
                found.append((at, to, (chord.bass, tuple(above))))
        return found


def _shaped(notes: list[PlannedNote], request: Request) -> Iterator[PlannedNote]:
    """Notes with the velocity, the key and the range that are asked for."""
    controls = request.controls
    key = key_module.wanted_key(controls.key)
    for note in notes:
        pitch, name = note.note, request.instruments[note.part]
        if name != DRUMS:
            if key is not None:
                pitch = harmony.snap(pitch, *key)
            low, high = RANGE[name]
            own = request.controls_of(note.part)
            low, high = max(low, own.low), min(high, own.high)
            if low > high:  # the asked range lies outside the instrument: the range of the preset wins
                low, high = own.low, own.high
            pitch = harmony.fold(pitch, low, high)
        velocity = min(max(round(note.velocity * controls.velocity), 1), 127)
        duration = min(note.duration, request.end + request.bar - note.beat)
        yield PlannedNote(note.beat, duration, min(max(pitch, 0), 127), velocity, note.part)


def _thin(notes: list[PlannedNote], controls: MusicControls, rng: random.Random) -> list[PlannedNote]:
    """Leave out notes off the beat when density is under a half."""
    if controls.density >= 0.5:
        return notes
    keep = 2 * controls.density
    return [n for i, n in enumerate(notes) if i == 0 or abs(n.beat - round(n.beat)) < 0.05 or rng.random() < keep]


def _accompany(
    request: Request, bars: list[tuple[float, list[BarChord]]], part: int, name: str, rng: random.Random
) -> list[PlannedNote]:
    notes: list[PlannedNote] = []
    for start, chords in bars:
        if name == DRUMS:
            notes += _drums(start, request, part, rng)
        else:
            for begin, end, chord in chords:
                notes += _pattern(name, begin, end, start, request.bar, part, *chord, request.controls_of(part), rng)
    return [n for n in notes if request.start - 1e-6 <= n.beat < request.end - 1e-6]


def _drums(start: float, request: Request, part: int, rng: random.Random) -> list[PlannedNote]:
    """One bar of the request's groove; busier or with an open hat at its end, as the dice fall."""
    strokes = request.groove.strokes or groove('auto', request.meter).strokes
    hits = [(stroke.beat, stroke.keys(request.drum_keys)[:1], stroke.velocity) for stroke in strokes]
    back, bar = request.groove.backbeats, request.bar
    for beat in range(round(bar)):
        if request.controls_of(part).density > 0.6 and beat not in back and rng.random() < 0.5 and beat + 0.75 < bar:
            hits.append((beat + 0.75, Stroke(0, 'kick').keys(request.drum_keys)[:1], 84))
    if rng.random() < 0.3 and bar > 1:
        hits.append((bar - 0.5, Stroke(0, 'open').keys(request.drum_keys)[:1], 64))
    struck: dict[tuple[float, int], PlannedNote] = {}
    for beat, keys, velocity in hits:
        for key in keys:
            struck[beat, key] = PlannedNote(start + beat, 0.2, key, velocity, part)
    return list(struck.values())


def _pattern(
    name: str, begin: float, end: float, start: float, bar: float, part: int, root: int, intervals: tuple[int, ...],
    controls: MusicControls, rng: random.Random,
) -> list[PlannedNote]:  # fmt: skip
    """A chord from `begin` to `end` in the bar at `start`, as this kind of instrument plays it."""
    family = FAMILY[name]
    low, high = max(RANGE[name][0], controls.low), min(RANGE[name][1], controls.high)
    if low > high:  # the asked range lies outside the instrument
        low, high = RANGE[name]
    length = end - begin
    if family == 'bass' or name in ('contrabass', 'tuba', 'timpani', 'cello', 'bassoon'):
        bass = harmony.fold(36 + root, low, max(min(high, low + 24), low))
        fifth = 7 if 7 in intervals else intervals[-1]
        fifth = bass + fifth if bass + fifth <= high else bass + fifth - 12
        half = start + (bar / 2 if bar % 2 == 0 else bar - 1)
        if not begin + 0.5 < half < end - 1e-6:  # the chord has one half of the bar
            return [PlannedNote(begin, length * 0.95, bass, 90, part)]
        notes = [PlannedNote(begin, (half - begin) * 0.95, bass, 90, part)]
        other = fifth if rng.random() < 0.4 else bass
        notes.append(PlannedNote(half, (end - half) * 0.9, other, 84, part))
        if controls.density > 0.65 and half - 0.5 > begin + 0.25:
            notes.append(PlannedNote(half - 0.5, 0.45, bass, 72, part))
        return notes
    middle = min(max(60, low + 6), high - 6)
    chord = sorted(harmony.fold(48 + root + i, middle - 6, middle + 6) for i in intervals)
    if family in ('strings', 'ensemble', 'synth', 'organ', 'brass', 'reeds', 'pipes') and name != 'harp':
        # Sustaining instruments hold; those of one voice or two take a single note of the chord.
        voices = chord if voices_of(name) > 2 else [chord[part % len(chord)]]
        return [PlannedNote(begin, length * 0.97, n, 68, part) for n in voices]
    grid = [start + i / 2 for i in range(int(bar * 2)) if begin - 1e-6 <= start + i / 2 < end - 1e-6]
    if family == 'mallets' or name == 'harp' or controls.density > 0.7:  # broken chord in eighths
        return [
            PlannedNote(beat, 0.45, chord[(0, 1, 2, 1)[round((beat - start) * 2) % 4] % len(chord)], 70, part)
            for beat in grid
        ]
    if controls.density < 0.3:
        return [PlannedNote(begin, length * 0.9, n, 66, part) for n in chord]
    hits = [beat for beat in grid if (beat - start) % 1 > 0.25]
    return [PlannedNote(beat, 0.4, n, 66, part) for beat in hits for n in chord]
