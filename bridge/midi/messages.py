"""MIDI bytes to events and back: the vocabulary of the ports.

Three parts: the events a player can cause (dataclasses, each with its time), `Parser` (bytes in, whole messages
out, whatever arrives), and functions that build the few messages the band sends.
"""

from dataclasses import dataclass

CLOCK, START, CONTINUE, STOP = 0xF8, 0xFA, 0xFB, 0xFC
SONG_POSITION = 0xF2
EXCLUSIVE = 0xF0
SUSTAIN, ALL_SOUND_OFF, RESET_CONTROLLERS, ALL_NOTES_OFF = 64, 120, 121, 123
LONGEST_EXCLUSIVE = 256  # bytes of a system exclusive message that is listened to
ENDS_NOTES = (ALL_SOUND_OFF, *range(ALL_NOTES_OFF, 128))  # controllers: omni, mono and poly end notes, too

# Data bytes that follow each kind of status byte (MIDI 1.0).
_LENGTHS = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2, 0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}


@dataclass(frozen=True, slots=True)
class NoteOn:
    """A key goes down."""

    time: float  # seconds on the bridge clock
    note: int  # 0..127, 60 is middle C
    velocity: int = 64  # 1..127; velocity 0 is read as NoteOff
    channel: int = 0  # 0..15


@dataclass(frozen=True, slots=True)
class NoteOff:
    """A key comes up."""

    time: float
    note: int
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Control:
    """A controller moves."""

    time: float
    control: int  # 0..127
    value: int  # 0..127
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """Another sound is chosen on a channel."""

    time: float
    program: int  # 0..127
    channel: int = 0


@dataclass(frozen=True, slots=True)
class Sync:
    """A transport message: CLOCK, START, CONTINUE, STOP or SONG_POSITION (then `value` counts sixteenths)."""

    time: float
    kind: int
    value: int = 0


@dataclass(frozen=True, slots=True)
class Exclusive:
    """A system exclusive message: to instruments of one make, or universal."""

    time: float
    message: bytes  # from F0 to F7


Event = NoteOn | NoteOff | Control | Program | Sync | Exclusive


class Parser:
    """Cuts a byte stream into MIDI messages; never raises, whatever the bytes.

    Running status is expanded, real-time bytes may stand anywhere, half messages wait for their rest, stray data
    bytes and undefined status bytes are counted in `bad_bytes` and dropped. No library does it:
    mido's parser knows no running status and loses a note that a clock tick interrupts.

    Parameters
    ----------
    exclusive : bool
        Also return system exclusive messages, from F0 to F7, of up to `LONGEST_EXCLUSIVE` bytes.
    """

    def __init__(self, *, exclusive: bool = False) -> None:
        self.bad_bytes = 0
        self._exclusive = bytearray() if exclusive else None
        self._status = 0  # current or running status, 0 for none
        self._data = bytearray()
        self._in_sysex = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the messages that `chunk` completes, without active sensing and longer system exclusive."""
        found: list[bytes] = []
        for byte in chunk:
            if byte >= 0xF8:  # real time: passes through everything
                if byte in (CLOCK, START, CONTINUE, STOP):
                    found.append(bytes((byte,)))
                elif byte in (0xF9, 0xFD):
                    self.bad_bytes += 1
            elif byte >= 0x80:
                self._new_status(byte, found)
            elif self._in_sysex:
                if self._exclusive is not None and len(self._exclusive) < LONGEST_EXCLUSIVE:
                    self._exclusive.append(byte)  # the rest is skipped, however long
            elif self._status:
                self._data.append(byte)
                if len(self._data) == _LENGTHS[self._status if self._status >= 0xF0 else self._status & 0xF0]:
                    found.append(bytes((self._status, *self._data)))
                    self._data.clear()
                    if self._status >= 0xF0:  # system common messages have no running status
                        self._status = 0
            else:
                self.bad_bytes += 1
        return found

    def _new_status(self, byte: int, found: list[bytes]) -> None:
        self.bad_bytes += len(self._data)  # a message cut short by the next one
        self._data.clear()
        if self._exclusive is not None:
            if self._in_sysex and byte == 0xF7 and len(self._exclusive) < LONGEST_EXCLUSIVE - 1:
                found.append(bytes((*self._exclusive, byte)))
            self._exclusive[:] = bytes((EXCLUSIVE,)) if byte == EXCLUSIVE else b''
        self._in_sysex = byte == EXCLUSIVE
        self._status = 0
        if byte < 0xF0 or byte in (0xF1, 0xF2, 0xF3):
            self._status = byte
        elif byte == 0xF6:
            found.append(b'\xf6')
        elif byte in (0xF4, 0xF5):
            self.bad_bytes += 1


def decode(message: bytes, time: float) -> Event | None:
    """Return the event that a whole message means, or None for those that the band has no use for."""
    status = message[0]
    kind, channel = status & 0xF0, status & 0x0F
    if kind == 0x90 and message[2]:
        return NoteOn(time, message[1], message[2], channel)
    if kind in (0x80, 0x90):
        return NoteOff(time, message[1], channel)
    if kind == 0xB0:
        return Control(time, message[1], message[2], channel)
    if kind == 0xC0:
        return Program(time, message[1], channel)
    if status == EXCLUSIVE:
        return Exclusive(time, message)
    if status == SONG_POSITION:
        return Sync(time, SONG_POSITION, message[1] | message[2] << 7)
    if status in (CLOCK, START, CONTINUE, STOP):
        return Sync(time, status)
    return None


def note_on(channel: int, note: int, velocity: int) -> bytes:
    """Return a note-on; channels are 0..15, all else 0..127."""
    return bytes((0x90 | channel, note, velocity))


def note_off(channel: int, note: int) -> bytes:
    """Return a note-off."""
    return bytes((0x80 | channel, note, 0))


def control(channel: int, number: int, value: int) -> bytes:
    """Return a control change."""
    return bytes((0xB0 | channel, number, value))


def program(channel: int, number: int) -> bytes:
    """Return a program change."""
    return bytes((0xC0 | channel, number))


def song_position(sixteenths: int) -> bytes:
    """Return a song position pointer, 0..16383 sixteenths."""
    return bytes((SONG_POSITION, sixteenths & 127, sixteenths >> 7 & 127))
