"""A preset file that is edited while it plays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.settings.band_preset import Preset, load_preset
from genaudio_core.errors import GenaudioError

GONE = 20  # looks without a preset file after which the person is told


class Reloader:
    """Reloads a preset file when it changes.

    Parameters
    ----------
    path
        The file.
    changes
        From --set, applied on top each time.
    """

    def __init__(self, path: Path, changes: dict[str, Any]) -> None:
        self._path, self._changes = path, changes
        self._seen = self._stamp()
        self._writing: tuple[int, int] | None = None  # the stamp at the last look, where that was new
        self._gone = 0  # looks since which it is not there

    def _stamp(self) -> tuple[int, int] | None:
        try:
            state = self._path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size

    def look(self, say: Callable[[str], None]) -> Preset | None:
        """Return the preset if the file has changed and is right. `say` gets a line; what is wrong changes nothing."""
        stamp = self._stamp()
        self._gone = self._gone + 1 if stamp is None else 0
        if self._gone == GONE:  # editors put a new file into the place of the old one, and are quicker
            say(f'{self._path} is gone. Playing on with the preset as it was.')
            self._seen = None
        if stamp is None or stamp == self._seen:
            return None
        if stamp != self._writing:  # it may be half written: the next look knows
            self._writing = stamp
            return None
        self._seen = stamp
        try:
            preset = load_preset(self._path, self._changes)
        except GenaudioError as error:
            say(f'{error} Playing on with the preset as it was.')
            return None
        say(f'{self._path} is reloaded.')
        return preset
