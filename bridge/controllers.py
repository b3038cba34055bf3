"""MIDI controllers that move settings and commands, and learning which does which."""

from collections.abc import Callable, Iterator, Mapping

from bridge.messages import Control
from bridge.parameters import COMMANDS, PARAMETERS
from bridge.preset import find_target

PRESSED = 64  # a command fires when its controller rises past this


class Controllers:
    """Controller number -> full name of a parameter, or a command."""

    def __init__(self, bound: Mapping[int, str] | None = None) -> None:
        self.bound: dict[int, str] = dict(bound or {})
        self._learning: str | None = None
        self._values: dict[tuple[int, int], int] = {}

    def learn(self, target: str) -> None:
        """Bind the next controller that moves to `target` (a parameter, short or full, or a command)."""
        self._learning = find_target(target)

    def moved(self, event: Control, notify: Callable[[str], None]) -> Iterator[tuple[str, object]]:
        """Yield (name, value) of what the controller moves; commands come with value None."""
        before = self._values.get((event.channel, event.control), 0)
        self._values[event.channel, event.control] = event.value
        if self._learning is not None and event.control < 120 and event.control != 64:
            self.bound[event.control] = self._learning
            notify(f'Controller {event.control} now moves {self._learning}.')
            self._learning = None
        name = self.bound.get(event.control)
        if name is None:
            return
        if name in COMMANDS:
            if before < PRESSED <= event.value:
                yield name, None
        else:
            yield name, PARAMETERS[name].from_controller(event.value)
