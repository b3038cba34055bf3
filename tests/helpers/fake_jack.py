"""What stand-ins for a client of JACK-Client have in common; a test adds the ports it needs."""

from typing import Any


class FakeClient:
    """Takes any callback, and remembers whether it is active and whether it is closed."""

    active = closed = False
    trouble: Exception | None = None  # raised when it is to become active

    def __getattr__(self, name: str) -> Any:
        if name.startswith('set_'):
            return lambda callback: None
        raise AttributeError(name)

    def activate(self) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.active = True

    def deactivate(self) -> None:
        self.active = False

    def close(self) -> None:
        self.closed = True
