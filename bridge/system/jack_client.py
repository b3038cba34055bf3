"""Clients of a JACK server (PipeWire counts), which may go and come back: `JackClient` is the base of all of ours."""

import contextlib
import errno
import os
import queue
import re
import threading
import time
from collections.abc import Sequence
from typing import Any

from bridge.system.jack_names import client_name
from genaudio_core.errors import GenaudioError

PATIENCE = 1.0  # seconds that a server may take to let a client go
RETRY = 1.0  # seconds between attempts to find a server that went away
PENDING = 60.0  # seconds in which connections are made again as their ports come back
ANSWERS = 20.0  # seconds in which a server must let us in


class NoServer(GenaudioError):
    """No JACK server runs, or none that answers."""


class OtherRate(GenaudioError):
    """The server came back at another sample rate: all that counts samples must be made again."""

    def __init__(self, sample_rate: int, block: int):
        super().__init__(f'The JACK server came back at {sample_rate} Hz.')
        self.sample_rate, self.block = sample_rate, block  # Hz, samples


def _tolerant(jack: Any) -> Any:
    """JACK-Client's class, but lists of ports leave out what it raises for: one that has just gone, and one whose name
    is not UTF-8. Anybody on the server may have such a port, and it must not keep us from seeing the others."""

    class Client(jack.Client):
        def _port_list_from_pointers(self, names: Any) -> list[Any]:
            ports, index = [], 0
            while names and names[index]:
                with contextlib.suppress(UnicodeDecodeError, jack.JackError):
                    ports.append(self.get_port_by_name(jack._decode(names[index])))
                index += 1
            return ports

    return Client


def open_client(name: str) -> Any:
    """Return a JACK client that is not active yet. A name that is too long for JACK is shortened.

    Raises
    ------
    NoServer
        If no server runs, or it does not answer.
    GenaudioError
        If JACK-Client is not installed, or the server does not take us.
    """
    try:
        import jack
    except ModuleNotFoundError:
        raise GenaudioError("JACK needs the package 'JACK-Client': pip install 'genaudio[jack]'") from None
    except OSError as error:  # the package is there, the library is not
        raise GenaudioError(f'JACK is not installed on this system: {error}') from None
    jack.set_error_function(lambda text: None)  # it reaches the person as one line of ours
    jack.set_info_function(lambda text: None)
    answer: queue.Queue[Any] = queue.Queue()
    given_up = threading.Event()

    def ask() -> None:
        """A server that hangs would hold us up without end."""
        try:
            client = _tolerant(jack)(client_name(name, jack), no_start_server=True, servername=server_name())
        except Exception as error:
            answer.put(error)
            return
        answer.put(client)
        if given_up.is_set():
            client.close()

    threading.Thread(target=ask, name='genaudio-jack-open', daemon=True).start()
    try:
        found = answer.get(timeout=ANSWERS)
    except queue.Empty:
        given_up.set()
        raise NoServer(f'The JACK server did not answer within {ANSWERS:g} s.') from None
    if not isinstance(found, Exception):
        return found
    if isinstance(found, jack.JackOpenError) and not found.status.server_failed:
        raise GenaudioError(f"JACK refuses a client called '{name}' ({found.status}).")
    if isinstance(found, jack.JackOpenError):
        raise NoServer('No JACK server runs: start JACK (qjackctl, or jackd -d alsa) or PipeWire, then try again.')
    raise NoServer(f'JACK does not answer: {found}')


def leave(client: Any, *, active: bool = True) -> bool:
    """Leave the server; `active`: the client plays. Whether the server has let us go.

    libjack has no limit for it: the client of a process that was stopped for seconds (SIGSTOP, a suspended machine) is
    waited for until somebody kills the process. So a thread waits, and is left behind; then nothing of the client may
    be called any more.
    """

    def go() -> None:
        if active:
            with contextlib.suppress(Exception):
                client.deactivate()
        with contextlib.suppress(Exception):
            client.close()

    going = threading.Thread(target=go, name='leaves JACK', daemon=True)
    going.start()
    going.join(PATIENCE)
    return not going.is_alive()


def server_name() -> str | None:
    """The JACK server that the environment names; None: the default one."""
    return os.environ.get('JACK_DEFAULT_SERVER')


def is_running() -> bool:
    """Whether a JACK server answers (PipeWire counts)."""
    try:
        open_client('genaudio-look').close()
    except (GenaudioError, OSError):
        return False
    return True


def jack_ports() -> dict[str, Any]:
    """Return sample rate, period and the names of the MIDI and audio ports of the running server."""
    client = open_client('genaudio-look')
    try:
        return {
            'sample_rate': client.samplerate,
            'period': client.blocksize,
            'midi': [port.name for port in client.get_ports(is_midi=True)],
            'audio': [port.name for port in client.get_ports(is_audio=True)],
        }
    finally:
        client.close()


