"""Waiting for a condition, with an end."""

import time as wall
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Poll until `condition` holds; whether it came true in time."""
    end = wall.monotonic() + seconds
    while wall.monotonic() < end:
        if condition():
            return True
        wall.sleep(0.01)
    return condition()
