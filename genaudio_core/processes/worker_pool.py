"""Many independent jobs on a few processes."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from genaudio_core.errors import GenaudioError
from genaudio_core.processes.child_watch import end_with_parent
from genaudio_core.processes.deafness import born_deaf, leave_to_parent


class WorkerPool(ProcessPoolExecutor):
    """An executor whose workers do not hear Ctrl-C, end at once with us, and are ended where its block is left early.

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
        # Spawned: torch and ONNX with their threads do not survive a fork.
        context = multiprocessing.get_context('spawn')
        super().__init__(max(1, workers), context, _begin, (on_start,))

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        with born_deaf():  # a worker may be started here
            return super().submit(fn, *args, **kwargs)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is not None:  # Ctrl-C, or a fault: what is under way is of no use any more
            for process in list((self._processes or {}).values()):
                process.kill()
            self.shutdown(wait=False, cancel_futures=True)
        super().__exit__(kind, error, trace)
        if isinstance(error, BrokenProcessPool):
            raise GenaudioError('A worker process ended in the middle of its job (too little memory?).') from error
        return None


def _begin(on_start: Callable[[], None] | None) -> None:
    leave_to_parent()
    end_with_parent(grace=0.0)
    if on_start is not None:
        on_start()
