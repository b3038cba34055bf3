"""The bar of commands that take long."""

import io

import pytest

from genaudio_core.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize('name', ['song', 'take [live].wav', '[/b]', r'\[x]'])
def test_a_terminal_shows_any_name_as_it_is(monkeypatch, name):
    shown = Terminal()
    monkeypatch.setattr('sys.stderr', shown)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    with progress_bar('begins', 1.0) as progress:
        progress(0.5)
        progress(2, 4, name)
    assert name in shown.getvalue() and '50%' in shown.getvalue()


def test_no_name_tells_the_terminal_what_to_do(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr('sys.stderr', shown)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setenv('COLUMNS', '120')
    with progress_bar('a\x1b]0;title\x07') as progress:
        progress(2, 4, 'b\x1b]0;title\x07\x9b2J')
    assert r'b\x1b]0;title\x07\x9b2J' in shown.getvalue()
    assert not any(told in shown.getvalue() for told in ('\x1b]', '\x07', '\x9b'))


def test_a_log_gets_no_bar(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr('sys.stderr', shown)
    with progress_bar('x', 1.0) as progress:
        progress(0.5)
    assert shown.getvalue() == ''
