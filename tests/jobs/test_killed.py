"""The whole command, with the real model, ended by kill -9 in the middle: the same command does what is missing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toy_job import made

from bridge.system.waiting import wait_until
from genaudio_core.jobs.journal import entries, journals_of
from genaudio_core.sound.audio_files import write_audio

pytestmark = pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')


def sound(path, seconds, seed):
    noise = np.random.default_rng(seed).standard_normal((1, int(8000 * seconds))).astype(np.float32)
    write_audio(path, 0.1 * noise, 8000)


def separate(folder, out, *words):
    command = ['bridge.cli', 'separate', 'songs', '-q', 'drums', '-o', out, '--json', *words]
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-m', *command], cwd=folder, env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


def told(begun):
    out, said = begun.communicate(timeout=3000)
    assert begun.returncode == 0, said
    return json.loads(out)


def of_session(session):
    """Processes that live and belong to a session, but for dead ones that wait to be asked."""
    found = []
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            state, _, _, its = stat.read_text().rpartition(')')[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its) == session and state != 'Z':
            found.append(int(stat.parent.name))
    return found


def in_its_middle(folder):
    return len(list(folder.glob('*.json'))) == 4 and any((folder / 'runs').rglob('*9 long*'))


@pytest.mark.parametrize('workers', [[], ['--workers', '2']])
def test_after_kill_9_the_same_command_does_only_what_was_missing(tmp_path, workers):
    """The song that comes last would take a minute and more: in its middle the driver is killed."""
    songs, out = tmp_path / 'songs', tmp_path / 'out'
    songs.mkdir()
    for i in range(4):
        sound(songs / f'{i}.wav', 0.5, i)
    sound(songs / '9 long.wav', 1200, 9)
    driver = separate(tmp_path, 'out', *workers)
    try:
        assert wait_until(lambda: driver.poll() is not None or in_its_middle(out / '.genaudio'), 600)
        driver.kill()
        assert driver.wait() == -signal.SIGKILL
        assert wait_until(lambda: not of_session(driver.pid), 120)
    finally:
        driver.kill()
        driver.communicate()
    assert made(out) == [f'{i}.drums.wav' for i in range(4)]
    written = {name: (out / name).stat().st_mtime_ns for name in made(out)}
    sound(songs / '9 long.wav', 0.5, 9)
    again = told(separate(tmp_path, 'out', *workers))
    assert (again['done'], again['already_done'], again['skipped']) == (1, 4, [])
    assert {name: (out / name).stat().st_mtime_ns for name in written} == written
    assert not list((out / '.genaudio' / 'runs').iterdir())
    last = list(journals_of(str(out)))[-1]
    assert [(entry['item'], entry['state']) for entry in entries(last)] == [('9 long.drums.wav', 'done')]
    told(separate(tmp_path, 'whole', *workers))
    assert made(tmp_path / 'whole') == made(out)
    for name in made(out):
        assert (out / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()
