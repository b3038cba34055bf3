"""Arrange: what you play is spread over the instruments, note by note, the moment you play it."""

from dataclasses import dataclass

from bridge.band.mode import Band, BaseMode
from bridge.midi.messages import NoteOn
from bridge.musicians.harmony import fold
from bridge.settings.voice import PartVoice
from genaudio_core.score.drum_parts import DRUM_CHANNEL
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE

TOGETHER = 0.03  # seconds within which keys count as one chord


@dataclass
class _Line:
    """The last note that a part played: lines move by small steps."""

    voice: PartVoice
    low: int
    high: int
    last: int
    busy_until: float = -1e9


class Arrange(BaseMode):
    """Gives each note to the part whose range and last note lie nearest; no two notes of a chord to one solo part.

    Chordal parts (keys, ensembles, guitars) may take several. Outside every range, the note is moved by octaves.
    """

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'arranging'
        self._lines = []
        for voice in band.voices:
            if voice.instrument != DRUMS:
                low, high = RANGE[voice.instrument]
                self._lines.append(_Line(voice, low, high, (low + high) // 2))
        self._drums = next((voice for voice in band.voices if voice.instrument == DRUMS), None)

    def place(self, event: NoteOn) -> tuple[PartVoice, int] | None:
        if event.channel == DRUM_CHANNEL and self._drums is not None:
            return self._drums, event.note
        best: tuple[float, _Line, int] | None = None
        for line in self._lines:
            note = fold(event.note, line.low, line.high)
            cost = abs(note - line.last) + 2 * abs(note - event.note)
            solo = FAMILY[line.voice.instrument] not in ('keys', 'ensemble', 'guitar', 'organ', 'mallets', 'synth')
            if solo and event.time < line.busy_until:
                cost += 40
            if best is None or cost < best[0]:
                best = (cost, line, note)
        if best is None:
            return None
        _, line, note = best
        line.last = note
        line.busy_until = event.time + TOGETHER
        return line.voice, note
