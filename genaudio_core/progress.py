"""How far a command is: one bar on stderr for all of them, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from genaudio_core.errors import printable


@contextmanager
def progress_bar(what: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar until the block is left; then it is gone, so that what follows stands on a line of its own.

    Yields the function to call with how much is done and, where it changes, of how much (None: nobody knows; what is
    done is counted) and what is being done.
    """
    if not sys.stderr.isatty():
        yield lambda done, total=total, what=what: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(printable(what)), total=total)

        def show(done: float, total: float | None = total, what: str = what) -> None:
            told = what if total is not None else f'{what}: {done:g}'
            bar.update(task, completed=done, total=total, description=escape(printable(told)))

        yield show


@contextmanager
def counting(what: str = '') -> Iterator[Callable[[str, int, int], None]]:
    """As `progress_bar`; yields ``show(stage, done, total)`` for work in stages, 0 for a total that is not known."""
    with progress_bar(what) as show:
        yield lambda stage, done, total: show(done, total or None, stage)
