"""Both RtMidi packages, whichever are installed, through one layer: bytes there and back, names, what a build lacks."""

import importlib.util
import sys
import types

import pytest
from jack_server import available, server

from bridge.midi import rtmidi_library
from bridge.midi.active_sensing import Sensing
from bridge.midi.rtmidi_library import LIBRARIES, MidiLibrary, describe
from bridge.midi.rtmidi_ports import PortSet, find_port
from bridge.system.clock import RealClock
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError

MODULES = {'python-rtmidi': 'rtmidi', 'supriya-midi': 'supriya_midi'}
INSTALLED = [name for name in LIBRARIES if importlib.util.find_spec(MODULES[name])]
EVERY_KIND = [
    bytes((0x90, 60, 100)), bytes((0x80, 60, 0)), bytes((0xC3, 5)), bytes((0xE0, 1, 64)), b'\xf8', b'\xfa', b'\xfc',
    b'\xfe', bytes((0xF2, 1, 2)), bytes((0xF0, 0x7E, 0x7F, 6, 1, 0xF7)), bytes((0xB0, 123, 0)),
]  # fmt: skip


@pytest.fixture
def alone(monkeypatch):
    """As if nothing had been imported yet."""
    monkeypatch.setattr(rtmidi_library, '_used', None)
    for name in MODULES.values():
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def fake(monkeypatch, apis, module='rtmidi'):
    one = types.ModuleType(module)
    for number, name in enumerate(('MACOSX_CORE', 'LINUX_ALSA', 'UNIX_JACK', 'WINDOWS_MM'), 1):
        setattr(one, f'API_{name}', number)
    one.get_compiled_api = lambda: apis
    monkeypatch.setitem(sys.modules, module, one)


def test_there_is_a_library_here():
    assert INSTALLED


@pytest.mark.parametrize('name', INSTALLED)
def test_a_library_knows_the_systems_that_it_was_built_with(name):
    library = MidiLibrary(name)
    assert library.systems and set(library.systems) <= {'LINUX_ALSA', 'UNIX_JACK', 'MACOSX_CORE', 'WINDOWS_MM'}
    assert library.lacks() == [] and library.version
    with pytest.raises(GenaudioError, match='was built without NO_SUCH'):
        library.port_names(inputs=True, system='NO_SUCH')
    other = next(iter({'MACOSX_CORE', 'WINDOWS_MM'} - set(library.systems)))
    with pytest.raises(GenaudioError, match=f'was built without {other}'):
        library.open_output('x', system=other)


def test_either_library_will_do_and_none_is_one_line(alone):
    fake(alone, [2, 3])
    without(alone, 'supriya_midi')
    assert rtmidi_library.midi_library().name == 'python-rtmidi'
    alone.setattr(rtmidi_library, '_used', None)
    without(alone, 'rtmidi', 'supriya_midi')
    with pytest.raises(GenaudioError, match='No MIDI library is installed: pip install') as caught:
        rtmidi_library.midi_library()
    assert '\n' not in str(caught.value)
    assert describe().startswith('FIX: No MIDI library')


@pytest.mark.parametrize('name', MODULES)
def test_a_keyboard_that_falls_silent_is_noticed_through_either_library(alone, name):
    """Active sensing is noise for RtMidi unless told otherwise, and all that tells of a cable pulled out there."""
    fake(alone, [2], MODULES[name])
    module = sys.modules[MODULES[name]]
    ignored, callbacks = {}, []

    class MidiIn:
        def __init__(self, **options):
            pass

        def ignore_types(self, **kinds):
            ignored.update(kinds)

        def set_callback(self, callback):
            callbacks.append(callback)

        def open_virtual_port(self, port):
            pass

    module.MidiIn = MidiIn
    module.get_compiled_apis = module.get_compiled_api
    module.RtMidiAPI = types.SimpleNamespace(MACOSX_CORE=1, LINUX_ALSA=2, UNIX_JACK=3, WINDOWS_MM=4)
    sensing, now = Sensing(), [0.0]
    MidiLibrary(name).open_input('keys', lambda message: sensing.hear(0, message, now[0]), virtual=True)
    assert ignored == {'sysex': False, 'timing': False, 'active_sense': False}
    callbacks[0](*((([0xFE], 0.0), None) if name == 'python-rtmidi' else ([0xFE], 0.0, None)))
    assert sensing.gone(0.5) == [] and sensing.gone(0.7) == [0]


