"""A job on a real Ray cluster: a head and two nodes on addresses of their own, one of which dies in the middle."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from own_command import start_command
from ray_cluster import RayCluster, why_not
from small_decoders import checkpoint
from toy_job import Toy, done_by, items, made, run

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.files import presets_dir
from genaudio_core.jobs.cluster import Cluster
from genaudio_core.jobs.journal import entries, journals_of
from genaudio_core.jobs.pool import each
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
    blind = Cluster(cluster.for_clients, sees={'/mnt/songs': str(tmp_path / 'none')})
    with pytest.raises(GenaudioError, match=r'^10\S+ does not see /mnt/songs, which all nodes must'):
        list(each(len, ['a'], cluster=blind))


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


def test_who_presses_ctrl_c_does_not_wait_for_a_cluster_that_does_not_answer(cluster, tmp_path):
    log, out = tmp_path / 'log', tmp_path / 'o'
    driver = start_command(tmp_path, IMPORTS, DRIVER, str(out), str(log), cluster.for_clients)
    try:
        assert wait_until(lambda: (out / '.genaudio/z.json').exists() and "'slow'" in log.read_text(), 300)
        with cluster.clients_unanswered():
            driver.send_signal(signal.SIGINT)
            assert driver.wait(300) == 130
            assert 'of 3 are done; the same command goes on from here' in driver.stderr.read()
    finally:
        driver.kill()
        driver.communicate()
    pids = {int(line.split()[-1]) for line in log.read_text().splitlines() if "'slow'" in line}
    # The cluster sees by itself that nobody is there any more.
    assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in pids), 300)


def command(folder, module, *words):
    """A command of ours, as a program."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen([sys.executable, '-m', module, *map(str, words), '--json'], env=environment, cwd=folder,
                            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def told(begun):
    out, said = begun.communicate(timeout=6000)
    assert begun.returncode == 0 and 'Traceback' not in said, said
    return json.loads(out)


def columns(path):
    """Head and columns of a data file. safetensors writes the head in any order: that is no difference."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], 'little')
    return json.loads(data[8:end]), data[end:]


def test_data_and_models_are_the_same_as_by_processes_of_this_machine(cluster, tmp_path):
    for where, words in (('near', ['--workers', '1']), ('far', ['--ray', cluster.for_clients])):
        folder = tmp_path / where
        folder.mkdir()
        (folder / 'a.safetensors').write_bytes(checkpoint('live').read_bytes())
        (folder / 'models.toml').write_text('[[model]]\nname = "a"\nkind = "decoder"\ncheckpoint = "a.safetensors"\n')
        written = ['write-bands', '-o', 'bands', '-n', '30', '--styles', 'waltz', *words]
        assert told(command(folder, 'genaudio_core.commands.cli', *written))['written_now'] == 30
        prepared = ['prepare', 'bands', '-o', 'scores.safetensors', *words]
        assert told(command(folder, 'genaudio_core.commands.cli', *prepared))['pieces'] > 10
        assert told(command(folder, 'export.cli', 'all', 'models.toml', *words))['exported'] == 1
    near, far = (columns(tmp_path / where / 'scores.safetensors') for where in ('near', 'far'))
    assert near == far
    near, far = (zipfile.ZipFile(tmp_path / where / 'bands/00000000-00000029.zip') for where in ('near', 'far'))
    assert near.namelist() == far.namelist()  # the archive itself says when its files were written
    assert all(near.read(name) == far.read(name) for name in near.namelist())
    models = [onnx.load(tmp_path / where / 'a-fp32.onnx').graph for where in ('near', 'far')]
    assert models[0] == models[1]
    assert [path.name for path in (tmp_path / 'far').iterdir() if path.name.startswith('.')] == []


def separate(songs, out, model, *options):
    words = ['separate', songs, '-q', 'drums', '--model', model, '-o', out, *options]
    return command(songs.parent, 'bridge.cli', *words)


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
    n_told = len(told(begun)['files'])
    assert N_FILES // 8 < before < N_FILES and workers() == {cluster.address(1), cluster.address(2)}
    assert n_told == N_FILES
    near = separate(tmp_path / 'songs', tmp_path / 'near', model, '--workers', '1')
    assert near.wait(6000) == 0
    stems = made(tmp_path / 'near')
    assert len(stems) == N_FILES and made(tmp_path / 'far') == stems
    for name in stems:
        assert (tmp_path / 'far' / name).read_bytes() == (tmp_path / 'near' / name).read_bytes()
    again = separate(tmp_path / 'songs', tmp_path / 'far', model, '--ray', cluster.for_clients)
    assert told(again)['already_done'] == N_FILES
    assert len(journal(tmp_path / 'far')) == N_FILES
