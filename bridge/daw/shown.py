"""What a panel shows of the session of a plug-in, on its way between the session's process and the server."""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from bridge.daw.meeting_place import PluginSound
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
    """The server's end: a panel for each plug-in that plays, and in each the links to all. For the server's thread.

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
        self._memories: dict[ChildProcess, int] = {}  # of stems, whose sound is looked at: descriptors of ours
        self._numbers: dict[str, int] = {}
        self._presets = presets()

    def add(self, session: ChildProcess, hello: Mapping[str, Any], memory: int) -> None:
        """A plug-in is there that has said `hello`; the descriptor of its `memory` stays the caller's."""
        kind = hello['genaudio']
        self._numbers[kind] = number = self._numbers.get(kind, 0) + 1
        port = self._address.port if not self._panels else 0
        knobs: dict[str, Any] = {'stem': {}, 'rest': {}, 'monitor': {}}  # they are the host's
        words = [*map(str, hello.get('words') or ())]
        facts = band_facts() if kind == 'band' else {'knobs': knobs, 'spans': {}, 'words': words}
        panel = Panel(
            PanelAddress(self._address.host, port), kind, facts,
            lambda message: session.send('message', message), self._notify, opens=not self._panels,
        )  # fmt: skip
        self._panels[session] = f'{kind} {number}', panel
        if kind == 'stems':
            self._memories[session] = os.dup(memory)
        session.send('panel')

    def look(self) -> None:
        """Hand on what sessions and pages say; call it ten times a second or more."""
        links = {name: panel.link for name, panel in self._panels.values()}
        for session, (name, panel) in self._panels.items():
            for kind, value in session.receive():
                if kind == 'state':
                    if session in self._memories:
                        path = f'/proc/{os.getpid()}/fd/{self._memories[session]}'
                        value['sound'] = PluginSound(path, value['sample_rate'])
                    else:
                        value |= {'presets': self._presets, 'part_knobs': part_facts(value)}
                    panel.show(value | {'instances': links, 'instance': name})
                elif kind == 'scene':
                    panel.draw(value)
                elif kind == 'line':
                    panel.say(value)
            panel.look()

    def remove(self, session: ChildProcess) -> None:
        """It is gone."""
        if session in self._panels:
            self._panels.pop(session)[1].close()
        if session in self._memories:
            os.close(self._memories.pop(session))

    def close(self) -> None:
        """End all."""
        for session in list(self._panels):
            self.remove(session)
