"""MIDI controllers that move settings and commands, and learning which does which."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from bridge.midi.messages import Control
from bridge.settings.parameters import COMMANDS, PARAMETERS
from bridge.settings.voice import find_target, part_knobs

PRESSED = 64  # a command fires when its controller rises past this
PARAMETER_NUMBER = frozenset((6, 38, *range(96, 102)))  # a knob that sends (N)RPN sends these, whichever knob it is
# The pedal is pressed all the time, a bank is chosen with a sound, and from 120 on stand orders to a channel.
NEVER_LEARNED = PARAMETER_NUMBER | {0, 32, 64} | frozenset(range(120, 128))


class Controllers:
    """Controller number -> full name of a parameter, or a command.

    Parameters
    ----------
    bound
        What is bound at first.
    instruments
        Of the parts, whose knobs can be moved, too.

    Attributes
    ----------
    learning : str or None
        What the next controller that moves will be bound to.
    """

    def __init__(self, bound: Mapping[int, str] | None = None, instruments: Sequence[str] = ()) -> None:
        self._instruments = instruments
        self.bound: dict[int, str] = dict(bound or {})
        self.learning: str | None = None
        self._told = False  # that what moved while learning cannot be bound
        self._values: dict[tuple[int, int], int] = {}

    def learn(self, target: str) -> None:
        """Bind the next controller that moves to `target` (a parameter, short or full, or a command)."""
        self.learning, self._told = self.find(target), False

    def find(self, target: str) -> str:
        """Return the full name of what can be moved."""
        return find_target(target, self._instruments)

    def is_command(self, name: str) -> bool:
        """Return whether it happens once, when the controller is pressed."""
        return name in COMMANDS

    def value_of(self, name: str, control: int, value: int) -> object:
        """Return the setting that a value 0..127 of a controller stands for."""
        return (PARAMETERS | part_knobs(self._instruments))[name].from_controller(value)

    def moved(self, event: Control, notify: Callable[[str], None]) -> Iterator[tuple[str, object]]:
        """Yield (name, value) of what the controller moves; commands come with value None."""
        before = self._values.get((event.channel, event.control), 0)
        self._values[event.channel, event.control] = event.value
        if self.learning is not None and event.control in PARAMETER_NUMBER and not self._told:
            self._told = True
            notify('What moved sends parameter numbers (RPN or NRPN): have it send a plain controller.')
        elif self.learning is not None and event.control not in NEVER_LEARNED:
            self.bound[event.control] = self.learning
            notify(f'Controller {event.control} now moves {self.learning}.')
            self.learning = None
        name = self.bound.get(event.control)
        if name is None:
            return
        if self.is_command(name):
            if before < PRESSED <= event.value:
                yield name, None
        else:
            yield name, self.value_of(name, event.control, event.value)
