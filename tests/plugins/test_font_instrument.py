"""A SoundFont as the instrument of a band: what it plays, and a band heard through it without a synthesizer."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from jack_server import RATE, Desk, Recorder, available, server
from live_daemon import RESPONDS, play_until_heard, session_of

from bridge.plugins.font_instrument import FontInstrument
from genaudio_core.errors import GenaudioError
from genaudio_core.sound.soundfont import any_font, load_fluidsynth

BLOCK = 256


def has_font():
    try:
        load_fluidsynth()
        any_font()
    except GenaudioError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_font(), reason='needs fluidsynth and a SoundFont')


@pytest.fixture(scope='module')
def font():
    return any_font()


def test_fluidsynth_leaves_both_outputs_to_the_program():
    """Where CI is set its package prints which library it found: in front of what `--json` promises."""
    load = 'from genaudio_core.sound.soundfont import load_fluidsynth; load_fluidsynth()'
    command, environment = [sys.executable, '-c', load], {**os.environ, 'CI': 'true'}
    run = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    assert run.returncode == 0 and run.stdout == run.stderr == b''


def played(instrument, events, blocks, rate=RATE):
    """The sound of (block, sample in it, message) events, block by block as JACK asks for it."""
    out = []
    for i in range(blocks):
        mine = [(message, (at + 0.5) / rate) for block, at, message in events if block == i]
        out.append(instrument(mine, (BLOCK + 1e-3) / rate, rate, num_channels=2, buffer_size=BLOCK, reset=False))
    assert all(one.shape == (2, BLOCK) and one.dtype == np.float32 for one in out)
    return np.concatenate(out, axis=1)


def test_a_note_sounds_from_its_place_to_its_end(font):
    one = FontInstrument(font)
    organ = (0, 0, bytes((0xC0, 19)))  # a piano would end by itself
    events = [organ, (3, 130, bytes((0x90, 72, 100))), (60, 0, bytes((0x80, 72, 0)))]
    sound = np.abs(played(one, events, 600)).max(0)
    begins = int(np.flatnonzero(sound > 1e-4)[0]) - (3 * BLOCK + 130)
    assert 0 <= begins < 64 + 100  # fluidsynth's block, and an attack
    assert sound[30 * BLOCK : 50 * BLOCK].max() > 0.02 and sound[-20 * BLOCK :].max() < 1e-3


def test_each_channel_has_its_program_and_the_tenth_has_drums(font):
    strike = [(2, 0, bytes((0x90, 60, 100)))]
    piano = played(FontInstrument(font), strike, 40)
    organ = played(FontInstrument(font), [(1, 0, bytes((0xC0, 19))), *strike], 40)
    drum = played(FontInstrument(font), [(2, 0, bytes((0x99, 38, 100)))], 40)
    assert np.abs(piano).max() > 0.01 and np.abs(organ).max() > 0.01 and np.abs(drum).max() > 0.01
    assert np.abs(piano - organ).max() > 0.01 and np.abs(piano - drum).max() > 0.01


def test_another_rate_plays_the_same_pitch(font):
    one = FontInstrument(font)
    for rate in (44100, 96000):
        sound = played(one, [(0, 0, bytes((0xC0, 79))), (1, 0, bytes((0x90, 69, 100)))], 200, rate)[0][20000:]
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        strongest = spectrum.argmax() * rate / len(sound)
        assert min(abs(strongest / 440 - times) for times in (1, 2)) < 0.02  # an ocarina


def test_a_font_that_is_none_is_one_line(tmp_path):
    from bridge.live.live_band import heard_through

    (tmp_path / 'x.sf2').write_bytes(b'no font')
    for path, told in ((tmp_path / 'x.sf2', 'not a SoundFont'), (tmp_path / 'none.sf2', 'none.sf2')):
        with pytest.raises(GenaudioError, match=told):
            heard_through(path)


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
def test_a_band_is_heard_without_a_synthesizer(font, tmp_path):
    with server(BLOCK), Desk('desk') as desk, contextlib.ExitStack() as stack:
        recorder = Recorder()
        stack.callback(recorder.client.close)
        process, said = stack.enter_context(session_of(RESPONDS, tmp_path, '--listen', str(font)))
        end, playback = time.monotonic() + 60, ''
        while not playback:  # the loudspeakers of a machine
            assert time.monotonic() < end and process.poll() is None, said
            heard = recorder.client.get_ports('genaudio-instrument:out_1')
            at = recorder.client.get_all_connections(heard[0]) if heard else []
            playback = next((port.name for port in at if port.name.startswith('system:playback')), '')
            time.sleep(0.05)
        recorder.client.connect('genaudio-instrument:out_1', recorder.port)
        play_until_heard(desk, recorder, process, said, 0.01)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert json.loads(out)['played'] > 0
