"""The parts of a band: what each is for, where it plays, and what it played before.

Times are steps from the beginning of the score.
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from genaudio_core.continuation.cues import Who
from genaudio_core.music import grooves
from genaudio_core.music.chord_recognition import Segment
from genaudio_core.music.descriptions import chart_changes, chord_code, chord_of
from genaudio_core.music.drum_grooves import Pace, groove
from genaudio_core.music.events import meter_code
from genaudio_core.music.grooves import Feel
from genaudio_core.music.harmonising import Harmony
from genaudio_core.music.keys import Chord
from genaudio_core.music.layouts import RESOLUTION
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE, instrument_code, voices_of
from genaudio_core.score.notes import Note, Score, Track

BASS, CHORDS, PAD, LINE = 'bass', 'chords', 'pad', 'line'
_BASSES = ('contrabass', 'tuba', 'bassoon', 'baritone-saxophone', 'cello', 'trombone')  # where no bass is, the lowest
_PADS = frozenset({'pad', 'strings', 'synth-strings', 'organ', 'church-organ', 'voices', 'accordion', 'bandoneon'})


class Hit(NamedTuple):
    """A note that a part has played."""

    pitch: int
    length: int  # steps
    degree: int  # semitones over the root of the chord there; -1 for drums, and where no chord is known


Struck = Mapping[int, Sequence[Hit]]  # place in the bar -> what begins there


@dataclass(frozen=True)
class BarAt:
    """A bar of the score."""

    number: int
    begin: int
    length: int
    meter: tuple[int, int]

    @property
    def end(self) -> int:
        """Step of the next bar line."""
        return self.begin + self.length


@dataclass
class Role:
    """The task of a part, its range, and its own habits in a bar."""

    who: Who
    instrument: str
    kind: str  # DRUMS, BASS, CHORDS, PAD or LINE
    low: int
    high: int
    figure: tuple[int, ...] = ()  # places of a bar, of the meter it was made for
    struck: tuple[tuple[int, frozenset[int]], ...] = ()  # of drums
    notes: int = 1  # of a chord
    given: list[Struck] = field(default_factory=list)  # what it played in the given bars, by their number
    near: int = 0  # semitones around the given notes in which the new ones lie; 0: anywhere in its range


def bars_between(score: Score, begin: float, end: float) -> list[BarAt]:
    """The bars of a score from the one that holds beat `begin` to the one in which beat `end` comes."""
    found: list[BarAt] = []
    line = score.bar_start(begin + 1e-6)
    while line < end - 1e-6:
        meter = score.meter_at(line + 1e-6)
        following = score.next_bar(line + 1e-3)
        at = round(line * RESOLUTION)
        if (length := round(following * RESOLUTION) - at) > 0:
            found.append(BarAt(len(found), at, length, (meter.numerator, meter.denominator)))
        line = following
    return found


def charted(
    harmony: Harmony, chart: Sequence[Sequence[Chord]], score: Score, begin: float, end: float | None = None
) -> Harmony:
    """A harmony whose chords from beat `begin` on are those of a chart (`keys.parse_chart`), which comes round."""
    if not chart:
        return harmony
    meters = [(round(m.beat * RESOLUTION), meter_code(m.numerator, m.denominator)) for m in score.meters]
    end = max(score.end, begin) + 16 if end is None else end
    changes = chart_changes(chart, meters, round(begin * RESOLUTION), round(end * RESOLUTION))
    edges = [*(int(step) / RESOLUTION for step, _ in changes), end]
    chords = [Segment(edges[i], edges[i + 1] - edges[i], chord) for i, (_, code) in enumerate(changes.tolist())
              if (chord := chord_of(code)) is not None]  # fmt: skip
    return Harmony((*(one for one in harmony.chords if one.beat < begin), *chords), harmony.keys)


def kind_of(instrument: str, others: Sequence[str]) -> str:
    """The role of an instrument beside `others` that are asked for (or given)."""
    if instrument == DRUMS:
        return DRUMS
    family = FAMILY[instrument]
    if family == 'bass':
        return BASS
    if not any(FAMILY[other] == 'bass' for other in others):
        low = next((name for name in _BASSES if name in (instrument, *others)), None)
        if low == instrument:
            return BASS
    if instrument in _PADS and instrument != 'voices':
        return PAD
    return CHORDS if voices_of(instrument) > 2 else LINE


def accompanying_roles(
    names: Sequence[str], beside: Sequence[str], tune: Sequence[Note], meter: tuple[int, int], feel: Feel, tempo: float,
    rng: np.random.Generator, who: Sequence[Who],
) -> list[Role]:  # fmt: skip
    """Roles of the instruments `names` that play with a tune; `beside` are those that are there."""
    roles = []
    middle = float(np.mean([note.note for note in tune])) if tune else 66.0
    for name, one in zip(names, who, strict=True):
        kind = kind_of(name, [other for other in (*names, *beside) if other != name])
        low, high = RANGE[name]
        role = Role(one, name, kind, low, high)
        if kind == DRUMS:
            role.struck = groove('auto', meter, Pace(feel=feel), tempo=tempo, rng=rng).struck()
        elif kind == BASS:
            role.low = max(low, min(28, high - 12))
            role.high = min(high, max(role.low + 19, 47))
            role.figure = _drawn(grooves.bass_figures(meter, feel), rng)
        elif kind in (CHORDS, PAD):
            # Under the tune, or over one that is low itself; two that play chords are not in each other's way.
            centre = (min(max(middle - 11, 54), 64) if middle >= 55 else 64) + rng.integers(-2, 3)
            centre += 5 * (sum(other.kind in (CHORDS, PAD) for other in roles) % 2)
            role.low, role.high = _window(low, high, round(centre) - 8, round(centre) + 8)
            role.notes = 3 if voices_of(name) > 2 else 1
            role.figure = _drawn(grooves.comping_figures(meter, feel), rng) if kind == CHORDS else (0,)
        else:
            centre = (low + high) / 2
            centre += -5 if abs(centre - middle) < 5 else 0  # beside the tune, not on it
            role.low, role.high = _window(low, high, round(centre) - 10, round(centre) + 10)
            role.figure = _drawn([grooves.strong_places(meter), grooves.pulses(meter)[:3], (0,)], rng)
        roles.append(role)
    return roles


def _window(low: int, high: int, lowest: int, highest: int) -> tuple[int, int]:
    """A window of notes moved into a range."""
    shift = max(low - lowest, 0) or min(high - highest, 0)
    return max(lowest + shift, low), min(highest + shift, high)


def _drawn(figures: Sequence[tuple[int, ...]], rng: np.random.Generator) -> tuple[int, ...]:
    return figures[int(rng.integers(len(figures)))]


# --- parts that have played before -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """The contents of the bars of a score: for each of its tracks and bars, the notes that begin there."""

    bars: list[BarAt]
    struck: list[list[dict[int, list[Hit]]]]  # track -> bar -> place -> notes
    chords: list[tuple[int, ...]]  # of each bar, as codes, by its halves

    @classmethod
    def of(cls, score: Score, harmony: Harmony, bars: list[BarAt]) -> 'Given':
        """Find what each track strikes in each bar, and the chords under it."""
        begins = [bar.begin for bar in bars]
        struck = []
        for track in score.tracks:
            mine: list[dict[int, list[Hit]]] = [{} for _ in bars]
            for note in track.notes:
                step = round(note.beat * RESOLUTION)
                index = bisect.bisect_right(begins, step) - 1
                if index < 0 or step >= bars[index].end:
                    continue
                chord = None if track.is_drum else harmony.chord_at(note.beat + 0.05)
                degree = (note.note - chord.root) % 12 if chord is not None else -1
                length = round(note.duration * RESOLUTION)
                mine[index].setdefault(step - bars[index].begin, []).append(Hit(note.note, length, degree))
            struck.append(mine)
        chords = []
        for bar in bars:
            moments = (bar.begin + 1, bar.begin + bar.length // 2 + 1)
            found = (harmony.chord_at(moment / RESOLUTION) for moment in moments)
            chords.append(tuple(chord_code(c) for c in found))
        return cls(bars, struck, chords)

    def alike(self, one: int, other: int) -> float:
        """How alike two bars are, 0 to 1: their chords, and the rhythms of the tracks that play in either."""
        if self.bars[one].length != self.bars[other].length:
            return 0.0
        chords = _mean([a == b for a, b in zip(self.chords[one], self.chords[other], strict=True)])
        rhythms = []
        for track in self.struck:
            a, b = track[one].keys(), track[other].keys()
            if a or b:
                rhythms.append(2 * len(a & b) / (len(a) + len(b)))
        return 0.7 * chords + 0.3 * (_mean(rhythms) if rhythms else 1.0)

    def loop(self, known: Sequence[int]) -> int:
        """Bars after which the music of the bars `known` (ascending) comes round; 0: it does not."""
        there = set(known)
        for length in (1, 2, 3, 4, 6, 8, 12, 16):
            pairs = [(bar, bar + length) for bar in known if bar + length in there]
            if len(pairs) >= max(2, length // 2) and _mean([self.alike(a, b) for a, b in pairs]) >= LOOPS:
                # A loop of one bar or two lives from what changes over it.
                return next(
                    many for many in (4 * length, 2 * length, length) if many <= min(len(known), 8) or many == length
                )
        return 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)  # numpy takes ten times as long over so few


LOOPS = 0.85  # likeness of bars, on average, that makes a loop
MOST_BARS = 64  # given bars that are looked at


def going_on(
    score: Score, harmony: Harmony, begin: float, end: float, names: Sequence[str], *, parts: bool
) -> tuple[list[Role], Harmony, list[BarAt]]:  # fmt: skip
    """Roles of the tracks that play on between two beats, the chords there, and the bars.

    What is given is all outside of that stretch: bars before it, and after it where there are any. Each new bar goes on
    with the given bar in whose place it stands in the loop.

    Parameters
    ----------
    names : instruments that are to play; those without a track are not here
    parts : whether notes tell their part
    """
    first = max(score.bar_start(begin + 1e-6) - MOST_BARS * 4, 0.0)
    bars = bars_between(score, first, max(score.end, end))
    new = [i for i, bar in enumerate(bars) if bar.end > begin * RESOLUTION + 1 and bar.begin < end * RESOLUTION - 1]
    before, after = list(range(new[0])), list(range(new[-1] + 1, len(bars)))
    given = Given.of(score, harmony, bars)
    sounds = [any(track[i] for track in given.struck) for i in range(len(bars))]
    while before and not sounds[before[0]]:
        before.pop(0)
    # Where nothing comes round, the whole goes on from its beginning; between two sides, from four bars away.
    loop = given.loop([*before, *after]) or (4 if after else len(before) if len(before) <= 16 else 8) or 1
    sources = []
    for i in new:
        places = [b for b in (*reversed(before), *after) if (b - i) % loop == 0]
        places = [b for b in places if bars[b].length == bars[i].length and sounds[b]] or places
        sources.append(places[0] if places else (before or after or [i])[-1])
    chords: list[Segment] = []
    for i, source in zip(new, sources, strict=True):
        chords += _moved(harmony, bars[source], bars[i])
    roles = _playing_on(score, given, names, sources, [*before, *after], parts)
    here = [replace(bars[i], number=number) for number, i in enumerate(new)]
    return roles, Harmony(tuple(chords), harmony.keys), here


def _moved(harmony: Harmony, source: BarAt, to: BarAt) -> list[Segment]:
    """The chords of one bar in the place of another."""
    found = []
    edges = [one.beat * RESOLUTION for one in harmony.chords if source.begin < one.beat * RESOLUTION < source.end]
    for begin, end in itertools.pairwise([source.begin, *edges, source.end]):
        chord = harmony.chord_at(begin / RESOLUTION + 0.01)
        at, until = begin - source.begin, min(end - source.begin, to.length)
        if chord is not None and until > at:
            found.append(Segment((to.begin + at) / RESOLUTION, (until - at) / RESOLUTION, chord))
    return found


def _playing_on(
    score: Score, given: Given, names: Sequence[str], sources: Sequence[int], known: Sequence[int], parts: bool
) -> list[Role]:
    roles = []
    numbers: dict[str, int] = {}
    tracks = [(track, given.struck[i]) for i, track in enumerate(score.tracks) if track.notes]
    lows = {id(track): float(np.mean([n.note for n in track.notes])) for track, _ in tracks if not track.is_drum}
    for track, struck in tracks:
        name = track.instrument
        numbers[name] = numbers.get(name, 0) + 1
        if name not in names or not any(struck[i] for i in known):
            continue
        part = min(numbers[name], 4) if parts and not track.is_drum else 1
        kind = _kind_of_track(track, lows)
        low, high = RANGE[name]
        if not track.is_drum:
            lowest, highest = np.percentile([note.note for note in track.notes], [5, 95])
            low, high = _window(
                low, high, min(int(lowest) - 3, int(highest) - 8), max(int(highest) + 3, int(lowest) + 8)
            )
        role = Role((instrument_code(name), part), name, kind, low, high)
        role.given = [struck[i] for i in sources]
        roles.append(role)
    return roles


def _kind_of_track(track: Track, lows: Mapping[int, float]) -> str:
    if track.is_drum:
        return DRUMS
    onsets = len({round(note.beat * RESOLUTION) for note in track.notes})
    together = len(track.notes) / max(onsets, 1)
    lowest = lows[id(track)] == min(lows.values())
    if together < 1.3 and (FAMILY[track.instrument] == 'bass' or (lowest and lows[id(track)] < 52)):
        return BASS
    return CHORDS if together >= 1.8 else LINE
