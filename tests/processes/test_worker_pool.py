"""Many jobs on a few processes: one that dies is told, Ctrl-C ends them without a word, none is left behind."""

import os
import signal
import time
from pathlib import Path

import pytest
from own_command import start_command
from test_child_process import is_there

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write
from genaudio_core.processes.worker_pool import WorkerPool


def square(x):
    return x * x


def dies(x):
    os._exit(3)


def sleeps(path):
    """Say who it is, then be at work for a long time."""
    Path(path, str(os.getpid())).touch()
    time.sleep(1000)


def writes(folder):
    """Half a file, and then nothing for a long time."""
    with atomic_write(Path(folder) / f'{os.getpid()}.bin') as temporary:
        temporary.write_bytes(b'half')
        Path(folder, str(os.getpid())).touch()
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
with WorkerPool(2) as pool:
    for future in [pool.submit(writes, sys.argv[1]) for _ in range(4)]:
        future.result()
"""


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize(
    ('number', 'to_group'),
    [
        (signal.SIGKILL, False), (signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, True),
        (signal.SIGTERM, False), (signal.SIGHUP, True),
    ],
)  # fmt: skip
def test_no_worker_and_nothing_half_written_is_left_and_none_complains(tmp_path, number, to_group):
    """The parent is killed with no time for anything; or a signal comes to it, or to the whole group."""
    folder = tmp_path / 'pids'
    folder.mkdir()
    parent = start_command(tmp_path, 'from test_worker_pool import WorkerPool, writes', PARENT, str(folder))
    try:
        assert parent.stderr is not None
        assert wait_until(lambda: len([path for path in folder.iterdir() if path.name.isdecimal()]) == 2, 90), (
            parent.poll()
        )
        pids = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        (os.killpg if to_group else os.kill)(parent.pid, number)
        assert parent.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
        assert wait_until(lambda: not any(map(is_there, pids)), 60)
        said = parent.stderr.read()
        assert 'Traceback' not in said
        assert sorted(path.name for path in folder.iterdir()) == sorted(map(str, pids))
    finally:
        for pid in (int(path.name) for path in folder.iterdir() if path.name.isdecimal()):
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)
        parent.kill()
        parent.communicate()
