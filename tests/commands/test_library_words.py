"""The library speaks of arguments and logs what a person should know; commands make options and lines of it."""

import ast
import contextlib
import json
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bridge.commands.offline import compose, separate, synth
from genaudio_core import command_line
from genaudio_core.continuation.generation import check_beats
from genaudio_core.entry import Group
from genaudio_core.errors import GenaudioError
from genaudio_core.script.mixing import MixSettings
from genaudio_core.script.speech import CommandEngine
from genaudio_core.sound.audio_files import read_audio, write_audio

CORE = Path(command_line.__file__).parent
COMMAND_LINE = {
    'training', 'analysis', 'commands', 'command_line.py', 'completion.py', 'entry.py', 'help_text.py',
    'interruption.py', 'progress.py', 'standard_streams.py', 'jobs/options.py',
}  # fmt: skip
OPTION = re.compile(r"(?:^|[\s'\"(])--?[a-z][a-z-]*\b")
OTHERS = 'genaudio-train|genaudio-export|ffmpeg|espeak-ng|piper|pip|apt|apt-get|jackd'  # have options of their own
PROGRAMS = re.compile(rf'\b({OTHERS})\b.*', re.DOTALL)


def library_modules() -> list[Path]:
    """Modules that are not themselves a piece of the command line: no command, and no trainer with arguments."""
    found = []
    for path in sorted(CORE.rglob('*.py')):
        local = path.relative_to(CORE)
        if not {local.parts[0], str(local)} & COMMAND_LINE:
            found.append(path)
    return found


def sentences(tree: ast.AST) -> list[tuple[int, str]]:
    """Texts with a space in them that are no docstrings: what a person may come to read."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and ' ' in node.value.strip()
        if id(node) not in docs
    ]


@pytest.mark.parametrize('path', library_modules(), ids=lambda path: str(path.relative_to(CORE)))
def test_the_library_names_no_options(path):
    named = [
        (line, text) for line, text in sentences(ast.parse(path.read_text())) if OPTION.search(PROGRAMS.sub('', text))
    ]
    assert not named


def test_the_library_does_not_know_the_command_line():
    """What it has to say it logs: who uses it decides what becomes of that."""
    for path in library_modules():
        source = path.read_text()
        assert not re.search(
            r'import.*\b(notice|command|command_line)$|from genaudio_core.command_line', source, re.M
        ), path
        assert 'encoders' in path.parts or not re.search(r'^\s*print\(', source, re.M), path


@pytest.mark.parametrize(
    ('fault', 'module', 'argument', 'option'),
    [
        (lambda: check_beats(0), 'continue', '`beats`', '--beats must be more than 0'),
        (lambda: MixSettings(duck_db=-3), 'compose', '`duck_db`', '--duck must be 0 to 60 dB'),
        (lambda: MixSettings(ceiling_db=3), 'compose', '`ceiling_db`', '--ceiling must be'),
        (lambda: CommandEngine('say'), 'compose', '`command`', '--speech needs {out}'),
    ],
)
def test_arguments_become_options_where_a_command_runs(fault, module, argument, option, monkeypatch):
    with pytest.raises(GenaudioError) as caught:
        fault()
    assert argument in str(caught.value) and '--' not in str(caught.value)
    parser = command_line._Parser()
    chosen = __import__(f'bridge.commands.offline.{module}', fromlist=['x'])
    chosen.add_arguments(parser)
    monkeypatch.setattr(command_line, '_options', command_line._options_of(parser, getattr(chosen, 'ARGUMENTS', {})))
    assert command_line.as_options(str(caught.value)).startswith(option)
    assert command_line.as_options('`genaudio doctor` and `nothing` stay') == '`genaudio doctor` and `nothing` stay'


@pytest.mark.parametrize('module', [compose, separate, synth])
def test_what_an_argument_is_called_is_an_option_that_there_is(module):
    parser = command_line._Parser()
    module.add_arguments(parser)
    options = {option for action in parser._actions for option in action.option_strings}
    assert {text.split()[0] for text in module.ARGUMENTS.values()} <= options


COMMAND = """
import logging
HELP = EXAMPLE = 'x'
def add_arguments(parser):
    parser.add_argument('-o', '--out')
    parser.add_argument('--prior', action='store_true')
