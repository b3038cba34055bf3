"""Help teaches: every command fits a terminal, has an example that its own parser takes, and lists its settings."""

import os
import shlex
import subprocess
import sys

import pytest

from bridge import cli
from bridge.bench import BENCHES
from bridge.settings.parameters import PARAMETERS, short_name
from export import cli as export_cli
from genaudio_core.commands import cli as train_cli
from genaudio_core.commands.fit import TRAINERS

PROGRAMS = {'genaudio': cli, 'genaudio-train': train_cli, 'genaudio-export': export_cli}
EVERY = [
    *((program, name) for program, module in PROGRAMS.items() for name in module.COMMANDS),
    *(('genaudio', 'bench', name) for name in BENCHES),
    *(('genaudio-train', 'fit', name) for name in TRAINERS),
]


def help_of(capsys, program: str, *words: str) -> str:
    try:
        PROGRAMS[program].main([*words, '--help'])
    except SystemExit as end:
        assert not end.code
    return capsys.readouterr().out


@pytest.mark.parametrize('words', [*((program,) for program in PROGRAMS), *EVERY], ids=' '.join)
def test_help_fits_80_columns_and_ends_with_an_example(words, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    text = help_of(capsys, *words)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    if len(words) > 1:
        example = shlex.split(text.partition('\nexample:\n')[2].replace('\\\n', ' '))
        assert example[: len(words)] == list(words)


@pytest.mark.parametrize('program', PROGRAMS)
def test_examples_of_the_overview_are_of_their_group(program, capsys):
    groups = PROGRAMS[program].GROUPS
    assert [group.title for group in groups if shlex.split(group.example)[1] not in group.commands] == []
    text = help_of(capsys, program)
    assert all(f'  {name} ' in text and group.example in text for group in groups for name in group.commands)


def test_live_lists_every_setting(capsys):
    text = help_of(capsys, 'genaudio', 'live')
    listed = text.partition('settings for --set')[2].partition('example:')[0].replace(',', ' ').split()
    assert {short_name(name) for name in PARAMETERS if not name.startswith('about.')} <= set(listed)


def completed(line: str) -> list[str]:
    """What the shell is offered at the end of `line`."""
    program = line.split()[0]
    code = f'from {PROGRAMS[program].__name__} import main; main()'
    environment = os.environ | {
        '_ARGCOMPLETE': '1', 'COMP_LINE': line, 'COMP_POINT': str(len(line)), 'COMP_TYPE': '9',
        '_ARGCOMPLETE_IFS': '\n', 'PYTHONPATH': os.pathsep.join(sys.path),
    }  # fmt: skip
    read, write = os.pipe()
    code = f'import os; os.dup2({write}, 8); ' + code
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, pass_fds=(write,), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as answer:
        return [word.strip() for word in answer.read().split('\n')] if done.returncode == 0 else []


@pytest.mark.parametrize(
    ('line', 'offered'),
    [
        ('genaudio con', 'continue'),
        ('genaudio live d', 'duet'),
        ('genaudio live duet --set temp', 'temperature='),
        ('genaudio live duet --set mode=a', 'mode=accompany'),
        ('genaudio separate song.wav --resid', '--residual'),
        ('genaudio-export ver', 'verify'),
    ],
)
def test_the_shell_completes(line, offered):
    assert offered in completed(line)
