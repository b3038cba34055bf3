"""A job: what is done is not done again, what fails costs no other, nothing is ever half there."""

import errno
import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
from own_command import start_command
from toy_job import Toy, done_by, items, made, run

from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.jobs.items import Item
from genaudio_core.jobs.journal import entries, journals_of

WORKERS = [None, 2]


def journal(root):
    return [entry for data in journals_of(str(root)) for entry in entries(data)]


def leftovers(root):
    """What is neither an output nor a side-car nor a journal."""
    return list(Path(root, '.genaudio').glob('runs/*'))


@pytest.mark.parametrize('workers', WORKERS)
def test_all_are_done_and_a_second_run_does_nothing(tmp_path, workers):
    what = items('a.txt', 'sub/b.txt', 'c.txt')
    report = run(tmp_path, what, workers=workers)
    assert (report.done, report.already, report.failed, report.exit_code) == (3, 0, {}, 0)
    assert made(tmp_path) == ['a.txt', 'c.txt', 'sub/b.txt'] and (tmp_path / 'a.txt').read_text() == 'a.txt'
    assert sorted(told['name'] for told in report.told) == ['a.txt', 'c.txt', 'sub/b.txt']
    again = run(tmp_path, what, Toy(log=tmp_path / 'log'), workers=workers)
    assert (again.done, again.already) == (0, 3) and not (tmp_path / 'log').exists()
    assert sorted(told['name'] for told in again.told) == ['a.txt', 'c.txt', 'sub/b.txt']
    assert leftovers(tmp_path) == []


def test_the_side_car_tells_what_it_was_made_of(tmp_path):
    (tmp_path / 'in').write_text('heard')
    run(tmp_path / 'o', [Item(('a.txt', 'b.txt'), (str(tmp_path / 'in'),), {'y': (1, 2)})], asked={'model': 'abc'})
    told = json.loads((tmp_path / 'o/.genaudio/a.txt.json').read_text())
    assert told['asked'] == {'model': 'abc', 'y': [1, 2]} and told['outputs'] == {'a.txt': 10, 'b.txt': 10}
    (source,) = told['inputs']
    assert source['bytes'] == 5 and source['sha256'] == hashlib.sha256(b'heard').hexdigest()
    assert {'version', 'seconds', 'peak_mb', 'where', 'told'} <= set(told) and told['peak_mb'] > 1


@pytest.mark.parametrize('change', [
    lambda p: (p / 'in').write_text('other'),
    lambda p: (p / 'o/a.txt').unlink(),
    lambda p: (p / 'o/a.txt').write_text('cut'),
    lambda p: (p / 'o/.genaudio/a.txt.json').unlink(),
    lambda p: (p / 'o/.genaudio/a.txt.json').write_text('{"genaudio_job": 1'),
    lambda p: (p / 'o/.genaudio/a.txt.json').write_text('[]'),
])  # fmt: skip
def test_what_has_changed_is_done_again_and_nothing_else(tmp_path, change):
    (tmp_path / 'in').write_text('heard')
    what = [Item(('a.txt',), (str(tmp_path / 'in'),)), Item(('b.txt',))]
    run(tmp_path / 'o', what)
    change(tmp_path)
    assert run(tmp_path / 'o', what, Toy(log=tmp_path / 'log')).already == 1
    assert done_by(tmp_path / 'log') == ['a.txt']


def test_other_settings_models_or_versions_are_another_job(tmp_path, monkeypatch):
    run(tmp_path, items('a'))
    assert run(tmp_path, items('a')).already == 1
    assert run(tmp_path, items('a'), asked={'x': 2}).done == 1
    assert run(tmp_path, [Item(('a',), asked={'seed': 1})], asked={'x': 2}).done == 1
    monkeypatch.setattr('genaudio_core.jobs.records.__version__', '9')
    assert run(tmp_path, [Item(('a',), asked={'seed': 1})], asked={'x': 2}).done == 1
    assert run(tmp_path, [Item(('a',), asked={'seed': 1})], asked={'x': 2}, force=True).done == 1


def test_an_input_that_was_only_touched_or_moved_is_the_same(tmp_path):
    (tmp_path / 'in').write_text('heard')
    os.utime(tmp_path / 'in', (1, 1))
    run(tmp_path / 'o', [Item(('a',), (str(tmp_path / 'in'),))])
    os.utime(tmp_path / 'in', (2, 2))
    assert run(tmp_path / 'o', [Item(('a',), (str(tmp_path / 'in'),))]).already == 1
    moved = (tmp_path / 'in').rename(tmp_path / 'moved')
    assert run(tmp_path / 'o', [Item(('a',), (str(moved),))]).already == 1
    # Another file of that size and time, as out of an archive: its place is not the one that was read.
    (tmp_path / 'other').write_text('other')
    os.utime(tmp_path / 'other', (1, 1))
    assert run(tmp_path / 'o', [Item(('a',), (str(tmp_path / 'other'),))]).done == 1


@pytest.mark.parametrize('workers', WORKERS)
def test_what_fails_is_told_in_one_line_counted_and_costs_no_other(tmp_path, caplog, workers):
    names = ['a', 'bad\nname', 'raises', 'z']
    report = run(tmp_path, items(*names), workers=workers)
    assert made(tmp_path) == ['a', 'z'] and report.exit_code == 1 and report.done == 2
    assert set(report.failed) == {'bad\nname', 'raises'}
    told = [record.getMessage() for record in caplog.records]
    assert 'skipped: raises: ValueError: not what was meant' in told and not any('\n' in line for line in told)
    assert {entry['item']: entry['state'] for entry in journal(tmp_path)} == {
        'a': 'done', 'z': 'done', 'bad\nname': 'failed', 'raises': 'failed'}  # fmt: skip
    assert leftovers(tmp_path) == []


