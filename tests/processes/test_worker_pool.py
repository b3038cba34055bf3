"""Many jobs on a few processes: one that dies is told, Ctrl-C ends them without a word, none is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_child_process import is_there

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.processes.worker_pool import WorkerPool


def square(x):
    return x * x


def dies(x):
    os._exit(3)


def sleeps(path):
    """Say who it is, then be at work for a long time."""
    Path(path, str(os.getpid())).touch()
    time.sleep(1000)


def set_threads():
    os.environ['GENAUDIO_TEST_POOL'] = 'set'


def setting(x):
    return os.environ.get('GENAUDIO_TEST_POOL')


def test_jobs_are_done_in_order_and_each_worker_is_prepared():
    with WorkerPool(2, set_threads) as pool:
        assert list(pool.map(square, range(20), chunksize=3)) == [x * x for x in range(20)]
        assert pool.submit(setting, 0).result() == 'set'


def test_a_worker_that_dies_is_one_line_and_no_wait_without_end():
    with pytest.raises(GenaudioError, match='ended in the middle'), WorkerPool(1) as pool:
        list(pool.map(dies, range(3)))


def test_a_block_that_is_left_early_does_not_wait_for_what_is_under_way(tmp_path):
    with pytest.raises(KeyboardInterrupt), WorkerPool(1) as pool:
        pool.submit(sleeps, tmp_path)
        pool.submit(sleeps, tmp_path)
        assert wait_until(lambda: any(tmp_path.iterdir()), 60)
        raise KeyboardInterrupt
    (pid,) = (int(path.name) for path in tmp_path.iterdir())
    assert wait_until(lambda: not is_there(pid), 60)


PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_worker_pool import WorkerPool, sleeps
if __name__ == '__main__':
    try:
        with WorkerPool(2) as pool:
            for future in [pool.submit(sleeps, sys.argv[2]) for _ in range(4)]:
                future.result()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_no_worker_is_left_and_none_complains(tmp_path, number):
    """The parent is killed with no time for anything; or Ctrl-C comes to the whole group."""
    script, folder = tmp_path / 'parent.py', tmp_path / 'pids'
    folder.mkdir()
    script.write_text(PARENT)
    parent = subprocess.Popen(
        ['env', '--default-signal=INT', sys.executable, str(script), str(Path(__file__).parent), str(folder)],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert parent.stderr is not None
        assert wait_until(lambda: len(list(folder.iterdir())) == 2, 90)
        pids = [int(path.name) for path in folder.iterdir()]
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)
            assert parent.wait(60) == 130
        else:
            parent.kill()
        assert wait_until(lambda: not any(map(is_there, pids)), 60)
        said = parent.stderr.read()
        assert 'Traceback' not in said
    finally:
        for pid in (int(path.name) for path in folder.iterdir()):
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)
        parent.kill()
        parent.communicate()
