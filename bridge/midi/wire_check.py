"""An independent look at the wire: no key struck twice without an end between, nothing that sounds when it must not.

`WireCheck` knows nothing of sessions, owners or plans, only the messages that really left, in their order. The
benches, the chaos run and the tests feed it; what it counts cannot be hidden by a fault in what it checks.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from bridge.midi.messages import SUSTAIN

Key = tuple[int, int, int]  # output, channel 0..15, note 0..127


@dataclass(frozen=True, slots=True)
class WireFault:
    """A key that was struck twice, or that sounded when it must not."""

    kind: Literal['struck twice', 'hung']
    time: float  # seconds on the caller's clock, when it was noticed
    key: Key
    since: float  # seconds, when the key was struck

    def __str__(self) -> str:
        output, channel, note = self.key
        where = f'output {output}, channel {channel}, note {note}'
        return f'{self.kind} at {self.time:.3f} s: {where}, on since {self.since:.3f} s'


@dataclass
class WireCheck:
    """Follows what left on the wire. Feed it only what was delivered; not thread-safe.

    Example
    -------
    >>> check = WireCheck()
    >>> sender.on_send = check.feed  # or check.feed(time, output, message) for each message, in the order of sending
    >>> check.must_be_quiet(12.0)  # a panic was 0.5 s ago: whatever still sounds is counted as hung
    >>> check.finish(60.0)  # after the end
    >>> check.hung_notes, check.struck_twice
    (0, 0)

    Only note-offs (and note-ons of velocity 0) end a note: many synthesizers ignore CC 120 and 123. A key let go while
    the pedal (CC 64) is down sounds until the pedal comes up, so a pedal left down shows as hung notes, too.
    """

    hung_notes: int = 0  # notes that sounded after they should have ended, each counted once
    struck_twice: int = 0  # note-ons for a key that was down already
    faults: list[WireFault] = field(default_factory=list)
    _down: dict[Key, float] = field(default_factory=dict)  # key -> time of the note-on
    _sustained: dict[Key, float] = field(default_factory=dict)  # let go, but the pedal holds it
    _pedals: set[tuple[int, int]] = field(default_factory=set)  # (output, channel)
    _counted: set[Key] = field(default_factory=set)  # hung already, until it ends

    def feed(self, time: float, output: int, message: bytes) -> None:
        """Take one whole MIDI message as it leaves; `time` in seconds, any clock, only for the report."""
        kind, channel = message[0] & 0xF0, message[0] & 15
        if kind in (0x80, 0x90):
            key = (output, channel, message[1])
            if kind == 0x90 and message[2]:
                if key in self._down:
                    self.struck_twice += 1
                    self.faults.append(WireFault('struck twice', time, key, self._down[key]))
                self._sustained.pop(key, None)
                self._down[key] = time
                self._counted.discard(key)
            elif key in self._down:
                since = self._down.pop(key)
                if (output, channel) in self._pedals:
                    self._sustained[key] = since
                else:
                    self._counted.discard(key)
        elif kind == 0xB0 and message[1] == SUSTAIN:
            if message[2] >= 64:
                self._pedals.add((output, channel))
            else:
                self._pedals.discard((output, channel))
                for key in [key for key in self._sustained if key[:2] == (output, channel)]:
                    del self._sustained[key]
                    self._counted.discard(key)

    def feed_all(self, stream: Iterable[tuple[float, int, bytes]]) -> 'WireCheck':
        """Take (time, output, message) in the order of sending; returns itself."""
        for time, output, message in stream:
            self.feed(time, output, message)
        return self

    def forget(self, output: int) -> None:
        """Another synthesizer is behind `output` now, or the old one was reset: nothing sounds there."""
        for notes in (self._down, self._sustained):
            for key in [key for key in notes if key[0] == output]:
                del notes[key]
                self._counted.discard(key)
        self._pedals = {place for place in self._pedals if place[0] != output}

    @property
    def sounding(self) -> dict[Key, float]:
        """The notes that sound now, pedal included: key -> time of its note-on."""
        return {**self._sustained, **self._down}

    @property
    def down(self) -> dict[Key, float]:
        """Keys that are down now, whatever the pedal does: key -> time of the note-on."""
        return dict(self._down)

    @property
    def pedals(self) -> set[tuple[int, int]]:
        """(output, channel) whose pedal is down."""
        return set(self._pedals)

    def must_be_quiet(
        self, time: float, *, outputs: Collection[int] | None = None, allowed: Collection[Key] = ()
    ) -> list[Key]:
        """Say that at `time` nothing may sound but `allowed`; count as hung, and return, what does.

        Parameters
        ----------
        outputs : which outputs are meant; None: all
        """
        hung = [key for key in self.sounding if key not in allowed and (outputs is None or key[0] in outputs)]
        self._count(time, hung)
        return hung

    def none_longer_than(self, seconds: float, time: float) -> list[Key]:
        """Count as hung, and return, what at `time` has sounded for more than `seconds`."""
        hung = [key for key, since in self.sounding.items() if time - since > seconds]
        self._count(time, hung)
        return hung

    def finish(self, time: float) -> 'WireCheck':
        """The music is over: whatever sounds now is hung. Returns itself."""
        self.must_be_quiet(time)
        return self

    def _count(self, time: float, keys: Iterable[Key]) -> None:
        sounding = self.sounding
        for key in keys:
            if key not in self._counted:
                self._counted.add(key)
                self.hung_notes += 1
                self.faults.append(WireFault('hung', time, key, sounding[key]))
