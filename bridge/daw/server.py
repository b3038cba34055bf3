"""`genaudio serve`: the engine that plug-ins find, or start. One process for each instance; it ends when it is idle."""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bridge.daw.meeting_place import PROTOCOL, discovery, parse_line, runtime_folder
from bridge.daw.sessions import KINDS, Spare
from bridge.daw.shown import Panels
from bridge.panel.panel import PanelAddress
from bridge.system.notices import notice
from bridge.system.signals import SignalWatch
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, lock_of
from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import RestartLimit

IDLE = 60.0  # seconds without a plug-in after which it ends
HELLO = 2.0  # seconds that a plug-in may take to say what it is
MAX_SESSIONS = 32


class _Stranger:
    """A connection that has not said yet what it is."""

    def __init__(self, connection: socket.socket):
        self.connection, self.data, self.descriptors = connection, b'', []
        self.until = time.monotonic() + HELLO
        connection.setblocking(False)

    def hear(self) -> dict[str, Any] | None:
        """Return the first line when it is there; an empty one if there never will be any."""
        try:
            data, found, _, _ = socket.recv_fds(self.connection, 65536, 4)
        except BlockingIOError:
            return None
        except OSError:
            return {}
        self.descriptors += found
        self.data += data
        if not data or len(self.data) > 65536:
            return {}
        line, newline, rest = self.data.partition(b'\n')
        if not newline:
            return None
        self.data = rest
        return parse_line(line)

    def is_gone(self) -> bool:
        """Whether it has hung up while it waits."""
        with contextlib.suppress(BlockingIOError):
            try:
                return not self.connection.recv(1, socket.MSG_PEEK)
            except ConnectionError:
                return True
        return False

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.connection.close()


class Server:
    """Sockets, discovery file and sessions. `turn` is called again and again, from one thread.

    Raises
    ------
    GenaudioError
        If another one runs, or the folder cannot be used.
    """

    def __init__(self, on_notice: Callable[[str], None] = notice, panel: PanelAddress | None = None):
        self.on_notice = on_notice
        self._panels = Panels(panel, on_notice) if panel is not None else None
        self.folder = runtime_folder()
        self._lock = contextlib.ExitStack()  # held as long as we live
        if not self._lock.enter_context(lock_of(self.folder / 'serve.lock')):
            self._lock.close()
            raise GenaudioError('An engine for plug-ins is already running.')
        self._path = self.folder / f'serve-{os.getpid()}.sock'
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        for old in self.folder.glob('serve-*.sock'):  # of engines that were killed
            old.unlink(missing_ok=True)
        try:
            self._socket.bind(str(self._path))
        except OSError as error:
            raise GenaudioError(f'{self._path}: {error}. Set GENAUDIO_RUNTIME to a shorter folder.') from None
        os.chmod(self._path, 0o600)
        self._socket.listen(16)
        self._socket.setblocking(False)
        self._strangers: list[_Stranger] = []
        self._line: list[tuple[_Stranger, dict[str, Any]]] = []  # those that wait for a process
        self._spare: Spare | None = None
        self._limit = RestartLimit()
        self.sessions: list[ChildProcess] = []
        self.idle_since = time.monotonic()
        told = {'protocol': PROTOCOL, 'version': _version(), 'pid': os.getpid(), 'socket': str(self._path)}
        with atomic_write(self.folder / 'serve.json') as unfinished:
            unfinished.write_text(json.dumps(told) + '\n')

    def turn(self, seconds: float) -> None:
        """Wait so long for something to happen, and see to it."""
        waiting = [self._socket, *(one.connection for one in self._strangers)]
        select.select(waiting, [], [], 0.01 if self._line else seconds)
        with contextlib.suppress(BlockingIOError):
            self._strangers.append(_Stranger(self._socket.accept()[0]))
        for stranger in list(self._strangers):
            hello = stranger.hear()
            if hello is not None or time.monotonic() > stranger.until:
                self._strangers.remove(stranger)
                self._meet(stranger, hello or {})
        for waits in list(self._line):
            if waits[0].is_gone():
                self._line.remove(waits)
                waits[0].close()
        if self._spare is None or not self._spare.process.is_alive():
            self._new_spare()
        if self._spare and self._spare.look() and self._line:
            stranger, hello = self._line.pop(0)
            memory = stranger.descriptors[0]
            self.sessions.append(self._spare.give(stranger.connection, memory, hello, stranger.data))
            if self._panels:
                self._show(self._panels, self.sessions[-1], hello, memory)
            stranger.close()  # the process has its own
            self._spare = None
        for session in list(self.sessions):
            if session.is_alive() and session.is_hung():
                self.on_notice('The process of a plug-in has hung and is ended.')
                session.kill()
            if not session.is_alive():
                session.close()
                self.sessions.remove(session)
                if self._panels:
                    self._panels.remove(session)
        if self._panels:
            self._panels.look()
        if self.sessions or self._strangers or self._line:
            self.idle_since = time.monotonic()

    def _show(self, panels: Panels, session: ChildProcess, hello: dict[str, Any], memory: int) -> None:
        try:
            panels.add(session, hello, memory)
        except GenaudioError as error:  # it plays all the same
            self.on_notice(str(error))

    def _new_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None
            if not self._limit.allows():
                raise GenaudioError('The process for plug-ins keeps dying while it loads.')
        if len(self.sessions) < MAX_SESSIONS:
            self._spare = Spare()

    def _meet(self, stranger: _Stranger, hello: dict[str, Any]) -> None:
        kind, protocol = hello.get('genaudio'), hello.get('protocol')
        line = ''
        if protocol != PROTOCOL:
            line = f'The plug-in speaks protocol {protocol}, the engine {PROTOCOL}: run genaudio plugin install.'
        elif len(self.sessions) + len(self._line) >= MAX_SESSIONS:
            line = f'There are {MAX_SESSIONS} plug-ins already; this one plays dry.'
        elif kind == 'person':
            line = self._obey(hello)
        if not line and kind in KINDS and len(stranger.descriptors) == 1:
            self._line.append((stranger, hello))
            return
        if line:
            if kind != 'person':
                self.on_notice(line)
            with contextlib.suppress(OSError):
                stranger.connection.sendall(json.dumps({'state': 'refused', 'line': line}).encode() + b'\n')
        stranger.close()

    def _obey(self, wish: dict[str, Any]) -> str:
        """Hand the plug-ins what a person says; return how many there are."""
        say = wish.get('say')
        if not isinstance(say, dict):
            return 'Nothing was said.'
        for session in self.sessions:
            session.send('say', say)
        return f'{len(self.sessions)}'

    def close(self) -> None:
        """End all sessions and leave nothing behind."""
        if self._panels:
            self._panels.close()
        for session in self.sessions:
            session.send('quit')
        for session in self.sessions:
            session.close()
        if self._spare:
            self._spare.close()
        for stranger in [*self._strangers, *(waits[0] for waits in self._line)]:
            stranger.close()
        self._socket.close()
        for path in (self._path, self.folder / 'serve.json'):
            path.unlink(missing_ok=True)
        self._lock.close()


