"""A process beside a session that plays sounds: started, looked after, started again."""

import contextlib
import multiprocessing
from collections.abc import Callable
from typing import Any

from bridge.system.child_watch import Heartbeat, Patience, RestartLimit, end_process, send_now
from bridge.system.signals import born_deaf

LOAD_SECONDS = 60.0  # until the process of a player must have said that it is ready


class SoundProcess:
    """A player beside a live session, in a process of its own: the band plays on whatever happens to it.

    It is started again when it dies or hangs, a few times. One thread only, that of the session's loop.

    Parameters
    ----------
    body
        What the process runs: ``body(*arguments, heart, orders, told)``: the name of a `Heartbeat` and two ends of
        pipes. It tells texts, ('ready', value), ('failed', why), ('status', figures).
    what
        What a person calls it, such as 'The instrument Synth.vst3'.
    stuck
        Seconds without a sign of life after which it counts as hung.
    loading
        Seconds that it may take until it is ready.

    Attributes
    ----------
    ready : bool
        It plays.
    failed : str
        Why it cannot play and is not tried again, or ''.
    restarts : int
    """

    consequence = ''  # what a failure means, after its line

    def __init__(
        self, body: Callable[..., None], arguments: tuple[Any, ...], name: str, *, what: str = '', stuck: float = 8.0,
        loading: float = LOAD_SECONDS,
    ):  # fmt: skip
        self._body, self._arguments, self.name = body, arguments, name
        self.what = what or name
        self.ready, self.failed, self.restarts = False, '', 0
        self.status: dict[str, Any] = {}
        self._limit = RestartLimit()
        self._heart = Heartbeat()
        self._load_patience, self._stuck_patience = Patience(loading), Patience(stuck)
        self._stopping, self._hung = False, ''
        self._launch()

    def _launch(self) -> None:
        context = multiprocessing.get_context('spawn')
        theirs, self._orders = context.Pipe(duplex=False)
        self._told, their_told = context.Pipe(duplex=False)
        self._hung, self._beats = '', -1
        self._load_patience.renew()
        self._stuck_patience.renew()
        self.process = context.Process(
            target=self._body, args=(*self._arguments, self._heart.name, theirs, their_told), name=self.name,
            daemon=True,
        )  # fmt: skip
        with born_deaf():
            self.process.start()
        theirs.close()
        their_told.close()

    def obey(self, line: str) -> bool:
        """Hand over a line, such as ``load 36 kick.wav``; False where it is not taken now. Never waits."""
        return send_now(self._orders, line)

    def _heard(self) -> list[Any]:
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self._told.poll():
                found.append(self._told.recv())
        return found

    def _take(self, kind: str, value: Any) -> list[str]:
        """Take in one message; return lines to tell."""
        if kind == 'ready':
            self.ready = True
            self._stuck_patience.renew()
        elif kind == 'failed':
            self.failed = value
            return [f'{value} {self.consequence}'.strip()]
        elif kind == 'status':
            self.status = value
        return []

    def poll(self) -> list[str]:
        """Look after the process; return what there is to tell."""
        alive, lines = self.process.is_alive(), []
        for said in self._heard():
            lines += [said] if isinstance(said, str) else self._take(*said)
        if self.failed or self.status or self._stopping:
            return lines
        if alive:
            self._end_if_hung()
            alive = self.process.is_alive()
        return lines if alive else [*lines, self._revive()]

    def _end_if_hung(self) -> None:
        if not self.ready:
            over, why = self._load_patience.is_over(), f'was not ready after {self._load_patience.seconds:g} s'
        else:
            if self._heart.beats != self._beats:
                self._beats = self._heart.beats
                self._stuck_patience.renew()
            over, why = self._stuck_patience.is_over(), 'hangs'
        if over:
            self._hung = why
            end_process(self.process, 0.0)

    def _revive(self) -> str:
        if not self.ready or not self._limit.allows():
            why = self._hung if self._hung and not self.ready else 'crashed while it was loaded'
            self.failed = f'{self.what} {"crashed again and again" if self.ready else why}.'
            return f'{self.failed} {self.consequence}'.strip()
        line = f'{self.what} {self._hung or "crashed"}; it is started again.'
        self.restarts, self.ready = self.restarts + 1, False
        self._orders.close()
        self._told.close()
        self._launch()
        return line

    def stop(self) -> None:
        """End the process, fading out. A second time does nothing."""
        if self._stopping:
            return
        self._stopping = True
        end_process(self.process, 4.0 if self.obey('quit') else 0.5)
        self.poll()  # its last words
        self._orders.close()
        self._told.close()
        self._heart.close()
