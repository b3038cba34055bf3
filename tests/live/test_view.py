"""The view: whatever names of files, ports and settings hold, and however small the terminal is."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bridge.live.port_process import COUNTED
from bridge.live.terminal_view import TROUBLE, View, render


def snapshot(name: str) -> dict:
    return {
        'rolling': True, 'leader': name, 'bar': 1, 'beat': 1.0, 'tempo': 120.0, 'mode': 'free', 'state': 'plays',
        'preset': name, 'values': {'music.model': name, 'music.key': name}, 'controllers': {20: 'panic'}, 'heard': 0,
        'held': 0, 'planned': 0, 'played': 0, 'sounding': 0, 'missed': 0, 'units': 0, 'late': 0, 'handover_ms': None,
        'ready_ms': None, 'engine': 'ready', 'restarts': 0, 'engine_stats': {name: 1.0}, 'bad_bytes': 0, 'takes': name,
        'faults': 1, 'asked_again': 0, 'by_rule': 0, 'stood_in': 0, 'silent_bars': 0,
    }  # fmt: skip


def shown(name: str, width: int = 200, height: int = 50, *, coloured: bool = False, **figures: object) -> str:
    out = io.StringIO()
    colours = 'standard' if coloured else None
    Console(file=out, width=width, height=height, force_terminal=True, color_system=colours).print(
        render(snapshot(name) | figures, [f'line {name}'])
    )
    return out.getvalue()


@pytest.mark.parametrize('count', TROUBLE)
def test_what_goes_wrong_is_counted_where_the_player_sees_it(count):
    assert count in COUNTED  # and goes on through a restart
    assert f'{TROUBLE[count]} 37' in shown('a', **{count: 37})
    assert TROUBLE[count] not in shown('a', **dict.fromkeys(TROUBLE, 0))


def test_a_session_is_shown_as_it_is():
    assert shown('a', values={}).split() == ['Starting', '...', 'line', 'a']
    first = shown('a')
    for part in ('rolling', 'ready - ahead', 'hand-over - ', 'missed 0 of 0', 'CC 20 panic', 'takes a', 'line a'):
        assert part in first, part
    other = shown('a', rolling=False, ready_ms=12.0, handover_ms=3.25, missed=2, units=7, controllers={}, takes='')
    for part in ('stopped', 'ready 12 ms ahead', 'hand-over 3.2 ms', 'missed 2 of 7', 'takes -'):
        assert part in other, part
    assert 'controllers' not in other and 'rolling' not in other


@pytest.mark.parametrize('figure', ['missed', 'silent_bars'])
def test_what_should_be_none_is_red_where_there_is_one(figure):
    red, green = '\x1b[31m', '\x1b[32m'
    assert f'{green}0' in shown('a', coloured=True) and f'{red}5' not in shown('a', coloured=True)
    assert f'{red}5' in shown('a', coloured=True, **{figure: 5})


@pytest.mark.parametrize('name', ['my[/b]set', '[red]x', '[/]', '[link=x', 'ü鼓'])
def test_names_are_shown_as_they_are(name):
    text = shown(name)
    assert text.count(name) >= 6


@pytest.mark.parametrize('name', ['a\x1b[2Jb', 'a\x9b2Jb', 'a\x07\nb'])
def test_no_name_tells_the_terminal_what_to_do(name):
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=True, color_system=None).print(render(snapshot(name), []))
    told = out.getvalue()
    assert '\x1b' not in told and '\x9b' not in told and '\x07' not in told
    assert told.count('a' + ascii(name)[2:-2] + 'b') >= 5


@given(st.text(max_size=20), st.integers(0, 30), st.integers(0, 5))
def test_no_name_and_no_size_of_a_terminal_ends_the_view(name, width, height):
    shown(name, width, height)


def test_a_line_holds_nothing_that_a_terminal_obeys(capsys):
    view = View(terminal=False)
    view.say('The port \x1b[2J\x07 is gone.\nReally.')
    view.say('x' * 100_000)
    first, second = capsys.readouterr().err.splitlines()
    assert first == 'The port \\x1b[2J\\x07 is gone.\\nReally.'
    assert len(second) < 3000


def test_a_line_is_in_the_view_where_there_is_one_and_not_beside_it(capsys):
    view, drawn = View(terminal=False), []
    view._live = SimpleNamespace(update=lambda what, refresh: drawn.append(what))  # type: ignore
    view.say('a line')
    assert capsys.readouterr().err == ''
    view.show(snapshot('a'))
    assert [str(part) for part in drawn[0].renderables[2:]] == ['a line']


def test_the_terminal_is_taken_only_while_it_is_ours(monkeypatch, capsys):
    """The shell has put us into the background: another group has the terminal."""
    other = os.getpgrp() + 1
    with open(os.devnull) as terminal:
        monkeypatch.setattr(sys, 'stdin', terminal)
        monkeypatch.setattr(os, 'tcgetpgrp', lambda descriptor: other)
        view = View(terminal=True)
        view.has_keys = True
        view.show(snapshot('a'))
        assert view._live is None and capsys.readouterr().err == ''
        other = os.getpgrp()
        view.show(snapshot('a'))
        assert view._live is not None
        view.give_back()
        assert view._live is None


SAYS = """
from bridge.live.terminal_view import View
from genaudio_core.command_line import notice
for _ in range(3):
    View(terminal=False).say('a line')
    notice('another')
print('plays on', flush=True)
"""


@pytest.mark.parametrize('log', ['full disk', 'pipe without a reader'])
def test_lines_that_nobody_takes_are_lost_and_nothing_else(log):
    if log == 'full disk' and not Path('/dev/full').exists():
        pytest.skip('needs /dev/full')
    reader, writer = os.pipe()
    os.close(reader)
    nowhere = writer if log.startswith('pipe') else os.open('/dev/full', os.O_WRONLY)
    done = subprocess.run([sys.executable, '-c', SAYS], stdout=subprocess.PIPE, stderr=nowhere, text=True)
    for end in {writer, nowhere}:
        os.close(end)
    assert done.stdout == 'plays on\n'
    assert done.returncode == 0 or log == 'full disk'  # what Python still holds there is not taken at its end either
