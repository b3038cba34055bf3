"""PortAudio without a sound card: a stand-in for the module sounddevice."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bridge.audio.callback import Counts
from bridge.audio.portaudio_device import PortAudio, choose_channels, find_device
from bridge.commands.isolate import effects, pairs
from genaudio_core.errors import GenaudioError


class FakeStream:
    def __init__(self, owner, **options):
        if owner.broken:
            raise RuntimeError('Invalid sample rate')
        self.options, self.active, self.latency = options, False, (0.003, 0.004)
        owner.streams.append(self)

    def start(self):
        self.active = True

    def close(self, ignore_errors=False):
        self.active = False

    def play(self, indata):
        out = np.full((len(indata), self.options['channels'][1]), np.nan, np.float32)
        self.options['callback'](indata, out, len(indata), None, '')
        return out


class FakeSound:
    """What of sounddevice is used."""

    def __init__(self, *devices):
        self.devices = [dict(name=n, max_input_channels=i, max_output_channels=o) for n, i, o in devices]
        self.default = type('Default', (), {'device': (0, 0)})
        self.streams, self.broken = [], False

    def query_devices(self):
        return self.devices

    def Stream(self, **options):
        return FakeStream(self, **options)

    def _terminate(self):
        pass

    def _initialize(self):
        pass


class FakeCore:
    sample_rate, block = 48000, 64

    def __init__(self):
        self.counts, self.heard = Counts(), []

    def process(self, indata, outdata):
        self.heard.append(indata.copy())
        outdata[:] = np.arange(len(outdata))[:, None]


def test_a_device_is_found_by_part_of_its_name_or_all_are_listed():
    sd = FakeSound(('USB Audio', 8, 8), ('USB Audio Monitor', 2, 2), ('Speakers', 0, 2))
    assert find_device('monitor', sd)['name'] == 'USB Audio Monitor'
    assert find_device('usb audio', sd)['name'] == 'USB Audio'  # a whole name wins
    assert find_device(None, sd)['name'] == 'USB Audio'
    with pytest.raises(GenaudioError, match=r"(?s)No audio device matches 'Focusrite'.*USB Audio \(8 in, 8 out\)"):
        find_device('Focusrite', sd)
    with pytest.raises(GenaudioError, match='Several audio devices match'):
        find_device('usb', sd)
    with pytest.raises(GenaudioError, match='No audio device has an input and two outputs'):
        find_device(None, FakeSound(('Speakers', 0, 2)))


def test_channels_of_mono_and_eight_channel_devices():
    assert choose_channels(1, None) == [0, 0]
    assert choose_channels(8, None) == [0, 1]
    assert choose_channels(8, '3,4') == [2, 3]
    assert choose_channels(8, '5') == [4, 4]
    for bad in ('9', '0,1', '1,2,3', 'left'):
        with pytest.raises(GenaudioError, match='the device has 8 input channels'):
            choose_channels(8, bad)


@pytest.mark.parametrize(('outputs', 'order'), [(2, [4, 5]), (4, [4, 5, 0, 1]), (8, [4, 5, 0, 1, 2, 3]), (3, [4, 5])])
def test_the_monitor_comes_first_and_mono_reaches_both_sides(outputs, order):
    sd, core = FakeSound(('Box', 1, outputs)), FakeCore()
    audio = PortAudio(core, find_device(None, sd), [0, 0], 6, sd)
    audio.start()
    out = sd.streams[0].play(np.full((64, 1), 0.5, np.float32))
    assert_allclose(out, np.tile(order, (64, 1)))
    assert_allclose(core.heard[0], 0.5)
    assert core.heard[0].shape == (2, 64) and audio.faults == 0


def test_a_fault_in_the_callback_is_silence_and_counted():
    sd, core = FakeSound(('Box', 2, 2)), FakeCore()
    audio = PortAudio(core, find_device(None, sd), [0, 1], 6, sd)
    core.process = lambda indata, outdata: 1 / 0
    assert not sd.streams[0].play(np.ones((64, 2), np.float32)).any()
    assert audio.faults == 1


def test_a_device_that_goes_and_comes_back():
    sd, core = FakeSound(('Box', 2, 2)), FakeCore()
    audio = PortAudio(core, find_device(None, sd), [0, 1], 6, sd)
    audio.start()
    assert audio.poll() is None
    sd.streams[0].active = False  # unplugged
    devices, sd.devices = sd.devices, []
    assert 'went away' in audio.poll()
    audio._retry_at = 0.0
    assert audio.poll() is None and audio.lost
    sd.devices, audio._retry_at = devices, 0.0
    assert audio.poll() == "The device 'Box' is back."
    assert audio.poll() is None and core.counts.device_losses == 1 and len(sd.streams) == 2


def test_a_device_that_does_not_open_is_told():
    sd = FakeSound(('Box', 2, 2))
    sd.broken = True
    with pytest.raises(GenaudioError, match="'Box' cannot be opened at 48000 Hz with 2 in and 2 out: Invalid"):
        PortAudio(FakeCore(), find_device(None, sd), [0, 1], 6, sd)


def test_options_of_the_command():
    assert pairs(['system:capture_1=in_1']) == [('system:capture_1', 'in_1')]
    with pytest.raises(GenaudioError, match='FROM=TO'):
        pairs(['in_1'])
    chains = effects(['drums=Reverb,room_size=0.4', 'drums=Gain', 'monitor=/x.vst3'], ['drums', 'rest', 'monitor'])
    assert [link.effect for link in chains[0]] == ['Reverb', 'Gain'] and chains[0][0].parameters == {'room_size': 0.4}
    assert chains[2][0].path == '/x.vst3'
    with pytest.raises(GenaudioError, match="unknown output 'drumz'"):
        effects(['drumz=Gain'], ['drums'])
    with pytest.raises(GenaudioError, match='PAIR=EFFECT'):
        effects(['drums=Gain,loud'], ['drums'])
