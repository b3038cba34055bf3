"""Every file on the command line of every command, wrong in every way: one clear line, and nothing is written.

The commands and their arguments come from the parsers: a new one is tried by itself.
"""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from command_lines import PROGRAMS, Argument, Goods, Words, arguments, commands, good_line, line

from genaudio_core import files

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='makes pipes and links')
# What says what it finds as a result; what only a process of its own can read; what only int8 looks into.
ELSEWHERE = {('genaudio', 'doctor'), ('genaudio', 'instrument'), ('genaudio', 'presets')}
AS_IT_IS = {('preset', 'empty'), ('folder', 'folder')}  # nothing but defaults; the place for files in the meantime
READ = [
    (words, argument) for words in commands() for argument in arguments(words)
    if not argument.is_written and words not in ELSEWHERE and argument.dest not in ('encoder', 'held_out')
]  # fmt: skip
WRITTEN = [(words, argument) for words in commands() for argument in arguments(words) if argument.is_written]


def named(value: object) -> str:
    return value.dest if isinstance(value, Argument) else ' '.join(value) if isinstance(value, tuple) else ''


@pytest.fixture(scope='module')
def goods(tmp_path_factory) -> Goods:
    return Goods(tmp_path_factory.mktemp('goods'))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch, tmp_path):
    monkeypatch.setattr(files, 'WRITER_SECONDS', 0.05)
    monkeypatch.setattr(sys, 'stdin', None)
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')


def state(*folders: Path) -> dict[Path, object]:
    """What is in them: sizes and times of files."""
    return {
        path: (found.st_size, found.st_mtime_ns) if path.is_file() else 'no file'
        for folder in folders for path in folder.rglob('*') for found in [path.lstat()]
    }  # fmt: skip


class Hangs(BaseException):
    """A command waits for ever."""


def _hang(*_: object) -> None:
    raise Hangs


def refused(words: Words, given: dict[str, str], capfd, *folders: Path) -> str:
    """The line that tells why `words` does nothing with `given`."""
    before = state(*folders)
    usual = signal.signal(signal.SIGALRM, _hang)
    signal.alarm(60)  # a machine that is busy takes its time
    try:
        code = PROGRAMS[words[0]][0].main(line(words, given))
    except SystemExit as end:  # argparse's
        code = end.code
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, usual)
    out, err = capfd.readouterr()
    told = f'{line(words, given)}: {code} {out[-300:]} {err[-500:]}'
    assert code in (1, 2), told
    results = words[1] in ('verify', 'all')  # which tell what became of each model
    assert results or not out, told
    *first, last = err.splitlines() or ['']
    assert results or (len(first) <= 1 and last.startswith('error: ')), told  # files of a folder have a line before it
    assert 'Traceback' not in err and '\x1b' not in err, told
    assert state(*folders) == before, told
    return err


def wrong(folder: Path, good: Path | None) -> Iterator[str]:
    """Paths that are not what they should be, called like a good one."""
    suffix = '' if good is None or good.is_dir() else good.suffix
    yield str(folder / f'a\nb%s\x1b[31m{suffix}')
    yield f'{folder}/\udcff{suffix}'
    yield str(folder / f'{"n" * 300}{suffix}')
    made = {
        'empty': b'', 'noise': np.random.default_rng(1).bytes(3000), 'text': b'hello\n',
        'list': b'[1, {"a": null}]\n',
    }  # fmt: skip
    for name, data in made.items():
        (folder / f'{name}{suffix}').write_bytes(data)
        yield str(folder / f'{name}{suffix}')
    np.savez(folder / 'arrays', x=np.zeros(3))
    os.replace(folder / 'arrays.npz', folder / f'arrays{suffix}')
    yield str(folder / f'arrays{suffix}')
    for name in {f'theirs{suffix}', 'theirs.pt', 'theirs.hdf5'}:  # models as their authors publish them
        if name.endswith('.hdf5'):
            with h5py.File(folder / name, 'w') as file:
                file.create_group('lstm_arranger')['kernel'] = np.zeros(3)
        else:
            torch.save({'decoder.net.norm.weight': torch.zeros(3)}, folder / name)
        yield str(folder / name)
    (folder / f'folder{suffix}').mkdir()
    yield str(folder / f'folder{suffix}')
    (folder / f'loop{suffix}').symlink_to(f'loop{suffix}')
    yield str(folder / f'loop{suffix}')
    os.mkfifo(folder / f'pipe{suffix}')
    yield str(folder / f'pipe{suffix}')
    yield from ('/dev/null', '/dev/zero')
    if good is not None and good.is_dir():
        for file in sorted(path for path in good.rglob('*') if path.is_file()):
            for name in ('empty', 'noise', 'list'):
                copy = folder / f'{name}-{file.name}'
                shutil.copytree(good, copy)
                (copy / file.relative_to(good)).write_bytes(made[name])
                yield str(copy)


