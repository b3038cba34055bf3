"""The process of one instance of a plug-in: loaded and warm before it is wanted, and then for that instance alone."""

import contextlib
import json
import select
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bridge.daw.band_session import run_band
from bridge.daw.meeting_place import JsonLines, parse_line
from bridge.daw.shown import Shown
from bridge.daw.stems_session import load_network, run_stems
from genaudio_core.errors import GenaudioError, one_line
from genaudio_core.processes.child_process import ChildProcess, begin, messages

STUCK = 10.0  # seconds without a sign of life after which a process is ended
KINDS: dict[str, Callable[..., None]] = {'stems': run_stems, 'band': run_band}
"""Kind of plug-in -> what plays for it."""


class Spare:
    """A process that waits for its plug-in."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.process = ChildProcess(run_session, (theirs,), name='genaudio-plugin', stuck=STUCK)
        theirs.close()
        self.ready = False

    def look(self) -> bool:
        """Whether it is ready to play."""
        self.ready = self.ready or any(kind == 'ready' for kind, _ in self.process.receive())
        return self.ready

    def give(self, connection: socket.socket, memory: int, hello: dict[str, Any], rest: bytes) -> ChildProcess:
        """Give it its plug-in; the process is the caller's from now on."""
        message = json.dumps({'hello': hello, 'rest': rest.decode(errors='replace')}).encode()
        with contextlib.suppress(OSError):
            socket.send_fds(self._ours, [message], [connection.fileno(), memory])
        self._ours.close()
        return self.process

    def close(self) -> None:
        """End it; it was not wanted."""
        self._ours.close()
        self.process.close(0.2)


def run_session(channel: socket.socket, cells: Any, pipe: Connection) -> None:
    """Body of the process (`ChildProcess`): loads, waits for its plug-in, and ends with it, or with the server."""
    heart = begin(cells)

    lines: JsonLines | None = None
    plays, shown = '', Shown(pipe)

    def told_to_end() -> bool:
        ends = False
        for kind, value in messages(pipe):
            ends = ends or kind == 'quit'
            if kind == 'say' and lines is not None:
                (lines.overhear if plays == 'band' else lines.send)(value)
            shown.hear(kind, value)
        return ends

    try:
        loaded = load_network()
    except GenaudioError as error:
        loaded = error
    try:
        pipe.send(('ready', None))
        while not select.select([channel], [], [], 0.2)[0]:
            heart.beat()
            if told_to_end():
                return
        data, descriptors, _, _ = socket.recv_fds(channel, 1 << 18, 2)
        channel.close()
        if len(descriptors) != 2:
            return
        found = parse_line(data)
        connection = socket.socket(fileno=descriptors[0])
        lines = JsonLines(connection, str(found.get('rest', '')).encode())
        hello = found.get('hello') or {}
        try:
            plays = hello['genaudio']
            if isinstance(loaded, GenaudioError) and plays == 'stems':
                raise loaded
            more = (shown,) if plays == 'band' else (loaded, shown)
            KINDS[plays](lines, descriptors[1], hello, heart, told_to_end, *more)
        except GenaudioError as error:
            lines.send({'state': 'refused', 'line': one_line(error)})
    except (EOFError, OSError):  # the plug-in is gone, or the server
        return
