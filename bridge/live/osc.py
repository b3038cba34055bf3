"""Every setting and command by OSC, on loopback.

/genaudio/set/temperature 0.8      (any setting by its full or short name)
/genaudio/command/panic
/genaudio/learn density
/genaudio/take 2                   (of the last answer)
/genaudio/again bass 12            (a part, or all, composed again in this bar; without, in all that is to come)
/genaudio/preset duet
/genaudio/save duet-for-friday     (as it stands now, into the folder of one's own)
/genaudio/pad 36 takes/snare.wav   (a sound file onto a pad)
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from bridge.settings.control_messages import LONGEST, checked
from bridge.system.notices import Sparing
from genaudio_core.errors import GenaudioError, did_you_mean

PREFIX = '/genaudio/'
PATIENCE = 0.1  # seconds between two looks for what is left to tell
DEEPEST = 8  # bundles in bundles
SHOWN = 60  # characters of an address that a line repeats


def translate(address: str, values: list[Any]) -> dict[str, Any]:
    """Return what an OSC message means, as a message to the session.

    Raises
    ------
    GenaudioError
        If it means nothing.
    """
    # What came over the network may hold control characters, for a terminal or for a line to another process.
    if not all(text.isprintable() and len(text) <= LONGEST for text in (address, *values) if isinstance(text, str)):
        raise GenaudioError(f"OSC: '{_shown(address)}': names and texts are printable, {LONGEST} characters at most.")
    parts = address.removeprefix(PREFIX).split('/') if address.startswith(PREFIX) else []
    if len(parts) == 2 and parts[0] == 'set' and len(values) == 1:
        value = values[0]
        if not isinstance(value, (int, float, str)):
            raise GenaudioError(f"OSC: '{_shown(address)}' takes a number or a text.")
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        return checked({'set': parts[1], 'value': whole})
    if len(parts) == 2 and parts[0] == 'command':
        if values and values[0] in (0, 0.0, False):  # the release of a button
            return {}
        return {'command': parts[1]}
    if parts in (['learn'], ['preset'], ['save']) and len(values) == 1 and isinstance(values[0], str):
        return {parts[0]: values[0]}
    if parts == ['take'] and [type(value) for value in values] == [int]:
        return {'take': values[0]}
    if parts == ['again'] and [type(value) for value in values] in ([str], [str, int]):
        return dict(zip(('again', 'bar'), values, strict=False))
    if parts == ['pad'] and [type(value) for value in values] == [int, str]:
        return {'pad': values[0], 'file': values[1]}
    hint = did_you_mean(address, [PREFIX + 'set/', PREFIX + 'command/', PREFIX + 'learn'])
    raise GenaudioError(f"OSC: '{_shown(address)}' with {len(values)} values is not a message of genaudio.{hint}")


def _shown(address: str) -> str:
    return ascii(address[:SHOWN])[1:-1]


def in_bundle(datagram: bytes, depth: int = 0) -> list[bytes]:
    """Return the messages of a datagram, bundles and bundles in them laid out in a row; their times do not matter.

    pythonosc's own way never comes back from a bundle whose content has a length below zero.

    Raises
    ------
    ValueError
        If it is not OSC.
    """
    if not datagram.startswith(b'#bundle\0'):
        if not datagram.startswith(b'/') or len(datagram) % 4:  # a part that is cut off would be filled with zeros
            raise ValueError('neither a whole message nor a bundle')
        return [datagram]
    if depth > DEEPEST:
        raise ValueError('bundles in bundles in bundles')
    found: list[bytes] = []
    at = 16  # after the name and the time
    while at < len(datagram):
        size = int.from_bytes(datagram[at : at + 4], 'big')
        at += 4
        if not 0 < size <= len(datagram) - at:
            raise ValueError('a length that does not fit')
        found += in_bundle(datagram[at : at + size], depth + 1)
        at += size
    return found


class OscServer:
    """Listens in one thread of its own, so that messages keep their order; bad ones are told, sparingly, and dropped.

    Parameters
    ----------
    port : int
        UDP port on 127.0.0.1.
    send : callable
        Gets the fields of each message, as `Supervisor.send` takes them; called in the thread, must not wait.
    notify : callable
        Gets one line for the person; called in the thread.

    Attributes
    ----------
    garbage : int
        Datagrams that are not OSC.
    """

    def __init__(self, port: int, send: Callable[..., None], notify: Callable[[str], None]) -> None:
        try:
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_message import OscMessage
            from pythonosc.osc_server import BlockingOSCUDPServer
        except ImportError as error:
            raise GenaudioError("OSC needs a package: pip install 'genaudio[osc]'.") from error

        self.garbage = 0
        told = Sparing(notify)
        root = logging.getLogger()
        if not root.handlers:  # pythonosc warns there of values it does not know, which would go through the view
            root.addHandler(logging.NullHandler())

        def take(datagram: bytes) -> None:
            # Not by pythonosc's dispatcher: it sleeps until the time of a bundle, and takes addresses as patterns.
            try:
                messages = [(one.address, one.params) for one in map(OscMessage, in_bundle(datagram))]
            except Exception:  # whatever a parser of foreign bytes comes to
                self.garbage += 1
                told('OSC: a datagram is not an OSC message; it is dropped.')
                return
            for address, values in messages:
                try:
                    message = translate(address, list(values))
                except GenaudioError as error:
                    told(str(error))
                    continue
                if message:
                    send(**message)

        class Server(BlockingOSCUDPServer):
            max_packet_size = 65536

            def verify_request(self, request: Any, client_address: Any) -> bool:
                return True  # `take` says what is wrong

            def finish_request(self, request: Any, client_address: Any) -> None:
                take(request[0])

            def handle_error(self, request: Any, client_address: Any) -> None:
                told('OSC: a message could not be taken; it is dropped.')

            def service_actions(self) -> None:
                told.look()

        try:
            self._server = Server(('127.0.0.1', port), Dispatcher())
        except (OSError, OverflowError) as error:
            reason = getattr(error, 'strerror', None) or 'ports are 0 to 65535'
            raise GenaudioError(f'OSC: port {port} cannot be used: {reason}.') from error
        self.port = self._server.server_address[1]
        self._told = told
        self._thread = threading.Thread(target=self._server.serve_forever, args=(PATIENCE,), name='osc', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; what was left out is told."""
        self._server.shutdown()
        self._thread.join(timeout=1)
        with contextlib.suppress(OSError):
            self._server.server_close()
        self._told.flush()
