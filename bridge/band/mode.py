"""The interface between a mode (a way of playing) and the session. All in the session's thread."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bridge.band.answer import Answer
from bridge.band.listener import Listener
from bridge.midi.messages import NoteOff, NoteOn
from bridge.musicians.musician import ChordAt, HeardNote
from bridge.settings.voice import PartVoice
from bridge.system.clock import Clock
from bridge.transport.transport import Transport

if TYPE_CHECKING:
    from genaudio_core.arranging.part_model import PartModel


class Band(Protocol):
    """The session, as a mode may use it."""

    clock: Clock
    transport: Transport
    listener: Listener
    voices: tuple[PartVoice, ...]
    answers: list[Answer]  # not yet over, in order of time
    arranger: 'PartModel | None'  # tells parts in mode arrange; None: rules do

    @property
    def answer(self) -> Answer | None:
        """The answer that plays or is about to."""

    def setting(self, name: str) -> Any:
        """A parameter by its full name."""

    def lead(self) -> float:
        """Seconds from a question to the first note that can be on time."""
        ...

    def ask(
        self, start: float, end: float, role: str = 'continue', *, joins: bool = False, listens: float = 0.0
    ) -> Answer:  # fmt: skip
        """Ask for music in [start, end) session beats.

        `joins`: follow the running answer, do not replace it. `listens`: beats that pitched parts of an accompaniment
        wait for a chord which is only guessed.
        """
        ...

    def drop(self, beat: float, *, release: bool = False) -> None:
        """Take back what is planned from `beat` on; `release` ends what sounds too."""

    def end_by(self, beat: float) -> None:
        """Let everything that the band began before `beat` end there: the harmony changes."""

    def chords(self, start: float, end: float) -> tuple[ChordAt, ...]:
        """The chords to play over in [start, end), by the half bar; empty as long as nobody has played one."""
        ...


class Mode(Protocol):
    """A way of playing. All beats are session beats, all times bridge time."""

    state: str  # one word for the view

    def on_note(self, event: NoteOn, beat: float) -> None:
        """The player strikes a key."""

    def on_note_off(self, event: NoteOff, beat: float) -> None:
        """The player lets go of a key."""

    def place(self, event: NoteOn) -> tuple[PartVoice, int] | None:
        """Part and note (0..127) that a key sounds at once, as long as it is held; None where it sounds nothing."""
        ...

    def on_heard(self, notes: Sequence[HeardNote]) -> None:
        """Notes are complete."""

    def on_stop(self) -> None:
        """The transport stopped, or jumped: the plan is gone."""

    def step(self, now: float, beat: float) -> None:
        """Time passes; called a few hundred times a second."""

    def next_time(self, now: float, beat: float) -> float | None:
        """When `step` has something to decide, if nothing else happens."""


class BaseMode(Mode):
    """A mode that does nothing: the base of the others."""

    state = 'quiet'

    def __init__(self, band: Band) -> None:
        self.band = band

    def on_note(self, event: NoteOn, beat: float) -> None: ...
    def on_note_off(self, event: NoteOff, beat: float) -> None: ...
    def place(self, event: NoteOn) -> tuple[PartVoice, int] | None:
        return None

    def on_heard(self, notes: Sequence[HeardNote]) -> None: ...
    def on_stop(self) -> None: ...
    def step(self, now: float, beat: float) -> None: ...
    def next_time(self, now: float, beat: float) -> float | None:
        return None
