"""Notes, tracks and scores in beats, with tempo and meter map.

Time here is in beats: one beat is one quarter note, whatever the meter. `Score.seconds_at` and
`Score.beat_at` are the only bridge to seconds.
"""

import bisect
import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from genaudio_core.score.instruments import (
    CODE_TO_PROGRAM,
    DRUMS,
    PROGRAM_TO_LIVE_CODE,
    instrument_code,
    instrument_name,
)

DEFAULT_TEMPO = 120.0  # BPM, where a file names none


class Note(NamedTuple):
    """One note. A tuple, because scores hold millions and numpy reads tuples fast."""

    beat: float  # onset in quarter notes from the start of the score
    duration: float  # quarter notes, 0 or more
    note: int  # 0..127, 60 is middle C
    velocity: int = 64  # 1..127


class Tempo(NamedTuple):
    """From this beat on, `tempo` quarter notes a minute."""

    beat: float
    tempo: float


class Meter(NamedTuple):
    """From this beat on, bars of `numerator` notes of value 1/`denominator`."""

    beat: float
    numerator: int
    denominator: int

    @property
    def bar_length(self) -> float:
        """Length of one bar in quarter notes."""
        return self.numerator * 4 / self.denominator


@dataclass
class Track:
    """The notes of one instrument, and the other messages of its channel (pedal, bend, aftertouch, ...)."""

    program: int = 0  # General MIDI, 0..127
    is_drum: bool = False
    name: str = ''
    notes: list[Note] = field(default_factory=list)
    channel: int | None = None  # 0..15, where the track came from or wants to be written to
    others: list[tuple[float, Any]] = field(default_factory=list)  # (beat, mido message); mido has no types
    # Where it lies in the file that `Score.source` remembers (a `source.Place`); None: it is new.
    place: Any = field(default=None, repr=False, compare=False)

    @property
    def instrument(self) -> str:
        """Instrument class of the live encoding; empty for the sound effects 120..127."""
        if self.is_drum:
            return DRUMS
        code = PROGRAM_TO_LIVE_CODE[self.program]
        return instrument_name(code) if code else ''

    @classmethod
    def of(cls, instrument: str, notes: list[Note] | None = None) -> 'Track':
        """Make a track for an instrument class (``instruments.INSTRUMENTS`` or 'drums')."""
        is_drum = instrument == DRUMS
        program = CODE_TO_PROGRAM[instrument_code(instrument)]
        return cls(program, is_drum, instrument, notes or [])

    @property
    def pedals(self) -> list[tuple[float, float]]:
        """Spans (beat, beat) in which the sustain pedal (CC 64) is down; one never lifted ends at infinity."""
        spans, down = [], None
        for beat, message in self.others:
            if message.type == 'control_change' and message.control == 64:
                if message.value >= 64 and down is None:
                    down = beat
                elif message.value < 64 and down is not None:
                    spans.append((down, beat))
                    down = None
        if down is not None:
            spans.append((down, math.inf))
        return spans

    def sustained(self) -> list[Note]:
        """The notes as long as they sound: held by the pedal until it lifts or the key is struck again."""
        pedals = self.pedals
        if not pedals:
            return self.notes
        starts = [start for start, _ in pedals]
        last_end = max((note.beat + note.duration for note in self.notes), default=0.0)
        next_onset: dict[int, float] = {}
        result = []
        for note in sorted(self.notes, reverse=True):
            end = note.beat + note.duration
            index = bisect.bisect_right(starts, end) - 1
            if index >= 0 and end < pedals[index][1]:
                lifted = pedals[index][1] if math.isfinite(pedals[index][1]) else last_end
                end = max(end, min(lifted, next_onset.get(note.note, math.inf)))
            next_onset[note.note] = note.beat
            result.append(note._replace(duration=end - note.beat))
        return result[::-1]


def _beat(entry: Tempo | Meter) -> float:
    return entry.beat


class _TempoMap(list[Tempo]):
    """A list that forgets its sums (`Score.seconds_at`) when it changes."""

    elapsed: tuple[list[float], list[float]] | None = None


def _forgetful(name: str) -> Any:
    def method(self: _TempoMap, *args: Any, **options: Any) -> Any:
        self.elapsed = None
        return getattr(list, name)(self, *args, **options)

    return method


for _name in ('append', 'extend', 'insert', 'pop', 'remove', 'clear', 'sort', 'reverse',
              '__setitem__', '__delitem__', '__iadd__', '__imul__'):  # fmt: skip
    setattr(_TempoMap, _name, _forgetful(_name))


