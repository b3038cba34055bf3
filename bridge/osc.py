"""Every setting and command by OSC, on loopback.

/genaudio/set/temperature 0.8      (any setting by its full or short name)
/genaudio/command/panic
/genaudio/learn density
/genaudio/pad 36 takes/snare.wav   (a sound file onto a pad)
"""

import threading
from collections.abc import Callable
from typing import Any

from genaudio_core.errors import GenaudioError, did_you_mean

PREFIX = '/genaudio/'


def translate(address: str, values: list[Any]) -> dict[str, Any]:
    """Return what an OSC message means, as a message to the session.

    Raises
    ------
    GenaudioError
        If it means nothing.
    """
    parts = address.removeprefix(PREFIX).split('/') if address.startswith(PREFIX) else []
    if len(parts) == 2 and parts[0] == 'set' and len(values) == 1:
        value = values[0]
        return {'set': parts[1], 'value': int(value) if isinstance(value, float) and value.is_integer() else value}
    if len(parts) == 2 and parts[0] == 'command':
        if values and values[0] in (0, 0.0, False):  # the release of a button
            return {}
        return {'command': parts[1]}
    if parts == ['learn'] and len(values) == 1 and isinstance(values[0], str):
        return {'learn': values[0]}
    if parts == ['pad'] and len(values) == 2 and isinstance(values[0], int) and isinstance(values[1], str):
        return {'pad': values[0], 'file': values[1]}
    hint = did_you_mean(address, [PREFIX + 'set/', PREFIX + 'command/', PREFIX + 'learn'])
    raise GenaudioError(f"OSC: '{address}' with {len(values)} values means nothing.{hint}")


class OscServer:
    """Listens in a thread of its own; bad messages are told and dropped.

    Parameters
    ----------
    port : int
        UDP port on 127.0.0.1.
    send : callable
        Gets the fields of each message, as `Supervisor.send` takes them.
    """

    def __init__(self, port: int, send: Callable[..., None], notify: Callable[[str], None]) -> None:
        try:
            from pythonosc.dispatcher import Dispatcher
            from pythonosc.osc_server import ThreadingOSCUDPServer
        except ImportError as error:
            raise GenaudioError("OSC needs a package: pip install 'genaudio[osc]'.") from error

        def handle(address: str, *values: Any) -> None:
            try:
                message = translate(address, list(values))
            except GenaudioError as error:
                notify(str(error))
                return
            if message:
                send(**message)

        dispatcher = Dispatcher()
        dispatcher.set_default_handler(handle)
        try:
            self._server = ThreadingOSCUDPServer(('127.0.0.1', port), dispatcher)
        except OSError as error:
            raise GenaudioError(f'OSC: port {port} cannot be used: {error.strerror}.') from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name='osc', daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=1)
