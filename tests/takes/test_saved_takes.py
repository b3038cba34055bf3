"""Every answer that is heard is saved, whatever becomes of the program."""

import os
import signal
from collections import deque
from operator import itemgetter
from pathlib import Path

import pytest
from jack_server import Desk, available
from live_band import Stage, clock_ticks, phrase, preset
from live_daemon import Daemon
from live_daemon import jack_running as jack_running  # fixture

from bridge.live.kept_takes import HeardTake, KeptTake, SavedTakes, takes_folder, thin_out
from bridge.system.waiting import wait_until
from genaudio_core.errors import GenaudioError
from genaudio_core.score.notes import Note
from genaudio_core.score.reading import read_midi

START = 1.0


class Saving:
    """A band on a simulated clock whose answers are saved: `files` after all that was played."""

    def __init__(self, folder: Path, mode: str = 'respond', **values) -> None:
        self.stage = Stage(preset(mode, player__bars_heard=1, player__bars_answered=1, **values))
        self.stage.session.takes.heard = self._waiting = deque()
        self.said: list[str] = []
        self._saved = SavedTakes('a band', self.said.append, folder)
        self.folder = self._saved.folder

    def files(self) -> dict[str, dict[str, list[tuple[float, int]]]]:
        """Name -> track -> (beat, note) of its notes."""
        while self._waiting:
            self._saved.add(self._waiting.popleft())
        self._saved.close()
        return {
            path.name: {one.name: [(note.beat, note.note) for note in one.notes] for one in read_midi(path).tracks}
            for path in sorted(self.folder.glob('*.mid'))
        }


def test_an_answer_and_its_phrase_are_a_file(tmp_path):
    band = Saving(tmp_path)
    band.stage.play(sorted(clock_ticks(START, 40) + phrase(START) + phrase(START + 6), key=itemgetter(0)), START + 12)
    files = band.files()
    assert list(files) == ['001-bar-2.mid', '002-bar-5.mid']
    you, answer = files['001-bar-2.mid'].values()
    assert you == [(0, 60), (1, 64), (2, 67), (3, 72)] and answer[0][0] >= 4 and answer[-1][0] < 8
    assert band.said == [f'2 takes are saved in {band.folder}.'] and band.folder.parent.parent == tmp_path


def test_an_answer_is_saved_when_it_begins_and_as_it_was_cut(tmp_path):
    band = Saving(tmp_path)
    band.stage.play(clock_ticks(START, 40) + phrase(START), START + 2.1)
    first = list(band.stage.session.takes.heard)
    assert len(first) == 1 and first[0].take.played  # of what came later a crash would have taken nothing more
    band.stage.play(clock_ticks(START + 2.1, 4, first=b''), START + 3.1)
    band.stage.session.close()  # as Ctrl-C does
    (only,) = band.files().values()
    _, answer = only.values()
    assert answer and all(4 <= beat <= 6.2 for beat, _ in answer)


def test_a_band_that_plays_on_fills_one_file_in_which_nothing_comes_twice(tmp_path):
    band = Saving(tmp_path, 'free')
    band.stage.play(clock_ticks(START, 40), START + 16.1)
    band.stage.session.close()
    ((name, tracks),) = band.files().items()
    (saved,) = tracks.values()
    assert name.startswith('001-bar-') and saved[-1][0] > 24
    assert [note for _, note in saved] == [note for *_, note in band.stage.notes()]


def test_a_take_that_was_heard_after_another_has_a_file_of_its_own(tmp_path):
    band = Saving(tmp_path, music__takes=3)
    band.stage.play(clock_ticks(START, 40) + phrase(START), START + 4.5)
    band.stage.session.command('next_take')
    band.stage.play(clock_ticks(START + 4.5, 12, first=b''), START + 9)
    one, two = band.files().values()
    assert one['you: piano'] == two['you: piano'] and one['band: piano'] != two['band: piano']


