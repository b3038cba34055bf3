"""A child process with a pipe and a heartbeat: started, heard, looked after, and ended, the same way for all.

The body runs as ``body(*arguments, heart, pipe)``. It calls `begin` first of all, beats in every turn of its loop, and
ends when the pipe does, or says ('quit', None). Messages are (kind, value). Who may be missed for how long is said
here; what dying means, and how often it may happen (`RestartLimit`), is for the owner to say.
"""

import contextlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from genaudio_core.processes.child_watch import Heartbeat, Patience, end_with_parent, send_now
from genaudio_core.processes.deafness import born_deaf, leave_to_parent

CONTEXT = multiprocessing.get_context('spawn')  # threads (ONNX, torch, JACK) do not survive a fork
LOADING = 60.0  # seconds that a child may take until its first beat
STUCK = 3.0  # seconds without a beat after which it hangs
DEAF = 0.5  # seconds that are waited for one to end which does not take the wish


def begin(cells: Any, grace: float = 1.0) -> Heartbeat:
    """First call of a body: signals are the parent's, and the parent's end is ours. Return the heart to beat with.

    Parameters
    ----------
    cells
        The first of the two arguments that `ChildProcess` adds.
    grace
        Seconds that the body may take to end by itself when the parent has.
    """
    leave_to_parent()
    end_with_parent(grace)
    return Heartbeat(cells)


class ChildProcess:
    """One run of a child. Use it from one thread; start it in a thread that lives as long as it.

    Parameters
    ----------
    body
        What it runs: a function of a module.
    arguments
        Of the body; they travel by pickle.
    name
        For whoever lists processes.
    loading, stuck
        Seconds without a sign of life that are borne before the first beat, and after it.
    parent
        It has children of its own. Where we end in an ordinary way without ending it, it is then waited for, not ended.
    start
        At once; otherwise by `start`, and what is sent before waits for it.

    Attributes
    ----------
    pipe
        Our end, to wait for with `multiprocessing.connection.wait`.
    stuck : float
        May be changed.
    """

    def __init__(
        self, body: Callable[..., None], arguments: tuple[Any, ...] = (), *, name: str, loading: float = LOADING,
        stuck: float = STUCK, parent: bool = False, start: bool = True,
    ):  # fmt: skip
        self._heart = Heartbeat()
        self.stuck = stuck
        self._beats = 0
        self._patience = Patience(loading)
        self._silent = False
        self.pipe, self._theirs = CONTEXT.Pipe()
        arguments = (*arguments, self._heart.cells, self._theirs)
        self._process = CONTEXT.Process(target=body, args=arguments, name=name, daemon=not parent)
        if start:
            self.start()

    def start(self) -> None:
        """Start it, if that was not done at once."""
        with born_deaf():
            self._process.start()
        self._theirs.close()
        self._patience.renew()

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid or 0

    @property
    def exitcode(self) -> int | None:
        """Its exit code; None while it lives."""
        return self._process.exitcode

    @property
    def at(self) -> int:
        """Its current work (`Heartbeat.at`)."""
        return self._heart.at

    def is_alive(self) -> bool:
        """Whether the process is there; one that hangs is."""
        return not self._silent and self._process.is_alive()

    def is_hung(self) -> bool:
        """Whether it has not moved for too long. Ask often: time in which nobody asked does not count."""
        beats = self._heart.beats
        if beats != self._beats:
            self._beats = beats
            self._patience = Patience(self.stuck)
        return self._patience.is_over()

    def expect(self, seconds: float) -> None:
        """It goes on with something: from now on so many seconds without a beat are borne."""
        self._patience = Patience(seconds)

    def renew(self) -> None:
        """Until now nobody looked, or it was given no chance: its time begins again."""
        self._patience.renew()

    def send(self, kind: str, value: Any = None) -> bool:
        """Send a message without ever waiting; False where the child is gone or does not read."""
        return send_now(self.pipe, (kind, value))

    def receive(self) -> list[tuple[str, Any]]:
        """Return what it has said since, last words included."""
        found = []
        try:
            while self.pipe.poll():
                found.append(self.pipe.recv())
        except (EOFError, OSError):
            self._silent = True
        return found

    def wait(self, seconds: float) -> None:
        """Wait until it says something, or is gone, for so many seconds at most."""
        with contextlib.suppress(OSError):
            wait([self.pipe, self._process.sentinel], seconds)

    def join(self, seconds: float | None = None) -> None:
        """Wait until it has ended."""
        self._process.join(seconds)

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join(2.0)

    def end(self, patience: float = 1.0, *, ask: bool = True) -> None:
        """Ask it to end, wait so many seconds, and kill it if need be. Its last words can still be heard.

        Parameters
        ----------
        ask
            False where it has been asked, or is about to end.
        """
        if self._process.is_alive():
            self._process.join(patience if not ask or self.send('quit') else min(patience, DEAF))
        if self._process.is_alive():
            self.kill()

    def close(self, patience: float = 1.0) -> None:
        """`end` it, and let go of everything. A second time does nothing."""
        self.end(patience)
        self.pipe.close()


def messages(pipe: Connection) -> list[tuple[str, Any]]:
    """For the child: what the parent has said since.

    Raises
    ------
    EOFError, OSError
        If the parent is gone.
    """
    found = []
    while pipe.poll():
        found.append(pipe.recv())
    return found