def test_a_worker_that_dies_costs_its_own_item_alone(tmp_path):
    report = run(tmp_path, items('a', 'dies', 'c', 'd', 'e', 'dies too', 'f'), workers=2)
    assert made(tmp_path) == ['a', 'c', 'd', 'e', 'f']
    assert set(report.failed) == {'dies', 'dies too'} and 'process ended' in report.failed['dies']


def test_only_what_failed_is_tried_again_where_that_is_wanted(tmp_path):
    run(tmp_path, items('a', 'bad', 'raises'))
    again = run(tmp_path, items('a', 'bad', 'raises', 'new'), Toy(log=tmp_path / 'log'), retry_failed=True)
    assert set(again.failed) == {'bad', 'raises'} and done_by(tmp_path / 'log') == ['bad', 'raises']


def test_a_dry_run_says_what_there_is_to_do_and_does_nothing(tmp_path):
    run(tmp_path, items('a'))
    report = run(tmp_path, items('a', 'b'), dry_run=True)
    assert (report.to_do, report.already) == (['b'], 1) and made(tmp_path) == ['a']
    assert not run(tmp_path / 'none', items('a'), dry_run=True).failed and not (tmp_path / 'none').exists()


@pytest.mark.parametrize('workers', WORKERS)
def test_no_model_ends_the_whole_job_with_one_line(tmp_path, workers):
    with pytest.raises(GenaudioError, match='there is no model'):
        run(tmp_path, items('a', 'b'), Toy('no model'), workers=workers)


def full_disk(self, tools, task):
    if task.item.name == 'b':
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(task.outputs[0]))
    task.outputs[0].write_text('whole')


def test_a_full_disk_is_told_of_each_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, 'do', full_disk)
    report = run(tmp_path, items('a', 'b', 'c'))
    assert made(tmp_path) == ['a', 'c'] and 'No space left on device' in report.failed['b']


def test_a_journal_on_a_full_disk_is_told_once(tmp_path, caplog):
    from genaudio_core.jobs.journal import Journal

    with Journal(str(tmp_path), 'x', tmp_path) as written:
        written._file.close()
        written._file = Path('/dev/full').open('wb', buffering=0)  # noqa: SIM115
        for _ in range(3):
            written.write(item='a', state='done')
    assert [record.getMessage() for record in caplog.records] == [
        'The journal of this run is not complete: No space left on device']  # fmt: skip


def test_a_place_that_cannot_be_written_costs_no_other(tmp_path):
    (tmp_path / 'sub').write_text('a file where a folder should be')
    report = run(tmp_path, items('a', 'sub/b', 'c'))
    assert made(tmp_path) == ['a', 'c', 'sub'] and report.exit_code == 1 and list(report.failed) == ['sub/b']


def test_shards_are_apart_and_together_everything(tmp_path):
    what = items(*(f'{i}.txt' for i in range(40)))
    counts = [run(tmp_path, what, shard=(i, 3)).done for i in (1, 2, 3)]
    assert sum(counts) == 40 and min(counts) > 3 and len(made(tmp_path)) == 40


DRIVER = """
run(sys.argv[1], items('a', 'slow', 'z'), Toy(log=sys.argv[2]), workers=int(sys.argv[3]) if sys.argv[3:] else None)
"""


@pytest.mark.skipif(not Path('/proc/self/stat').exists(), reason='needs /proc')
@pytest.mark.parametrize('workers', [[], ['2']])
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whoever_ends_it_in_the_middle_leaves_nothing_half_and_the_same_again_does_the_rest(tmp_path, number, workers):
    log, out = tmp_path / 'log', tmp_path / 'o'
    driver = start_command(tmp_path, 'from toy_job import Toy, items, run', DRIVER, str(out), str(log), *workers)
    try:
        assert wait_until(
            lambda: log.exists() and "'slow'" in log.read_text() and (out / '.genaudio/a.json').exists(), 120
        )
        driver.send_signal(number)
        assert driver.wait(60) == (-number if number == signal.SIGKILL else 128 + number)
        pids = {int(line.split()[-1]) for line in log.read_text().splitlines()}
        assert wait_until(lambda: not any(Path(f'/proc/{pid}').exists() for pid in pids), 60)
        said = driver.stderr.read()
        assert 'slow' not in made(out) and 'Traceback' not in said
        assert ('of 3 are done; the same command goes on from here' in said) == (number != signal.SIGKILL)
        if number != signal.SIGKILL:
            assert leftovers(out) == []
    finally:
        driver.kill()
        driver.communicate()
    log.unlink()
    report = run(out, [item for item in items('a', 'slow', 'z') if item.name != 'slow'], Toy(log=log))
    assert 'a' not in (done_by(log) if log.exists() else []) and report.exit_code == 0
    assert leftovers(out) == []


def test_what_a_killed_run_has_left_is_taken_away_and_what_a_living_one_has_is_not(tmp_path):
    from genaudio_core.files import lock_of

    runs = tmp_path / '.genaudio' / 'runs'
    for name in ('dead', 'alive'):
        (runs / name / 'item-1').mkdir(parents=True)
    with lock_of(runs / 'alive' / 'lock') as is_free:
        assert is_free
        run(tmp_path, items('a'))
        assert [path.name for path in runs.iterdir()] == ['alive']
