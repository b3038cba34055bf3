"""Keeping the processor awake while music plays.

A processor that sleeps between notes takes its time to wake up: milliseconds in a virtual machine, a tenth of one on a
laptop. Linux lets a process forbid deep sleep for as long as it holds ``/dev/cpu_dma_latency`` open (PM quality of
service), which real-time tools have always done. Where that is not allowed, or there is no such file, nothing changes;
`genaudio doctor` tells.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

DEVICE = Path('/dev/cpu_dma_latency')


def may_keep_awake(device: Path = DEVICE) -> bool | None:
    """Whether this user may forbid deep sleep; None where the system has no such switch."""
    return os.access(device, os.W_OK) if device.exists() else None


@contextlib.contextmanager
def awake(device: Path = DEVICE) -> Iterator[bool]:
    """Forbid deep sleep inside the block; whether the system agreed."""
    try:
        handle = os.open(device, os.O_WRONLY)
    except OSError:
        yield False
        return
    try:
        agreed = False
        with contextlib.suppress(OSError):
            agreed = os.write(handle, bytes(4)) == 4  # wake up within 0 microseconds
        yield agreed
    finally:
        os.close(handle)  # the kernel forgets the wish
