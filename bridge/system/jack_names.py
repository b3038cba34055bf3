"""Names that JACK takes: of clients, and of ports."""

from typing import Any

ROOM = 3  # bytes that JACK adds to a client's name that is taken: '-01'
MAX_PORT = 256  # bytes of a port's full name: JACK 1.9 says more, and has trouble with it


def fitting(name: str, n_bytes: int) -> str:
    """Return `name` without what JACK cannot bear in it (':' stands between client and port), in so many bytes."""
    plain = ''.join(' ' if c == ':' or not c.isprintable() else c for c in name).strip()
    return plain.encode()[:n_bytes].decode(errors='ignore').strip() or 'genaudio'


def client_name(name: str, jack: Any) -> str:
    """Return the name to ask for: as it is, or shortened to what this JACK takes.

    Parameters
    ----------
    jack
        The module of that name.
    """
    limit = int(jack.client_name_size()) - 2  # it counts a closing zero, and JACK 1.9 takes one less than it says
    return fitting(name, limit - ROOM)


def port_name(name: str, jack: Any, client: str) -> str:
    """Return a port's own name, shortened to what this JACK takes behind its client's name."""
    return fitting(name, min(int(jack.port_name_size()), MAX_PORT) - 2 - len(client.encode()))
