"""End when told: signals, a dead terminal, Ctrl-Z; the one that the person started decides."""

import ast
import contextlib
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from jack_server import HEARS_ALL

from bridge.system.signals import SignalWatch, lasting_output
from bridge.system.waiting import wait_until

pytestmark = pytest.mark.skipif(os.name == 'nt', reason='POSIX signals')
WAITS = """
import sys, time
from bridge.system.signals import SignalWatch
with SignalWatch() as told:
    print('here', flush=True)
    while not told.ended:
        print('working', file=sys.stderr, flush=True)
        if told.look(lambda: open(sys.argv[1], 'a').write('pause '), lambda: open(sys.argv[1], 'a').write('resume ')):
            pass
        time.sleep(0.01)
    open(sys.argv[1], 'a').write('ended by ' + told.ended)
print('the result')
"""
SLOW = """
import os, sys
from bridge.system.signals import SignalWatch
def pause():
    open(sys.argv[1] + 'pauses', 'w').close()
    while not os.path.exists(sys.argv[1] + 'enough'):
        pass
with SignalWatch() as told:
    print('here', flush=True)
    while not told.look(pause):
        pass
"""
CHILD = """
import time
from genaudio_core.processes.deafness import leave_to_parent
leave_to_parent()
print('here', flush=True)
time.sleep(60)
"""

LOADS = """
import time
from bridge.system.clock import RealClock
from bridge.musicians.musician_process import ProcessEngine
from bridge.musicians.choose import make_musician
from bridge.bench.wakeup_latency import probe
from bridge.system.signals import SignalWatch
with SignalWatch() as told:
    print('here', flush=True)
    engine = ProcessEngine(make_musician, ('rules',), clock=RealClock())
    with probe():
        while not told.ended:
            time.sleep(0.01)
    engine.close()
"""
BRIDGE = Path(__file__).parents[2] / 'bridge'


@pytest.fixture
def start():
    """Run a program in a group of its own; it has begun when this returns."""
    readers, processes = [], []

    def run(code: str, *arguments: object, **options) -> subprocess.Popen:
        command = [*HEARS_ALL, sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)]
        reader, writer = os.pipe()
        readers.append(reader)
        processes.append(subprocess.Popen(command, stdout=writer, start_new_session=True, **options))
        os.close(writer)
        assert os.read(reader, 100).startswith(b'here')
        return processes[-1]

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
    for reader in readers:
        os.close(reader)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_way_of_ending_lets_it_end_in_order(start, tmp_path, number):
    process = start(WAITS, tmp_path / 'log', stderr=subprocess.DEVNULL)
    process.send_signal(number)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == f'ended by {number.name}'


def test_nohup_keeps_it_playing(start, tmp_path):
    ignore = f'import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{WAITS}'
    process = start(ignore, tmp_path / 'log', stderr=subprocess.DEVNULL)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == 'ended by SIGTERM'


def test_a_closed_terminal_ends_it_in_order(start, tmp_path):
    """The window closes: SIGHUP to the group, and every write to the terminal fails from then on."""
    ours, theirs = pty.openpty()
    process = start(WAITS, tmp_path / 'log', stderr=theirs)
    os.close(theirs)
    os.close(ours)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == 'ended by SIGHUP'


def test_output_that_nobody_reads_ends_nothing(start, tmp_path):
    reader, writer = os.pipe()
    process = start(WAITS, tmp_path / 'log', stderr=writer)
    os.close(writer)
    os.close(reader)  # every write is a broken pipe now
    time.sleep(0.1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def state(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    return ''


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
def test_ctrl_z_pauses_first_and_stops_then(start, tmp_path):
    process = start(WAITS, tmp_path / 'log', stderr=subprocess.DEVNULL)
    os.killpg(process.pid, signal.SIGTSTP)
    assert wait_until(lambda: state(process.pid) == 'T', 20)
    assert (tmp_path / 'log').read_text() == 'pause '
    os.killpg(process.pid, signal.SIGCONT)
    assert wait_until(lambda: (tmp_path / 'log').read_text() == 'pause resume ', 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_continued_before_it_has_stopped_it_does_not_stop_for_ever(start, tmp_path):
    process = start(SLOW, f'{tmp_path}/')
    process.send_signal(signal.SIGTSTP)
    assert wait_until(lambda: (tmp_path / 'pauses').exists(), 20)
    process.send_signal(signal.SIGCONT)
    (tmp_path / 'enough').touch()
    assert process.wait(20) == 0


def test_told_again_and_again_it_ends_at_once(start):
    hangs = 'import time\nfrom bridge.system.signals import SignalWatch\n'
    hangs += "with SignalWatch():\n    print('here', flush=True)\n"
    process = start(hangs + '    while True: time.sleep(0.01)')
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert process.wait(20) == -signal.SIGINT


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGVTALRM])
def test_a_child_leaves_it_to_its_parent(start, number):
    child = start(CHILD)
    os.killpg(child.pid, number)
    time.sleep(0.2)
    assert child.poll() is None and state(child.pid) in ('S', '')
    child.terminate()
    assert child.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize('after', [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8])
def test_ctrl_c_while_children_load_leaves_no_traceback_of_theirs(start, tmp_path, after):
    with open(tmp_path / 'said', 'w') as said:
        process = start(LOADS, stderr=said)
    time.sleep(after)  # this is the moment that is tried, and no wait for anything
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / 'said').read_text() == ''


