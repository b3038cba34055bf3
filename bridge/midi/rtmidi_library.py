"""RtMidi, by whichever of its Python packages is installed: bytes in, bytes out.

python-rtmidi has wheels up to Python 3.12 (built from source without JACK's headers it lacks JACK, and does not say
so); supriya-midi has them from 3.11 on, with the same RtMidi inside. Their APIs differ in a few words, which are here
and nowhere else. One is imported when it is first needed.

JACK itself is spoken to by JACK-Client (jack_ports.py). Wheels of RtMidi bring a libjack of their own, which may be too
old for the server (supriya-midi 26.10), and none of them knows PipeWire.
"""

import contextlib
import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

from genaudio_core.errors import GenaudioError

_SYSTEMS = ('MACOSX_CORE', 'LINUX_ALSA', 'UNIX_JACK', 'WINDOWS_MM')  # others are of no use to a person
_MODULES = {'python-rtmidi': 'rtmidi', 'supriya-midi': 'supriya_midi'}
LIBRARIES = tuple(_MODULES) if sys.version_info < (3, 13) else tuple(reversed(_MODULES))  # best first
WANTED = LIBRARIES[0]  # what to install on this Python
_EXPECTED = {'linux': ('LINUX_ALSA', 'UNIX_JACK'), 'darwin': ('MACOSX_CORE',), 'win32': ('WINDOWS_MM',)}


class Port:
    """An open port. `send` of an output from one thread at a time; `close` from any."""

    def __init__(self, is_input: bool) -> None:
        self._handle: Any = None
        self._is_input = is_input
        self.faults = 0  # exceptions of the callback

    def send(self, message: bytes) -> None:
        """Send one message.

        Raises
        ------
        OSError
            If the system does not take it, or the port is closed.
        """
        if self._handle is None:
            raise OSError('the port is closed')
        try:
            self._handle.send_message(message)
        except OSError:
            raise
        except Exception as error:  # each library has types of its own
            raise OSError(str(error)) from error

    def _listen(self, callback: Callable[[bytes], None], pair: bool) -> None:
        # What an exception does in the library's thread is its own affair: one of them ends the process.
        def heard_pair(event: tuple[list[int], float], _: Any = None) -> None:
            try:
                callback(bytes(event[0]))
            except Exception:
                self.faults += 1

        def heard(message: list[int], _: float, __: Any = None) -> None:
            try:
                callback(bytes(message))
            except Exception:
                self.faults += 1

        self._handle.set_callback(heard_pair if pair else heard)

    def close(self) -> None:
        """Close the port; a second time does nothing."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        with contextlib.suppress(Exception):
            if self._is_input:
                handle.cancel_callback()  # off before closing, or a thread of RtMidi calls into a port half closed
        with contextlib.suppress(Exception):
            handle.close_port()
        with contextlib.suppress(Exception):
            handle.delete()  # a virtual port is there until its client is deleted


class MidiLibrary:
    """One of the two packages; from `midi_library`.

    Attributes
    ----------
    name : str
        Of the package, as pip knows it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._module: Any = importlib.import_module(_MODULES[name])
        self._enum: Any = self._module if name == 'python-rtmidi' else self._module.RtMidiAPI
        prefix = 'API_' if name == 'python-rtmidi' else ''
        self._numbers = {system: getattr(self._enum, prefix + system) for system in _SYSTEMS}
        compiled = self._module.get_compiled_api() if name == 'python-rtmidi' else self._module.get_compiled_apis()
        self.systems = [system for api in compiled for system, number in self._numbers.items() if number == api]

    @property
    def version(self) -> str:
        """Of the package."""
        return importlib.metadata.version(self.name)

    def lacks(self) -> list[str]:
        """Return the MIDI systems of this platform that this build of the library does not have, as in `systems`."""
        return [system for system in _EXPECTED.get(sys.platform, ()) if system not in self.systems]

    def _handle(self, is_input: bool, system: str | None, client_name: str | None = None) -> Any:
        """Return a client of the named system, or of the first that the library was built with."""
        if not self.systems or (system is not None and system not in self.systems):
            raise GenaudioError(f'{self.name} {self.version} was built without {system or "any MIDI system"}.')
        number = self._numbers[system or self.systems[0]]
        make = self._module.MidiIn if is_input else self._module.MidiOut
        if self.name == 'python-rtmidi':
            return make(rtapi=number) if client_name is None else make(rtapi=number, name=client_name)
        return make(api=number) if client_name is None else make(api=number, client_name=client_name)

    def port_names(self, *, inputs: bool, system: str | None = None) -> list[str]:
        """Return the names of the ports that exist, each once.

        Raises
        ------
        OSError
            If the MIDI system does not answer.
        GenaudioError
            If the library was built without it.
        """
        handle = None
        try:
            handle = self._handle(inputs, system)
            return list(dict.fromkeys(handle.get_ports()))
        except GenaudioError:
            raise
        except Exception as error:  # each library has types of its own
            raise OSError(str(error)) from error
        finally:
            if handle is not None:
                handle.delete()

    def open_input(
        self, name: str, callback: Callable[[bytes], None], *, virtual: bool = False, client_name: str | None = None,
        system: str | None = None,
    ) -> Port:  # fmt: skip
        """Open an existing input of this very name, or make a virtual one.

        `callback` gets every message, clock, active sensing and system exclusive included, in a thread of RtMidi.

        Raises
        ------
        OSError
            If there is none, or the system refuses.
        """
        return self._open(True, name, callback, virtual, client_name, system)

    def open_output(
        self, name: str, *, virtual: bool = False, client_name: str | None = None, system: str | None = None
    ) -> Port:
        """Open an existing output of this very name, or make a virtual one.

        Raises
        ------
        OSError
            If there is none, or the system refuses.
        """
        return self._open(False, name, None, virtual, client_name, system)

    def _open(
        self, is_input: bool, name: str, callback: Callable[[bytes], None] | None, virtual: bool,
        client_name: str | None, system: str | None,
    ) -> Port:  # fmt: skip
        port = Port(is_input)
        try:
            port._handle = handle = self._handle(is_input, system, client_name)
            if is_input and callback is not None:
                # All of these count as noise for RtMidi unless told otherwise; `sensing` wants the last.
                handle.ignore_types(sysex=False, timing=False, active_sense=False)
                port._listen(callback, self.name == 'python-rtmidi')
            if virtual:
                handle.open_virtual_port(name)
            elif name in (names := handle.get_ports()):
                handle.open_port(names.index(name))
            else:
                raise OSError(f"there is no port '{name}'")
        except GenaudioError:
            raise
        except Exception as error:
            port.close()
            raise OSError(str(error)) from error
        return port