class JackClient:
    """A client that outlives its server: opened, set up, lost, opened and set up again, connected as it was.

    A subclass registers its ports in `set_up`, moves its blocks in `_process`, and calls `look_for_server` again and
    again. All methods but those that say so belong to one thread.

    Parameters
    ----------
    name
        To ask for.
    client
        One that is open already, by `open_client`.

    Attributes
    ----------
    client
        Of JACK-Client; another one when the server has come back.
    lost : bool
        The server is away: nothing of the client may be called.
    xruns : int
    kept : list of (source, sink)
        Connections that are made when the client starts; a subclass keeps them up to date.

    Raises
    ------
    GenaudioError
        As `open_client` does.
    """

    GONE, BACK = 'The JACK server went away; waiting for it to come back.', 'The JACK server is back.'
    retry: float | None = None  # seconds between attempts; `RETRY` where nothing is said
    lost = True

    def __init__(self, name: str, client: Any = None) -> None:
        self.name = name
        self.xruns = 0
        self.kept: list[tuple[str, str]] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._pending: list[tuple[str, str]] = []
        self._pending_until = self._retry_at = 0.0
        self._take_on(client or open_client(name))

    # --- for subclasses

    def set_up(self) -> None:
        """Register the ports, as `_inputs` and `_outputs`, and more callbacks; `client` is new and not active."""
        raise NotImplementedError

    def _process(self, frames: int) -> None:
        """One block. In JACK's thread."""
        raise NotImplementedError

    def _blocksize(self, frames: int) -> None:
        """The server has another block size. In a thread of JACK's."""

    def _xrun(self, delayed_usecs: float) -> None:
        """In a thread of JACK's."""
        self.xruns += 1

    def went_away(self) -> None:
        """The server is gone, and so is what it had."""

    def came_back(self, client: Any) -> None:
        """A server is there again; `client` is not set up yet. Whatever is raised but `OtherRate` means: not yet."""

    # --- life

    def _take_on(self, client: Any) -> None:
        self.client, self.lost = client, False  # before there are callbacks: it may be lost again at once
        try:
            self.set_up()
            client.set_process_callback(self._process)
            client.set_blocksize_callback(self._blocksize)
            client.set_xrun_callback(self._xrun)
            client.set_shutdown_callback(self._shutdown)
        except BaseException:
            self.lost = True
            leave(self.client, active=False)
            raise

    def start(self) -> None:
        """Begin to play, connected as before.

        Raises
        ------
        GenaudioError
            If the server refuses.
        """
        try:
            self.client.activate()
        except Exception as error:
            self.lost = True
            leave(self.client, active=False)
            raise GenaudioError(f'JACK does not let genaudio play: {error}') from None
        self.restore(self.kept)

    def _shutdown(self, *why: object) -> None:
        self.lost = True  # in a thread of JACK's: from here on nothing of the client may be called

    def look_for_server(self) -> str | None:
        """Notice that the server is gone, or come back if it has; return the line to tell then. Call it often.

        Raises
        ------
        OtherRate
            Out of `came_back`.
        """
        now = time.monotonic()
        if not self.lost or now < self._retry_at:
            return None
        first, self._retry_at = self._retry_at == 0.0, now + (RETRY if self.retry is None else self.retry)
        if first:
            leave(self.client, active=False)  # the server is gone, its client in this process is not
            self.went_away()
            return self.GONE
        try:
            client = open_client(self.name)
        except GenaudioError:
            return None
        try:
            self.came_back(client)
            self._take_on(client)
            self.start()
        except Exception as error:  # JACK's own, too; the server went away while we came
            self.lost = True
            leave(client, active=False)
            if isinstance(error, OtherRate):
                raise
            return None
        self._retry_at = 0.0
        return self.BACK

    def close(self) -> None:
        """Leave the server."""
        active, self.lost = not self.lost, True
        leave(self.client, active=active)

    # --- connections

    def connections(self) -> list[tuple[str, str]]:
        """All connections of our ports, (source, sink); those that wait for a port to come back are among them.

        While the server is away, or going just now, they are as they were.
        """
        found: list[tuple[str, str]] = []
        with contextlib.suppress(Exception):
            for port in self._inputs:
                found += [(peer.name, port.name) for peer in self.client.get_all_connections(port)]
            for port in self._outputs:
                found += [(port.name, peer.name) for peer in self.client.get_all_connections(port)]
            if not self.lost:
                self.kept = [*found, *(pair for pair in self._pending if pair not in found)]
        return list(self.kept)

    def restore(self, connections: Sequence[tuple[str, str]]) -> None:
        """Make these connections as soon as their ports are there; what does not come in a while is left."""
        self._pending = [*self._pending, *map(self._renamed, connections)]
        self._pending_until = time.monotonic() + PENDING
        self.connect_pending()

    def _renamed(self, connection: tuple[str, str]) -> tuple[str, str]:
        """A connection as it is now: where our name was taken, JACK had added a number to it, or has now."""
        ours = re.compile(re.escape(self.name) + r'(-\d\d)?')
        now = []
        for name, ports in zip(connection, (self._outputs, self._inputs), strict=True):
            client, _, short = name.partition(':')
            same = [port.name for port in ports if ours.fullmatch(client) and port.shortname == short]
            now.append(same[0] if same else name)
        return now[0], now[1]

    def connect_pending(self) -> None:
        """Make what waits for its ports, as far as they are there. Call it now and then."""
        left = []
        for source, sink in self._pending:
            try:
                self.client.connect(source, sink)
            except Exception as error:
                if getattr(error, 'code', None) != errno.EEXIST:
                    left.append((source, sink))
        self._pending = left if time.monotonic() < self._pending_until else []
