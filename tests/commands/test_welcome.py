"""`genaudio` alone asks what to do, and starts it."""

import os
import pty
import subprocess
import sys

import pytest

from bridge.commands import welcome
from bridge.settings.band_preset import available
from genaudio_core.errors import GenaudioError


def answers(monkeypatch, *given: str) -> list[str] | None:
    left = list(given)
    monkeypatch.setattr('builtins.input', lambda question: left.pop(0))
    words = welcome.choose()
    assert not left
    return words


def test_each_answer_is_a_command(monkeypatch, tmp_path):
    tune = tmp_path / 'my tune.mid'
    tune.touch()
    assert answers(monkeypatch, '1') == ['demo']
    assert answers(monkeypatch, '2', '') == ['live', 'duet']
    assert answers(monkeypatch, '2', '1') == ['live', next(iter(available()))]
    for typed in (str(tune), f"'{tune}'", str(tune).replace(' ', '\\ ')):  # as terminals paste it
        assert answers(monkeypatch, '3', typed, 'cello') == [
            'accompany', str(tune), '--instruments', 'cello', '-o', 'my tune-band.mid',
        ]  # fmt: skip
    assert answers(monkeypatch, '4', str(tune), 'drums, violin')[2:6] == ['-q', 'drums', '-q', 'violin']
    assert answers(monkeypatch, 'q') is None
    for typed in ('', str(tmp_path), 'nothing.wav', "it's"):
        with pytest.raises(GenaudioError):
            answers(monkeypatch, '4', typed)


def test_no_title_of_a_preset_tells_the_terminal_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(welcome, 'presets', lambda: {'mine': {'title': 'a\x1b[2Jb'}})
    assert answers(monkeypatch, '2', '1') == ['live', 'mine']
    assert r'1  a\x1b[2Jb' in capsys.readouterr().out


def test_it_asks_in_a_terminal_only(tmp_path):
    program = [sys.executable, '-m', 'bridge.cli']
    environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}
    piped = subprocess.run(program, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert piped.stdout.startswith('usage:') and not piped.returncode
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(program, env=environment, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b'q\n')
    told = b''
    try:
        while piece := os.read(ours, 4096):
            told += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert asked.wait(120) == 0
    assert b'What would you like to do?' in told and b'usage:' not in told
