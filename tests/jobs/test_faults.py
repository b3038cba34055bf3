"""Real faults: a disk that is full, a permission that is lost. Each file tells of its own, and the rest goes on."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from separation_fakes import fake_separator, low
from toy_job import Toy, items, made, run

from bridge.cli import main
from genaudio_core.sound.audio_files import write_audio

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.name != 'posix' or os.getuid() != 0, reason='needs root')


@pytest.fixture
def disk(tmp_path):
    """A disk of 400 kB."""
    place = tmp_path / 'disk'
    place.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=400k', 'tmpfs', place], capture_output=True).returncode:
        pytest.skip('needs the right to mount a tmpfs')
    yield place
    subprocess.run(['umount', '-l', place], check=True)


class Filling(Toy):
    """Writes as many bytes as the name says; 'crowd' fills the disk beside what is made, 'leave' makes room again."""

    def do(self, tools, task):
        name = task.item.name
        crowd = Path(task.places[0]).parent / 'crowd.bin'
        if name == 'crowd':
            with crowd.open('wb', buffering=0) as file, pytest.raises(OSError, match='No space'):
                while True:
                    file.write(bytes(4096))
        elif name == 'leave':
            crowd.unlink()
        task.outputs[0].write_bytes(bytes(int(name.rpartition('-')[2]) if '-' in name else 0))
        return {'name': name}


def test_items_that_no_disk_has_room_for_cost_no_other(disk):
    what = items('a-1000', 'huge-1000000', 'b-2000')
    report = run(disk / 'o', what, Filling())
    assert (report.done, report.exit_code, list(report.failed)) == (2, 1, ['huge-1000000'])
    assert 'No space left on device' in report.failed['huge-1000000']
    assert made(disk / 'o') == ['a-1000', 'b-2000'] and list((disk / 'o/.genaudio/runs').iterdir()) == []
    assert run(disk / 'o', what, Filling(), retry_failed=True).failed.keys() == {'huge-1000000'}


@pytest.mark.parametrize('workers', [None, 1])
def test_a_disk_that_fills_up_meanwhile_is_told_of_each_and_what_comes_when_there_is_room_again_is_made(
    disk, caplog, workers
):
    what = items('a-1000', 'crowd', 'b-9000', 'c-9000', 'd-9000', 'leave', 'e-1000')
    report = run(disk, what, Filling(), workers=workers)
    assert {'b-9000', 'c-9000', 'd-9000'} <= set(report.failed) and report.exit_code == 1
    assert set(report.failed) <= {'crowd', 'b-9000', 'c-9000', 'd-9000'}
    assert all('No space left on device' in why for why in report.failed.values()), report.failed
    assert 'e-1000' in made(disk) and (disk / 'a-1000').stat().st_size == 1000
    for name in report.failed:  # never half of one
        assert not (disk / name).exists()
    assert sum('journal of this run is not complete' in record.getMessage() for record in caplog.records) <= 1
    again = run(disk, [item for item in what if '-' in item.name], Filling(), workers=workers)
    assert again.exit_code == 0 and {'b-9000', 'c-9000', 'd-9000'} <= set(made(disk))


def test_a_folder_that_is_full_when_it_begins_is_one_line(disk, capsys, separator):
    song(disk.parent / 'in' / 'a.wav')
    (disk / 'crowd').write_bytes(bytes(400 * 1024 - 4096))
    code, told, err = separate(capsys, disk.parent / 'in', disk / 'o')
    assert code == 2 and not told and 'Traceback' not in err and 'The file could not be separated.' in err
    assert 'disk full' in err


@pytest.fixture
def separator(monkeypatch):
    from bridge.commands.offline import separate
    from genaudio_core.separation.offline import Separator

    monkeypatch.setattr(Separator, 'load', classmethod(lambda cls, *_, **__: fake_separator()))
    monkeypatch.setattr(separate, '_queries', lambda args, _: [low(0.5, name) for name in args.query])


def song(path, seconds=0.2):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, np.random.default_rng(0).standard_normal((1, int(seconds * 44100))) * 0.1, 44100)


def separate(capsys, songs, out, *words):
    code = main(['separate', str(songs), '-q', 'x', '-o', str(out), '--json', *words])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_every_fault_in_one_run_of_separate(disk, tmp_path, capsys, separator):
    """A file too long for the disk, a damaged one, one that may not be read, a folder that may not be written."""
    songs, out = tmp_path / 'songs', disk / 'o'
    for name in ('a', 'new\nline', 'locked/b', 'secret', 'z'):
        song(songs / f'{name}.wav')
    song(songs / 'long.wav', seconds=20)
    (songs / 'damaged.wav').write_bytes((songs / 'a.wav').read_bytes()[:30])
    (out / 'locked').mkdir(parents=True)
    for path, mode in ((songs / 'secret.wav', 0), (out / 'locked', 0o555)):
        path.chmod(mode)
    os.chown(out, NOBODY, NOBODY)
    everybody = Path(tempfile.gettempdir())
    for path in (tmp_path, *tmp_path.parents):  # pytest's own folders are for root alone
        if everybody in path.parents:
            path.chmod(0o755)
    separate(capsys, songs / 'a.wav', tmp_path / 'first')  # what is imported late is imported by now
    os.seteuid(NOBODY)
    try:
        code, told, err = separate(capsys, songs, out)
    finally:
        os.seteuid(0)
    wrong = {str(songs / f'{name}.wav') for name in ('locked/b', 'secret', 'long', 'damaged')}
    assert code == 1 and set(told['skipped']) == wrong and 'Traceback' not in err, err
    assert made(out) == ['a.x.wav', 'new\nline.x.wav', 'z.x.wav']
    assert '4 of 7 files could not be separated' in err
    lines = [line for line in err.splitlines() if line.startswith('skipped: ')]
    assert len(lines) == 4, err
    for name, why in (('long', 'disk full'), ('secret', 'ermission'), ('b', 'ermission'), ('damaged', 'damaged')):
        assert any(name in line and why in line for line in lines), (name, err)
    assert '.genaudio' not in err
    (out / 'locked').chmod(0o755)
    (songs / 'secret.wav').chmod(0o644)
    code, told, _ = separate(capsys, songs, out, '--retry-failed')
    assert code == 1 and len(told['skipped']) == 2 and len(told['files']) == 2
