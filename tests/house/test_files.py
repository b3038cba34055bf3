"""Files are written whole or not at all, over nothing that is read, and other programs end with us."""

import os
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genaudio_core.command_line import check_outputs, main
from genaudio_core.entry import Group
from genaudio_core.errors import GenaudioError
from genaudio_core.files import (
    atomic_write,
    check_readable,
    check_targets,
    check_writable,
    find_model,
    fitting_name,
    leave_no_empty_folder,
    make_folder,
)
from genaudio_core.processes.programs import run_program


def test_a_name_as_long_as_names_can_be_is_written(tmp_path):
    path = tmp_path / ('x' * 251 + '.wav')
    with atomic_write(path) as temporary:
        temporary.write_bytes(b'1')
        assert temporary.parent == tmp_path and temporary.suffix == '.wav'
    assert path.read_bytes() == b'1' and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize('name', ['x' * 300, 'a\0b', 'missing/x'])
@pytest.mark.parametrize('check', [check_writable, check_readable, lambda path: find_model(f'{path}.onnx')])
def test_names_that_are_none_get_one_line(tmp_path, name, check):
    with pytest.raises(GenaudioError) as caught:
        check(tmp_path / name)
    assert '\n' not in str(caught.value)


def test_what_is_read_is_not_written_over(tmp_path):
    (tmp_path / 'a').write_text('')
    (tmp_path / 'link').symlink_to(tmp_path / 'a')
    for target in ('a', 'link', '../' + tmp_path.name + '/a'):
        with pytest.raises(GenaudioError, match='input itself'):
            check_targets([tmp_path / 'new', tmp_path / target], [tmp_path / 'other', tmp_path / 'a'])
    with pytest.raises(GenaudioError, match='written twice'):
        check_targets([tmp_path / 'new', tmp_path / '.' / 'new'], [])
    check_targets([tmp_path / 'new', tmp_path / 'newer'], [tmp_path / 'a'])
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'way').symlink_to('folder')  # two ways to a file that is not there yet
    with pytest.raises(GenaudioError, match='written twice'):
        check_targets([tmp_path / 'folder' / 'new', tmp_path / 'way' / 'new'], [])


def test_a_folder_may_be_called_like_a_word_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outputs(Namespace(kind='mmt', out=Path('mmt')), folders=['out'])
    (tmp_path / 'mmt').mkdir()  # and the run goes on
    check_outputs(Namespace(kind='mmt', out=Path('mmt')), folders=['out'])
    (tmp_path / 'live.onnx').write_text('')
    with pytest.raises(GenaudioError, match='input itself'):
        check_outputs(Namespace(model='live.onnx', out=Path('live.onnx')), 'out')


LETTERS = st.text(st.characters(exclude_categories=['Cs'], exclude_characters='/\0'), min_size=1, max_size=9)
NAMES = st.builds(lambda text, times, end: text * times + end, LETTERS, st.sampled_from([1, 30, 240, 300]), LETTERS)


@given(stem=NAMES, other=NAMES)
@example(stem='x' * 300 + 'a', other='x' * 300 + 'b')
@example(stem='ü' * 200, other='ü' * 200 + 'e')
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_names_that_are_shortened_fit_and_stay_apart(stem, other):
    name = fitting_name(stem, '.violin.wav')
    assert len(os.fsencode(name)) <= 255 and name.endswith('.violin.wav')
    assert (fitting_name(other, '.violin.wav') == name) == (stem == other)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f'/proc/{pid}/stat') as file:
        return file.read().rsplit(')')[-1].split()[0] == 'Z'


CHILD = 'import subprocess, sys; p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]); '


def test_a_program_that_hangs_ends_with_all_it_started(tmp_path):
    code = CHILD + f'open({str(tmp_path / "pid")!r}, "w").write(str(p.pid)); p.wait()'
    with pytest.raises(GenaudioError, match='did not answer within 2 s'):
        run_program([sys.executable, '-c', code], timeout=2)
    pid, deadline = int((tmp_path / 'pid').read_text()), time.monotonic() + 30
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)


def test_a_program_says_what_it_says_and_what_is_missing_is_told():
    done = run_program([sys.executable, '-c', 'print(input()[::-1])'], timeout=60, text=b'abc\n')
    assert done.stdout.strip() == b'cba' and done.returncode == 0
    with pytest.raises(GenaudioError, match=r'does not run.*Install it'):
        run_program(['no-such-program-here'], timeout=1, advice='Install it.')


@pytest.mark.parametrize(('error', 'told'), [
    (PermissionError(13, 'Permission denied', 'x.wav'), 'x.wav: Permission denied.'),
    (OSError(28, 'No space left on device'), 'the disk is full'),
    (RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0'), 'the disk is full'),
    (MemoryError('Unable to allocate 9 GiB'), 'not enough memory'),
])  # fmt: skip
def test_what_the_system_refuses_is_one_line(tmp_path, capsys, monkeypatch, error, told):
    module = tmp_path / 'one_that_fails.py'
    module.write_text('HELP = EXAMPLE = ""\ndef add_arguments(parser): pass\ndef run(args): raise ERROR\n')
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    package = importlib.import_module('one_that_fails')
    package.ERROR = error
    monkeypatch.setitem(sys.modules, 'commands_that_fail.x', package)
    assert main('p', 'about', 'commands_that_fail', [Group('', {'x': 'help'}, '')], ['x']) == 2
    said = capsys.readouterr().err
    assert told in said and said.count('\n') == 1


def test_signals_are_as_they_were_after_a_command(capsys):
    import signal

    from bridge.cli import main as genaudio

    before = signal.getsignal(signal.SIGTERM)
    assert genaudio(['presets']) == 0
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize('held_up', [0, 1, 3])
def test_a_signal_that_comes_in_a_callback_of_the_interpreter_is_not_lost(request, monkeypatch, held_up):
    """Python drops what a weak reference's callback raises: the command must end all the same.

    A busy machine may take so long over the start of the timer that brings it again that this comes in there, too.
    """
    import signal
    import threading
    import time
    import weakref

    from genaudio_core.interruption import Stopped, raise_if_stopped, signals_clean_up

    class Thing:
        pass

    def gone(_):
        signal.raise_signal(signal.SIGTERM)  # the handler runs in here

    class Timer(threading.Timer):
        def start(self):
            super().start()
            if held_up > len(started):
                started.append(self)
                self.join()
                time.sleep(0.01)  # the interpreter looks for signals

    started = []
    monkeypatch.setattr(threading, 'Timer', Timer)
    thing = Thing()
    watch = weakref.ref(thing, gone)
    # A test before may have left the signal ignored, and what is ignored stays so.
    usual = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, usual))
    with pytest.raises(Stopped) as stopped, signals_clean_up():
        del thing
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            time.sleep(0.01)
    assert watch() is None and stopped.value.number == signal.SIGTERM
    raise_if_stopped()  # what runs next in this process was not told to end
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_command_that_fails_leaves_no_folder_that_it_made(tmp_path):
    (tmp_path / 'there').mkdir()
    make_folder(tmp_path / 'a' / 'b' / 'c')
    make_folder(tmp_path / 'there')
    (make_folder(tmp_path / 'full') / 'x').write_text('')
    leave_no_empty_folder()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['full', 'there']
