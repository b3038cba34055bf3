"""Sound in shared memory between processes, addressed by its position in the stream.

A ring has one writer, any number of readers, and no lock. Every sample has a position, counted from the start of the
stream; the header says which positions are in the ring. So nobody can read the wrong moment: a result that comes late
is simply not there when it is wanted, and what comes after it is where it belongs (``callback.py`` fades to the dry
signal meanwhile).

Order of stores: the writer first takes the positions it is about to overwrite out of the header, then writes the
samples, then announces them. A reader copies, then looks at the header again. Between the steps stands `fence`. On
x86 stores are seen in the order in which they were made, and loads are made in order, so the fence is nothing there;
what is left is that numpy makes each step with machine code of its own, which no compiler moves across a call. On Arm
and other processors another core may see the header before the samples, whatever Python does between two bytecodes:
there the fence takes and gives back a lock twice. Giving back is a store that everything before it precedes (release),
taking it again a load that precedes everything after it (acquire), and a processor keeps such a pair in order. A header
value is one aligned word of 8 bytes and is never seen half written.
"""

import platform
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bridge.system.shared_memory import Shared

CAPACITY = 1 << 16  # samples, a power of two: 1.4 s
_BEGIN, _END, _CAPACITY, _CHANNELS, _SKIPPED, _HEADER = 0, 1, 2, 3, 4, 8  # header: int64 values
_STRONG = ('x86_64', 'amd64', 'i386', 'i686')  # processors that show stores in their order


def make_fence(machine: str) -> Callable[[], None]:
    """Return what must stand between two steps of a writer or reader on a processor of this kind (see above)."""
    if machine.lower() in _STRONG:
        return lambda: None
    lock = threading.local()  # one for each thread: nobody ever waits for it

    def give_and_take() -> None:
        own = getattr(lock, 'own', None)
        if own is None:
            own = lock.own = threading.Lock()
        own.acquire()
        own.release()
        own.acquire()
        own.release()

    return give_and_take


fence = make_fence(platform.machine())
"""The memory barrier between two steps of a writer or reader on this machine."""


def capacity_for(samples: int) -> int:
    """Return the capacity of a ring that must hold so many samples: a power of two, `CAPACITY` at least."""
    return max(CAPACITY, 1 << max(samples - 1, 1).bit_length())


class Ring:
    """`capacity` samples of `n_channels`, float32, by position.

    Parameters
    ----------
    n_channels
        Channels.
    name
        Of an existing ring, to attach to it; else a new one is made.
    capacity
        Samples, a power of two, for a new ring; one that is attached to says its own.
    memory
        Where an existing ring lies, with the methods of `Shared`, in place of a name.

    Raises
    ------
    ValueError
        If the capacity is no power of two, or the ring of this name has other channels.
    """

    def __init__(self, n_channels: int, name: str | None = None, capacity: int = CAPACITY, *, memory: Any = None):
        is_new = name is None and memory is None
        if is_new and (capacity < 2 or capacity & (capacity - 1)):
            raise ValueError(f'capacity must be a power of two, not {capacity}')
        self.n_channels = n_channels
        self._shared = memory or Shared(_HEADER * 8 + n_channels * capacity * 4 if is_new else 0, name)
        self._header = self._shared.array(np.int64, _HEADER)
        if is_new:
            self._header[_CAPACITY], self._header[_CHANNELS] = capacity, n_channels
        elif self._header[_CHANNELS] != n_channels:
            there = int(self._header[_CHANNELS])
            del self._header
            self._shared.close()
            raise ValueError(f'the ring has {there} channels, not {n_channels}')
        self.capacity = int(self._header[_CAPACITY])
        self._samples = self._shared.array(np.float32, n_channels, self.capacity, offset=_HEADER * 8)

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

    @property
    def closed_before(self) -> int:
        """Position before which nothing more will be written: what is not in the ring by then never will be."""
        skipped = int(self._header[_SKIPPED])
        return skipped if skipped > self.end else self.begin

    def skip(self, position: int) -> None:
        """Say, as its writer, that nothing will be written before `position`; what is there stays."""
        self._header[_SKIPPED] = position

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
            fence()
            header[_END] = position
        oldest = position + n - self.capacity
        if oldest > header[_BEGIN]:
            header[_BEGIN] = oldest
        fence()
        for to, part in self._parts(position, n):
            self._samples[:, to] = samples[:, part]
        fence()
        header[_END] = position + n

    def read_into(self, out: np.ndarray, position: int) -> bool:
        """Copy the samples from `position` on into `out` (n_channels, n); False if they are not all there.

        What is in `out` after False means nothing.
        """
        n = out.shape[-1]
        if position < self._header[_BEGIN] or position + n > self._header[_END]:
            return False
        fence()
        for at, part in self._parts(position, n):
            out[:, part] = self._samples[:, at]
        fence()
        return bool(position >= self._header[_BEGIN])  # else the writer overtook us

    def close(self) -> None:
        """Let go; the process that made the ring removes it. A second time does nothing."""
        if hasattr(self, '_samples'):
            del self._header, self._samples
            self._shared.close()
