"""A child process with a pipe and a heartbeat: started, heard, looked after, and ended, the same way for all.

The body runs as ``body(*arguments, heart, pipe)``. It calls `begin` first of all, beats in every turn of its loop, and
ends when the pipe does. Messages are (kind, value). Who may be missed for how long is said here; what dying means is
for the owner to say.
"""

import contextlib
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from bridge.system.child_watch import Heartbeat, Patience, end_process, end_with_parent, send_now
from bridge.system.signals import born_deaf, leave_to_parent

LOADING = 60.0  # seconds that a child may take until its first beat
STUCK = 3.0  # seconds without a beat after which it hangs


def begin(heart: str) -> Heartbeat:
    """First call of a body: signals are the parent's, and the parent's end is ours. Return the heart to beat with."""
    leave_to_parent()
    end_with_parent(grace=1.0)
    return Heartbeat(heart)


class ChildProcess:
    """One run of a child. Use it from one thread; start it in a thread that lives as long as it.

    Parameters
    ----------
    context
        Of multiprocessing; the child is spawned.
    body
        What it runs.
    loading, stuck
        Seconds without a sign of life that are borne before the first beat, and after it.
    """

    def __init__(
        self, context: Any, body: Callable[..., None], arguments: tuple[Any, ...], *, name: str,
        loading: float = LOADING, stuck: float = STUCK,
    ):  # fmt: skip
        self._heart = Heartbeat()
        self._stuck = stuck
        self._beats = 0
        self._patience = Patience(loading)
        self._pipe, theirs = context.Pipe()
        arguments = (*arguments, self._heart.name, theirs)
        self._process = context.Process(target=body, args=arguments, name=name, daemon=True)
        with born_deaf():
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process is there; one that hangs is."""
        return self._process.is_alive()

    def is_hung(self) -> bool:
        """Whether it has not moved for too long. Ask often: time in which nobody asked does not count."""
        beats = self._heart.beats
        if beats != self._beats:
            self._beats = beats
            self._patience = Patience(self._stuck)
        return self._patience.is_over()

    def expect(self, seconds: float) -> None:
        """It has been told to go on: from now on so many seconds without a beat are borne."""
        self._patience = Patience(seconds)

    def send(self, kind: str, value: Any = None) -> bool:
        """Send a message without ever waiting; False where the child is gone or does not read."""
        return send_now(self._pipe, (kind, value))

    def receive(self) -> list[tuple[str, Any]]:
        """Return what it has said since, last words included."""
        found = []
        with contextlib.suppress(EOFError, OSError):
            while self._pipe.poll():
                found.append(self._pipe.recv())
        return found

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.join(2.0)

    def close(self, patience: float = 1.0) -> None:
        """Ask it to end, wait so many seconds, kill it if need be, and let go of everything."""
        if self._process.is_alive():
            self.send('quit')
        end_process(self._process, patience)
        self._pipe.close()
        self._heart.close()


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
