"""What all of our JACK clients do alike: a server that goes and comes back, and the connections that were there."""

import errno
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from fake_jack import FakeClient

from bridge.system import jack_client
from bridge.system.jack_client import JackClient, NoServer, OtherRate, open_client
from genaudio_core.errors import GenaudioError


class Fault(Exception):
    def __init__(self, code=1):
        super().__init__('JACK')
        self.code = code


class Fake(FakeClient):
    """A client of JACK-Client, at a server of which `there` lists the ports of others."""

    there: ClassVar[set[str]] = set()
    made: ClassVar[list['Fake']] = []
    fails: ClassVar[set[str]] = set()

    def __init__(self, name):
        self.name, self.cables = name, []
        self.trouble = Fault() if 'activate' in self.fails else None
        self.samplerate, self.blocksize = 48000, 256
        self.inports, self.outports = (SimpleNamespace(register=self.register) for _ in range(2))
        Fake.made.append(self)

    def register(self, short):
        return SimpleNamespace(name=f'{self.name}:{short}', shortname=short)

    def connect(self, source, sink):
        if (source, sink) in self.cables:
            raise Fault(errno.EEXIST)
        if not {source, sink} & self.there:
            raise Fault
        self.cables.append((source, sink))

    def get_all_connections(self, port):
        assert not self.closed
        pairs = [*self.cables, *((sink, source) for source, sink in self.cables)]
        return [SimpleNamespace(name=other) for own, other in pairs if own == port.name]


class Band(JackClient):
    """A client of ours with an ``in`` and an ``out``."""

    rate = 48000

    def set_up(self):
        self._inputs = [self.client.inports.register('in')]
        self._outputs = [self.client.outports.register('out')]

    def came_back(self, client):
        if client.samplerate != self.rate:
            raise OtherRate(client.samplerate, client.blocksize)


@pytest.fixture
def world(monkeypatch):
    """What runs: 'server' says whether, and 'name' what it calls us."""
    made = {'server': True, 'name': 'band'}
    monkeypatch.setattr(Fake, 'there', {'desk:in', 'desk:out'})
    monkeypatch.setattr(Fake, 'made', [])
    monkeypatch.setattr(Fake, 'fails', set())

    def open_it(name):
        if not made['server']:
            raise NoServer('No JACK server runs.')
        return Fake(made['name'])

    monkeypatch.setattr(jack_client, 'open_client', open_it)
    monkeypatch.setattr(jack_client, 'RETRY', 0.0)
    return made


def test_a_client_comes_back_with_its_server_connected_as_it_was(world):
    band = Band('band')
    band.start()
    wires = [('desk:out', 'band:in'), ('band:out', 'desk:in')]
    band.restore(wires)
    assert band.connections() == wires and band.look_for_server() is None
    band._shutdown(0, 'gone')
    world['server'] = False
    Fake.there.clear()  # the desk goes with it, and comes later than we do
    assert band.look_for_server() == band.GONE and band.look_for_server() is None
    assert band.connections() == wires  # whoever takes our place must know them
    world['server'] = True
    Fake.fails.add('activate')
    assert band.look_for_server() is None and band.lost and Fake.made[-1].closed
    Fake.fails.clear()
    world['name'] = 'band-01'  # our own old client is in the way
    assert band.look_for_server() == band.BACK and not band.lost
    now = [('desk:out', 'band-01:in'), ('band-01:out', 'desk:in')]
    assert Fake.made[-1].cables == [] and sorted(band.connections()) == sorted(now)
    Fake.there.update({'desk:in', 'desk:out'})
    band.connect_pending()
    assert sorted(Fake.made[-1].cables) == sorted(now) and sorted(band.connections()) == sorted(now)
    band.close()
    assert all(client.closed for client in Fake.made) and band.lost


def test_a_connection_of_another_program_with_a_name_like_ours_stays_its_own(world):
    """The pads beside the band: `band-pads:in` is no port of the band's, though its name begins alike."""
    Fake.there.add('band-pads:in')
    band = Band('band')
    band.start()
    band.restore([('band:out', 'band-pads:in'), ('band-07:out', 'desk:in')])
    assert Fake.made[-1].cables == [('band:out', 'band-pads:in'), ('band:out', 'desk:in')]


def test_what_is_not_there_in_a_minute_is_left(world, monkeypatch):
    band = Band('band')
    band.start()
    now = [time.monotonic()]
    monkeypatch.setattr(jack_client.time, 'monotonic', lambda: now[0])
    band.restore([('nobody:out', 'band:in')])
    assert band.connections() == [('nobody:out', 'band:in')]
    now[0] += jack_client.PENDING + 1
    band.connect_pending()
    assert band.connections() == []


def test_a_server_with_another_rate_is_told_and_its_client_closed(world):
    band = Band('band')
    band.start()
    band._shutdown()
    assert band.look_for_server() == band.GONE
    band.rate = 44100
    with pytest.raises(OtherRate):
        band.look_for_server()
    assert band.lost and all(client.closed for client in Fake.made)


def test_a_client_that_cannot_be_set_up_is_closed_at_once(world):
    Fake.fails.add('activate')
    band = Band('band')
    with pytest.raises(GenaudioError, match='does not let genaudio play'):
        band.start()
    assert band.lost and Fake.made[-1].closed


class Silent:
    def __init__(self, *name, **options):
        time.sleep(1000)


def test_a_server_that_does_not_answer_is_one_line(monkeypatch):
    jack = pytest.importorskip('jack')
    monkeypatch.setattr(jack_client, 'ANSWERS', 0.2)
    monkeypatch.setattr(jack, 'Client', Silent)
    with pytest.raises(NoServer, match='did not answer within'):
        open_client('band')
