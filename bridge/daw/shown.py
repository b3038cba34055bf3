"""What a panel shows of the session of a plug-in, on its way between the session's process and the server."""

import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bridge.panel.facts import band_facts, part_facts, presets
from bridge.panel.panel import Panel, PanelAddress
from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import send_now

PERIOD = 0.1  # seconds between two pictures


class Shown:
    """The session's end, which tells nothing before somebody looks. For the session's thread; no call waits."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._next = pipe, 0.0
        self.wanted = False
        self.messages: deque[dict[str, Any]] = deque(maxlen=256)  # from the pages, checked; the session takes them out

    def hear(self, kind: str, value: Any) -> None:
        """Take a message of the server's."""
        if kind == 'panel':
            self.wanted = True
        elif kind == 'message':
            self.messages.append(value)

    def is_due(self) -> bool:
        """Whether it is time for another picture."""
        now = time.monotonic()
        if not self.wanted or now < self._next:
            return False
        self._next = now + PERIOD
        return True

    def tell(self, kind: str, value: Any) -> bool:
        """Tell 'state', 'scene' or 'line'; False where nobody looks, or the pipe is full."""
        return self.wanted and send_now(self._pipe, (kind, value))


class Panels:
    """The server's end: a panel for each band that plays, and in each the links to all. For the server's thread.

    Parameters
    ----------
    address : PanelAddress
        Its port is that of the first; the others get free ones.
    notify : callable
        Gets one line for the person, such as a link.
    """

    def __init__(self, address: PanelAddress, notify: Callable[[str], None]) -> None:
        self._address, self._notify = address, notify
        self._panels: dict[ChildProcess, tuple[str, Panel]] = {}
        self._numbers = 0
        self._presets = presets()

    def add(self, session: ChildProcess) -> None:
        """A band is there."""
        self._numbers += 1
        port = self._address.port if not self._panels else 0
        panel = Panel(
            PanelAddress(self._address.host, port), 'band', band_facts(),
            lambda message: session.send('message', message), self._notify, opens=not self._panels,
        )  # fmt: skip
        self._panels[session] = f'band {self._numbers}', panel
        session.send('panel')

    def look(self) -> None:
        """Hand on what sessions and pages say; call it ten times a second or more."""
        links = {name: panel.link for name, panel in self._panels.values()}
        for session, (name, panel) in self._panels.items():
            for kind, value in session.receive():
                if kind == 'state':
                    more = {'presets': self._presets, 'part_knobs': part_facts(value)}
                    panel.show(value | more | {'instances': links, 'instance': name})
                elif kind == 'scene':
                    panel.draw(value)
                elif kind == 'line':
                    panel.say(value)
            panel.look()

    def remove(self, session: ChildProcess) -> None:
        """It is gone."""
        if session in self._panels:
            self._panels.pop(session)[1].close()

    def close(self) -> None:
        """End all."""
        for session in list(self._panels):
            self.remove(session)
