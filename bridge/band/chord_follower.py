"""Which chord the player is on, and which one to expect: from a chart, from a loop that repeats, or from what sounds.

The chords of what was heard are those of `genaudio_core.music.chord_recognition`, the same as offline: by the half bar,
bass first, broken chords and pedalled ones alike. Nothing waits for the end of a half bar: a chord is known as soon as
its notes are.
"""

import math
from collections.abc import Sequence

from bridge.musicians.musician import ChordAt, HeardNote
from bridge.settings.band_preset import Preset
from genaudio_core.music.chord_recognition import half_bar, recognise, simple
from genaudio_core.music.keys import Chord, parse_chart
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Note

MEMORY = 34  # bars of chords that are remembered: two rounds of a form of sixteen and what is being played
READ = 4  # bars before what is new that are read again with it
FORMS = (1, 2, 4, 8, 3, 6, 12, 16, 5, 7, 9, 10, 14)  # bars of a loop; of equally likely ones the first is taken
ALIKE = 0.7  # how alike two rounds must be to be believed, 0 to 1
EARLY = 0.1  # beats before its slot in which a note is struck for it


class ChordFollower:
    """Reads chords as they are played. Only the session's thread may call it.

    A slot is the unit of harmony: half a bar, or a bar that has no halves. Slots are numbered from beat 0.

    Parameters
    ----------
    bar : length of a bar in quarter notes; bars begin at multiples of it
    half : where its second half begins, in quarter notes; None for bars without halves
    chart : bars of one or two chords each, played round and round from beat 0; empty for none. None: unknown.
    """

    def __init__(self, bar: float, half: float | None = None, chart: Sequence[Sequence[Chord | None]] = ()) -> None:
        self.bar, self.half = bar, half
        self.chart = tuple(tuple(chords) for chords in chart)
        self._notes: dict[int, Note] = {}
        self._chords: dict[int, Chord | None] = {}  # slot -> what was heard in it; None for silence
        self._dirty: float | None = None  # beat from which on notes are new since the last reading
        self._now = 0.0  # newest beat at which something was told

    @property
    def _per_bar(self) -> int:
        return 2 if self.half else 1

    def slot(self, beat: float) -> int:
        """Number of the slot that holds `beat`."""
        bar = math.floor(beat / self.bar + 1e-9)
        return bar * self._per_bar + (1 if self.half and beat - bar * self.bar >= self.half - 1e-9 else 0)

    def start(self, slot: int) -> float:
        """Beat at which a slot begins."""
        bar, second = divmod(slot, self._per_bar)
        return bar * self.bar + (self.half or 0.0) * second

    def hear(self, notes: Sequence[HeardNote], now: float) -> None:
        """Take notes in at beat `now`; a known id replaces what was told of it before. Drums have no harmony."""
        self._now = max(self._now, now)
        for note in notes:
            told = Note(note.beat, note.duration, note.note, note.velocity)
            if note.instrument != DRUMS and self._notes.get(note.id) != told:  # a held one is told again and again
                self._notes[note.id] = told
                self._dirty = note.beat if self._dirty is None else min(self._dirty, note.beat)

    def heard(self, beat: float) -> Chord | None:
        """The chord that was played in the slot of `beat`; None for silence, or if too little was heard to tell."""
        self._read()
        return self._chords.get(self.slot(beat))

    def expected(self, beat: float) -> ChordAt | None:
        """The chord to play over in the slot of `beat`; None as long as nobody has played one."""
        slot = self.slot(beat)
        place = self.start(slot)
        if (written := self._written(slot)) is not None:
            return ChordAt(place, written, 'chart')
        self._read()
        if (chord := self._chords.get(slot)) is not None:
            return ChordAt(place, chord, 'heard')
        last = max((each for each in self._chords if each < slot and self._chords[each]), default=None)
        if last is None:
            return None
        bars = self.loop(slot)
        if bars is not None:
            back = bars * self._per_bar
            chord = self._chords.get(slot - back * math.ceil((slot - last) / back))
            if chord is not None:
                return ChordAt(place, chord, 'loop')
        chord = self._chords[last]
        assert chord is not None
        return ChordAt(place, chord, 'guess' if self._moves(slot, last) else 'last')

    def _moves(self, slot: int, last: int) -> bool:
        """Whether a new chord is likelier in a slot than the last one: the last two bars began with new ones."""
        line = last // self._per_bar * self._per_bar
        at_lines = [(self._chords.get(each - 1), self._chords.get(each)) for each in (line, line - self._per_bar)]
        return slot % self._per_bar == 0 and all(a and b and a.root != b.root for a, b in at_lines)

    def over(self, start: float, end: float) -> tuple[ChordAt, ...]:
        """The chords to play over in [start, end), slot by slot."""
        slots = range(self.slot(start), self.slot(end - 1e-6) + 1)
        chords = (self.expected(self.start(slot)) for slot in slots)
        return tuple(chord for chord in chords if chord is not None)

    def _written(self, slot: int) -> Chord | None:
        if not self.chart:
            return None
        bar, second = divmod(slot, self._per_bar)
        chords = self.chart[bar % len(self.chart)]
        return chords[min(second, len(chords) - 1)] if chords else None

    def loop(self, slot: int) -> int | None:
        """Length in bars of the loop that the chords before `slot` repeat; None if they repeat nothing."""
        best, found = ALIKE, None
        known = [each for each in self._chords if each < slot]
        if not known:
            return None
        # The slot that is being played may still be read as something else.
        newest = max(known)
        for bars in FORMS:
            back = bars * self._per_bar
            pairs = [
                (self._chords[each], self._chords.get(each - back))
                for each in range(max(newest - 2 * back + 1, min(known) + back), newest + 1)
                if each in self._chords
            ]
            alike = [_likeness(one, other) for one, other in pairs if one is not None and other is not None]
            # A bar that is alike says something, two say more: half a pair that is not counts against each form.
            if len(alike) >= self._per_bar and (score := sum(alike) / (len(alike) + 0.5)) > best + 1e-9:
                best, found = score, bars
        return found

    @classmethod
    def of(cls, settings: Preset) -> 'ChordFollower':
        """A follower for a preset's meter and chart. Errors of `keys.parse_chart`."""
        beats, unit, chart = (
            settings[name] for name in ('transport.beats_per_bar', 'transport.beat_unit', 'music.chords')
        )
        return cls(settings.bar, half_bar(beats, unit), parse_chart(chart) if chart.strip() else ())

    def forget(self) -> None:
        """The music begins anew: nothing that was heard tells what comes."""
        self._notes.clear()
        self._chords.clear()
        self._dirty, self._now = None, 0.0

    def _read(self) -> None:
        """Read the chords of what is new, with some bars before it so that both fit together."""
        if self._dirty is None:
            return
        first = self.slot(self._dirty + EARLY)
        begin = first - READ * self._per_bar
        self._dirty = None
        last = max(self.slot(self._now + EARLY), first)
        oldest = self.start(last - MEMORY * self._per_bar)
        self._notes = {key: note for key, note in self._notes.items() if note.beat + note.duration > oldest}
        self._chords = {slot: chord for slot, chord in self._chords.items() if oldest <= self.start(slot)}
        from_beat = self.start(begin)
        notes = [note for note in self._notes.values() if note.beat + note.duration > from_beat]
        slots = range(begin, last + 1)
        places = [self.start(slot) for slot in slots]
        lines = [self.start(slot) for slot in slots if slot % self._per_bar == 0]
        segments = recognise(notes, places, self.start(last + 1), lines=lines)
        for slot, place in zip(slots, places, strict=True):
            end = self.start(slot + 1)
            sounds = any(
                n.beat < end - EARLY and min(n.beat + n.duration, end) - max(n.beat, place) > EARLY for n in notes
            )
            chord = next((s.chord for s in segments if s.beat <= place + 1e-6 < s.beat + s.duration), None)
            self._chords[slot] = chord if sounds else None


def _likeness(one: Chord, other: Chord) -> float:
    """1 for the same chord, 0.6 for the same root, 0 else."""
    if one.root != other.root:
        return 0.0
    return 1.0 if simple(one.quality) == simple(other.quality) else 0.6
