"""Ports through RtMidi, on a real MIDI system (its JACK side): they go, they come back, and that is told."""

import pytest
from jack_server import Desk, available, server

from bridge.midi.messages import note_off, note_on
from bridge.midi.rtmidi_library import midi_library
from bridge.midi.rtmidi_ports import PortSet, find_port
from bridge.midi.sender import PrecisionSender
from bridge.system.clock import RealClock, SimulatedClock
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError

needs_jack = [
    pytest.mark.jack,
    pytest.mark.skipif(not available, reason='needs jackd'),
    pytest.mark.skipif('UNIX_JACK' not in midi_library().systems, reason='the MIDI library here has no JACK'),
]


class Known:
    """A set of ports on JACK that are another client's, and what it says and gets."""

    def __init__(self) -> None:
        self.got: list[tuple[int, bytes, float]] = []
        self.said: list[str] = []
        self.ports = PortSet(
            ['keys'], ['keys'], RealClock(), lambda *event: self.got.append(event), api='UNIX_JACK',
            notify=self.said.append, patience=0.05,
        )  # fmt: skip
        self.lost: list[int] = []

    def looks(self, words: str) -> bool:
        return wait_until(lambda: (self.lost.extend(self.ports.look()), any(words in s for s in self.said))[1], 10)


@pytest.fixture(scope='module')
def jack_running():
    with server(256):
        try:
            midi_library().port_names(inputs=True, system='UNIX_JACK')
        except OSError:
            pytest.skip('the libjack inside the MIDI library does not speak with this server')
        yield


def press(desk: Desk, known: Known) -> bool:
    """Whether a key of the desk arrives; JACK may drop what a busy client should have heard, so more than once."""
    for _ in range(5):
        frame, before = desk.frame() + 3000, len(known.got)
        desk.send('out', [(frame, note_on(0, 60, 90)), (frame + 100, note_off(0, 60))])
        if wait_until(lambda before=before: len(known.got) > before, 2):
            return True
    return False


@pytest.mark.usefixtures('jack_running')
class TestHotPlug:
    pytestmark = needs_jack

    def test_a_keyboard_that_is_unplugged_and_comes_back(self):
        desk = Desk('keys', ('in',), ('out',))
        known = Known()
        try:
            assert press(desk, known)
            desk.close()
            assert known.looks("input 'keys' is gone") and known.looks("output 'keys' is gone")
            assert known.lost == [0]  # the session ends what that input held
            with pytest.raises(OSError, match='not there'):
                known.ports.write(0, note_on(0, 60, 90))
            with Desk('keys', ('in',), ('out',)) as again:
                assert known.looks("input 'keys' is back") and known.looks("output 'keys' is back")
                assert known.ports.outputs_back() == [0] and known.ports.outputs_back() == []
                assert press(again, known)
                known.ports.write(0, note_on(0, 61, 90))
                assert wait_until(lambda: any(message[1] == 61 for *_, message in list(again.heard)), 5)
                known.ports.close()
        finally:
            known.ports.close()


class _Refusing:
    """A MIDI library whose output is there, and whose handle takes nothing after `broken`; opened anew it does."""

    def __init__(self) -> None:
        self.handles: list[list[bytes]] = []
        self.broken = False

    def port_names(self, *, inputs: bool, system: str | None = None) -> list[str]:
        return ['synth'] * (not inputs)

    def open_output(self, name: str, **options: object):
        library, got = self, []

        class Handle:
            def send(self, message: bytes) -> None:
                if library.broken:
                    raise OSError('no such device')
                got.append(message)

            def close(self) -> None:
                library.broken = False

        self.handles.append(got)
        return Handle()


@pytest.mark.parametrize('name', ['synth', 'a port of our own'])
def test_an_output_that_is_there_and_takes_nothing_is_opened_anew(monkeypatch, name):
    """A device that was plugged in again within a second has its old name: the name says nothing of the handle."""
    library, said = _Refusing(), []
    monkeypatch.setattr('bridge.midi.rtmidi_ports.midi_library', lambda: library)
    clock = SimulatedClock()
    ports = PortSet([], [name], clock, lambda *event: None, notify=said.append)
    sender = PrecisionSender(RealClock(), ports.write)
    sender.send_at(0.0, 0, note_on(0, 60, 90), 1)
    assert wait_until(lambda: library.handles[0] == [note_on(0, 60, 90)], 10)
    library.broken = True
    sender.send_at(0.0, 0, note_off(0, 60), 1)
    assert wait_until(lambda: sender.lost == 1, 10)
    for turn in range(1, 5):
        clock.advance_to(1.1 * turn)
        ports.look()
    assert len([line for line in said if 'accepts nothing' in line]) == 1, said
    if name == 'synth':
        assert ports.outputs_back() == [0]
    else:
        library.broken = False  # ours stays: the others' connections to it are theirs
    assert wait_until(lambda: library.handles[-1][-1:] == [note_off(0, 60)], 10)
    assert sender.sounding.count() == 0
    sender.close()
    ports.close()


def test_part_of_a_name():
    names = ['Launchkey MK3:0', 'Launchkey MK3:1', 'Digital Piano']
    assert find_port('piano', names, 'input') == 'Digital Piano'
    assert find_port('Launchkey MK3:1', names, 'input') == 'Launchkey MK3:1'
    assert find_port('drum', names, 'input') is None
    with pytest.raises(GenaudioError, match='Several MIDI inputs'):
        find_port('launch', names, 'input')
