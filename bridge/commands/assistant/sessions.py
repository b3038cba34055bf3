"""A band as an assistant has it: one that was started for it, or one whose panel's link it was given."""

import contextlib
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from bridge.live.live_band import LiveBand
from bridge.panel.board import plain
from bridge.panel.panel import PanelAddress
from bridge.settings.band_preset import find_named
from genaudio_core.errors import GenaudioError

KEPT = 200  # lines for the person that are remembered
STARTS = 90.0  # seconds that a band may take to start, on a machine that is busy
TAKES_IN = 5.0  # seconds in which a session has taken a message in, unless it hangs
HEARS = 1.0  # seconds for which news of a session elsewhere are waited for
PAUSE = 0.02  # seconds between two looks


class Playing(Protocol):
    """A session. Every method from any thread."""

    over: str  # why it has ended; '' while it plays

    def send(self, message: Mapping[str, Any]) -> None:
        """Tell it a checked message of `bridge.settings.control_messages`."""

    def settle(self) -> None:
        """Wait until it has taken in what it was told, a few seconds at most."""

    def state(self) -> dict[str, Any]:
        """Return its newest figures and settings, as JSON has them."""
        ...

    def new_lines(self) -> list[str]:
        """Return what it has said for the person since the last call."""
        ...

    def close(self) -> None:
        """Let go of it."""


class _Lines:
    """Lines from any thread, each given out once."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT)

    def add(self, line: str) -> None:
        self._lines.append(line)

    def new(self) -> list[str]:
        found = []
        while self._lines:
            found.append(self._lines.popleft())
        return found


class Started(Playing):
    """A band on the ports of the system, in a thread of its own. Returns when it is ready to play.

    Parameters
    ----------
    preset : str
        Name of a preset, bundled or the user's own; no path.
    settings : mapping
        Changes to it.
    folder : str
        Where takes that are kept are written.
    panel : bool
        Whether to show it in a browser, too; the link is among its first lines.

    Raises
    ------
    GenaudioError
        If the preset or a setting is wrong, or the ports cannot be had.
    """

    def __init__(self, preset: str, settings: Mapping[str, Any], *, folder: str, name: str, panel: bool) -> None:
        self.over = ''
        self._lines, self._band = _Lines(), None
        self._closing, self._ready = threading.Event(), threading.Event()
        self._path = find_named(preset)

        def make() -> LiveBand:
            address = PanelAddress() if panel else None
            return LiveBand(
                self._path, settings, name=name, folder=folder, save=True, panel=address, notify=self._lines.add
            )

        self._thread = threading.Thread(target=self._run, args=(make,), name='assistant band', daemon=True)
        self._thread.start()
        if not self._ready.wait(STARTS):
            self.close()
            raise GenaudioError('The band did not start in time.')
        if self.over:
            self._thread.join()
            raise GenaudioError(self.over)

    def _run(self, make: Callable[[], LiveBand]) -> None:
        try:
            with make() as band:
                self._band = band
                while not self._closing.is_set():
                    band.look()
                    if 'values' in band.snapshot:
                        self._ready.set()
        except GenaudioError as error:
            self.over = str(error)
        except Exception as error:  # whatever it is, nobody else would hear of it
            self.over = f'The band has ended ({type(error).__name__}: {error}).'
        finally:
            self.over = self.over or 'The band has ended.'
            self._ready.set()

    def send(self, message: Mapping[str, Any]) -> None:
        assert self._band is not None
        self._band.take(**message)

    def settle(self) -> None:
        band, end = self._band, time.monotonic() + TAKES_IN
        while band is not None and not (band.settled or self.over) and time.monotonic() < end:
            time.sleep(PAUSE)

    def state(self) -> dict[str, Any]:
        return plain(self._band.snapshot) if self._band is not None else {}

    def new_lines(self) -> list[str]:
        return self._lines.new()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(STARTS)


class Joined(Playing):
    """A session that plays elsewhere, by the link of its panel.

    Parameters
    ----------
    link : str
        As `genaudio live --panel` prints it.

    Raises
    ------
    GenaudioError
        If nobody is there, or the link is none.
    """

    def __init__(self, link: str) -> None:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        parts = urlsplit(link)
        token = parse_qs(parts.query).get('token', [''])[0]
        if parts.scheme != 'http' or not parts.netloc or not token:
            raise GenaudioError('That is no link of a panel: they look like http://127.0.0.1:PORT/?token=TOKEN.')
        self.over = ''
        self._lines, self._state = _Lines(), {}
        self._open = contextlib.ExitStack()
        self._news = self._told = 0  # messages with something new, and how many there were at the last order
        try:
            way = connect(f'ws://{parts.netloc}/socket?token={token}', max_size=None)
            self._socket = self._open.enter_context(way)
            self._take(json.loads(self._socket.recv(HEARS * 10)))
        except (OSError, ValueError, TimeoutError, WebSocketException) as error:
            self._open.close()
            raise GenaudioError(f'No session answers at {parts.netloc}: {error}.') from error
        self._lines.new()  # said before we came
        self._thread = threading.Thread(target=self._hear, name='assistant hears', daemon=True)
        self._thread.start()

    def _take(self, message: Mapping[str, Any]) -> None:
        self._state |= message.get('state', {})
        for line in message.get('lines', ()):
            self._lines.add(line)
        if message.keys() & {'state', 'lines'}:
            self._news += 1

    def _hear(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for message in self._socket:
                self._take(json.loads(message))
        except (ConnectionClosed, OSError, ValueError) as error:
            self.over = f'The session has ended ({error}).'
        self.over = self.over or 'The session has ended.'

    def send(self, message: Mapping[str, Any]) -> None:
        self._told = self._news
        self._socket.send(json.dumps(message))

    def settle(self) -> None:
        end = time.monotonic() + HEARS
        while not self.over and self._news < self._told + 2 and time.monotonic() < end:  # two: one may be on its way
            time.sleep(PAUSE)

    def state(self) -> dict[str, Any]:
        return dict(self._state)

    def new_lines(self) -> list[str]:
        return self._lines.new()

    def close(self) -> None:
        self._open.close()
        self._thread.join(HEARS)