@pytest.mark.parametrize('path', sorted(BRIDGE.rglob('*.py')), ids=lambda path: path.stem)
def test_every_child_is_born_deaf(path):
    """Whoever starts a process does it where the child hears nothing of Ctrl-C from its first moment."""
    tree = ast.parse(path.read_text())
    made = {
        ast.unparse(node.targets[0]) for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value).partition('(')[0].endswith('ontext.Process')
    }  # fmt: skip
    deaf = {
        id(call) for node in ast.walk(tree)
        if isinstance(node, ast.With) and ast.unparse(node.items[0]) == 'born_deaf()' for call in ast.walk(node)
    }  # fmt: skip
    starts = {f'{name}.start' for name in made}
    loud = [
        node.lineno for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in starts and id(node) not in deaf
    ]  # fmt: skip
    assert not loud


def test_everything_is_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)]
    streams = sys.stdout, sys.stderr
    with SignalWatch() as told:
        told.end('time')
    assert told.ended == 'time'
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)]
    assert after == before and (sys.stdout, sys.stderr) == streams


def test_a_stream_that_is_closed_takes_what_it_gets(tmp_path, monkeypatch):
    file = open(tmp_path / 'x', 'w')  # noqa: SIM115
    monkeypatch.setattr(sys, 'stderr', file)
    with lasting_output():
        file.close()
        print('into the void', file=sys.stderr, flush=True)


RESULT = """
import sys, types
from bridge.system.signals import SignalWatch
from genaudio_core import command_line as command
from genaudio_core.entry import Group
module = types.ModuleType('some_package.play')
def run(args):
    with SignalWatch() as told:
        print('here', file=sys.stderr, flush=True)
        while not told.ended:
            told.look()
            __import__('time').sleep(0.01)
    return {'heard': 3}
module.HELP, module.EXAMPLE, module.add_arguments, module.run = 'h', 'e', lambda parser: None, run
sys.modules['some_package'], sys.modules['some_package.play'] = types.ModuleType('some_package'), module
code = command.main('x', 'y', 'some_package', [Group('', {'play': 'z'}, '')], ['play', *sys.argv[2:]])
open(sys.argv[1], 'w').write(f'ended with {code}')
"""


@pytest.mark.parametrize('options', [(), ('--json',)])
def test_a_result_for_a_terminal_that_is_gone_is_lost_without_a_fault(tmp_path, options):
    ours, theirs = pty.openpty()
    errors = tmp_path / 'errors'
    with open(errors, 'w') as log:
        process = subprocess.Popen(
            [*HEARS_ALL, sys.executable, '-c', RESULT, str(tmp_path / 'log'), *options], stdout=theirs, stderr=log,
        )  # fmt: skip
    os.close(theirs)
    assert wait_until(lambda: 'here' in errors.read_text(), 20)
    os.close(ours)
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == 'ended with 0'
    assert errors.read_text() == 'here\n'


def test_a_result_that_a_pipe_takes_no_more_ends_as_a_broken_pipe_does(tmp_path):
    reader, writer = os.pipe()
    errors = tmp_path / 'errors'
    with open(errors, 'w') as log:
        process = subprocess.Popen([sys.executable, '-c', RESULT, str(tmp_path / 'log')], stdout=writer, stderr=log)
    os.close(writer)
    assert wait_until(lambda: 'here' in errors.read_text(), 20)
    os.close(reader)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == 'ended with 141'
    assert errors.read_text() == 'here\n'


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_result_for_a_full_disk_is_an_error_in_one_line(tmp_path):
    errors = tmp_path / 'errors'
    at_once = RESULT.replace('while not told.ended', 'while False')
    with open('/dev/full', 'w') as full, open(errors, 'w') as log:
        process = subprocess.Popen([sys.executable, '-c', at_once, str(tmp_path / 'log')], stdout=full, stderr=log)
    assert process.wait(20) == 0
    assert (tmp_path / 'log').read_text() == 'ended with 2'
    _, told, *more = errors.read_text().splitlines()
    assert told.startswith('error: the disk is full') and not more


LOADING = """
import sys


class CtrlC:
    def find_spec(self, name, *more):
        if name == 'genaudio_core.command_line':
            raise KeyboardInterrupt


sys.meta_path.insert(0, CtrlC())
from {module} import main
sys.exit(main(['--help']))
"""


@pytest.mark.parametrize('module', ['bridge.cli', 'export.cli', 'genaudio_core.commands.cli'])
def test_ctrl_c_while_a_command_begins_to_load_is_one_word(module):
    code = LOADING.format(module=module)
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, '', 'stopped\n')