@pytest.mark.parametrize(('words', 'argument'), READ, ids=named)
def test_what_cannot_be_read_is_one_line_and_nothing_is_written(words, argument, goods, tmp_path, capfd):
    good = ''
    with contextlib.suppress(KeyError):
        good = goods.of(words, argument.dest)
    given = good_line(words, goods, tmp_path)
    (tmp_path / 'wrong').mkdir()
    for path in wrong(tmp_path / 'wrong', Path(good) if os.path.isabs(good) else None):
        if (argument.dest, Path(path).stem) in AS_IT_IS:
            continue
        refused(words, given | {argument.dest: path}, capfd, tmp_path, goods.folder)


def targets(folder: Path, *, of_folder: bool, suffix: str) -> Iterator[str]:
    """Places where nothing can be written."""
    (folder / f'file{suffix}').write_bytes(b'mine')
    (folder / f'folder{suffix}').mkdir()
    os.mkfifo(folder / f'pipe{suffix}')
    yield str(folder / (f'file{suffix}' if of_folder else f'folder{suffix}'))
    yield str(folder / f'file{suffix}' / f'x{suffix}')
    yield str(folder / f'{"n" * 300}{suffix}')
    if not of_folder:
        yield str(folder / f'pipe{suffix}')
    if os.getuid() and Path('/sys/kernel').is_dir():
        yield f'/sys/kernel/x{suffix}'


@pytest.mark.parametrize(('words', 'argument'), WRITTEN, ids=named)
def test_what_cannot_be_written_is_one_line_before_any_work(words, argument, goods, tmp_path, capfd):
    given = good_line(words, goods, tmp_path)
    suffix = Path(given.get(argument.dest, 'made.png')).suffix
    (tmp_path / 'wrong').mkdir()
    for path in targets(tmp_path / 'wrong', of_folder=argument.is_folder, suffix=suffix):
        refused(words, given | {argument.dest: path}, capfd, tmp_path, goods.folder)


def test_every_command_refuses_to_write_over_what_it_reads(goods, tmp_path, capfd):
    """By the name itself, a link to it, another name of the same file; nor does it write two results into one file."""
    tried = told = 0
    for words in commands():
        given = good_line(words, goods, tmp_path)
        written = [one for one in arguments(words) if one.is_written]
        for argument in written:
            for other in arguments(words):
                with contextlib.suppress(KeyError):
                    read = Path(given.get(other.dest) or goods.of(words, other.dest))
                    if other.is_written or not read.is_absolute() or read.is_dir() != argument.is_folder:
                        continue
                    for how in ('same', 'link', *([] if read.is_dir() else ['hard link'])):
                        place = tmp_path / f'{tried}{read.suffix}'
                        tried += 1
                        shutil.copytree(read, place) if read.is_dir() else shutil.copy(read, place)
                        target = place if how == 'same' else tmp_path / f'{tried}-{how}{read.suffix}'
                        if how == 'link':
                            target.symlink_to(place)
                        elif how == 'hard link':
                            os.link(place, target)
                        line_given = given | {other.dest: str(place), argument.dest: str(target)}
                        said = refused(words, line_given, capfd, tmp_path, goods.folder)
                        told += 'overwritten' in said
        if len(written) > 1 and len({one.is_folder for one in written}) == 1:
            both = {one.dest: str(tmp_path / 'both.mid') for one in written}
            refused(words, given | both, capfd, tmp_path, goods.folder)
    assert tried > 100 and told > 40  # of others the name says already that they cannot be
