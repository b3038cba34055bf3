"""Keys whose end may have been lost: those that were down when messages of their input were lost.

JACK keeps nothing for a client that misses a cycle, so a note-off that came in that cycle never comes. Nobody can know
whether there was one. A key that was down then is in doubt until there is a sign of it: its note-off, its pressure
(aftertouch), or that it is struck again. Without a sign it is let go, late rather than never. How late is measured by
the player: one who holds chords for long waits long before a chord counts as forgotten, one who plays runs does not.
"""

from collections import deque
from dataclasses import dataclass

from bridge.midi.input_queue import ends_a_note, starts_a_note
from bridge.midi.messages import ENDS_NOTES, SUSTAIN, Control, NoteOff

SHORTEST, LONGEST = 5.0, 30.0  # seconds in doubt after which a key counts as let go: bounds of what the player sets
TIMES = 2.0  # ... as a multiple of the longest time that the player held anything lately
LATELY = 32  # keys
PEDAL = -1  # in place of a note

_Place = tuple[int, int]  # (channel, note or `PEDAL`)


@dataclass(slots=True)
class _Down:
    since: float
    lost_at: float | None = None  # when its end may have been lost; None: it is surely down
    until: float = 0.0  # when it counts as let go


class DoubtfulKeys:
    """Follows keys and sustain pedals of each input. Times are bridge times in seconds; for the session's thread."""

    def __init__(self) -> None:
        self._down: dict[int, dict[_Place, _Down]] = {}  # input ->
        self._held: dict[int, deque[float]] = {}  # input -> seconds that keys were held

    def lost(self, source: int, time: float) -> None:
        """Messages of input `source` were lost before `time`: all that is down there is in doubt from now on."""
        held = self._held.get(source, ())
        for down in self._down.get(source, {}).values():
            if down.lost_at is None:
                usual = TIMES * max((*held, time - down.since))
                down.lost_at, down.until = time, time + min(max(usual, SHORTEST), LONGEST)

    def hear(self, source: int, message: bytes, time: float) -> None:
        """Take a whole message of input `source`."""
        kind, channel = message[0] & 0xF0, message[0] & 15
        keys = self._down.setdefault(source, {})
        if starts_a_note(message):
            keys[channel, message[1]] = _Down(time)
        elif kind == 0xB0 and message[1] in ENDS_NOTES:
            for place in [place for place in keys if place[0] == channel]:
                del keys[place]
        elif kind == 0xB0 and message[1] == SUSTAIN and not ends_a_note(message):
            keys[channel, PEDAL] = _Down(time)
        elif kind != 0xF0 and ends_a_note(message):
            place = (channel, PEDAL if kind == 0xB0 else message[1])
            if (down := keys.pop(place, None)) is not None:
                self._held.setdefault(source, deque(maxlen=LATELY)).append(time - down.since)
        elif kind in (0xA0, 0xD0) and message[-1]:
            self._feel(keys, channel, message[1] if kind == 0xA0 else None)

    def _feel(self, keys: dict[_Place, _Down], channel: int, note: int | None) -> None:
        """A key is pressed on: this one, or, where the message tells only the channel, the one that is down there."""
        down = [place for place in keys if place[0] == channel and place[1] != PEDAL]
        if note is None and len(down) == 1:
            note = down[0][1]
        if note is not None and (channel, note) in keys:
            keys[channel, note].lost_at = None

    def gone(self, now: float) -> list[tuple[int, NoteOff | Control]]:
        """Return what counts as let go since the last call: (input, event), at the time when its end may have come."""
        gone: list[tuple[int, NoteOff | Control]] = []
        for source, keys in self._down.items():
            for (channel, note), down in list(keys.items()):
                if down.lost_at is not None and now >= down.until:
                    del keys[channel, note]
                    at = down.lost_at
                    up = Control(at, SUSTAIN, 0, channel) if note == PEDAL else NoteOff(at, note, channel)
                    gone.append((source, up))
        return gone

    def forget(self, source: int) -> None:
        """Nothing is down at input `source` any more."""
        self._down.pop(source, None)