def _version() -> str:
    try:
        return version('genaudio')
    except PackageNotFoundError:
        return ''


def say_to_plugins(message: dict[str, Any]) -> int:
    """Say something to all plug-ins of the engine that runs; return how many there are.

    Raises
    ------
    GenaudioError
        If no engine runs, or it does not answer.
    """
    found = discovery()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(5.0)
            line.connect(str(found['socket']))
            wish = {'genaudio': 'person', 'protocol': PROTOCOL, 'say': message}
            line.sendall(json.dumps(wish, ensure_ascii=False).encode() + b'\n')
            told = str(parse_line(line.makefile('rb').readline()).get('line', ''))
    except (KeyError, OSError):
        raise GenaudioError('No plug-in is playing: open it in a DAW first.') from None
    if not told.isdecimal():
        raise GenaudioError(told or 'The engine does not answer.')
    return int(told)


def serve(
    idle: float = IDLE, *, panel: PanelAddress | None = None, on_notice: Callable[[str], None] = notice
) -> dict[str, Any]:
    """Serve plug-ins until told to end, or none has been there for `idle` seconds; return how many there were.

    With `panel` each plug-in has a page in a browser.

    Raises
    ------
    GenaudioError
        If another engine runs.
    """
    server = Server(on_notice, panel)
    served: set[int] = set()
    on_notice(f'Serving plug-ins at {server.folder}. Ctrl-C ends.')
    try:
        with SignalWatch() as told:
            while not told.ended and time.monotonic() - server.idle_since < idle:
                told.look()
                server.turn(0.1)
                served |= {session.pid for session in server.sessions}
    finally:
        server.close()
    return {'plugins': len(served)}


def let_go_of_the_host() -> None:
    """For an engine that a plug-in started: nothing of the host's is kept open, and no terminal ends us."""
    os.closerange(3, 4096)
    with contextlib.suppress(OSError):
        os.setsid()
    os.chdir(Path.home() if Path.home().is_dir() else '/')
