"""The view: whatever names of files, ports and settings hold, and however small the terminal is."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bridge.live.terminal_view import View, render


def snapshot(name: str) -> dict:
    return {
        'rolling': True, 'leader': name, 'bar': 1, 'beat': 1.0, 'tempo': 120.0, 'mode': 'free', 'state': 'plays',
        'preset': name, 'values': {'music.model': name, 'music.key': name}, 'controllers': {20: 'panic'}, 'heard': 0,
        'held': 0, 'planned': 0, 'played': 0, 'sounding': 0, 'missed': 0, 'units': 0, 'late': 0, 'handover_ms': None,
        'ready_ms': None, 'engine': 'ready', 'restarts': 0, 'engine_stats': {name: 1.0}, 'bad_bytes': 0, 'takes': name,
        'faults': 1,
    }  # fmt: skip


def shown(name: str, width: int = 200, height: int = 50) -> str:
    out = io.StringIO()
    Console(file=out, width=width, height=height, force_terminal=True, color_system=None).print(
        render(snapshot(name), [f'line {name}'])
    )
    return out.getvalue()


@pytest.mark.parametrize('name', ['my[/b]set', '[red]x', '[/]', '[link=x', 'ü鼓'])
def test_names_are_shown_as_they_are(name):
    text = shown(name)
    assert text.count(name) >= 6


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
