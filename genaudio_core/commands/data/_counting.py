"""How far long work is, on one line of stderr that is written over."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY = 2.0  # seconds


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None]]:
    """Yield ``show(stage, done, total)``, 0 for a total that is not known; the line is ended with the block.

    So what follows it, an error too, stands on a line of its own.
    """
    last = -EVERY

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            of = f' of {total}' if total else ''
            print(f'\r{stage}: {done}{of}   ', end='', file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if last > -EVERY:
            print(file=sys.stderr, flush=True)
