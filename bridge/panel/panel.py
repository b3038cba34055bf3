"""The parent's hand on the panel: opens its door, starts its process, and starts it again when it dies or hangs."""

import argparse
import importlib.util
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.panel.server import PanelSetup, run_panel
from bridge.settings.control_messages import checked
from bridge.system.channel import Channel
from bridge.system.notices import Sparing
from genaudio_core.command_line import whole
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import RestartLimit

LOOPBACK = '127.0.0.1'
STUCK = 20.0  # seconds; whoever plays comes first, and on a busy machine it waits: 10 were not enough at load 20
NEEDS = ('starlette', 'uvicorn', 'websockets')


@dataclass(frozen=True)
class PanelAddress:
    """Where the panel listens. Port 0: one that is free."""

    host: str = LOOPBACK
    port: int = 0


def add_panel_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of a command that has a panel."""
    parser.add_argument('--panel', action='store_true', help='show it in a browser, and play it from there')
    parser.add_argument(
        '--panel-host',
        metavar='ADDRESS',
        help='listen for the panel on this address, for a tablet in the same network (default: this machine alone)',
    )
    parser.add_argument(
        '--panel-port',
        type=whole('--panel-port', 1, 65535),
        metavar='PORT',
        help='listen for the panel on this port (default: one that is free)',
    )


def panel_address(args: argparse.Namespace) -> PanelAddress | None:
    """Return what the options of `add_panel_arguments` say; each of them asks for a panel."""
    if not args.panel and args.panel_host is None and args.panel_port is None:
        return None
    return PanelAddress(args.panel_host or LOOPBACK, args.panel_port or 0)


class Panel:
    """The panel of one session. Use it from one thread; no call waits.

    Parameters
    ----------
    address : PanelAddress
    kind : str
        'band' or 'stems': which page.
    facts : mapping
        What does not change: parameters, commands and the like, in plain data.
    take : callable
        Gets each message of a page, checked (`control_messages`); called by `look`.
    notify : callable
        Gets one line for the person.
    opens : bool
        Show it in a browser at once, where there is a display.

    Attributes
    ----------
    link : str
        For the browser; the token in it is the key.

    Raises
    ------
    GenaudioError
        If its packages are missing or the address cannot be used.
    """

    def __init__(
        self, address: PanelAddress, kind: str, facts: Mapping[str, Any],
        take: Callable[[dict[str, Any]], object], notify: Callable[[str], None], *, opens: bool = True,
    ) -> None:  # fmt: skip
        if missing := [name for name in NEEDS if importlib.util.find_spec(name) is None]:
            raise GenaudioError(f"The panel needs {' and '.join(missing)}: pip install 'genaudio[panel]'.")
        self._take, self._notify = take, notify
        self._wrong = Sparing(notify)
        self._door = _listen(address)
        port = self._door.getsockname()[1]
        self._setup = PanelSetup(
            kind, dict(facts), secrets.token_urlsafe(16), address.host, port, opens and _has_display()
        )
        self.link = f'http://{_named(address.host)}:{port}/?token={self._setup.token}'
        self._limit = RestartLimit()
        self._told: dict[str, Any] = {}  # of the state, to the process that runs now
        self._over = False
        self._start()
        if not is_loopback(address.host):
            notify(
                f'The panel listens on {address.host}: whoever is in this network and has the link can play the band.'
            )
        notify(f'Panel: {self.link}')

    def _start(self) -> None:
        self._told = {}
        self._process = ChildProcess(run_panel, (self._setup, self._door), name='genaudio panel', stuck=STUCK)
        self._channel = Channel(self._process.pipe)

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def show(self, state: Mapping[str, Any]) -> None:
        """Tell the pages what has changed of `state`: figures, settings; in plain data."""
        changed = {name: value for name, value in state.items() if self._told.get(name, _NOTHING) != value}
        if changed and not self._over and self._channel.send(('state', changed)):
            self._told |= changed

    def draw(self, scene: Mapping[str, Any]) -> None:
        """Tell the pages what sounds (`bridge.live.snapshot.Scenes`)."""
        if not self._over:
            self._channel.send(('scene', scene))

    def say(self, line: str) -> None:
        """Show one line for the person on the pages."""
        if not self._over:
            self._channel.send(('line', line))

    def look(self) -> None:
        """Take in what the pages say, and look after the process. Call it 10 times a second or more."""
        if self._over:
            return
        ended = False
        try:
            while True:
                kind, value = self._channel.receive()
                if kind == 'message':
                    self._obey(value)
                elif kind == 'line':
                    self._wrong(value)
        except TimeoutError:
            pass
        except EOFError:
            ended = True
        self._wrong.look()
        if ended or self._process.is_hung():
            self._revive('has ended' if ended else 'hangs')

    def _obey(self, message: Any) -> None:
        try:
            self._take(checked(message))
        except GenaudioError as error:
            self._wrong(f'Panel: {error}')

    def _revive(self, why: str) -> None:
        self._end(0.0)
        if not self._limit.allows():
            self._over = True
            self._notify('The panel keeps crashing; it stays off, and the music goes on.')
            return
        self._notify(f'The panel {why}; it starts again, and the music goes on.')
        self._setup.opens = False
        self._start()

    def _end(self, patience: float) -> None:
        self._process.end(patience, ask=False)  # the channel's threads have the pipe
        self._channel.close()

    def close(self) -> None:
        """End it. A second time does nothing."""
        if not self._over:
            self._over = True
            self._channel.send(('quit', None))
            self._end(1.0)
        self._door.close()
        self._wrong.flush()


_NOTHING = object()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _listen(address: PanelAddress) -> socket.socket:
    try:
        family = socket.AF_INET6 if ':' in address.host else socket.AF_INET
        door = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name != 'nt':
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind((address.host, address.port))
            door.listen(64)
        except BaseException:
            door.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, 'strerror', None) or 'that is no address'
        raise GenaudioError(
            f'The panel cannot listen on {address.host}, port {address.port or "any"}: {reason}.'
        ) from error
    return door


def _named(host: str) -> str:
    """The host as a browser is told it: of "every address" the one by which others reach this machine."""
    if host in ('0.0.0.0', '::', ''):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(('192.0.2.1', 9))  # nothing is sent: it only asks which way it would go
                host = probe.getsockname()[0]
            except OSError:
                host = LOOPBACK
    return f'[{host}]' if ':' in host else host


def _has_display() -> bool:
    return sys.platform in ('darwin', 'win32') or bool(os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
