"""Where plug-in and engine meet: shared memory as `plugin/meeting.hpp` lays it out, lines of JSON, a discovery file.

The plug-in makes the memory and passes its descriptor with its first line, so it has no name and nothing is left of it.
The discovery file ``serve.json`` in `runtime_folder` names the socket of the engine that runs and what it speaks.
"""

import json
import mmap
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bridge.audio.shared_ring import Ring, fence
from genaudio_core.errors import GenaudioError

PROTOCOL = 1  # of lines and discovery file; `PROTOCOL` of plugin/link.hpp
LAYOUT = 1  # of the memory; `LAYOUT` of plugin/meeting.hpp
MAX_LINE = 65536  # bytes
_MAGIC = int.from_bytes(b'1GEAUDIO'[::-1], 'big')
_HEADER_WORDS, _RING_WORDS, _CAPACITY = 64, 8, 1 << 16
_EVENT = np.dtype([('position', '<i8'), ('kind', '<i4'), ('index', '<i4'), ('value', '<f8'), ('more', '<f8')])
SEGMENT, VALUE, START, STOP, TEMPO, METER, MIDI = range(1, 8)  # kinds of events
NONE, READY, FAILED = 0, 1, 2  # of the engine


def runtime_folder() -> Path:
    """The folder where plug-ins look for the engine, made for this user alone; as in plugin/link.cpp.

    Raises
    ------
    GenaudioError
        If somebody else may write there.
    """
    folder = os.environ.get('GENAUDIO_RUNTIME')
    if not folder and (system := os.environ.get('XDG_RUNTIME_DIR')):
        folder = f'{system}/genaudio'
    path = Path(folder or f'/tmp/genaudio-{os.getuid()}')
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        info = path.lstat()
    except OSError as error:
        raise GenaudioError(f'{path}: {error.strerror}. Set GENAUDIO_RUNTIME to a folder of yours.') from None
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o022:
        raise GenaudioError(f'{path} is not a folder of yours alone. Remove it, or set GENAUDIO_RUNTIME to another.')
    return path


