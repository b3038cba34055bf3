"""Sound in shared memory between processes, addressed by its position in the stream.

A ring has one writer and one reader, and no lock. Every sample has a position, counted from the start of the stream;
the header says which positions are in the ring. So nobody can read the wrong moment: a result that comes late is
simply not there when it is wanted, and what comes after it is where it belongs (``audio.py`` fades to the dry signal
meanwhile).

Order of stores: the writer first takes the positions it is about to overwrite out of the header, then writes the
samples, then announces them. The reader copies, then looks at the header again. x86 keeps that order by itself; on
Arm the interpreter's own atomics between two bytecodes do.
"""

import contextlib
from collections.abc import Iterator
from multiprocessing import shared_memory

import numpy as np

CAPACITY = 1 << 16  # samples, a power of two: 1.4 s
_BEGIN, _END, _HEADER = 0, 1, 8  # header: int64 values


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
        """Return a view of the block."""
        return np.ndarray(shape, dtype, self._memory.buf, offset)

    def close(self) -> None:
        """Let go; views of the block must not be used any more."""
        with contextlib.suppress(BufferError):  # a view is still alive: the memory goes with the process
            self._memory.close()
        if self._owner:
            self._owner = False
            with contextlib.suppress(FileNotFoundError):
                self._memory.unlink()


class Ring:
    """`CAPACITY` samples of `n_channels`, float32, by position.

    Parameters
    ----------
    n_channels
        Channels.
    name
        Of an existing ring, to attach to it; else a new one is made.
    """

    def __init__(self, n_channels: int, name: str | None = None, capacity: int = CAPACITY):
        if capacity < 2 or capacity & (capacity - 1):
            raise ValueError(f'capacity must be a power of two, not {capacity}')
        self.n_channels, self.capacity = n_channels, capacity
        size = _HEADER * 8 + n_channels * capacity * 4
        self._shared = Shared(size if name is None else 0, name)
        self._header = self._shared.array(np.int64, _HEADER)
        self._samples = self._shared.array(np.float32, n_channels, capacity, offset=_HEADER * 8)

    @property
    def name(self) -> str:
        """For the process that attaches."""
        return self._shared.name

    @property
    def begin(self) -> int:
        """The oldest position in the ring."""
        return int(self._header[_BEGIN])

    @property
    def end(self) -> int:
        """The position after the newest."""
        return int(self._header[_END])

    def _parts(self, start: int, n: int) -> Iterator[tuple[slice, slice]]:
        at = start & (self.capacity - 1)
        first = min(n, self.capacity - at)
        yield slice(at, at + first), slice(0, first)
        if n > first:
            yield slice(0, n - first), slice(first, n)

    def write(self, samples: np.ndarray, position: int | None = None) -> None:
        """Write samples (n_channels, n) at `position`; the default follows on.

        A position after the end leaves a gap: what is before it is gone. One before the end is refused.

        Raises
        ------
        ValueError
            If the samples are more than the ring holds, or would rewrite the past.
        """
        n, header, end = samples.shape[-1], self._header, self.end
        position = end if position is None else position
        if n > self.capacity or position < end:
            raise ValueError(f'cannot write {n} samples at {position}: capacity {self.capacity}, end {end}')
        if position > end:
            header[_BEGIN] = position  # the ring is empty from here on: begin is not before end
            header[_END] = position
        oldest = position + n - self.capacity
        if oldest > header[_BEGIN]:
            header[_BEGIN] = oldest
        for to, part in self._parts(position, n):
            self._samples[:, to] = samples[:, part]
        header[_END] = position + n

    def read_into(self, out: np.ndarray, position: int) -> bool:
        """Copy the samples from `position` on into `out` (n_channels, n); False if they are not all there.

        What is in `out` after False means nothing.
        """
        n = out.shape[-1]
        if position < self._header[_BEGIN] or position + n > self._header[_END]:
            return False
        for at, part in self._parts(position, n):
            out[:, part] = self._samples[:, at]
        return bool(position >= self._header[_BEGIN])  # else the writer overtook us

    def close(self) -> None:
        """Let go; the process that made the ring removes it."""
        del self._header, self._samples
        self._shared.close()
