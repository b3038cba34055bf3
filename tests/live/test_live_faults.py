"""Faults of the running daemon, each with real processes on JACK: the music goes on or stops cleanly, notes end."""

import os
import shutil
import signal
import time
from pathlib import Path

import mido
import pytest
from jack_server import available
from live_daemon import FREE
from live_daemon import daemon as daemon  # fixtures
from live_daemon import jack_running as jack_running

from bridge.midi.messages import control, note_off, note_on
from bridge.system.waiting import wait_until

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_every_note(daemon, number):
    daemon.play()
    os.kill(daemon.process.pid, number)
    assert daemon.process.wait(timeout=20) == 0
    assert daemon.quiet()
    controllers = {tuple(m[1:]) for *_, m in daemon.desk.heard if m[0] & 0xF0 == 0xB0}
    assert {(64, 0), (123, 0)} <= controllers


def test_a_killed_parent_ends_every_note(daemon):
    daemon.play()
    children = daemon.children()
    mapped = Path(f'/proc/{daemon.named("midi")}/maps').read_text().split()
    (table,) = {name for name in mapped if 'genaudio-sounding-' in name}
    os.kill(daemon.process.pid, signal.SIGKILL)
    assert daemon.quiet()
    assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in children), 15)
    assert not Path(table).exists()  # nothing is left behind


def test_a_killed_engine_does_not_stop_the_music(daemon):
    daemon.play()
    os.kill(daemon.named('engine'), signal.SIGKILL)
    assert daemon.said('plays on by itself')
    heard = len(daemon.desk.heard)
    assert wait_until(lambda: len(daemon.desk.heard) > heard + 6, 20)


def test_a_killed_port_process_returns_and_ends_its_notes_first(daemon):
    daemon.play()
    os.kill(daemon.named('midi'), signal.SIGKILL)
    stuck = daemon.sounding()
    assert daemon.said('starts again') and daemon.said('were still on from before')
    assert daemon.quiet(30), stuck
    daemon.play()  # it is wired as before, and plays


def test_a_kept_take_is_written_beside_the_music_and_a_lost_folder_costs_a_line(daemon):
    daemon.play()

    def keep(words: str) -> bool:
        """JACK may drop what a busy client should have heard, so more than once."""
        for _ in range(5):
            frame = daemon.desk.frame() + 3000
            daemon.desk.send('out', [(frame, control(0, 21, 127)), (frame + 500, control(0, 21, 0))])
            if daemon.said(words, 4):
                return True
        return False

    assert keep('Kept as')
    assert any(mido.MidiFile(path).tracks for path in daemon.takes.glob('*.mid'))
    shutil.rmtree(daemon.takes)
    assert keep('The take is not kept: Cannot write')
    heard = len(daemon.desk.heard)
    assert wait_until(lambda: len(daemon.desk.heard) > heard + 6, 20)


def test_a_preset_with_errors_while_playing(daemon):
    daemon.play()
    daemon.preset.write_text(FREE.replace('tempo = 120', 'tmepo = 120'))
    assert daemon.said("Did you mean 'tempo'") and daemon.said('Playing on')
    daemon.preset.write_text(FREE.replace('tempo = 120', 'tempo = 140'))
    assert daemon.said('is reloaded')
    heard = len(daemon.desk.heard)
    assert wait_until(lambda: len(daemon.desk.heard) > heard + 4, 20)


def test_noise_on_the_input(daemon):
    """Floods, a sysex of 1 MB in pieces, active sensing: the band plays on. JACK itself passes only whole messages."""
    daemon.play()
    frame = daemon.desk.frame() + 4000
    flood = [(frame + 16 * i, note_on(3, i % 128, 1 + i % 127)) for i in range(6000)]  # 3,000 a second
    flood += [(frame + 16 * 6000 + i, note_off(3, i)) for i in range(128)]
    flood += [(frame + 97000 + 300 * i, bytes((0xF0, *([1] * 1000), 0xF7))) for i in range(100)]
    flood += [(frame + 130000 + i, b'\xfe') for i in range(10)]
    daemon.desk.send('out', flood)
    time.sleep(3)
    heard = len(daemon.desk.heard)
    assert wait_until(lambda: len(daemon.desk.heard) > heard + 6, 20)
    assert 'Fault' not in daemon.log.read_text()
