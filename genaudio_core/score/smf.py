"""Standard MIDI Files as events, byte for byte: the one reader and writer of the format in this house.

What a person's file holds must come out of us as it went in. A general library interprets where we only carry: mido
refuses a file for an unknown chunk, a short meta event or a missing byte at its end, reads one track too few where the
header promises too few, and takes the continued packets of a system exclusive message for whole ones. So the bytes are
read here, once; messages with names are made of them in `genaudio_core.score.reading`, by mido.

Damage costs what is damaged: everything that can be read is read, and `File.faults` says in words what could not.
What is whole and means nothing (a tempo of 0) is counted beside it.
"""

import re
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from genaudio_core.errors import GenaudioError

META, SYSEX, SYSEX_MORE = 0xFF, 0xF0, 0xF7
TEXT, TRACK_NAME, INSTRUMENT_NAME, CHANNEL_PREFIX, PORT = 0x01, 0x03, 0x04, 0x20, 0x21
END_OF_TRACK, TEMPO, METER = 0x2F, 0x51, 0x58
LONGEST_DELTA = 0x0FFFFFFF  # ticks; four bytes of seven bits
LAST_TICK = 1 << 40  # that an event may have; a thousand years at any tempo

# Data bytes behind a status byte: of channel messages by their upper half, of system messages by the whole byte.
_CHANNEL_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
_SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF4: 0, 0xF5: 0, 0xF6: 0,
                 0xF8: 0, 0xF9: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFD: 0, 0xFE: 0}  # fmt: skip
_CHUNK_NAME = re.compile(rb'[A-Za-z][A-Za-z0-9 _]{3}')


class Event(NamedTuple):
    """One event of a track."""

    tick: int  # from the start of its track
    data: bytes  # status byte first; FF, type, payload of a meta event; F0 or F7, payload: lengths are not in it


@dataclass
class TrackChunk:
    """The events of one track, in the order of the file, without its end."""

    events: list[Event] = field(default_factory=list)
    end: int = 0  # tick at which it ends; not before its last event
    nonsense: int = 0  # as in `File`
    clipped: int = 0


@dataclass
class File:
    """A whole file. `division` is the 16 bit number of the header; see `ticks_per_beat` and `ticks_per_second`."""

    format: int = 1  # 0: one track, 1: tracks that play together, 2: tracks that are pieces of their own
    division: int = 480
    tracks: list[TrackChunk] = field(default_factory=list)
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)  # (name, bytes) of chunks that are no tracks
    faults: list[str] = field(default_factory=list)  # what could not be read, each a part of a sentence
    nonsense: int = 0  # meta events that are left out because they cannot mean what their type says
    clipped: int = 0  # events with data bytes over 127, which are read as 127

    @property
    def ticks_per_beat(self) -> int:
        """Ticks to the quarter note; 0 where ticks are parts of a second."""
        return self.division if self.division < 0x8000 else 0

    @property
    def ticks_per_second(self) -> float:
        """Ticks to the second of an SMPTE time base."""
        frames = 256 - (self.division >> 8)
        return (29.97 if frames == 29 else frames) * max(self.division & 0xFF, 1)