def test_nothing_is_saved_where_the_setting_says_so(tmp_path):
    band = Saving(tmp_path, player__autosave=False)
    band.stage.play(clock_ticks(START, 40) + phrase(START), START + 4.5)
    assert band.files() == {} and list(tmp_path.iterdir()) == [] and band.said == []


def heard(number: int, start: float = 0.0) -> HeardTake:
    notes = [('piano', Note(start, 1.0, 60, 90))]
    return HeardTake(KeptTake('', [], notes, 0.0, 120.0, (4, 4)), number, 0, start, start + 4)


def test_a_session_that_starts_again_replaces_nothing(tmp_path):
    saved = SavedTakes('x', [].append, tmp_path)
    saved.add(heard(1))
    saved.cut()
    saved.add(heard(1))
    saved.close()
    assert len(list(saved.folder.iterdir())) == 2


def test_two_sessions_of_one_second_do_not_share_a_folder(tmp_path):
    folders = {SavedTakes('x', [].append, tmp_path).folder for _ in range(5)}
    assert len(folders) == 5


def test_a_failure_is_told_once(tmp_path):
    said: list[str] = []
    saved = SavedTakes('x', said.append, tmp_path)
    saved.folder.rmdir()
    for number in range(3):
        saved.add(heard(number, 100.0 * number))
    saved.close()
    assert len(said) == 1 and 'not kept' in said[0]


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(GenaudioError, match='autosave=no'):
        SavedTakes('x', [].append, tmp_path / 'file')


def test_the_oldest_go_and_nothing_that_is_not_ours(tmp_path):
    for day, session, *names in (
        ('2026-01-01', '10-00-00-duet', '001-bar-1.mid', '002-bar-3-take-2.mid'),
        ('2026-01-01', '11-00-00-duet', '001-bar-1.mid', 'mine.mid'),
        ('2026-01-02', '09-00-00-band', '001-bar-1.mid', '002-bar-9.mid'),
        ('songs', '09-00-00-band', '001-bar-1.mid'),
    ):
        (tmp_path / day / session).mkdir(parents=True)
        for name in names:
            (tmp_path / day / session / name).write_text('')
    thin_out(tmp_path, 2)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob('*.mid')} == {
        '2026-01-01/11-00-00-duet/mine.mid',
        '2026-01-02/09-00-00-band/001-bar-1.mid',
        '2026-01-02/09-00-00-band/002-bar-9.mid',
        'songs/09-00-00-band/001-bar-1.mid',
    }
    assert not (tmp_path / '2026-01-01' / '10-00-00-duet').exists()


def test_tests_save_nothing_among_the_takes_of_who_runs_them():
    assert 'genaudio-tests-' in str(takes_folder())


@pytest.mark.jack
@pytest.mark.skipif(not available, reason='needs jackd')
@pytest.mark.parametrize('who', ['parent', 'midi', 'ctrl-c'])
def test_what_plays_when_it_ends_is_there_afterwards(jack_running, tmp_path, who):
    takes = tmp_path / 'saved'

    def saved() -> list[int]:
        return [n.note for path in takes.rglob('*.mid') for track in read_midi(path).tracks for n in track.notes]

    with Desk('desk', ('in',), ('out',)) as desk:
        daemon = Daemon(tmp_path, desk, GENAUDIO_TAKES=str(takes))
        try:
            daemon.play()
            if who == 'ctrl-c':
                os.kill(daemon.process.pid, signal.SIGINT)
                assert daemon.process.wait(timeout=30) == 0
                assert daemon.said(f'saved in {takes}')
            else:
                assert wait_until(lambda: len(saved()) > 0, 30)
                os.kill(daemon.process.pid if who == 'parent' else daemon.named('midi'), signal.SIGKILL)
            heard = [message[1] for _, _, message in list(desk.heard) if message[0] & 0xF0 == 0x90 and message[2]]
            assert heard and saved()
            assert who != 'ctrl-c' or not set(heard) - set(saved())
        finally:
            daemon.close()
