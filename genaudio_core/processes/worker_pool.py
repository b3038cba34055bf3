"""Many independent jobs on a few processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_watch import end_with_parent
from genaudio_core.processes.deafness import born_deaf, keep_tracker, leave_to_parent

GRACE = 3.0  # seconds that a worker has to take away what it was writing


class WorkerPool(ProcessPoolExecutor):
    """An executor whose workers do not hear Ctrl-C, end with us, and are ended where its block is left early.

    Either way they take away what they were writing (`files.atomic_write`), within `GRACE` seconds.

    A worker that dies (for want of memory, say) ends the block with one line; with `multiprocessing.Pool` its job would
    be waited for without end. Whoever goes on without it catches `BrokenProcessPool` where it asks for the result.

    Parameters
    ----------
    workers
        At least one is started.
    on_start
        Called in each worker first.

    Raises
    ------
    GenaudioError
        Out of the block, if a worker died.
    """

    def __init__(self, workers: int, on_start: Callable[[], None] | None = None) -> None:
        keep_tracker()
        # Spawned: torch and ONNX with their threads do not survive a fork.
        context = multiprocessing.get_context('spawn')
        super().__init__(max(1, workers), context, _begin, (on_start,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        with born_deaf():  # a worker may be started here
            return super().submit(_work, fn, *args, **kwargs)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is not None:  # Ctrl-C, or a fault: what is under way is of no use any more
            processes = list((self._processes or {}).values())
            self.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            by = time.monotonic() + GRACE
            for process in processes:
                process.join(max(0.0, by - time.monotonic()))
                process.kill()
        super().__exit__(kind, error, trace)
        if isinstance(error, BrokenProcessPool):
            raise GenaudioError('A worker process ended in the middle of its job (too little memory?).') from error
        return None


def _work(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except SystemExit:
        os._exit(1)  # the pool would take it for a result, and begin the next job


def _begin(on_start: Callable[[], None] | None) -> None:
    leave_to_parent()

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(1)  # through every `finally`: what is half-written is taken away

    end_with_parent(GRACE, lambda: os.kill(os.getpid(), signal.SIGTERM))
    if on_start is not None:
        on_start()
    # Last: an exception out of here would be shown with its traceback, and until now nothing is written.
    signal.signal(signal.SIGTERM, end)
