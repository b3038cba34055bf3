"""The way from a session to the plug-in: messages leave ahead of time, and the plug-in plays them on their frames.

A message is stamped with its beat, as the host counts beats: the plug-in alone knows at which frame that will be. So a
tempo that changes after a note has left moves the note with it. What has left cannot be taken back but by a stop or a
jump, at which the plug-in ends what sounds, and drops what waits: it belongs to another turn.
"""

from collections.abc import Callable, Iterable

from bridge.daw.meeting_place import MIDI, Event
from bridge.midi.sender import Message, Outbox, Sender
from bridge.system.clock import Clock
from bridge.transport.host_leader import HostLeader


class HostSender(Sender):
    """Sends to the plug-in what is due within `ahead_s` seconds. For the session's thread.

    Parameters
    ----------
    put : callable
        Hands an event to the plug-in; False if it takes none.
    part_of : callable
        The number of the part (0..) that plays on (output, channel), for its mute.
    """

    def __init__(
        self, clock: Clock, leader: HostLeader, put: Callable[[Event], bool], ahead_s: float,
        part_of: Callable[[int, int], int],
    ) -> None:  # fmt: skip
        self.turn = 0
        self.lost = 0  # messages that the plug-in took none of
        self._clock, self._leader, self._put, self._ahead_s, self._part_of = clock, leader, put, ahead_s, part_of
        self._last = 0.0  # beat of the last message
        self.begin(0)

    def begin(self, turn: int) -> None:
        """The host has started, stopped or jumped: nothing sounds any more, and what waited is of no use."""
        self.turn = turn
        self.outbox = Outbox()
        self.sounding = self.outbox.sounding
        self._last = float('-inf')

    def send_at(self, time: float, output: int, message: bytes, strike: int = 0) -> None:
        self.outbox.put(self._leader.beat_at(time), output, message, strike)

    def run(self) -> None:
        """Let go of what is due soon."""
        for beat, output, message in self.outbox.pop_due(self._leader.beat_at(self._clock.now() + self._ahead_s)):
            self._emit(beat, output, message)

    def release(self, strikes: Iterable[int], then: Iterable[Message] = ()) -> None:
        for output, message in (*self.outbox.release(strikes), *then):
            self._emit(self._leader.beat_at(self._clock.now()), output, message)

    def silence(self, outputs: Iterable[int] | None = None) -> None:
        used = range(self.outbox.n_outputs) if outputs is None else outputs
        for output, message in self.outbox.silence(used):
            self._emit(self._leader.beat_at(self._clock.now()), output, message)

    def complaints(self) -> list[str]:
        return self.outbox.complaints()

    def close(self) -> None:
        self.silence()

    def _emit(self, beat: float, output: int, message: bytes) -> None:
        self.sounding.note(output, message)
        self._last = beat = max(beat, self._last)  # an end comes behind the beginning that has left already
        data = (message + b'\0\0')[:3]
        index = int.from_bytes(data, 'little') | min(self._part_of(output, message[0] & 15), 127) << 24
        self.lost += not self._put(Event(0, MIDI, index, beat, float(self.turn)))
