"""Words become vectors beside the loop that must go on: a text encoder takes a second to load."""

import threading
from collections.abc import Callable
from typing import Any


class Lookup:
    """One call in a thread of its own, asked for its answer without waiting.

    Parameters
    ----------
    key
        What it is the answer to.
    call
        Called with `key`. It may outlive whoever asked: the thread ends with the process.
    """

    def __init__(self, key: str, call: Callable[[str], Any]) -> None:
        self.key, self._answer, self._error = key, None, None
        self._thread = threading.Thread(target=self._run, args=(call,), name='genaudio-lookup', daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[str], Any]) -> None:
        try:
            self._answer = call(self.key)
        except BaseException as error:  # raised where the answer is fetched
            self._error = error

    @property
    def done(self) -> bool:
        """Whether the answer is there."""
        return not self._thread.is_alive()

    def answer(self) -> Any:
        """Return the answer, or raise what the call raised. Waits until it is there."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._answer
