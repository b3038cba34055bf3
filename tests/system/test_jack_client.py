"""Leaving a JACK server, whatever state it is in."""

import threading

import pytest

from bridge.system import jack_client
from bridge.system.jack_client import leave


class Client:
    """Notes down what is called; `held` stands still in deactivate, as libjack does after a long halt."""

    def __init__(self, *, held: bool = False) -> None:
        self.called: list[str] = []
        self.free = threading.Event()
        if not held:
            self.free.set()

    def deactivate(self) -> None:
        self.called.append('deactivate')
        self.free.wait(60)

    def close(self) -> None:
        self.called.append('close')
        raise RuntimeError('JACK says no')


@pytest.mark.parametrize(('active', 'called'), [(True, ['deactivate', 'close']), (False, ['close'])])
def test_a_client_leaves(active, called):
    client = Client()
    assert leave(client, active=active)
    assert client.called == called


def test_a_server_that_does_not_let_us_go_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(jack_client, 'PATIENCE', 0.01)
    client = Client(held=True)
    assert not leave(client)
    assert client.called == ['deactivate']
    client.free.set()
