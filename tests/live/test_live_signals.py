"""However the daemon is ended or stopped, in whatever order its processes hear of it: every note ends at the wire."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jack_server import HEARS_ALL, Desk, available
from live_daemon import FREE, Daemon, state
from live_daemon import daemon as daemon  # fixtures
from live_daemon import jack_running as jack_running

from bridge.midi.messages import note_off, note_on
from bridge.system.waiting import wait_until

pytestmark = [pytest.mark.jack, pytest.mark.skipif(not available, reason='needs jackd')]


def family(daemon) -> list[int]:
    return [daemon.process.pid, *daemon.children()]


def no_words_of_a_fault(daemon) -> bool:
    text = daemon.log.read_text()
    return 'Traceback' not in text and 'Fault' not in text


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_ends_every_note(daemon, number):
    """Closing the terminal window, Ctrl-C, a service manager."""
    daemon.play()
    os.killpg(daemon.process.pid, number)
    assert daemon.process.wait(timeout=20) == 0
    assert daemon.quiet() and no_words_of_a_fault(daemon)
    assert '"heard"' in daemon.log.read_text() or 'heard:' in daemon.log.read_text()  # the result is told


@pytest.mark.parametrize('order', ['children first', 'parent first'])
@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGQUIT])
def test_in_whatever_order_the_processes_hear_of_it(daemon, number, order):
    daemon.play()
    pids = family(daemon)
    for pid in pids if order == 'parent first' else reversed(pids):
        os.kill(pid, number)
    daemon.process.wait(timeout=20)
    assert daemon.quiet()
    assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in pids[1:]), 15)


def test_a_closed_terminal_ends_every_note(jack_running, tmp_path):
    """The real thing: a terminal that controls the session goes away, with its view in it."""
    preset = tmp_path / 'free.toml'
    preset.write_text(FREE)
    with Desk('desk', ('in',), ('out',)) as desk:
        ours, theirs = pty.openpty()
        command = [*HEARS_ALL, sys.executable, '-m', 'bridge.cli', 'live', str(preset), '--folder', str(tmp_path)]
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: os.login_tty(0),
        )  # fmt: skip
        os.close(theirs)
        daemon = object.__new__(Daemon)
        daemon.desk, daemon.process, daemon.log = desk, process, preset
        try:
            daemon.play()
            os.close(ours)
            process.wait(timeout=20)
            assert daemon.quiet()
        finally:
            daemon.close()


def test_ctrl_z_ends_the_notes_and_the_band_comes_back(daemon):
    daemon.play()
    os.killpg(daemon.process.pid, signal.SIGTSTP)
    assert wait_until(lambda: state(daemon.process.pid) == 'T', 20)
    assert daemon.quiet()
    # JACK need not wait for anybody meanwhile: others connect as ever.
    other = Desk('other', ('in',), ('out',))
    other.connect('other:out', 'desk:in')
    other.close()
    heard = len(daemon.desk.heard)
    frame = daemon.desk.frame() + 4000
    daemon.desk.send('out', [(frame, note_on(0, 60, 90)), (frame + 9000, note_off(0, 60))])
    assert not wait_until(lambda: len(daemon.sounding()) > 0, 1.5), list(daemon.desk.heard)[heard:]
    os.killpg(daemon.process.pid, signal.SIGCONT)
    assert daemon.said('Playing again')
    assert wait_until(lambda: len(daemon.sounding()) > 0, 20)
    os.killpg(daemon.process.pid, signal.SIGHUP)
    assert daemon.process.wait(timeout=20) == 0
    assert daemon.quiet() and no_words_of_a_fault(daemon)


def test_a_port_process_that_hangs_is_replaced_and_its_notes_end(daemon):
    daemon.play()
    first = daemon.named('midi')
    os.kill(first, signal.SIGSTOP)
    stuck = daemon.sounding()
    assert daemon.said('hangs; its notes are ended and it starts again')
    assert daemon.quiet(30), stuck
    daemon.play()
    assert daemon.named('midi') != first
    assert daemon.log.read_text().count('hangs;') == 1


def catches(pid: int, number: signal.Signals) -> bool:
    caught = int(Path(f'/proc/{pid}/status').read_text().split('SigCgt:')[1].split()[0], 16)
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize('after', [0.0, 0.4, 0.7, 1.0, 1.4, 1.8, 2.4])
def test_ctrl_c_while_it_loads_leaves_no_traceback(daemon, after):
    assert wait_until(lambda: catches(daemon.process.pid, signal.SIGTERM), 60)  # Python itself has been loaded
    time.sleep(after)  # this is the moment that is tried, and no wait for anything
    os.killpg(daemon.process.pid, signal.SIGINT)
    code = daemon.process.wait(timeout=60)
    assert no_words_of_a_fault(daemon), daemon.log.read_text()
    assert code in (0, 130)
    assert daemon.quiet()


def test_ended_while_the_port_process_hangs_its_notes_end(daemon):
    """The port process cannot do it: the parent ends them over connections of its own."""
    daemon.play()
    os.kill(daemon.named('midi'), signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=30) == 0
    assert daemon.quiet()


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def test_wrong_osc_costs_a_line_and_never_a_process(jack_running, tmp_path):
    udp = pytest.importorskip('pythonosc.udp_client')
    with Desk('desk', ('in',), ('out',)) as desk:
        port = free_port()
        daemon = Daemon(tmp_path, desk, '--osc', str(port))
        client = udp.SimpleUDPClient('127.0.0.1', port)
        try:
            daemon.play()
            midi = daemon.named('midi')
            for number in range(7):
                client.send_message('/genaudio/learn', f'nonsense{number}')
                client.send_message('/genaudio/set/ports.outputs', 'x')
                client.send_message('/genaudio/set/temperature', b'\xff')
                client.send_message('/genaudio/command/explode', [])
            for number in range(5000):
                client.send_message('/genaudio/set/density', number / 5000)
                if not number % 100:
                    client._sock.sendto(os.urandom(40), ('127.0.0.1', port))
            assert daemon.said('unknown setting or command') and daemon.said('explode')
            heard = len(desk.heard)
            assert wait_until(lambda: len(desk.heard) > heard + 4, 20)
            assert daemon.named('midi') == midi
            os.killpg(daemon.process.pid, signal.SIGHUP)
            assert daemon.process.wait(timeout=20) == 0
            assert daemon.quiet() and no_words_of_a_fault(daemon)
            assert len(daemon.log.read_text().splitlines()) < 100
        finally:
            client._sock.close()
            daemon.close()


def test_settings_and_learned_controllers_outlive_the_port_process(jack_running, tmp_path):
    udp = pytest.importorskip('pythonosc.udp_client')
    with Desk('desk', ('in',), ('out',)) as desk:
        port = free_port()
        daemon = Daemon(tmp_path, desk, '--osc', str(port), '--json', XDG_CONFIG_HOME=str(tmp_path / 'config'))
        client = udp.SimpleUDPClient('127.0.0.1', port)
        try:
            daemon.play()
            client.send_message('/genaudio/learn', 'thru')
            assert daemon.said('Move a controller')
            desk.send('out', [(desk.frame() + 20_000, bytes((0xB0, 20, 127)))])  # binds it, and switches thru on
            assert daemon.said('Controller 20 now moves player.thru')
            wait_until(lambda: False, 0.5)  # a snapshot or two
            os.kill(daemon.named('midi'), signal.SIGKILL)
            assert daemon.said('starts again') and daemon.quiet(30)
            daemon.play()
            desk.send('out', [(desk.frame() + 20_000, note_on(0, 99, 90))])  # after the key that `play` pressed
            assert wait_until(lambda: (0, 99) in daemon.sounding(), 20)  # thru is on
            os.killpg(daemon.process.pid, signal.SIGHUP)  # with the key down
            assert daemon.process.wait(timeout=20) == 0
            assert daemon.quiet()
            assert '"20": "player.thru"' in (tmp_path / 'config' / 'genaudio' / 'controllers.json').read_text()
        finally:
            client._sock.close()
            daemon.close()
