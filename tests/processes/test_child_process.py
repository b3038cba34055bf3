"""One way to have a process beside us: it loads, beats, speaks, hangs, dies, and never outlives whoever started it."""

import ast
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.system.waiting import wait_until
from genaudio_core.processes.child_process import ChildProcess, begin, messages

ROOT = Path(__file__).parents[2]


def body(how, cells, pipe):
    """A child: it does what it is told, or what `how` says at once."""
    heart = begin(cells, grace=0.5)
    if how == 'never':
        time.sleep(1000)
    if how == 'dies':
        os._exit(3)
    pipe.send(('ready', None))
    while True:
        heart.beat()
        try:
            said = messages(pipe)
        except (EOFError, OSError):
            return
        for kind, value in said:
            if kind == 'quit' and how == 'deaf to wishes':
                pipe.send(('told', 'no'))
            elif kind == 'quit':
                pipe.send(('told', 'bye'))
                return
            elif kind == 'hang':
                heart.at = value
                pipe.send(('told', 'now'))
                time.sleep(1000)
            else:
                pipe.send((kind, value))
        time.sleep(0.005)


@pytest.fixture
def start():
    made = []

    def begin_one(how='good', **options):
        made.append(ChildProcess(body, (how,), name='child', **options))
        return made[-1]

    yield begin_one
    for child in made:
        child.close(0.0)
        child.close(0.0)
        assert not child.is_alive()


def hear(child, kind, seconds=60.0):
    said = []
    assert wait_until(lambda: (said.extend(child.receive()), any(one[0] == kind for one in said))[1], seconds)
    return said


def test_it_loads_answers_and_says_goodbye(start):
    child = start()
    assert child.send('echo', (1, 'a'))
    assert hear(child, 'echo') == [('ready', None), ('echo', (1, 'a'))]
    assert not child.is_hung()
    child.end(60.0)
    assert child.receive() == [('told', 'bye')] and not child.is_alive() and child.exitcode == 0
    assert not child.send('echo')


def test_one_that_is_started_later_gets_what_was_sent_before(start):
    child = start(start=False)
    assert child.send('echo', 1)
    child.start()
    assert hear(child, 'echo')[-1] == ('echo', 1)


@pytest.mark.parametrize('how', ['never', 'good'])
def test_one_that_hangs_is_found_and_killed_while_it_loads_and_later(start, how):
    child = start(how, loading=1.0 if how == 'never' else 60.0, stuck=1.0)
    if how == 'good':
        hear(child, 'ready')
        child.send('hang', 7)
    assert wait_until(child.is_hung, 60) and child.is_alive()
    assert child.at == (7 if how == 'good' else 0)
    child.kill()
    assert not child.is_alive()


def test_time_in_which_it_could_not_move_can_be_given_back(start):
    child = start('never', loading=0.5)
    assert wait_until(child.is_hung, 60)
    child.renew()
    assert not child.is_hung()
    child.expect(60.0)
    assert not wait_until(child.is_hung, 1)


def test_one_that_does_not_end_when_asked_is_killed(start):
    child = start('deaf to wishes')
    hear(child, 'ready')
    child.end(0.3)
    assert not child.is_alive() and child.exitcode == -signal.SIGKILL


def test_one_that_dies_leaves_what_it_said(start):
    child = start()
    hear(child, 'ready')
    child.send('echo', 'last')
    assert wait_until(lambda: child.pipe.poll(), 60)
    os.kill(child.pid, signal.SIGKILL)
    child.join(60)
    assert ('echo', 'last') in child.receive() and not child.is_alive()
    assert start('dies').join(60) is None


def test_one_that_does_not_read_holds_nobody_up(start):
    child = start()
    hear(child, 'ready')
    os.kill(child.pid, signal.SIGSTOP)
    assert not all(child.send('echo', 'x' * 1000) for _ in range(100_000))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP])
def test_what_the_terminal_sends_is_not_for_it_from_its_first_moment(start, number):
    child = start()
    os.kill(child.pid, number)
    assert hear(child, 'ready') and child.is_alive()


PARENT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_child_process import ChildProcess, body
if __name__ == '__main__':
    child = ChildProcess(body, ('good',), name='child')
    while not child.receive(): time.sleep(0.01)
    if sys.argv[2] == 'hang':
        child.send('hang', 0)
        while not child.receive(): time.sleep(0.01)
    print(child.pid, flush=True)
    time.sleep(1000)
"""


def is_there(pid):
    with contextlib.suppress(OSError):
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    return False


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize('how', ['works', 'hang'])
def test_none_outlives_a_parent_that_is_killed_and_nothing_is_left_of_it(tmp_path, how):
    script = tmp_path / 'parent.py'
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script), str(Path(__file__).parent), how], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert parent.stdout is not None and parent.stderr is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        assert wait_until(lambda: not is_there(pid), 60)
        assert parent.stderr.read() == ''  # the process that clears up after Python had nothing to clear up
    finally:
        parent.kill()
        parent.communicate()


STARTS = ('Popen', 'Pool', 'Process', 'ProcessPoolExecutor', 'os.fork', 'os.posix_spawn', 'os.system')
FROM_OUTSIDE = ('bridge/bench/chaos_stage.py',)  # it starts servers and the daemon as a person does, and kills them


def starts_of(tree):
    """Lines of a module that start a process by other means than `genaudio_core.processes`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in STARTS or name.rpartition('.')[2] in STARTS or name.startswith('subprocess.'):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize('package', ['bridge', 'export', 'genaudio_core'])
def test_whoever_starts_a_process_does_it_by_the_rules(package):
    found = {
        path.relative_to(ROOT).as_posix(): lines for path in (ROOT / package).rglob('*.py')
        if not path.is_relative_to(ROOT / 'genaudio_core' / 'processes')
        and (lines := starts_of(ast.parse(path.read_text())))
    }  # fmt: skip
    assert {path: lines for path, lines in found.items() if path not in FROM_OUTSIDE} == {}