def is_sound(meta: bytes) -> bool:
    """Whether a meta event (type, payload) can mean what its type says; types without a fixed form always can."""
    kind, payload = meta[0], meta[1:]
    if kind in (CHANNEL_PREFIX, PORT):
        return len(payload) == 1 and (kind == PORT or payload[0] < 16)
    if kind == TEMPO:
        return len(payload) == 3 and any(payload)
    if kind == METER:  # of 1/1 to 255/64: what is shorter is no bar
        return len(payload) == 4 and payload[0] > 0 and payload[1] <= 6
    if kind == 0x59:  # key: up to seven flats or sharps; major or minor
        return len(payload) == 2 and (payload[0] <= 7 or payload[0] >= 249) and payload[1] <= 1
    if kind == 0x54:  # SMPTE offset
        return len(payload) == 5
    return len(payload) in (0, 2) if kind == 0x00 else True  # sequence number


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(data: bytes, name: str = 'The MIDI data') -> File:
    """Read the bytes of a file; one wrapped in RIFF (RMID) is unwrapped. `name` is for messages.

    Raises
    ------
    GenaudioError
        If these are not the bytes of a MIDI file, or nothing of it can be read.
    """
    if not data:
        raise GenaudioError(f'{name} is empty.')
    wrapping: list[str] = []
    if data[:4] == b'RIFF' and data[8:12] == b'RMID':
        data, wrapping = _unwrapped(data)
    if data[:4] != b'MThd':
        raise GenaudioError(f'{name} is not a MIDI file.')
    if len(data) < 14:
        raise GenaudioError(f'{name} is truncated: it ends in the middle of its header.')
    length, kind, promised, division = struct.unpack('>IHHH', data[4:14])
    if length < 6:
        raise GenaudioError(f'{name} is a damaged MIDI file (its header has {length} bytes, not 6).')
    if kind > 2:
        raise GenaudioError(f'{name} says it is a MIDI file of type {kind}; known are 0, 1 and 2.')
    if not division:
        raise GenaudioError(f'{name} is a damaged MIDI file (its time base is zero).')
    file = File(kind, division)
    if wrapping:
        file.faults.append(f'chunks around it ({", ".join(wrapping)}) are left out')
    if 8 + length > len(data):
        file.faults.append('its header breaks off')
    _read_chunks(data, 8 + length, file)
    if len(file.tracks) < promised:
        if not file.tracks:
            s = '' if promised == 1 else 's'
            raise GenaudioError(f'{name} is truncated: its header promises {promised} track{s}, but none is there.')
        missing = promised - len(file.tracks)
        file.faults.append(f'it is truncated: {missing} of {promised} tracks {"is" if missing == 1 else "are"} missing')
    if kind == 0 and len(file.tracks) > 1:
        file.format = 1
    return file


def _unwrapped(data: bytes) -> tuple[bytes, list[str]]:
    """The MIDI file inside a RIFF file, and the names of what else is in there (sounds, words about it)."""
    at, found, others = 12, b'', []
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], 'little')
        if name == b'data':
            found = data[at + 8 : at + 8 + length]
        elif length:
            others.append(name.decode('latin-1').strip() if name.isalnum() else '?')
        at += 8 + length + length % 2
    return found or data[max(data.find(b'MThd'), 0) :], others


def _read_chunks(data: bytes, at: int, file: File) -> None:
    while at < len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], 'big')
        begin = at + 8
        if name == b'MTrk' and begin <= len(data):
            at = _read_track(data, begin, length, file)
        elif _CHUNK_NAME.fullmatch(name) and begin + length <= len(data):
            file.chunks.append((name, data[begin : begin + length]))
            at = begin + length
        else:
            # Neither a track nor another chunk: rubbish, or a length that lied. The next track is looked for.
            following = data.find(b'MTrk', at + 1)
            stop = following if following >= 0 else len(data)
            if data[at:stop].strip(b'\0'):  # zeros at the end are padding
                file.faults.append(f'{stop - at} bytes are not part of it')
            at = stop


def _read_track(data: bytes, begin: int, length: int, file: File) -> int:
    """Add the track whose events begin at `begin`; return where the next chunk begins."""
    end = begin + length
    number = len(file.tracks) + 1
    track, at, fault = _read_events(data, begin, min(end, len(data)))
    follows = end == len(data) or _CHUNK_NAME.fullmatch(data[end : end + 4])
    if fault is None and data[at : at + 4] == b'MTrk':
        end = at  # the length said more than there is
    elif fault is not None and end < len(data) and not follows:
        again, further, worse = _read_events(data, begin, len(data))
        if worse is None:  # it said less
            track, at, end, fault = again, further, further, None
    if fault is None:
        end = min(end, len(data))
    file.tracks.append(track)
    file.nonsense += track.nonsense
    file.clipped += track.clipped
    if fault is not None and (fault or end > len(data)):
        where = '' if not file.ticks_per_beat else f' at beat {track.end / file.ticks_per_beat:.4g}'
        if end > len(data):
            file.faults.append(f'it is truncated: track {number} breaks off{where}')
        else:
            file.faults.append(f'track {number} is damaged{where} ({fault}), and read up to there')
    elif data[at:end].strip(b'\0') and fault is None:
        file.faults.append(f'{end - at} bytes after the end of track {number} are left out')
    return min(max(end, at), len(data))


