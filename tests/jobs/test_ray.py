"""A job on a real Ray cluster: a head and two nodes on addresses of their own, one of which dies in the middle."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_command import start_command
from ray_cluster import RayCluster, why_not
from toy_job import Toy, done_by, items, made, run

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.journal import entries, journals_of
from genaudio_core.sound.audio_files import write_audio

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('ignore')]
N_FILES = 200


@pytest.fixture(scope='module')
def cluster():
    if why := why_not():
        pytest.skip(why)
    with RayCluster(2, [str(ROOT), str(ROOT / 'tests' / 'jobs')]) as cluster:
        yield cluster


def journal(root):
    return [entry for data in journals_of(str(root)) for entry in entries(data)]


def test_faults_are_told_and_counted_as_they_are_on_this_machine(cluster, tmp_path):
    """An item that takes its process along is begun four times."""
    log, there = tmp_path / 'log', Cluster(cluster.for_clients)
    names = ['a', 'sub/b', 'bad', 'raises', 'dies', *map(str, range(20))]
    report = run(tmp_path / 'o', items(*names), Toy(log=log), cluster=there)
    assert report.done == 22 and set(report.failed) == {'bad', 'raises', 'dies'}
    assert 'process ended' in report.failed['dies'] and done_by(log).count('dies') == 4
    assert made(tmp_path / 'o') == sorted({*names} - {'bad', 'raises', 'dies'})
    assert {entry['where'].split(':')[0] for entry in journal(tmp_path / 'o') if entry['where']} == {
        cluster.address(1), cluster.address(2)}  # fmt: skip
    assert list((tmp_path / 'o/.genaudio').glob('runs/*')) == []
    with pytest.raises(GenaudioError, match='there is no model'):
        run(tmp_path / 'o', items('c'), Toy('no model'), cluster=there)


DRIVER = """
run(sys.argv[1], items('a', 'slow', 'z'), Toy(log=sys.argv[2]), cluster=Cluster(sys.argv[3]))
"""
IMPORTS = 'from toy_job import Toy, items, run; from genaudio_core.jobs.cluster import Cluster'


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_whoever_ends_the_driver_leaves_nothing_half_and_the_same_again_does_the_rest(cluster, tmp_path, number):
    log, out = tmp_path / 'log', tmp_path / 'o'
    driver = start_command(tmp_path, IMPORTS, DRIVER, str(out), str(log), cluster.for_clients)
    try:
        assert wait_until(
            lambda: log.exists() and "'slow'" in log.read_text() and (out / '.genaudio/z.json').exists(), 300
        )
        driver.send_signal(number)
        assert driver.wait(120) == (-number if number == signal.SIGKILL else 128 + number)
        said = driver.stderr.read()
        assert 'slow' not in made(out) and 'Traceback' not in said
        assert ('of 3 are done; the same command goes on from here' in said) == (number != signal.SIGKILL)
    finally:
        driver.kill()
        driver.communicate()
    pids = {int(line.split()[-1]) for line in log.read_text().splitlines() if "'slow'" in line}
    assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in pids), 300)
    log.unlink()
    report = run(out, items('a', 'z', 'y'), Toy(log=log), cluster=Cluster(cluster.for_clients))
    assert done_by(log) == ['y'] and report.already == 2
    assert made(out) == ['a', 'y', 'z'] and list((out / '.genaudio').glob('runs/*')) == []


def separate(songs, out, model, *options):
    command = [
        sys.executable,
        '-m',
        'bridge.cli',
        'separate',
        songs,
        '-q',
        'drums',
        '--model',
        model,
        '-o',
        out,
        '--json',
    ]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([*map(str, command), '--json', *options], env=environment, cwd=songs.parent, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_a_node_dies_while_200_files_are_separated_and_every_stem_is_that_of_one_machine(cluster, tmp_path):
    for i in range(N_FILES):
        (tmp_path / 'songs' / str(i % 3)).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).standard_normal((1, 4000 + 37 * i)).astype(np.float32)
        write_audio(tmp_path / 'songs' / str(i % 3) / f'{i:03d}.wav', 0.1 * noise, 16000)
    model = tmp_path / 'mine.onnx'
    shutil.copy(presets_dir() / 'models' / 'separator.onnx', model)
    begun = separate(tmp_path / 'songs', tmp_path / 'far', model, '--ray', cluster.for_clients)

    def workers():
        return {entry['where'].split(':')[0] for entry in journal(tmp_path / 'far')}

    assert wait_until(lambda: (len(workers()) == 2 and len(journal(tmp_path / 'far')) > N_FILES // 8)
                      or begun.poll() is not None, 3000)  # fmt: skip
    before = len(journal(tmp_path / 'far'))
    cluster.kill(2)
    told, said = begun.communicate(timeout=6000)
    assert begun.returncode == 0, said
    assert N_FILES // 8 < before < N_FILES and workers() == {cluster.address(1), cluster.address(2)}
    assert len(json.loads(told)['files']) == N_FILES and 'Traceback' not in said
    near = separate(tmp_path / 'songs', tmp_path / 'near', model, '--workers', '1')
    assert near.wait(6000) == 0
    stems = made(tmp_path / 'near')
    assert len(stems) == N_FILES and made(tmp_path / 'far') == stems
    for name in stems:
        assert (tmp_path / 'far' / name).read_bytes() == (tmp_path / 'near' / name).read_bytes()
    again = separate(tmp_path / 'songs', tmp_path / 'far', model, '--ray', cluster.for_clients)
    told, said = again.communicate(timeout=6000)
    assert again.returncode == 0 and json.loads(told)['already_done'] == N_FILES
    assert len(journal(tmp_path / 'far')) == N_FILES
