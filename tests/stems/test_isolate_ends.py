"""`genaudio isolate` ends as it is told, leaves nothing behind, and outlives what it can, on a real server."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest
from isolate_program import Isolate, answers, children_of, ports, state, until
from jack_server import available, running

pytestmark = [
    pytest.mark.jack,
    pytest.mark.skipif(not available, reason='jackd is not installed'),
]


@pytest.fixture(scope='module')
def server():
    with running() as one:
        yield one


# --- how it ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize('group', [False, True])
def test_a_signal_ends_it_and_nothing_is_left(server, number, group):
    with Isolate('--json') as one:
        one.plays()
        assert one.left()  # so what is its own is known
        (os.killpg if group else os.kill)(one.pid, number)
        one.ends()
        assert json.loads(one.process.stdout.read())['blocks'] > 0


def catches(one):
    """It has begun: SIGTERM is caught."""
    status = Path(f'/proc/{one.pid}/status').read_text()
    caught = int(status.split('SigCgt:')[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def loads_onnxruntime(one):
    return 'onnxruntime' in Path(f'/proc/{one.pid}/maps').read_text()


def has_children(one):
    """The tracker of shared memory, and the worker, which loads."""
    return len(children_of(one.pid)) > 1


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize('as_soon_as', [catches, loads_onnxruntime, has_children])
def test_a_signal_while_it_loads_ends_it_and_nothing_is_left(server, number, as_soon_as):
    with Isolate('--effect', 'drums=Reverb') as one:
        until(lambda: as_soon_as(one))
        os.killpg(one.pid, number)
        code = one.process.wait(timeout=60)
        one.ends(code)
        assert code in (0, 128 + number)


def test_it_plays_on_without_anything_on_stdin(server):
    with Isolate('--json', '--seconds', '2', stdin=subprocess.DEVNULL) as one:
        one.plays()
        one.ends()
        assert json.loads(one.process.stdout.read())['blocks'] > 100


def test_the_end_of_stdin_ends_nothing(server):
    with Isolate() as one:
        one.plays()
        one.say('status')
        one.process.stdin.close()
        one.wait_for('ready')
        blocks = ports()
        assert 'genaudio-stems' in blocks
        os.kill(one.pid, signal.SIGTERM)
        one.ends()


@pytest.mark.parametrize('json_too', [(), ('--json',)])
def test_a_reader_that_goes_away_gets_no_traceback(server, json_too):
    read, write = os.pipe()
    with Isolate('--seconds', '1', *json_too, stdout=write) as one:
        os.close(write)
        os.close(read)
        one.plays()
        one.ends(141)


def test_a_full_disk_under_the_result_is_one_line(server):
    with open('/dev/full', 'w') as full, Isolate('--seconds', '1', stdout=full) as one:
        one.plays()
        one.ends(2)
        assert one.heard('the disk is full')


def test_the_terminal_that_goes_away_ends_it(server):
    here, there = pty.openpty()
    with Isolate(stdin=there, stdout=there) as one:
        os.close(there)
        one.plays()
        os.close(here)
        os.killpg(one.pid, signal.SIGHUP)
        one.process.wait(timeout=60)
        one.ends(one.process.returncode)
        assert one.process.returncode in (0, 141, 2)


def test_ctrl_z_lets_jack_go_on_and_it_comes_back(server):
    with Isolate('--json') as one:
        one.plays()
        for _ in range(2):
            os.killpg(one.pid, signal.SIGTSTP)
            until(lambda: state(one.pid) == 'T', what=one.lines)
            assert answers() and 'genaudio-stems' in ports()
            os.killpg(one.pid, signal.SIGCONT)
            until(lambda: state(one.pid) != 'T')
        since = len(one.lines)
        one.say('status')
        one.wait_for('underruns', since=since)
        os.killpg(one.pid, signal.SIGTSTP)
        until(lambda: state(one.pid) == 'T')
        os.killpg(one.pid, signal.SIGTERM)  # closed while it waits
        os.killpg(one.pid, signal.SIGCONT)
        one.ends()
        assert not one.heard('hangs') and not one.heard('ended')
