"""Arrange: what you play is spread over the instruments, note by note, the moment you play it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bridge.band.mode import Band, BaseMode
from bridge.band.note_output import TOGETHER
from bridge.midi.messages import NoteOff, NoteOn
from bridge.musicians.harmony import fold
from bridge.settings.voice import PartVoice
from genaudio_core.arranging.assigning import Costs, Lines, log_shares
from genaudio_core.arranging.live_parts import LiveParts
from genaudio_core.files import presets_dir
from genaudio_core.score.drum_parts import DRUM_CHANNEL
from genaudio_core.score.instruments import DRUMS, FAMILY, RANGE

if TYPE_CHECKING:
    from genaudio_core.arranging.part_model import PartModel

BUNDLED = 'arranger.onnx'
DEADLINE = 0.005  # seconds that a note may wait for the model; on a simulated clock none does
LATE = 3  # notes in a row that did, after which the rules play on
OCTAVE = 3.0  # nats that a note in another octave costs
COSTS = Costs(chord=6.0)  # a second note of a chord goes to a solo part when all have one


def make_arranger(model: str) -> 'PartModel | None':
    """Load the model that tells parts; to be called before the music, also where the mode may become 'arrange' later.

    Loading it beside the music would hold up the interpreter for some 45 ms, which is when notes are late. None where
    the band plays by rules: on purpose (`model` is 'rules'), or because there is no such file.
    """
    path = presets_dir() / 'models' / BUNDLED
    if model == 'rules' or not path.is_file():
        return None
    from genaudio_core.arranging.part_model import PartModel  # loads the model runtime

    return PartModel.load(path, provider='cpu')


@dataclass
class _Line:
    """The last note that a part played: lines move by small steps."""

    voice: PartVoice
    low: int
    high: int
    last: int
    busy_until: float = -1e9


class Arrange(BaseMode):
    """Gives each note to the part that a learned model wants it on, as far as the part can play it.

    The model hears what is known when a key goes down: the notes before it and which of them still sound. No two notes
    of a chord go to one solo part, as long as there are parts enough; what a solo part still holds makes way for its
    next note (`NoteOutput.make_way`); a note outside every range is moved by octaves.
    Without a model, or with one that is late, rules decide: the part whose range and last note lie nearest.
    """

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.state = 'arranging'
        self._rules = _Rules([voice for voice in band.voices if voice.instrument != DRUMS])
        self._drums = next((voice for voice in band.voices if voice.instrument == DRUMS), None)
        self._learned: _Learned | None = None
        self._late = 0  # notes in a row
        if band.arranger is not None and self._rules.lines:
            self._learned = _Learned(band, [line.voice for line in self._rules.lines])

    def place(self, event: NoteOn) -> tuple[PartVoice, int] | None:
        if event.channel == DRUM_CHANNEL and self._drums is not None:
            return self._drums, event.note
        if self._learned is None:
            return self._rules.place(event)
        began = self.band.clock.now()
        placed = self._learned.place(event)
        self._late = self._late + 1 if self.band.clock.now() - began > DEADLINE else 0
        if self._late >= LATE:
            self._learned, self.state = None, 'arranging by rules'
        return placed

    def on_note_off(self, event: NoteOff, beat: float) -> None:
        if self._learned is not None:
            self._learned.let_go(event)


class _Learned:
    """The model's choice, note by note."""

    def __init__(self, band: Band, voices: list[PartVoice]) -> None:
        self._band, self._voices = band, voices
        names = [voice.instrument for voice in voices]
        assert band.arranger is not None
        self._parts = LiveParts(band.arranger, names)
        self._lines = Lines(names, COSTS, exact=True)
        self._playing: dict[tuple[int, int], list[tuple[int, int]]] = {}  # key -> part and note that it sounds
        self._time = self._chord = -1e9  # bridge time of the last event, and of the chord that keys may belong to
        self._beat = 0.0  # beats from the first note on, which stand still as little as the player does

    def _onset(self, time_: float) -> float:
        self._beat += max(time_ - self._time, 0.0) * self._band.transport.tempo / 60 if self._time > -1e8 else 0.0
        self._time = max(time_, self._time)
        return self._beat

    def place(self, event: NoteOn) -> tuple[PartVoice, int]:
        if event.time - self._chord > TOGETHER:
            self._onset(event.time)
            self._chord = event.time
        onset = self._beat
        phase = self._band.transport.beat_at(event.time) % 1.0
        nats = -log_shares(self._parts.key_down(onset, event.note, phase)[None])[0]
        lines = self._lines
        notes = [fold(event.note, int(low), int(high)) for low, high in zip(lines.low, lines.high, strict=True)]
        costs = {note: lines.costs_of(note, onset)[0] for note in set(notes)}
        total = np.array([costs[note][i] for i, note in enumerate(notes)]) + nats
        total += OCTAVE * np.abs(np.array(notes) - event.note) / 12
        if not np.isfinite(total).any():  # more keys than there are hands: the likeliest takes one more
            total = nats + np.abs(np.array(notes) - event.note)
        part = int(total.argmin())
        lines.make_way(part, onset)
        lines.take(np.zeros(1, np.int64), np.array([part]), notes[part], onset, np.inf)
        self._playing.setdefault((event.channel, event.note), []).append((part, notes[part]))
        return self._voices[part], notes[part]

    def let_go(self, event: NoteOff) -> None:
        playing = self._playing.get((event.channel, event.note))
        if playing:
            onset = self._onset(event.time)
            self._chord = -1e9 if event.time - self._chord > TOGETHER else self._chord
            part, note = playing.pop(0)
            self._lines.release(part, note, onset)
            self._parts.key_up(onset, event.note)


class _Rules:
    """The part whose range and last note lie nearest; no two notes of a chord to one solo part.

    Chordal parts (keys, ensembles, guitars) may take several. Outside every range, the note is moved by octaves.
    """

    def __init__(self, voices: list[PartVoice]) -> None:
        self.lines = []
        for voice in voices:
            low, high = RANGE[voice.instrument]
            self.lines.append(_Line(voice, low, high, (low + high) // 2))

    def place(self, event: NoteOn) -> tuple[PartVoice, int] | None:
        best: tuple[float, _Line, int] | None = None
        for line in self.lines:
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
