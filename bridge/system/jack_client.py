"""Clients of a JACK server (PipeWire counts): opened, or the one line that says why not."""

import contextlib
import os
import threading
from typing import Any

from bridge.system.jack_names import client_name
from genaudio_core.errors import GenaudioError

PATIENCE = 1.0  # seconds that a server may take to let a client go


class NoServer(GenaudioError):
    """No JACK server runs, or none that answers."""


def open_client(name: str) -> Any:
    """Return a JACK client that is not active yet. A name that is too long for JACK is shortened.

    Raises
    ------
    NoServer
        If no server runs.
    GenaudioError
        If JACK-Client is not installed, or the server does not take us.
    """
    try:
        import jack
    except ModuleNotFoundError:
        raise GenaudioError("JACK needs the package 'JACK-Client': pip install 'genaudio[jack]'") from None
    except OSError as error:  # the package is there, the library is not
        raise GenaudioError(f'JACK is not installed on this system: {error}') from None
    jack.set_error_function(lambda text: None)  # it reaches the person as one line of ours
    jack.set_info_function(lambda text: None)
    try:
        return jack.Client(client_name(name, jack), no_start_server=True)
    except jack.JackOpenError as error:
        if error.status.server_failed:
            raise NoServer('No JACK server runs. Start one (qjackctl, or jackd -d alsa), or use --device.') from None
        raise GenaudioError(f"JACK does not take a client called '{name}' ({error.status}).") from None
    except jack.JackError as error:
        raise NoServer(f'JACK does not answer: {error}') from None


def leave(client: Any, *, active: bool = True) -> bool:
    """Leave the server; `active`: the client plays. Whether the server has let us go.

    libjack has no limit for it: the client of a process that was stopped for seconds (SIGSTOP, a suspended machine) is
    waited for until somebody kills the process. So a thread waits, and is left behind; then nothing of the client may
    be called any more.
    """

    def go() -> None:
        if active:
            with contextlib.suppress(Exception):
                client.deactivate()
        with contextlib.suppress(Exception):
            client.close()

    going = threading.Thread(target=go, name='leaves JACK', daemon=True)
    going.start()
    going.join(PATIENCE)
    return not going.is_alive()


def server_name() -> str | None:
    return os.environ.get('JACK_DEFAULT_SERVER')


def is_running() -> bool:
    """Whether a JACK server answers (PipeWire counts)."""
    try:
        open_midi_client('genaudio-look').close()
    except (GenaudioError, OSError):
        return False
    return True


def open_midi_client(name: str) -> Any:
    try:
        import jack  # OSError where libjack is not installed
    except (ImportError, OSError) as error:
        raise GenaudioError(
            f"JACK is not usable here ({error}): pip install 'genaudio[jack]' and install JACK."
        ) from error
    jack.set_error_function(lambda message: None)
    jack.set_info_function(lambda message: None)
    try:
        return jack.Client(name, no_start_server=True, servername=server_name())
    except jack.JackOpenError as error:
        raise GenaudioError('No JACK server answers: start JACK (or PipeWire), then try again.') from error


def jack_ports() -> dict[str, Any]:
    """Return sample rate, period and the names of the MIDI and audio ports of the running server."""
    client = open_midi_client('genaudio-look')
    try:
        return {
            'sample_rate': client.samplerate,
            'period': client.blocksize,
            'midi': [port.name for port in client.get_ports(is_midi=True)],
            'audio': [port.name for port in client.get_ports(is_audio=True)],
        }
    finally:
        client.close()
