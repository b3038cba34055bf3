"""Knobs of live isolation: MIDI controllers and lines set gain, mute, solo, dry/wet and effects while it plays.

* `Knobs` sets by name (`stem_knobs.check_target`) and turns controller values 0..127 into settings.
* `MidiIn` takes bytes from the audio callback (JACK) or from rtmidi's thread, and hands them over in the main loop.
* `save_state` and `restore` keep everything that was turned, and what the plug-ins know of themselves, in one file.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.midi import messages
from bridge.midi.messages import Control
from bridge.settings.controllers import Controllers
from bridge.settings.effects_table import Share
from bridge.settings.stem_knobs import OF_MONITOR, check_target, from_controller, number_or_text, renamed
from genaudio_core.errors import GenaudioError


class Knobs(Controllers):
    """The settings that can be turned while it plays.

    Parameters
    ----------
    names
        Of the output pairs.
    controls
        Has `host`, and `mix`, which is replaced.
    plugins
        The `PluginHost`, if there are effects.
    """

    def __init__(
        self, names: Sequence[str], controls: Any, plugins: Any = None, bound: Mapping[int, str] | None = None,
        spans: Mapping[int, tuple[float, float]] | None = None,
    ):  # fmt: skip
        self.names, self.controls, self.plugins = list(names), controls, plugins
        self._first_names = list(names)
        self.spans = dict(spans or {})
        self._own = dict(bound or {})  # a span belongs to what the preset bound, not to what is learned later
        super().__init__(bound)
        for target in self.bound.values():
            self.find(target)

    def find(self, target: str) -> str:
        chains, known = (self.plugins.chains, self.plugins.known) if self.plugins else ({}, None)
        return check_target(target, self.names, chains, known)

    def rename(self, names: Sequence[str]) -> None:
        """A stem is another one now, and is called so everywhere: what moved it by its old name moves it still."""
        before, self.names = self.names, list(names)
        for bound in (self.bound, self._own):
            for control, target in bound.items():
                bound[control] = renamed(target, before, self.names)

    def bound_at_start(self) -> dict[int, str]:
        """The targets of controllers, by the names that stems had when it began: those of the preset."""
        return {control: renamed(target, self.names, self._first_names) for control, target in self.bound.items()}

    def knows(self, target: str) -> bool:
        """Return whether there is something of this name."""
        try:
            self.find(target)
        except GenaudioError:
            return False
        return True

    def is_command(self, name: str) -> bool:
        return False

    def value_of(self, name: str, control: int, value: int) -> Any:
        span = self.spans.get(control) if self._own.get(control) == name else None
        if span is None and name.startswith('effect.'):
            pair, index, _ = self._effect(name)
            if self.plugins.chains[pair][index].path:
                return Share(value / 127)
        return from_controller(name, self.names, value, span)

    def _effect(self, name: str) -> tuple[int, int, str]:
        _, pair, number, parameter = name.split('.', 3)
        return self.names.index(pair), int(number) - 1, parameter

    def set(self, name: str, value: Any) -> None:
        """Set by name, such as ``gain.drums`` to -6.

        Raises
        ------
        GenaudioError
            If name or value are wrong. A value that an effect refuses is told later.
        """
        self.find(name)
        host = self.controls.host
        if name.startswith('effect.'):
            self.plugins.set_parameter(*self._effect(name), number_or_text(value))
        elif name == 'bypass':
            host.core.bypass = OF_MONITOR[name].check(name, value)
        elif name == 'low_latency':
            host.low_latency = OF_MONITOR[name].check(name, value)
        else:
            self.controls.mix = self.controls.mix.with_knob(self.names, name, value)
            host.set_mix(self.controls.mix)

    def take(self, events: Sequence[Control], notify: Callable[[str], None]) -> None:
        """Do what controllers say; of several values for one thing only the last counts."""
        last = {name: value for event in events for name, value in self.moved(event, notify)}
        for name, value in last.items():
            try:
                self.set(name, value)
            except GenaudioError as error:
                notify(str(error))


class MidiIn:
    """Controllers from a MIDI input: `put` from any thread, `drain` from ours."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=4096)
        self._parser = messages.Parser()
        self._ports: Any = None

    def put(self, chunk: bytes) -> None:
        """Take bytes; does not wait."""
        self._waiting.append(chunk)

    def drain(self) -> list[Control]:
        """Return the controllers that moved since."""
        if self._ports is not None:
            self._ports.look()
        found = []
        while self._waiting:
            for message in self._parser.feed(self._waiting.popleft()):
                if isinstance(event := messages.decode(message, 0.0), Control):
                    found.append(event)
        return found

    def listen(self, port: str, client_name: str, on_notice: Callable[[str], None]) -> None:
        """Open a port through rtmidi; one of this name is made where there is none.

        Raises
        ------
        GenaudioError
            If that cannot be.
        """
        from bridge.midi.rtmidi_ports import PortSet
        from bridge.system.clock import RealClock

        self._ports = PortSet(
            [port], [], RealClock(), lambda source, chunk, time: self.put(chunk), client_name=client_name,
            notify=on_notice,
        )  # fmt: skip

    def close(self) -> None:
        """Close the port, if one was opened."""
        if self._ports is not None:
            self._ports.close()
            self._ports = None
