"""Beats against time, as a straight line."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """Beats against time: a straight line through (`time`, `beat`) with slope `tempo`.

    The transport only ever looks a little ahead, so one line is the whole tempo map: at a tempo change a new
    line begins where the old one is.
    """

    time: float  # seconds on the bridge clock
    beat: float  # quarter notes
    tempo: float  # quarter notes a minute

    def beat_at(self, time: float) -> float:
        """Beat (quarter notes) at `time` (seconds)."""
        return self.beat + (time - self.time) * self.tempo / 60

    def time_at(self, beat: float) -> float:
        """Bridge time (seconds) of a beat (quarter notes)."""
        return self.time + (beat - self.beat) * 60 / self.tempo

    def bent(self, time: float, tempo: float) -> 'Line':
        """Return the line that goes on from here at `time` with another tempo."""
        return Line(time, self.beat_at(time), tempo)
