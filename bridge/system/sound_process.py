"""A process beside a session that plays sounds: started, looked after, started again."""

from collections.abc import Callable
from typing import Any

from genaudio_core.processes.child_process import ChildProcess
from genaudio_core.processes.child_watch import RestartLimit

LOAD_SECONDS = 60.0  # until the process of a player must have said that it is ready


class SoundProcess:
    """A player beside a live session, in a process of its own: the band plays on whatever happens to it.

    It is started again when it dies or hangs, a few times. One thread only, that of the session's loop.

    Parameters
    ----------
    body
        What a `ChildProcess` runs. It gets ('line', text) and ('quit', None), and says ('told', text),
        ('ready', value), ('failed', why) and ('status', figures).
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
        self._loading, self._stuck = loading, stuck
        self._stopping, self._hung = False, ''
        self._launch()

    def _launch(self) -> None:
        self._hung = ''
        self.process = ChildProcess(
            self._body, self._arguments, name=self.name, loading=self._loading, stuck=self._stuck
        )

    def obey(self, line: str) -> bool:
        """Hand over a line, such as ``load 36 kick.wav``; False where it is not taken now. Never waits."""
        return self.process.send('line', line)

    def _take(self, kind: str, value: Any) -> list[str]:
        """Take in one message; return lines to tell."""
        if kind == 'ready':
            self.ready = True
        elif kind == 'told':
            return [value]
        elif kind == 'failed':
            self.failed = value
            return [f'{value} {self.consequence}'.strip()]
        elif kind == 'status':
            self.status = value
        return []

    def poll(self) -> list[str]:
        """Look after the process; return what there is to tell."""
        alive, lines = self.process.is_alive(), []
        for said in self.process.receive():
            lines += self._take(*said)
        if self.failed or self.status or self._stopping:
            return lines
        if alive and self.process.is_hung():
            self._hung = 'hangs' if self.ready else f'was not ready after {self._loading:g} s'
            self.process.kill()
            alive = False
        return lines if alive else [*lines, self._revive()]

    def _revive(self) -> str:
        if not self.ready or not self._limit.allows():
            why = self._hung if self._hung and not self.ready else 'crashed while it was loaded'
            self.failed = f'{self.what} {"crashed again and again" if self.ready else why}.'
            return f'{self.failed} {self.consequence}'.strip()
        line = f'{self.what} {self._hung or "crashed"}; it is started again.'
        self.restarts, self.ready = self.restarts + 1, False
        self.process.close(0.0)
        self._launch()
        return line

    def stop(self) -> None:
        """End the process, fading out. A second time does nothing."""
        if self._stopping:
            return
        self._stopping = True
        self.process.end(4.0)
        self.poll()  # its last words
        self.process.close()
