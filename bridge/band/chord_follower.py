"""Which chord the player is on, and which one to expect: from a chart, from a loop that repeats, or from what sounds.

The chords of what was heard are those of `genaudio_core.music.chord_recognition`, the same as offline: by the half bar,
bass first, broken chords and pedalled ones alike. Nothing waits for the end of a half bar: a chord is known as soon as
its notes are.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from bridge.musicians.heard_notes import HeardNotes
from bridge.musicians.musician import ChordAt, HeardNote
from bridge.settings.band_preset import Preset
from genaudio_core.music.chord_recognition import half_bar, recognise, simple
from genaudio_core.music.keys import Chord, parse_chart
from genaudio_core.score.instruments import DRUMS
from genaudio_core.score.notes import Note

MEMORY = 34  # bars of chords that are remembered: two rounds of a form of sixteen and what is being played
READ = 4  # bars before what is new that are read again with it
# Lengths of loops in bars, and how likely each is before anything is heard.
FORMS = {1: 0.08, 2: 0.14, 4: 0.42, 8: 0.16, 12: 0.05, 16: 0.04, 3: 0.03, 6: 0.03, 5: 0.01, 7: 0.01, 9: 0.01, 10: 0.01,
         14: 0.01}  # fmt: skip
ALIKE, UNLIKE = (
    math.log(3),
    -2.0,
)  # nats for a loop from a bar that repeats the one a round before, and from one that does not
RECENT = 10  # bars that tell which loop is played ...
FADES = 0.8  # ... each of them this much less than the one after it
SURE = 0.7  # probability from which on a chord that nobody has struck yet is played
# Chords that were seen to stay and to go, before any was: at a line, by the bars they had (4: and more; 0: they came
# in the bar before it), and inside of bars (-1).
STAYED = {0: (0.92, 0.08), 1: (0.5, 0.5), 2: (0.5, 0.5), 3: (0.5, 0.5), 4: (0.5, 0.5), -1: (3.0, 0.4)}
LOW = 52  # notes below it are a bass
EARLY = 0.1  # beats before its slot in which a note is struck for it


class ChordFollower:
    """Reads chords as they are played. Only the session's thread may call it.

    A slot is the unit of harmony: half a bar, or a bar that has no halves. Slots are numbered from beat 0.

    Parameters
    ----------
    bar : length of a bar in quarter notes; bars begin at multiples of it
    half : where its second half begins, in quarter notes; None for bars without halves
    chart : bars of one or two chords each, played round and round from beat 0; empty for none. None: unknown.
    heard : what the player has played; whoever writes to it tells of it by `hear`
    """

    def __init__(
        self, bar: float, half: float | None = None, chart: Sequence[Sequence[Chord | None]] = (),
        heard: HeardNotes | None = None,
    ) -> None:  # fmt: skip
        self.bar, self.half = bar, half
        self.chart = tuple(tuple(chords) for chords in chart)
        self.notes = HeardNotes() if heard is None else heard
        self._chords: dict[int, Chord | None] = {}  # slot -> what was heard in it; None for silence
        self._came_late: set[int] = set()  # slots whose chord was struck inside of them, after another
        self._last_read = -1  # slot
        self._weights: tuple[int, dict[int, float]] = -1, {}  # of loops up to a slot, since the last reading
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

    def hear(self, new: Sequence[HeardNote], now: float) -> None:
        """It is beat `now`, and these notes of the memory are new (`HeardNotes.hear`). Drums have no harmony."""
        self._now = max(self._now, now)
        for note in new:
            if note.instrument != DRUMS:
                self._dirty = note.beat if self._dirty is None else min(self._dirty, note.beat)
        slot = self.slot(self._now + EARLY)
        if self._dirty is None and slot > self._last_read and self._pitched(self.notes.sounding(self.start(slot))):
            self._dirty = self.start(slot)  # what is held sounds here, too

    def _pitched(self, notes: Sequence[HeardNote]) -> list[Note]:
        return [note.plain for note in notes if note.instrument != DRUMS]

    def heard(self, beat: float) -> Chord | None:
        """The chord that was played in the slot of `beat`; None for silence, or if too little was heard to tell."""
        self._read()
        return self._chords.get(self.slot(beat))

    def read_so_far(self, start: float) -> list[tuple[float, Chord]]:
        """The chords that were played from `start` on, as (beat, chord), as far as they are read: none is read now."""
        return [(self.start(slot), chord) for slot, chord in sorted(self._chords.items())
                if chord is not None and self.start(slot) >= start - 1e-6]  # fmt: skip

    def expected(self, beat: float) -> ChordAt | None:
        """The chord to play over in the slot of `beat`; None as long as nobody has played one."""
        slot = self.slot(beat)
        place = self.start(slot)
        if (written := self._written(slot)) is not None:
            return ChordAt(place, written, 'chart')
        self._read()
        chord = self._chords.get(slot)
        if chord is not None and slot < self.slot(self._now + EARLY):
            return ChordAt(place, chord, 'heard')
        last = max((each for each in self._chords if each < slot and self._chords[each]), default=None)
        if last is None:
            return None if chord is None else ChordAt(place, chord, 'heard')
        expected = ChordAt(place, *self._likeliest(slot, last))
        # As long as all that is struck goes with what was expected, the rest of it may be on its way.
        if chord is None or (expected.sure and self._struck(place) <= expected.chord.pitch_classes):
            return expected
        return ChordAt(place, chord, 'heard')

    def _struck(self, place: float) -> set[int]:
        """Pitch classes that were struck in the slot that begins at `place`."""
        return {note.note % 12 for note in self._pitched(self.notes.between(place - EARLY))}

    def _likeliest(self, slot: int, last: int) -> tuple[Chord, str]:
        """The chord that is likeliest in a slot, and why: by the loops it may be in, and by harmony that stays.

        A loop that has not come round yet knows nothing of the slot: in its stead speaks how long chords last here.
        """
        newest = self._chords[last]
        assert newest is not None
        looped: dict[Chord, float] = {}
        unknown = 0.0
        for bars, weight in self._loops(last).items():
            back = bars * self._per_bar
            chord = self._chords.get(slot - back * math.ceil((slot - last) / back))
            if chord is None:
                unknown += weight
            else:
                looped[chord] = looped.get(chord, 0.0) + weight
        total = sum(looped.values()) + unknown
        stays = unknown * self._stays(slot, last)
        votes = dict(looped)
        votes[newest] = votes.get(newest, 0.0) + stays
        best = max(votes, key=lambda chord: votes[chord])
        if votes[best] < SURE * total:
            return best, 'guess'
        return best, 'loop' if looped.get(best, 0.0) > stays else 'last'

    def _loops(self, newest: int) -> dict[int, float]:
        """How likely each length of loop is (bars -> weight), from the chords up to slot `newest`."""
        if self._weights[0] == newest:
            return self._weights[1]
        recent = [
            (slot, chord, FADES ** ((newest - slot) // self._per_bar) / self._per_bar)
            for slot in range(newest - RECENT * self._per_bar + 1, newest + 1)
            if (chord := self._chords.get(slot)) is not None
        ]
        found = {}
        for bars, prior in FORMS.items():
            told = 0.0
            for slot, one, counts in recent:
                if (other := self._chords.get(slot - bars * self._per_bar)) is not None:
                    likeness = _likeness(one, other)
                    told += counts * (likeness * ALIKE + (1 - likeness) * UNLIKE)
            found[bars] = prior * math.exp(told)
        self._weights = newest, found
        return found

    def _stays(self, slot: int, last: int) -> float:
        """How likely the chord of slot `last` still holds in `slot`, by how long chords have lasted so far."""
        seen = {age: list(before) for age, before in STAYED.items()}
        began = float(min(self._chords, default=last))
        for each in range(int(began) + 1, last + 1):
            before, now = self._chords.get(each - 1), self._chords.get(each)
            if before is None or now is None:
                began = each
            elif _likeness(before, now) > 0:
                seen[self._age(each, began)][0] += 1
            elif each in self._came_late:  # it stayed at the head of the slot, and went inside
                seen[self._age(each, began)][0] += 1
                seen[-1][1] += 1
                began = each + 0.5
            else:
                seen[self._age(each, began)][1] += 1
                began = each
        probability = 1.0
        for each in range(last + 1, slot + 1):
            stayed, went = seen[self._age(each, began)]
            probability *= stayed / (stayed + went)
        return probability

    def _age(self, slot: int, began: float) -> int:
        """Which of `STAYED` a chord is that began in slot `began`, in the slot `slot`."""
        if slot % self._per_bar:
            return -1
        return min(int(slot - began) // self._per_bar, 4)

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

    @classmethod
    def of(cls, settings: Preset, heard: HeardNotes | None = None) -> 'ChordFollower':
        """A follower for a preset's meter and chart. Errors of `keys.parse_chart`."""
        beats, unit, chart = (
            settings[name] for name in ('transport.beats_per_bar', 'transport.beat_unit', 'music.chords')
        )
        return cls(settings.bar, half_bar(beats, unit), parse_chart(chart) if chart.strip() else (), heard)

    def _read(self) -> None:
        """Read the chords of what is new, with some bars before it so that both fit together."""
        if self._dirty is None:
            return
        first = self.slot(self._dirty + EARLY)
        begin = first - READ * self._per_bar
        self._dirty, self._weights = None, (-1, {})
        last = self._last_read = max(self.slot(self._now + EARLY), first)
        oldest = self.start(last - MEMORY * self._per_bar)
        self._chords = {slot: chord for slot, chord in self._chords.items() if oldest <= self.start(slot)}
        self._came_late = {slot for slot in self._came_late if slot in self._chords}
        from_beat = self.start(begin)
        notes = self._pitched(self.notes.sounding(from_beat))
        slots = range(begin, last + 1)
        places = [self.start(slot) for slot in slots]
        lines = [self.start(slot) for slot in slots if slot % self._per_bar == 0]
        segments = recognise(notes, places, self.start(last + 1), lines=lines)
        chords = {segment.beat: segment.chord for segment in segments}
        chord = None
        for slot, place in zip(slots, places, strict=True):
            end = self.start(slot + 1)
            sounds = [
                n for n in notes if n.beat < end - EARLY and min(n.beat + n.duration, end) - max(n.beat, place) > EARLY
            ]
            chord = chords.get(place, chord)
            self._chords[slot] = _over_bass(chord, sounds, (place + end) / 2) if chord and sounds else None
            head = {note.note % 12 for note in sounds if abs(note.beat - place) < EARLY}
            if chord and 2 * len(head & chord.pitch_classes) < len(head):
                self._came_late.add(slot)
            else:
                self._came_late.discard(slot)


def _over_bass(chord: Chord, notes: Sequence[Note], middle: float) -> Chord:
    """The chord over the lowest note that sounds in the first half of its slot.

    That is a bass if it is low and one of its tones; else it stands on its root: a right hand alone says nothing.
    """
    low = min((note.note for note in notes if note.beat < middle), default=127)
    tones = replace(chord, bass=chord.root).pitch_classes
    return replace(chord, bass=low % 12 if low < LOW and low % 12 in tones else chord.root)


def _likeness(one: Chord, other: Chord) -> float:
    """1 for the same chord, 0.6 for the same root, 0 else."""
    if one.root != other.root:
        return 0.0
    return 1.0 if simple(one.quality) == simple(other.quality) else 0.6
