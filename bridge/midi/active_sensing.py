"""Active sensing: a keyboard that says several times a second that it is there, and then says nothing, is gone.

Where the port belongs to an interface (a keyboard on a DIN cable, say), it stays when the cable is pulled or the
keyboard is switched off: only this tells that no note-off will come any more. By MIDI 1.0 it counts for inputs on
which active sensing has come once.
"""

ACTIVE_SENSING, RESET = 0xFE, 0xFF
SILENCE = 0.6  # seconds without a message; the standard says 0.3, a busy machine hands them over late


class Sensing:
    """Keeps the time of the last message of each input that senses. Times are bridge times in seconds."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}  # input -> time of its last message

    def hear(self, source: int, chunk: bytes, time: float) -> None:
        """Take what came on input `source`."""
        if ACTIVE_SENSING in chunk or source in self._last:
            self._last[source] = time

    def gone(self, now: float) -> list[int]:
        """Return inputs that have fallen silent since the last call."""
        gone = [source for source, last in self._last.items() if now - last > SILENCE]
        for source in gone:
            del self._last[source]
        return gone

    def forget(self, source: int) -> None:
        """The port of `source` is gone, and known to be."""
        self._last.pop(source, None)