def run(args):
    from genaudio_core.errors import GenaudioError
    logging.getLogger('genaudio_core.query.encoder').warning('50% of `out` is missing; `prior=True` helps.')
    raise GenaudioError('`out=FILE` is needed.')
"""


def test_notices_and_errors_are_one_line_each_in_terms_of_the_command_line(tmp_path, monkeypatch, capsys):
    (tmp_path / 'commands_of_a_test').mkdir()
    (tmp_path / 'commands_of_a_test' / '__init__.py').touch()
    (tmp_path / 'commands_of_a_test' / 'one.py').write_text(COMMAND)
    monkeypatch.syspath_prepend(str(tmp_path))
    logger = logging.getLogger('genaudio_core')
    before = logger.handlers, logger.propagate
    assert command_line.main('program', '', 'commands_of_a_test', [Group('', {'one': 'x'}, '')], ['one']) == 2
    assert capsys.readouterr() == ('', '50% of -o is missing; --prior helps.\nerror: -o FILE is needed.\n')
    assert (logger.handlers, logger.propagate) == before  # afterwards the library is as it was
    sys.modules.pop('commands_of_a_test.one', None)


def test_a_damaged_file_is_logged(tmp_path, caplog, capsys):
    write_audio(tmp_path / 'whole.wav', np.zeros((1, 44100), np.float32), 44100)
    data = (tmp_path / 'whole.wav').read_bytes()
    (tmp_path / 'cut.wav').write_bytes(data[: len(data) // 2])
    assert read_audio(tmp_path / 'cut.wav').shape[1] < 44100
    (record,) = caplog.records
    assert record.name.startswith('genaudio_core') and 'cut.wav' in record.getMessage()
    assert capsys.readouterr() == ('', '')


ODD = 'a\x1b[2J\x07\x9b2J\r\u2028b\nc'
PLAIN = 'a\\x1b[2J\\x07\\x9b2J\\r\\u2028b\\nc'


class Odd:
    """A command that speaks of a file with a name like no other."""

    HELP = EXAMPLE = ''

    def __init__(self, run):
        self.run = run

    def add_arguments(self, parser):
        parser.add_argument('--name')


def fails(_):
    raise GenaudioError(f'no file {ODD}')


@pytest.mark.parametrize(('run', 'words'), [
    (lambda _: command_line.notice(f'skipped: no file {ODD}'), []),
    (lambda _: logging.getLogger('genaudio_core.odd').warning('no file %s', ODD), []),
    (fails, []), (lambda _: None, ['--name', 'x', f'no file {ODD}']),
], ids=['notice', 'log', 'error', 'command line'])  # fmt: skip
def test_no_text_at_the_command_line_tells_the_terminal_what_to_do(monkeypatch, capsys, run, words):
    monkeypatch.setitem(sys.modules, 'odd_commands.odd', Odd(run))
    with contextlib.suppress(SystemExit):
        command_line.main('p', 'about', 'odd_commands', [Group('', {'odd': 'help'}, '')], ['odd', *words])
    (line,) = capsys.readouterr().err.splitlines()
    assert f'no file {PLAIN}' in line


@pytest.mark.parametrize('told', [{'out': ODD}, {ODD: 1}, {'out': [ODD]}, {'out': {ODD: ODD}}])
@pytest.mark.parametrize('as_json', [False, True])
def test_no_result_tells_the_terminal_what_to_do(capsys, told, as_json):
    command_line.show(told, as_json)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert json.loads(line) == told if as_json else PLAIN in line or json.dumps(ODD) in line


def test_no_row_of_a_table_tells_the_terminal_what_to_do(capsys):
    command_line.print_rows([['song', 'stems'], [ODD, '4']])
    assert capsys.readouterr().out.splitlines() == [f'{"song":{len(PLAIN)}}  stems', f'{PLAIN}      4']


def test_the_lines_of_a_list_stay_lines(capsys):
    command_line.say(f'Available:\n  {ODD}\n  d')
    assert capsys.readouterr().err.split('\n') == ['Available:', f'  {PLAIN}', '  d', '']
