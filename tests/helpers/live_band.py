"""A band on a simulated clock, for the tests of the live side."""

from collections.abc import Callable, Iterable

from bridge.live.rehearsal import Timed, clock_part, simulate
from bridge.live.session import Session
from bridge.midi import messages
from bridge.midi.sender import SimulatedSender
from bridge.musicians.musician_process import SimulatedEngine
from bridge.musicians.rule_musician import FallbackMusician
from bridge.settings.band_preset import Preset, parse_preset
from bridge.system.clock import SimulatedClock
from bridge.transport.transport import Leader
from genaudio_core.arranging.part_model import PartModel


def preset(mode: str = 'respond', parts: Iterable[dict] = ({'instrument': 'piano'},), **values) -> Preset:
    """Make a preset; keyword `music__density` means 'music.density'."""
    changes = {name.replace('__', '.'): value for name, value in values.items()}
    return parse_preset({'player': {'mode': mode}, 'parts': list(parts)}, changes=changes)


class Stage:
    """A session with a simulated clock, sender and engine; `play` runs it."""

    def __init__(
        self, chosen: Preset | None = None, delay: Callable | float = 0.004, *, keep: bool = True,
        leader: Leader | None = None, n_outputs: int = 4, arranger: PartModel | None = None,
    ) -> None:  # fmt: skip
        self.clock = SimulatedClock()
        self.said: list[str] = []
        self.sender = SimulatedSender(self.clock, n_outputs, keep=keep)
        self.engine = SimulatedEngine(FallbackMusician(), self.clock, delay)
        self.session = Session(
            chosen or preset(), self.clock, self.sender, self.engine, leader=leader, notify=self.said.append,
            horizon=0.03, arranger=arranger,
        )  # fmt: skip

    def play(self, score: Iterable[Timed], until: float, source: int = 0) -> None:
        """Feed timed messages and let the clock run to `until` seconds."""
        simulate(self.session, self.clock, self.sender, score, until, source)

    def notes(self) -> list[tuple[float, int, int, int]]:
        """Note-ons sent: (time, output, channel, note)."""
        return [(t, o, m[0] & 15, m[1]) for t, o, m in self.sender.sent if m[0] & 0xF0 == 0x90 and m[2]]


def clock_ticks(start: float, beats: float, tempo: float = 120.0, **options) -> list[Timed]:
    return clock_part(start, beats, tempo, **options)


def phrase(
    start: float, tempo: float = 120.0, notes=((0, 60), (1, 64), (2, 67), (3, 72)), length: float = 0.9
) -> list[Timed]:
    """Notes (beat, note) as key events from `start` seconds on."""
    second = 60 / tempo
    played = []
    for beat, note in notes:
        played.append((start + beat * second, messages.note_on(0, note, 90)))
        played.append((start + (beat + length) * second, messages.note_off(0, note)))
    return played


def check_no_hanging(sent: list[tuple[float, int, bytes]]) -> None:
    """Every note-on is followed by its note-off, and no key is struck twice without one between."""
    sounding: dict[tuple[int, int, int], float] = {}
    for time, output, message in sent:
        kind, key = message[0] & 0xF0, (output, message[0] & 15, message[1] if len(message) > 1 else 0)
        if kind == 0x90 and message[2]:
            assert key not in sounding, f'{key} struck twice at {time}'
            sounding[key] = time
        elif kind in (0x80, 0x90):
            sounding.pop(key, None)
    assert not sounding, f'hanging: {sounding}'
