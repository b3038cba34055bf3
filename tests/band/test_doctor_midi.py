"""Where no MIDI system answers, `doctor` and `live` say so, and what to do."""

import pytest
from live_band import preset

from bridge.commands import doctor
from bridge.live.port_process import Backend, Setup
from bridge.midi.input_queue import Inbox
from genaudio_core.errors import GenaudioError

REASON = 'the ALSA sequencer is missing (no /dev/snd/seq); start JACK'


@pytest.fixture
def no_system(monkeypatch):
    def refuse(*arguments, **options):
        raise GenaudioError('MidiInAlsa::initialize: error creating ALSA sequencer client object.')

    for module in ('bridge.commands.doctor', 'bridge.live.port_process'):
        monkeypatch.setattr(f'{module}.why_no_virtual', lambda: REASON)
        monkeypatch.setattr(f'{module}.is_running', lambda: False)
    monkeypatch.setattr('bridge.live.port_process.PortSet', refuse)


def test_doctor_asks_what_live_needs(no_system, monkeypatch):
    monkeypatch.setattr(doctor, 'describe', lambda: 'ok: python-rtmidi')
    assert doctor.check_midi() == f'FIX: {REASON}'
    monkeypatch.setattr(doctor, 'is_running', lambda: True)
    assert doctor.check_midi().startswith('note: ') and 'JACK runs' in doctor.check_midi()


def test_live_says_what_to_do(no_system, tmp_path):
    inbox = Inbox()
    with pytest.raises(GenaudioError, match='No MIDI here: the ALSA sequencer is missing'):
        Backend(Setup(preset(), str(tmp_path / 'table')), inbox, print)
    inbox.close()
