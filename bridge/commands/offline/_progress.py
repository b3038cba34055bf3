"""How far a command is: one bar for all of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar on stderr where that is a terminal, until the block is left.

    Yields the function to call with how much is done and, where it changes, of how much and what is being done.
    """
    if not sys.stderr.isatty():
        yield lambda done, total=total, what=what: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(what), total=total)

        def show(done: float, total: float | None = total, what: str = what) -> None:
            bar.update(task, completed=done, total=total, description=escape(what))

        yield show
