"""A stem that becomes another is called so everywhere; names that JACK takes; who is in a loop with us."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from bridge.audio.jack_device import JackAudio
from bridge.audio.jack_latency import JackLatency, in_loop
from bridge.settings.stems_preset import parse
from bridge.stems.knobs import Knobs
from bridge.stems.line_commands import LineCommands
from bridge.stems.state_file import restore, save_state
from bridge.stems.words import Words
from bridge.system.jack_names import client_name, fitting, port_name
from genaudio_core.errors import GenaudioError

jack = pytest.importorskip('jack')


class Host:
    def __init__(self):
        self.spec = type('Spec', (), {'queries': np.zeros((2, 3), np.float32)})()
        self.core = type('Core', (), {'bypass': False})()
        self.low_latency = False
        self.set_mix = self.set_queries = self.set_model = lambda value: None


def test_a_stem_that_became_another_is_called_so_by_lines_controllers_and_state(tmp_path):
    preset = parse({'stems': [{'query': 'drums'}, {'query': 'bass'}], 'cc': {'7': 'gain.bass', '8': 'mute.drums'}})
    controls = LineCommands(Host(), Words({'flute': [3.0, 4.0]}, 2), list(preset.queries), preset.mix)
    knobs = controls.knobs = Knobs(preset.names, controls, None, preset.controllers, preset.spans)
    controls.obey('query 2 flute')
    assert knobs.bound == {7: 'gain.flute', 8: 'mute.drums'} and knobs.bound_at_start()[7] == 'gain.bass'
    controls.obey('set gain.flute -6')
    controls.obey('gain flute -7')
    with pytest.raises(GenaudioError, match=r"'gain\.bass' is not something"):
        controls.obey('set gain.bass 3')
    assert controls.mix.gains_db == (0.0, -7.0)
    save_state(tmp_path / 's', knobs)
    told = []
    again = restore(preset, tmp_path / 's', told.append)
    assert again.queries == ('drums', 'flute') and again.mix.gains_db == (0.0, -7.0)
    assert again.controllers == {7: 'gain.flute', 8: 'mute.drums'} and 'Stem 2 is flute instead of bass' in told[0]


@pytest.mark.parametrize(
    'text',
    [
        '[[[',
        '{"settings": 5, "effects": {}}',
        '{"settings": {}, "effects": {"drums": 7}}',
        '{"settings": {}, "effects": {"drums": [7]}, "queries": [1, 2]}',
        '[' * 100_000,
    ],
)
def test_a_state_that_is_none_costs_a_line_at_most(tmp_path, text):
    preset = parse({'stems': [{'query': 'drums'}, {'query': 'bass'}]})
    (tmp_path / 's').write_text(text)
    try:
        assert restore(preset, tmp_path / 's', lambda line: None).queries == preset.queries
    except GenaudioError as error:
        assert '\n' not in str(error)


def test_names_fit_what_jack_takes():
    library = type('Library', (), {'client_name_size': lambda: 65, 'port_name_size': lambda: 321})
    assert client_name('n' * 64, library) == 'n' * 60 and client_name('genaudio-stems', library) == 'genaudio-stems'
    assert client_name('a:b', library) == 'a b' and client_name('\0', library) == 'genaudio'
    assert len(client_name('ü' * 64, library).encode()) == 60
    assert len(port_name('p' * 400, library, 'n' * 60)) == 194 and fitting('abc', 2) == 'ab'


def test_a_connection_that_a_patchbay_has_made_already_is_as_good_as_ours():
    device = object.__new__(JackAudio)

    def connect(source, sink):
        raise jack.JackErrorCode('already exists', errno.EEXIST if source == 'daw:out' else -1)

    device.kept, device.client = [], SimpleNamespace(connect=connect, get_ports=lambda: [SimpleNamespace(name='a:b')])
    device.connect('daw:out', 'us:in_1')
    assert device.kept == [('daw:out', 'us:in_1')]
    with pytest.raises(GenaudioError, match="Cannot connect 'x:out'"):
        device.connect('x:out', 'us:in_1')


def test_a_loop_is_found_through_other_clients():
    graph = [('daw:out', 'us:in_1'), ('us:a_1', 'eq:in'), ('eq:out', 'daw:in'), ('us:a_1', 'meter:in')]
    assert in_loop('us', graph) == ({'eq'}, {'meter'})
    assert in_loop('us', graph[:2]) == (set(), {'eq'}) and in_loop('us', []) == (set(), set())


def test_a_port_that_goes_while_the_graph_is_looked_at_ends_nothing(monkeypatch):
    """JACK-Client asks for each port by name once more, and raises where it is gone."""
    us, eq = SimpleNamespace(name='us:out'), SimpleNamespace(name='eq:out')
    client = SimpleNamespace(name='us', blocksize=256, set_graph_order_callback=lambda callback: None)
    client.get_all_connections = lambda port: [SimpleNamespace(name='eq:in' if port is us else 'us:in')]
    gone = [True]

    def get_ports(**kind):
        if gone:
            gone.pop()
            raise jack.JackError("Port 'player:out_1' not available")
        return [us, eq]

    client.get_ports = get_ports
    monkeypatch.setattr('ctypes.CDLL', lambda name: (_ for _ in ()).throw(OSError))
    latency = JackLatency(client, [], [], lambda: 768)
    assert latency.poll() is None and latency.looped == set()
    assert 'eq hears us and is heard by us' in str(latency.poll()) and latency.looped == {'eq'}