def test_a_library_built_without_jack_says_so(alone):
    """A source build where JACK's headers were missing has no JACK, and would not say so by itself."""
    alone.setattr(sys, 'platform', 'linux')
    alone.setattr(rtmidi_library.importlib.metadata, 'version', lambda name: '1.5.8')
    fake(alone, [2])
    without(alone, 'supriya_midi')
    said = describe()
    assert said.startswith('note: python-rtmidi 1.5.8 was built without JACK (it has ALSA)') and 'pip install' in said
    alone.setattr(rtmidi_library, '_used', None)
    fake(alone, [])
    assert describe().startswith('FIX: python-rtmidi 1.5.8 was built without ALSA and JACK')


@pytest.fixture(scope='module')
def jack_running():
    with server(256):
        import jack  # noqa: F401  # so that a later server of this process knows that libjack has met this one

        yield


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
@pytest.mark.parametrize('name', INSTALLED)
class TestOnJack:
    @pytest.fixture(autouse=True)
    def library(self, name, jack_running):
        """The wheels bring a libjack of their own, and that of supriya-midi is too old for JACK from 1.9.15 on."""
        library = MidiLibrary(name)
        try:
            library.port_names(inputs=True, system='UNIX_JACK')
        except OSError:
            pytest.skip(f'the libjack inside {name} does not speak with this server')
        return library

    def test_every_kind_of_message_comes_as_it_was_sent_and_a_fault_of_ours_ends_nothing(self, library):
        heard = []

        def hear(message):
            heard.append(message)
            if message == b'\xf8':
                raise RuntimeError('a fault of ours in the thread of RtMidi')

        out = library.open_output('to', virtual=True, client_name='sender', system='UNIX_JACK')
        assert library.port_names(inputs=True, system='UNIX_JACK') == ['sender:to']
        into = library.open_input('sender:to', hear, system='UNIX_JACK')
        with pytest.raises(OSError, match="no port 'sender:too'"):
            library.open_input('sender:too', hear, system='UNIX_JACK')
        for message in EVERY_KIND:
            count = len(heard)
            out.send(message)
            assert wait_until(lambda count=count: len(heard) > count), message
        assert heard == EVERY_KIND and into.faults == 1
        into.close()
        into.close()
        out.close()
        with pytest.raises(OSError, match='closed'):
            out.send(EVERY_KIND[0])
        assert library.port_names(inputs=True, system='UNIX_JACK') == []  # virtual ports go with their client

    def test_the_ports_of_a_preset(self, library, monkeypatch):
        heard, got = [], []
        monkeypatch.setattr(rtmidi_library, '_used', library)
        ports = PortSet(
            ['in of mine'], ['out of mine'], RealClock(), lambda *event: heard.append(event), api='UNIX_JACK',
            client_name='mine',
        )  # fmt: skip
        try:
            theirs, ours = (library.port_names(inputs=inputs, system='UNIX_JACK') for inputs in (False, True))
            keys = library.open_output(find_port('in of mine', theirs, 'output') or '', system='UNIX_JACK')
            synth = library.open_input(find_port('out of mine', ours, 'input') or '', got.append, system='UNIX_JACK')
            keys.send(bytes((0x90, 61, 90)))
            ports.write(0, bytes((0x90, 62, 90)))
            assert wait_until(lambda: bool(heard and got))
            assert heard[0][:2] == (0, bytes((0x90, 61, 90))) and got == [bytes((0x90, 62, 90))]
            keys.close()
            synth.close()
        finally:
            ports.close()
