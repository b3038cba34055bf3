"""The language between the port process and the engine process: notes heard, requests, music planned.

A `Musician` hears notes and answers requests piece by piece. It lives in a process of its own; `musician_process.py`
carries these messages there and back. Beats are session beats (quarter notes that never jump back).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from genaudio_core.music.drum_grooves import Groove
from genaudio_core.music.grooves import Feel, usual_meter
from genaudio_core.music.keys import Chord
from genaudio_core.score.notes import Note


@dataclass(frozen=True, slots=True)
class HeardNote:
    """A note the player has played, or still holds."""

    id: int  # stays the same when the note is told again with a better duration
    beat: float
    duration: float  # beats; an estimate while `held`
    note: int
    velocity: int
    instrument: str  # class of genaudio_core.score.instruments, or 'drums'
    held: bool = False

    @property
    def plain(self) -> Note:
        """As a score has it."""
        return Note(self.beat, self.duration, self.note, self.velocity)


class PlannedNote(NamedTuple):
    """A note the band will play. A tuple, since they go through a pipe by the dozen: it costs half of a dataclass."""

    beat: float
    duration: float
    note: int
    velocity: int
    part: int  # index into `Request.instruments`
    cued: bool = False  # the musician would have been silent, and was asked again
    by_rule: bool = False  # asked again, with no choice left but how loud and how long

    @property
    def plain(self) -> Note:
        """As a score has it."""
        return Note(self.beat, self.duration, self.note, self.velocity)


@dataclass(frozen=True, slots=True)
class MusicControls:
    """Controls that may change while the music plays. Defaults keep the output playable."""

    temperature: float = 1.0
    top_p: float = 0.95
    density: float = 0.5  # 0 sparse, 0.5 as it comes, 1 dense
    key: str = 'auto'  # 'auto', 'off' or a name such as 'D dorian', 'F# minor'
    low: int = 0  # lowest and highest note of pitched parts, 0..127
    high: int = 127
    velocity: float = 1.0  # scales what comes out


@dataclass(frozen=True, slots=True)
class ChordAt:
    """A chord to play over from a beat on, and why.

    It stands in the 'chart', is 'heard', comes from a 'loop' that repeats or from the 'phrase' that is answered, is
    the 'last' one and goes on, or is a 'guess': the last one, where another is to be expected.
    """

    beat: float
    chord: Chord
    source: str

    @property
    def sure(self) -> bool:
        """Whether there is a reason for it beside "the last one may go on"."""
        return self.source != 'guess'


@dataclass(frozen=True, slots=True)
class Again:
    """Some parts of an answer are composed once more, beside what the others play in it: it gets another take."""

    take: int  # that it becomes
    of: int  # take that it is made from
    parts: tuple[int, ...]  # composed anew between start and end of the request
    given: tuple[PlannedNote, ...]  # what the others play there
    begin: float  # beat at which the answer began


@dataclass(frozen=True, slots=True)
class Request:
    """Music for the beats [start, end), please.

    `role` is 'continue' (go on with what was heard), 'accompany' (play with the player) or 'free' (with or without).
    """

    id: int
    start: float
    end: float
    instruments: tuple[str, ...]
    role: str = 'continue'
    controls: MusicControls = field(default_factory=MusicControls)  # of the band
    takes: int = 1
    seed: int = 0
    bar: float = 4.0
    chords: tuple[ChordAt, ...] = ()  # to play over, by the half bar; empty: nobody has played any
    listens: float = 0.0  # beats from a chord that is not sure in which only drums play
    groove: Groove = field(default_factory=Groove)  # that the drums keep to
    drum_keys: tuple[int, ...] = ()  # all that the drums have; empty: a whole kit
    feel: Feel = field(default_factory=Feel)  # of what the player plays
    named_meter: tuple[int, int] | None = None  # None: the usual one for the length of the bar
    tempo: float = 120.0  # quarter notes a minute
    own: tuple[MusicControls, ...] = ()  # of each part; empty: all as the band
    again: Again | None = None  # the answer of this id is there; None: it is a new one
    leans: bool = False  # tell afterwards what its last note leaned on

    def controls_of(self, part: int) -> MusicControls:
        """Controls of a part, by its number."""
        return self.own[part] if self.own else self.controls

    @property
    def meter(self) -> tuple[int, int]:
        """Beats of a bar and their unit."""
        return self.named_meter or usual_meter(self.bar)

    def chord_at(self, beat: float) -> ChordAt | None:
        """The chord to play over at `beat`."""
        return next((each for each in reversed(self.chords) if each.beat <= beat + 1e-6), None)

    def waits(self, beat: float) -> bool:
        """Whether a pitched note at `beat` would be a guess: only what the player does there can tell the chord."""
        chord = self.chord_at(beat)
        return chord is not None and not chord.sure and beat < chord.beat + self.listens - 1e-6

    def harmony(self, start: float, end: float) -> list[tuple[float, float, Chord]]:
        """The chords to play over in [start, end) as (from, to, chord), in beats; the same chord again is one."""
        turns: list[tuple[float, Chord]] = []
        for each in self.chords:
            at = max(each.beat, start)
            if at < end - 1e-6 and (not turns or turns[-1][1] != each.chord):
                turns = [*(turn for turn in turns if turn[0] < at - 1e-6), (at, each.chord)]
        edges = [*(at for at, _ in turns), end]
        return [(at, edges[i + 1], chord) for i, (at, chord) in enumerate(turns)]


@dataclass(frozen=True, slots=True)
class PlannedMusic:
    """Part of an answer: the notes of one take up to beat `until`, in order of onset; later pieces go on from there."""

    request: int
    take: int
    notes: tuple[PlannedNote, ...]
    until: float  # nothing before this beat will follow
    done: bool = False


Leans = tuple[tuple[float, int, bool, float], ...]
"""What the last note of an answer leaned on: (beat, note 0..127, of drums, share of all) of notes before it."""


def leans_of(musician: 'Musician') -> Leans:
    """What the last answer that was to tell it leaned on; nothing where a musician does not tell that."""
    return getattr(musician, 'leans', ())


class Musician(Protocol):
    """Hears, remembers, answers.

    One that works out in `rest` what the last answer leaned on tells it as `leans` (see `leans_of`).
    """

    def expect(self, instruments: Sequence[str], bar: float) -> None:
        """Get ready for these instruments and bars of this length, before the music begins."""

    def hear(self, notes: Sequence[HeardNote]) -> None:
        """Take notes into memory; a known id replaces what was told before."""

    def answer(self, request: Request) -> Iterator[PlannedMusic]:
        """Yield the answer as it comes, in time order, all takes; the caller may stop asking at any piece.

        What its first take plays becomes part of the memory, until `choose` names another.
        """
        ...

    def choose(self, request: int, take: int) -> None:
        """Remember another take of that answer instead."""

    def forget(self, request: int, beat: float) -> None:
        """Take back the part of an answer from `beat` on: it was not played."""

    def rest(self) -> bool:
        """Do some background work (tidy the memory); return whether more waits."""
        return False

    def settle(self) -> None:
        """Do now, to the end, whatever work `rest` would do in the background: for a clock that is simulated."""

    def stats(self) -> dict[str, float]:
        """Counters for the view: context length and the like."""
        return {}

    def close(self) -> None:
        """Let go of threads and memory; nothing is asked afterwards."""