@dataclass
class Score:
    """Tracks with a tempo and a meter map. Both maps always hold an entry at beat 0."""

    tracks: list[Track] = field(default_factory=list)
    tempos: list[Tempo] = field(default_factory=lambda: [Tempo(0.0, DEFAULT_TEMPO)])
    meters: list[Meter] = field(default_factory=lambda: [Meter(0.0, 4, 4)])
    ticks_per_beat: int = 480
    others: list[tuple[float, Any]] = field(default_factory=list)  # key signatures, markers, text
    # What `reading.read_midi` remembers of the file: writing changes there what changed here, and nothing else.
    source: Any = field(default=None, repr=False, compare=False)
    warnings: list[str] = field(default_factory=list, compare=False)  # of reading: what of the file is not here
    remarks: list[str] = field(default_factory=list, compare=False)  # of reading: what was odd, and no damage

    def __setattr__(self, name: str, value: Any) -> None:
        # The sums of `_elapsed` must notice every change of the map, also one in place.
        super().__setattr__(name, _TempoMap(value) if name == 'tempos' else value)

    def copy(self) -> 'Score':
        """A copy whose tracks and maps can be added to; it remembers the same file."""
        tracks = [replace(track, notes=list(track.notes), others=list(track.others)) for track in self.tracks]
        return replace(
            self, tracks=tracks, tempos=list(self.tempos), meters=list(self.meters), others=list(self.others),
            warnings=list(self.warnings), remarks=list(self.remarks),
        )  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write the score as a Standard MIDI File; nothing half-written is left. See `reading.write_midi`.

        Raises
        ------
        GenaudioError
            If the file cannot be written.
        """
        from genaudio_core.score.reading import write_midi  # it is built on this module

        write_midi(self, path)

    @property
    def n_notes(self) -> int:
        """Number of notes on all tracks."""
        return sum(len(track.notes) for track in self.tracks)

    @property
    def end(self) -> float:
        """Beat at which the last note ends; 0 without notes."""
        return max((note.beat + note.duration for track in self.tracks for note in track.notes), default=0.0)

    @property
    def instruments(self) -> list[str]:
        """Instrument classes that have notes, in the order of the encoding."""
        names = {track.instrument for track in self.tracks if track.notes and track.instrument}
        return sorted(names, key=instrument_code)

    def seconds_at(self, beat: float) -> float:
        """Seconds from the start of the score to `beat`."""
        beats, seconds = self._elapsed()
        # At a change of tempo the entry before it is asked: it says the same, to the last bit, as its own end.
        i = max(bisect.bisect_left(beats, beat) - 1, 0)
        return seconds[i] + (beat - beats[i]) * 60 / self.tempos[i].tempo

    def beat_at(self, seconds: float) -> float:
        """Beat reached `seconds` after the start of the score; the inverse of `seconds_at`."""
        beats, elapsed = self._elapsed()
        i = max(bisect.bisect_left(elapsed, seconds) - 1, 0)
        return beats[i] + (seconds - elapsed[i]) * self.tempos[i].tempo / 60

    def _elapsed(self) -> tuple[list[float], list[float]]:
        """Beat of every entry of the tempo map, and the seconds up to it; computed once for a map."""
        tempos: _TempoMap = self.tempos  # type: ignore[assignment]
        if tempos.elapsed is None:
            seconds = [0.0]
            for before, after in itertools.pairwise(tempos):
                seconds.append(seconds[-1] + (after.beat - before.beat) * 60 / before.tempo)
            tempos.elapsed = [tempo.beat for tempo in tempos], seconds
        return tempos.elapsed

    def meter_at(self, beat: float) -> Meter:
        """The meter in force at `beat`."""
        return self.meters[max(bisect.bisect_right(self.meters, beat, key=_beat) - 1, 0)]

    def bar_start(self, beat: float) -> float:
        """Beat of the bar line at or before `beat`."""
        meter = self.meter_at(beat)
        # A hair of tolerance: 3 * (1/3) must count as being on the line.
        return meter.beat + math.floor((beat - meter.beat) / meter.bar_length + 1e-9) * meter.bar_length

    def next_bar(self, beat: float) -> float:
        """Beat of the first bar line at or after `beat`."""
        start = self.bar_start(beat)
        if beat - start < 1e-6:
            return start
        line = start + self.meter_at(beat).bar_length
        # A meter change ends the bar before it (that is how files write a pick-up).
        i = bisect.bisect_left(self.meters, beat, key=_beat)
        return min(line, self.meters[i].beat) if i < len(self.meters) else line

    def tempo_at(self, beat: float) -> float:
        """Tempo (BPM) in force at `beat`."""
        return self.tempos[max(bisect.bisect_right(self.tempos, beat, key=_beat) - 1, 0)].tempo
