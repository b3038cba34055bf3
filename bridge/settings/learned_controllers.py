"""Learned controllers, kept between sessions: what a musician bound by `learn` is bound next time, preset by preset."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from platformdirs import user_config_path

from bridge.settings.parameters import COMMANDS, PARAMETERS
from bridge.settings.voice import is_of_part
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write

_NUMBERS = frozenset(map(str, range(120)))  # of controllers
P = TypeVar('P', bound=Any)  # a preset of either kind: has `name` and `controllers`


def known(target: str) -> bool:
    """Return whether the band has such a command, or a setting that a controller may move while it plays."""
    parameter = PARAMETERS.get(target)
    return target in COMMANDS or is_of_part(target) or (parameter is not None and parameter.live and parameter.movable)


class Learned:
    """The file of learned controllers.

    Parameters
    ----------
    notify : callable
        Gets one line for the person when the file cannot be read or written; the music goes on either way.
    path : Path, optional
        Default: ``controllers.json`` in the user's configuration folder.
    is_target : callable
        Whether something of this name can be moved; what cannot is left out.
    """

    def __init__(
        self, notify: Callable[[str], None], path: Path | None = None, is_target: Callable[[str], bool] = known
    ) -> None:
        self._notify, self._is_target = notify, is_target
        self.path = path or user_config_path('genaudio', appauthor=False) / 'controllers.json'
        self._all: dict[str, dict[str, str]] = {}
        self._writable = True
        try:
            loaded = json.loads(self.path.read_text(encoding='utf-8'))
            self._all = {str(preset): dict(bound) for preset, bound in loaded.items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            # Left as it is: somebody may want to mend it.
            self._writable = False
            notify(
                f'{self.path} is not a file of learned controllers ({error}): repair or delete it. '
                'What you learn now is not saved.'
            )

    def bound(self, preset: str) -> dict[int, str]:
        """Return controller -> target of a preset; what this version does not know is left out."""
        return {
            int(number): target for number, target in self._all.get(preset, {}).items()
            if number in _NUMBERS and isinstance(target, str) and self._is_target(target)
        }  # fmt: skip

    def apply(self, preset: P) -> P:
        """Return `preset` with what was learned for it; learned bindings win over the preset's own."""
        return replace(preset, controllers={**preset.controllers, **self.bound(preset.name)})

    def forget(self, preset: str) -> None:
        """Drop what was learned for a preset."""
        if self._all.pop(preset, None) is not None:
            self._write()

    def remember(self, preset: Any, bound: Mapping[int, str]) -> None:
        """Keep the bindings of a running session that differ from `preset`'s own (without `apply`)."""
        new = {str(number): target for number, target in bound.items() if preset.controllers.get(number) != target}
        if new != self._all.get(preset.name, {}):
            self._all[preset.name] = new
            self._write()

    def _write(self) -> None:
        if not self._writable:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.path) as unfinished:
                Path(unfinished).write_text(json.dumps(self._all, indent=1, sort_keys=True) + '\n', encoding='utf-8')
        except (OSError, GenaudioError) as error:
            self._writable = False
            self._notify(f'Learned controllers are not saved: {error}')
