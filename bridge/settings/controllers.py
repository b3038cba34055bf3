"""MIDI controllers that move settings and commands, and learning which does which."""

from collections.abc import Callable, Iterator, Mapping

from bridge.midi.messages import Control
from bridge.settings.band_preset import find_target
from bridge.settings.parameters import COMMANDS, PARAMETERS

PRESSED = 64  # a command fires when its controller rises past this


class Controllers:
    """Controller number -> full name of a parameter, or a command."""

    def __init__(self, bound: Mapping[int, str] | None = None) -> None:
        self.bound: dict[int, str] = dict(bound or {})
        self._learning: str | None = None
        self._values: dict[tuple[int, int], int] = {}

    def learn(self, target: str) -> None:
        """Bind the next controller that moves to `target` (a parameter, short or full, or a command)."""
        self._learning = self.find(target)

    def find(self, target: str) -> str:
        """Return the full name of what can be moved."""
        return find_target(target)

    def is_command(self, name: str) -> bool:
        """Return whether it happens once, when the controller is pressed."""
        return name in COMMANDS

    def value_of(self, name: str, control: int, value: int) -> object:
        """Return the setting that a value 0..127 of a controller stands for."""
        return PARAMETERS[name].from_controller(value)

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
        if self.is_command(name):
            if before < PRESSED <= event.value:
                yield name, None
        else:
            yield name, self.value_of(name, event.control, event.value)