_used: MidiLibrary | None = None


def midi_library() -> MidiLibrary:
    """Return the installed library, the better one where both are.

    Raises
    ------
    GenaudioError
        If neither loads; the line says what to install.
    """
    global _used
    if _used is None:
        reasons = []
        for name in LIBRARIES:
            try:
                _used = MidiLibrary(name)
                break
            except ImportError as error:
                if error.name != _MODULES[name]:  # it is there, and something that it needs is not
                    reasons.append(f'{name} does not load ({error})')
        else:
            raise GenaudioError(f'{"; ".join(reasons) or "No MIDI library is installed"}: pip install {WANTED}.')
    return _used


def describe() -> str:
    """Return a line on the MIDI library in use and what it lacks, beginning with 'ok: ', 'note: ' or 'FIX: '."""
    try:
        library = midi_library()
    except GenaudioError as error:
        return f'FIX: {error}'
    names = {'UNIX_JACK': 'JACK', 'LINUX_ALSA': 'ALSA', 'MACOSX_CORE': 'CoreMIDI', 'WINDOWS_MM': 'Windows MIDI'}
    has = ', '.join(names[system] for system in library.systems) or 'no MIDI system'
    lacks = library.lacks()
    if not lacks:
        return f'ok: {library.name} {library.version}: {has}'
    missing = ' and '.join(names[system] for system in lacks)
    if lacks == ['UNIX_JACK']:  # of no consequence: `jack_ports` has a way of its own
        advice = "JACK ports need JACK-Client: pip install 'genaudio[jack]'"
    else:
        advice = f'for a build with all of it: pip install --force-reinstall --only-binary :all: {WANTED}'
    kind = 'FIX' if not library.systems or library.systems == ['UNIX_JACK'] else 'note'
    return f'{kind}: {library.name} {library.version} was built without {missing} (it has {has}); {advice}'
