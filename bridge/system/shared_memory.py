"""Named blocks of memory that processes share."""

import contextlib
from multiprocessing import shared_memory

import numpy as np


class Shared:
    """A named block of shared memory; the process that made it removes it.

    Parameters
    ----------
    n_bytes
        Size, to make a new block.
    name
        Name of an existing one, to attach to it.
    """

    def __init__(self, n_bytes: int = 0, name: str | None = None):
        self._owner = name is None
        self._memory = shared_memory.SharedMemory(name=name, create=self._owner, size=n_bytes)
        self.name = self._memory.name
        if self._owner:
            self.array(np.uint8, n_bytes)[:] = 0

    def array(self, dtype, *shape: int, offset: int = 0) -> np.ndarray:
        """Return a view of the block, of this shape."""
        return np.ndarray(shape, dtype, self._memory.buf, offset)

    def close(self) -> None:
        """Let go; views of the block must not be used any more."""
        with contextlib.suppress(BufferError):  # a view is still alive: the memory goes with the process
            self._memory.close()
        if self._owner:
            self._owner = False
            with contextlib.suppress(FileNotFoundError):
                self._memory.unlink()
