"""Which notes sound right now, kept where the bytes leave, in memory that survives the process.

One byte per (output, channel, note). With a file behind it (`Sounding.shared`) the supervisor, or
the process that takes over after a crash, still knows what to turn off.
"""

import mmap
from pathlib import Path

from bridge.midi.messages import ALL_NOTES_OFF, SUSTAIN, control, note_off

_NOTES = 16 * 128
MAX_OUTPUTS = 16
_ON = b'\x01'


class Sounding:
    """Tracks note-ons without their note-off on up to `MAX_OUTPUTS` outputs."""

    def __init__(self, buffer: bytearray | mmap.mmap | None = None) -> None:
        self._table = bytearray(MAX_OUTPUTS * (_NOTES + 16)) if buffer is None else buffer

    @classmethod
    def shared(cls, path: str | Path) -> 'Sounding':
        """Map the table onto a file, made if missing: two processes see the same notes."""
        size = MAX_OUTPUTS * (_NOTES + 16)
        with open(path, 'a+b') as file:
            if file.seek(0, 2) < size:
                file.truncate(size)
            return cls(mmap.mmap(file.fileno(), size))

    def note(self, output: int, message: bytes) -> None:
        """Follow one message that has left on `output`. Anything but notes only marks its channel as used."""
        if not 0 <= output < MAX_OUTPUTS:
            raise IndexError(f'output {output} is not in 0..{MAX_OUTPUTS - 1}')
        status = message[0]
        if status >= 0xF0:
            return
        channel = status & 0x0F
        kind = status & 0xF0
        self._table[MAX_OUTPUTS * _NOTES + output * 16 + channel] = 1
        if kind == 0x90 and message[2]:
            self._table[output * _NOTES + channel * 128 + message[1]] = 1
        elif kind in (0x80, 0x90):
            self._table[output * _NOTES + channel * 128 + message[1]] = 0

    def is_on(self, output: int, channel: int, note: int) -> bool:
        """Whether the note sounds."""
        return bool(self._table[output * _NOTES + channel * 128 + note])

    def count(self) -> int:
        """Number of notes that sound on all outputs."""
        return self._table[: MAX_OUTPUTS * _NOTES].count(_ON)

    def ends(self, output: int) -> list[bytes]:
        """Return what ends everything on `output`; what was really sent is told to `note`.

        A note-off for each note that sounds, then sustain up (CC 64 = 0) and all notes off (CC 123) on each channel
        that was used: synthesizers that ignore CC 123 get their note-offs, those that lost a note-on get CC 123.
        """
        start = output * _NOTES
        messages = []
        found = self._table.find(_ON, start, start + _NOTES)
        while found >= 0:
            messages.append(note_off((found - start) >> 7, (found - start) & 127))
            found = self._table.find(_ON, found + 1, start + _NOTES)
        used = MAX_OUTPUTS * _NOTES + output * 16
        for channel in range(16):
            if self._table[used + channel]:
                messages += [control(channel, SUSTAIN, 0), control(channel, ALL_NOTES_OFF, 0)]
        return messages

    def silence(self, output: int) -> list[bytes]:
        """Return what `ends` does, and take it as sent."""
        messages = self.ends(output)
        for message in messages:
            self.note(output, message)
        return messages
