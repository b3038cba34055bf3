"""The key that a preset asks for."""

from genaudio_core.music.keys import parse_key


def wanted_key(name: str) -> tuple[int, tuple[int, ...]] | None:
    """Return what `keys.parse_key` makes of a preset's key; None for 'auto' and 'off'. Its errors."""
    return None if name.strip().lower() in ('auto', 'off', '') else parse_key(name)