def _read_events(data: bytes, at: int, end: int) -> tuple[TrackChunk, int, str | None]:
    """Read events up to an end of track: (track, where reading stopped, fault).

    The fault is None where the end of track was met, and empty where it is all that is missing.
    """
    track, tick, running = TrackChunk(), 0, 0
    events = track.events
    good = at  # behind the last whole event
    try:
        while at < end:
            byte = data[at]
            at += 1
            if byte < 128:
                tick += byte
            else:
                delta = byte & 127
                while byte > 127:
                    byte = data[at]
                    at += 1
                    delta = delta << 7 | byte & 127
                if delta > LONGEST_DELTA:
                    track.end = tick
                    return track, good, f'the wait before byte {at} is longer than a wait can be'
                tick += delta
            status = data[at]
            if status < 128:
                if not running:
                    track.end = events[-1].tick if events else 0
                    return track, good, f'byte {at} begins no event'
                status = running
            else:
                at += 1
            if status < 0xF0:
                running = status
                stop = at + _CHANNEL_BYTES[status & 0xF0]
                payload = data[at:stop]
                if stop > end:
                    break
                if not payload.isascii():  # over 127: as near as a data byte comes
                    payload = bytes(min(value, 127) for value in payload)
                    track.clipped += 1
                events.append(Event(tick, bytes((status,)) + payload))
                at = good = stop
                continue
            if status in _SYSTEM_BYTES:
                stop = at + _SYSTEM_BYTES[status]
                if stop > end:
                    break
                events.append(Event(tick, data[at - 1 : stop]))
                at = good = stop
                continue
            head = data[at - 1 : at + (status == META)]
            at += status == META
            size = 0
            while True:
                byte = data[at]
                at += 1
                size = size << 7 | byte & 127
                if byte < 128:
                    break
            if at + size > end:
                break
            if status == META and head[1] == END_OF_TRACK:
                track.end = tick
                return track, at + size, None
            if status != META or is_sound(head[1:] + data[at : at + size]):
                events.append(Event(tick, head + data[at : at + size]))
            else:
                track.nonsense += 1
            at += size
            good = at
    except IndexError:  # the file ends here
        at = end + 1
    track.end = events[-1].tick if events else 0
    return track, good, '' if good == end else 'its last event is cut off'


# --- writing ---------------------------------------------------------------------------------------------------------


def build(file: File) -> bytes:
    """Return the bytes of a file. Chunks that are not tracks follow the tracks, where no reader trips over them.

    Events that are not in the order of their ticks are put into it; those of one tick keep theirs.

    Raises
    ------
    GenaudioError
        If the tick of an event is negative, or over `LAST_TICK`.
    """
    parts = [b'MThd', struct.pack('>IHHH', 6, file.format, len(file.tracks), file.division)]
    for track in file.tracks:
        body = bytearray()
        now = 0
        for tick, data in sorted(track.events, key=lambda event: event[0]):
            if not 0 <= tick <= LAST_TICK:
                raise GenaudioError(f'An event at tick {tick} cannot be written (0 to {LAST_TICK}).')
            while tick - now > LONGEST_DELTA:  # an empty text breaks a wait that is too long to be written
                body += _variable(LONGEST_DELTA) + bytes((META, TEXT, 0))
                now += LONGEST_DELTA
            body += _variable(tick - now)
            now = tick
            if data[0] == META:
                body += data[:2] + _variable(len(data) - 2) + data[2:]
            elif data[0] in (SYSEX, SYSEX_MORE):
                body += data[:1] + _variable(len(data) - 1) + data[1:]
            else:
                body += data
        body += _variable(min(max(track.end - now, 0), LONGEST_DELTA)) + bytes((META, END_OF_TRACK, 0))
        parts += [b'MTrk', struct.pack('>I', len(body)), bytes(body)]
    for name, content in file.chunks:
        parts += [name, struct.pack('>I', len(content)), content]
    return b''.join(parts)


def _variable(number: int) -> bytes:
    """A number in bytes of seven bits, most significant first, all but the last with their upper bit set."""
    result = [number & 127]
    while number := number >> 7:
        result.append(number & 127 | 128)
    return bytes(reversed(result))
