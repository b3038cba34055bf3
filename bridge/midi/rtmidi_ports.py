"""Ports through RtMidi (rtmidi_library.py): CoreMIDI, ALSA, WinMM, and JACK as RtMidi sees it.

A name in the preset is part of the name of an existing port; where none matches and the system knows virtual ports,
one of that name is made, so that a DAW sees it. `PortSet` looks after its ports: one that disappears is told once,
looked for again every second, and picked up when it returns. For JACK itself see `jack_ports.py`.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.midi.rtmidi_library import midi_library
from bridge.system.clock import Clock
from bridge.system.notices import notice
from genaudio_core.errors import GenaudioError, did_you_mean

Deliver = Callable[[int, bytes, float], None]  # (input number, bytes, bridge time)
HAS_VIRTUAL = sys.platform != 'win32'  # WinMM has no virtual ports


def list_ports(api: str | None = None) -> tuple[list[str], list[str]]:
    """Return the names of the inputs and outputs that exist; empty where the MIDI system does not answer.

    Raises
    ------
    GenaudioError
        If no MIDI library loads, or it was built without this system.
    """
    library = midi_library()
    try:
        return library.port_names(inputs=True, system=api), library.port_names(inputs=False, system=api)
    except OSError:  # no MIDI system is no error here
        return [], []


def why_no_virtual() -> str:
    """Make a virtual port, as `genaudio live` does, and return why that fails and what to do; '' if it works."""
    if not HAS_VIRTUAL:
        return ''
    try:
        midi_library().open_output('look', virtual=True, client_name='genaudio-look').close()
    except GenaudioError as error:
        return str(error)
    except OSError as error:
        if sys.platform == 'linux' and not Path('/dev/snd/seq').exists():
            return 'the ALSA sequencer is missing (no /dev/snd/seq); start JACK or PipeWire, or: sudo modprobe snd-seq'
        return f'no virtual MIDI port can be made ({str(error).strip() or "no reason given"}); start JACK or PipeWire'
    return ''


def find_port(part: str, names: Sequence[str], what: str) -> str | None:
    """Return the one name that holds `part` (case does not matter); None if there is none.

    Raises
    ------
    GenaudioError
        If several do; they are listed.
    """
    exact = [name for name in names if name == part]
    found = exact or [name for name in names if part.lower() in name.lower()]
    if len(found) > 1:
        listed = ''.join(f'\n  {name}' for name in found)
        raise GenaudioError(f"Several MIDI {what}s match '{part}'; give more of the name:{listed}")
    return found[0] if found else None


def missing(part: str, names: Sequence[str], what: str) -> GenaudioError:
    """The error for a port that is not there and cannot be made."""
    listed = ''.join(f'\n  {name}' for name in names) or ' none.'
    return GenaudioError(f"No MIDI {what} port matches '{part}'.{did_you_mean(part, names)} Available:{listed}")


class PortSet:
    """The inputs and outputs of a preset.

    Parameters
    ----------
    inputs, outputs : names or parts of names
    deliver : callable
        Gets (input number, bytes, bridge time); called from rtmidi's threads.
    api : str, optional
        MIDI system, such as 'UNIX_JACK'.
    client_name : str
        Under which virtual ports appear.
    """

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], clock: Clock, deliver: Deliver, *, api: str | None = None,
        client_name: str = 'genaudio', notify: Callable[[str], None] = notice, patience: float = 1.0,
    ) -> None:  # fmt: skip
        self._library, self._system = midi_library(), api
        self._clock, self._deliver, self._notify = clock, deliver, notify
        self._client_name = client_name
        self._patience = patience
        self._names = {('input', i): name for i, name in enumerate(inputs)}
        self._names |= {('output', i): name for i, name in enumerate(outputs)}
        self._ports: dict[tuple[str, int], tuple[Any, str | None]] = {}  # port, name of the real one (None: virtual)
        self._refusing: dict[int, float] = {}  # output -> since when its port has taken nothing
        self._told_of: set[int] = set()  # ... and the person knows
        self._next_look = 0.0
        self._back: list[int] = []
        for key in self._names:
            self._open(key, first=True)

    def write(self, output: int, message: bytes) -> None:
        """Send bytes on an output.

        Raises
        ------
        OSError
            If the port is gone, or takes nothing.
        """
        held = self._ports.get(('output', output))
        if held is None:
            raise OSError(f'output {output} is not there')
        try:
            held[0].send(message)
        except OSError:
            self._refusing.setdefault(output, self._clock.now())
            raise
        if self._refusing:
            self._refusing.pop(output, None)

    def look(self) -> list[int]:
        """Notice ports that went and came; return the inputs that went. Call a few times a second."""
        now = self._clock.now()
        if now < self._next_look:
            return []
        self._next_look = now + self._patience
        inputs, outputs = self._existing()
        lost = []
        for key, name in self._names.items():
            existing = inputs if key[0] == 'input' else outputs
            held = self._ports.get(key)
            if held is None:
                with contextlib.suppress(GenaudioError, OSError):
                    self._open(key, first=False)
            elif held[1] is not None and held[1] not in existing:
                self._close(key)
                self._notify(f"MIDI {key[0]} '{name}' is gone; looking for it.")
                if key[0] == 'input':
                    lost.append(key[1])
            elif key[0] == 'output' and now - self._refusing.get(key[1], now) > self._patience:
                self._refuses(key, held[1])
        return lost

    def _refuses(self, key: tuple[str, int], real: str | None) -> None:
        """An output is there and has taken nothing for a while: one of the system's is let go of and opened again."""
        name = self._names[key]
        if real is not None:
            self._close(key)
            self._notify(f"MIDI output '{name}' accepts nothing; it is opened again.")
            self._told_of.discard(key[1])
        elif key[1] not in self._told_of:
            self._told_of.add(key[1])
            self._notify(f"MIDI output '{name}' accepts nothing; genaudio keeps trying.")

    def outputs_back(self) -> list[int]:
        """Outputs whose port has come back since the last call."""
        back, self._back = self._back, []
        return back

    def close(self) -> None:
        """Close all ports."""
        for key in list(self._ports):
            self._close(key)

    def _existing(self) -> tuple[list[str], list[str]]:
        return list_ports(self._system)

    def _open(self, key: tuple[str, int], *, first: bool) -> None:
        what, number = key
        name = self._names[key]
        names = self._existing()[what == 'output']
        real = find_port(name, names, what)
        if real is None and not HAS_VIRTUAL:
            if first:
                raise missing(name, names, what)
            return
        if real is None and not first:
            return  # it was a real port before: wait for it, do not make a virtual one of its name
        options: dict[str, Any] = {'system': self._system}
        if real is None:
            options |= {'virtual': True, 'client_name': self._client_name}
        try:
            if what == 'input':
                port = self._library.open_input(
                    real or name, lambda message: self._deliver(number, message, self._clock.now()), **options
                )
            else:
                port = self._library.open_output(real or name, **options)
        except OSError as error:
            raise GenaudioError(f"MIDI {what} '{name}' cannot be opened: {error}") from error
        self._ports[key] = (port, real)
        if not first:
            self._notify(f"MIDI {what} '{name}' is back.")
            if what == 'output':
                self._back.append(number)

    def _close(self, key: tuple[str, int]) -> None:
        self._ports.pop(key)[0].close()
        if key[0] == 'output':
            self._refusing.pop(key[1], None)