def discovery() -> dict[str, Any]:
    """The running engine's description of itself: protocol, version, pid, socket. Empty if none does."""
    try:
        found = json.loads((runtime_folder() / 'serve.json').read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _Part:
    """A part of the mapped memory, as a `Ring` takes it."""

    name = ''

    def __init__(self, memory: mmap.mmap, offset: int):
        self._memory, self._offset = memory, offset

    def array(self, dtype: Any, *shape: int, offset: int = 0) -> np.ndarray:
        return np.ndarray(shape, dtype, self._memory, self._offset + offset)

    def close(self) -> None:
        """The whole is let go by `Meeting`."""


@dataclass(frozen=True)
class Event:
    """The state that the plug-in, or the engine, attaches to a sample.

    Attributes
    ----------
    position
        Of the sample in the stream.
    kind
        `SEGMENT` (begin afresh); `VALUE` (`value` and `more` are what number `index` is from here on); of the band's
        host: `START` of turn `index` (a jump is one) at beat `value` and tempo `more`, `STOP`, `TEMPO`, `METER`
        (`index` is upper figure | lower figure << 8, and bit 16 says to begin afresh); `MIDI` (`index` is the bytes,
        the first the lowest).
    """

    position: int
    kind: int
    index: int
    value: float
    more: float


class Queue:
    """Events in order, one writer and one reader."""

    def __init__(self, memory: mmap.mmap, offset: int):
        part = _Part(memory, offset)
        self._header = part.array(np.int64, _RING_WORDS)
        self._events = part.array(_EVENT, int(self._header[2]), offset=_RING_WORDS * 8)

    @property
    def first(self) -> int | None:
        """The position of the first event that waits, if one does."""
        at = int(self._header[1])
        return int(self._events[at % len(self._events)]['position']) if at < self._header[0] else None

    def take(self, before: int) -> Iterator[Event]:
        """Take the events whose position is less than `before`, one by one."""
        header, n = self._header, len(self._events)
        while header[1] < header[0]:
            fence()
            position, kind, index, value, more = self._events[int(header[1]) % n].item()
            if position >= before:
                return
            fence()
            header[1] += 1
            yield Event(position, kind, index, value, more)

    def next_position(self, kind: int) -> int | None:
        """Return the position of the first event of this kind that waits, and leave it there."""
        for at in range(int(self._header[1]), int(self._header[0])):
            event = self._events[at % len(self._events)]
            if event['kind'] == kind:
                return int(event['position'])
        return None

    def put(self, event: Event) -> bool:
        """Add an event; False if the reader does not follow."""
        header = self._header
        if header[0] - header[1] >= len(self._events):
            return False
        self._events[int(header[0]) % len(self._events)] = (
            event.position, event.kind, event.index, event.value, event.more,
        )  # fmt: skip
        fence()
        header[0] += 1
        return True


class Meeting:
    """The memory that a plug-in made.

    Parameters
    ----------
    descriptor
        As it came with the first line; it is closed here.

    Attributes
    ----------
    inbox, outbox : Ring
        What the plug-in heard; what it plays.
    events, answers : Queue
        From the plug-in; to it.

    Raises
    ------
    GenaudioError
        If it is of another layout, or no such memory.
    """

    OFFLINE, VALUES, MISSED, STATE, SKIPPED, ALIVE = 7, 16, 32, 48, 49, 50

    def __init__(self, descriptor: int):
        try:
            size = os.fstat(descriptor).st_size
            if size < _HEADER_WORDS * 8:
                raise GenaudioError('The plug-in sent no shared memory.')
            self._memory = mmap.mmap(descriptor, size)
        except (OSError, ValueError) as error:
            raise GenaudioError(f'The shared memory of the plug-in cannot be used: {error}.') from None
        finally:
            os.close(descriptor)
        self.words = np.ndarray((_HEADER_WORDS,), np.int64, self._memory)
        magic, layout, n_bytes, self.sample_rate, n_in, n_out, self.latency = map(int, self.words[:7])
        queue = _RING_WORDS * 8 + 4096 * _EVENT.itemsize
        sizes = [_HEADER_WORDS * 8, *(_RING_WORDS * 8 + n * _CAPACITY * 4 for n in (n_in, n_out)), queue, queue]
        if magic != _MAGIC or layout != LAYOUT or n_bytes != size or sum(sizes) != size:
            raise GenaudioError(
                f'The plug-in has another layout of memory ({layout}, not {LAYOUT}). Run: genaudio plugin install'
            )
        at = np.cumsum(sizes)
        self.inbox = Ring(n_in, memory=_Part(self._memory, int(at[0])))
        self.outbox = Ring(n_out, memory=_Part(self._memory, int(at[1])))
        self.events, self.answers = Queue(self._memory, int(at[2])), Queue(self._memory, int(at[3]))

    @property
    def offline(self) -> bool:
        """Whether the host renders, and waits for us."""
        return bool(self.words[self.OFFLINE])

    def say_alive(self) -> None:
        """Tell a plug-in that waits that something is being done."""
        self.words[self.ALIVE] += 1

    def say_state(self, state: int) -> None:
        """Tell the plug-in `READY` or `FAILED`."""
        self.words[self.STATE] = state


class _WithRest:
    """Stems of a plug-in and, as the last pair, what is left of its input without them; read like a `Ring`."""

    def __init__(self, stems: Ring, inbox: Ring):
        self._stems, self._inbox = stems, inbox
        self.n_channels = stems.n_channels + 2

    @property
    def end(self) -> int:
        return self._stems.end

    def read_into(self, out: np.ndarray, position: int) -> bool:
        there = self._stems.read_into(out[:-2], position) and self._inbox.read_into(out[-2:], position)
        out[-2:] -= out[:-2].reshape(-1, 2, out.shape[1]).sum(0)
        return there

    def close(self) -> None:
        """The memory goes with the process that looks."""


@dataclass(frozen=True)
class PluginSound:
    """Where the sound of a plug-in is, for the meters of a panel (`bridge.panel.meters`), in plain data.

    Attributes
    ----------
    path
        Of the memory, among the files that the server has open: it has no name of its own.
    sample_rate
        In Hz.
    """

    path: str
    sample_rate: int

    def rings(self) -> tuple[_WithRest, Ring]:
        """Open it: stems with what is left, and the input.

        Raises
        ------
        OSError, ValueError
            If the plug-in is gone, or it is no such memory.
        """
        try:
            meeting = Meeting(os.open(self.path, os.O_RDWR))
        except GenaudioError as error:
            raise ValueError(str(error)) from None
        return _WithRest(meeting.outbox, meeting.inbox), meeting.inbox


class JsonLines:
    """Lines of JSON objects over a Unix socket, without waiting; for one thread.

    A line that is no object, or too long, is passed over: whoever sends it does not stop the music.
    """

    def __init__(self, connection: socket.socket, before: bytes = b''):
        self._socket, self._rest = connection, before
        self._overheard: list[dict[str, Any]] = []
        connection.setblocking(False)

    def overhear(self, message: dict[str, Any]) -> None:
        """Take an object from elsewhere, as if the other side had sent it."""
        self._overheard.append(message)

    def send(self, message: dict[str, Any]) -> None:
        """Send an object, unless the other side is gone or reads nothing."""
        try:
            self._socket.sendall(json.dumps(message, ensure_ascii=False).encode() + b'\n')
        except OSError:
            return

    def receive(self) -> list[dict[str, Any]]:
        """Return what has come.

        Raises
        ------
        EOFError
            If the other side is gone.
        """
        try:
            while True:
                data = self._socket.recv(65536)
                if not data:
                    raise EOFError
                self._rest += data
        except BlockingIOError:
            pass
        except OSError:
            raise EOFError from None
        *lines, self._rest = self._rest.split(b'\n')
        if len(self._rest) > MAX_LINE:
            self._rest = b''
        overheard, self._overheard = self._overheard, []
        return overheard + [found for line in lines if (found := parse_line(line))]


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the object of a line; an empty one if it is none."""
    try:
        found = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
