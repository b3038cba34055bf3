"""Archives that are cut off, damaged or made to harm: one line for what is lost, and everything else is read."""

import errno
import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

import pytest
from test_score_data import midi, tune

from genaudio_core.commands.cli import main
from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Note, Score, Track
from genaudio_core.training.band_writer import performances
from genaudio_core.training.scores import score_files
from genaudio_core.training.scores.score_files import ScoreFile, find_scores, read_score

NAMES = [f'{i}.mid' for i in range(8)]


def score(number):
    return midi(tune(60, seed=number))


def tar(path, members=NAMES, mode='w:xz'):
    noise = random.Random(0).randbytes(20_000)  # so that archives are long enough to be cut between members
    with tarfile.open(path, mode) as archive:
        for number, name in enumerate(members):
            for info, data in ((tarfile.TarInfo('noise'), noise), (tarfile.TarInfo(name), score(number))):
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def packed(path, members=NAMES, how=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, 'w', how) as archive:
        for number, name in enumerate(members):
            archive.writestr(name, score(number))
    return path


def read(*paths):
    """(names of what is read, name -> fault of what is not)."""
    good, bad = [], {}
    for file in find_scores(list(paths)):
        try:
            read_score(file)
            good.append(file.name)
        except GenaudioError as error:
            assert '\n' not in str(error)
            bad[file.name] = str(error)
    return good, bad


@pytest.mark.parametrize('mode', ['w', 'w:xz', 'w:gz', 'w:bz2'])
@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.6, 0.9])
def test_what_stands_before_the_cut_of_an_archive_is_read(tmp_path, mode, share):
    path = tar(tmp_path / 'x.tar.xz', mode=mode)
    assert read(path) == (NAMES, {})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    good, bad = read(path)
    assert good == NAMES[: len(good)] and len(good) <= 8 * share
    assert list(bad) == ['x.tar.xz'] and 'damaged or cut off' in bad['x.tar.xz']
    if mode == 'w' and share >= 0.3:
        assert len(good) >= 8 * share - 1


def test_a_member_of_a_zip_that_is_damaged_costs_itself_alone(tmp_path):
    path = packed(tmp_path / 'x.zip')
    data = bytearray(path.read_bytes())
    at = data.index(b'3.mid') + 40
    data[at : at + 8] = bytes(8)
    path.write_bytes(data)
    good, bad = read(path)
    assert good == [name for name in NAMES if name != '3.mid']
    assert list(bad) == ['3.mid'] and 'damaged' in bad['3.mid']


@pytest.mark.parametrize('data', [b'', b'PK', b'garbage' * 999, bytes(4000)])
@pytest.mark.parametrize('name', ['x.zip', 'x.tar', 'x.tar.gz', 'x.tar.xz', 'x.tgz'])
def test_what_is_no_archive_is_one_line_and_its_neighbours_are_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    (tmp_path / 'z.mid').write_bytes(score(1))
    good, bad = read(tmp_path)
    assert good == ['z.mid']
    assert list(bad) == [name] or (not bad and name.startswith('x.t') and data == bytes(4000))  # zeros end a tar


@pytest.mark.parametrize('make', [tar, packed])
def test_nothing_is_written_wherever_members_say_they_belong(tmp_path, make):
    (tmp_path / 'in').mkdir()
    names = ['../../climbs.mid', '/tmp/root.mid', 'a/../../b.mid', 'C:\\x.mid', 'ok.mid']
    path = make(tmp_path / 'in' / ('x.zip' if make is packed else 'x.tar.xz'), names)
    before = sorted(tmp_path.rglob('*'))
    good, bad = read(path)
    assert not bad and sorted(good) == sorted(names)
    assert sorted(tmp_path.rglob('*')) == before and not Path('/tmp/root.mid').exists()


def test_links_in_an_archive_lead_nowhere(tmp_path):
    (tmp_path / 'secret.mid').write_bytes(score(1))
    with tarfile.open(tmp_path / 'x.tar', 'w') as archive:
        secret = str(tmp_path / 'secret.mid')
        links = [
            ('a.mid', tarfile.SYMTYPE, secret),
            ('b.mid', tarfile.LNKTYPE, secret),
            ('c.mid', tarfile.FIFOTYPE, ''),
        ]
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    good, bad = read(tmp_path / 'x.tar')
    assert not good and list(bad) == ['a.mid', 'b.mid', 'c.mid']
    assert all('link or device' in why for why in bad.values())


def test_a_member_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(packed(tmp_path / 'x.zip', ['a.mid']), 'a', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb.mid', bytes(100_000))
    monkeypatch.setattr(score_files, 'MAX_BYTES', 50_000)
    good, bad = read(tmp_path / 'x.zip')
    assert good == ['a.mid'] and list(bad) == ['bomb.mid'] and 'too long' in bad['bomb.mid']


def test_a_file_that_may_not_be_read_costs_itself_alone(tmp_path, monkeypatch):
    for name in NAMES[:3]:
        (tmp_path / name).write_bytes(score(1))
    usual = Path.read_bytes

    def refused(path):
        if path.name == '1.mid':
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return usual(path)

    monkeypatch.setattr(Path, 'read_bytes', refused)
    good, bad = read(tmp_path)
    assert good == ['0.mid', '2.mid'] and bad == {'1.mid': 'cannot be read: Permission denied'}


def test_written_music_whose_facts_are_damaged_is_read_without_them(tmp_path):
    with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as archive:
        archive.writestr('facts.jsonl', '{"file": "a.mid"')
        archive.writestr('a.mid', score(1))
    good, bad = read(tmp_path / 'x.zip')
    assert good == ['a.mid'] and list(bad) == ['x.zip/facts.jsonl']


def test_prepare_names_each_damaged_archive_and_keeps_the_rest(tmp_path, capsys):
    folder = tmp_path / 'in'
    folder.mkdir()
    cut = tar(folder / 'cut.tar.xz')
    cut.write_bytes(cut.read_bytes()[:-500])
    (folder / 'none.zip').write_bytes(b'')
    packed(folder / 'good.zip', ['a.mid', 'b.mid'])
    assert main(['prepare', str(folder), '-o', str(tmp_path / 'out.safetensors'), '--workers', '1', '--json']) == 0
    shown = capsys.readouterr()
    assert 'Traceback' not in shown.err
    skipped = json.loads(shown.out)['skipped_files']
    assert sum('cut.tar.xz: the archive is damaged' in line for line in skipped) == 1
    assert sum('none.zip: the archive is damaged' in line for line in skipped) == 1


def test_one_bad_groove_costs_itself_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(performances, 'split_by_work', lambda works: [0] * len(works))
    drums = midi(Score([Track(0, is_drum=True, notes=[Note(i / 4, 0.1, 36, 90) for i in range(80)])]))
    (tmp_path / 'drummer1_session1_1_funk_80_beat_4-4.mid').write_bytes(drums)
    (tmp_path / 'x_beat_4-4.mid').write_bytes(b'MThd nothing')
    (tmp_path / 'y_beat_4-4.zip').write_bytes(b'PK')
    (tmp_path / 'z_beat_4-4.mid').write_bytes(drums)  # of no style that its name tells
    found = performances.Performances([tmp_path])
    assert found.has(['funk'])


def test_a_fault_is_what_reading_says():
    with pytest.raises(GenaudioError, match='is damaged'):
        read_score(ScoreFile('x', 'a.mid', b'', fault='is damaged'))
