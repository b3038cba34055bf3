"""The walls of the house: rooms on floors, imports only downwards, no torch where music plays."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = runpy.run_path(str(ROOT / 'docs' / 'house.py'))
FLOORS, ARROWS = HOUSE['FLOORS'], HOUSE['arrows']()
TORCH_ROOMS = ('genaudio_core/models', 'genaudio_core/training', 'genaudio_core/analysis', 'genaudio_core/commands')
LIVE_SIDE = sorted((ROOT / 'bridge').rglob('*.py')) + sorted(
    path for path in (ROOT / 'genaudio_core').rglob('*.py')
    if not path.relative_to(ROOT).as_posix().startswith(TORCH_ROOMS)
)  # fmt: skip
HEAVY = {'torch', 'onnx', 'onnxscript', 'safetensors', 'lightning_fabric', 'music21', 'export'}
MAX_LINES, MAX_FILES = 500, 15


def module_name(path: Path) -> str:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    return name.removesuffix('.__init__')


def test_every_room_has_a_floor():
    rooms = {HOUSE['room_of'](path) for path in HOUSE['modules']().values()}
    assert rooms == set(FLOORS)


def test_a_room_imports_only_from_lower_floors():
    """So there is no circle either. The command `genaudio-train` stands above `export`, which it may export with."""
    wrong = {arrow: where for arrow, where in ARROWS.items() if FLOORS[arrow[0]] <= FLOORS[arrow[1]]}
    assert wrong == {}


def test_the_picture_of_the_house_shows_the_imports_as_they_are():
    """If not: python docs/house.py"""
    text = HOUSE['PICTURE'].read_text()
    assert set(re.findall(r'data-from="([^"]*)" data-to="([^"]*)"', text)) == set(ARROWS)
    assert set(re.findall(r'>([^<>]*)</text>', text)) == {room.replace('genaudio_core', 'core') for room in FLOORS}


@pytest.mark.parametrize('room', ['tests', 'bridge', 'export', 'genaudio_core'])
def test_no_room_has_more_than_fifteen_files_and_no_file_more_than_500_lines(room):
    folders: dict[Path, int] = {}
    for path in (ROOT / room).rglob('*.py'):
        folders[path.parent] = folders.get(path.parent, 0) + 1
        assert len(path.read_text().splitlines()) <= MAX_LINES, path
    assert {str(folder): n for folder, n in folders.items() if n > MAX_FILES} == {}


@pytest.mark.parametrize('room', sorted(FLOORS))
def test_each_room_says_what_it_is_for_and_its_public_names_are_there(room):
    text = (ROOT / room / '__init__.py').read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    beside = {path.stem for path in (ROOT / room).iterdir()} - {'__init__'}
    package = importlib.import_module(room.replace('/', '.'))
    for name in getattr(package, '__all__', ()):
        assert name not in beside, f'{name} is a module of {room} too'
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        _ = package.there_is_no_such_name


def test_loading_every_live_module_loads_no_torch():
    modules = [module_name(path) for path in LIVE_SIDE]
    rooms = tuple(room.replace('/', '.') for room in TORCH_ROOMS)
    code = (
        'import importlib, sys\n'
        f'for name in {modules!r}: importlib.import_module(name)\n'
        f'heavy, rooms = {sorted(HEAVY)!r}, {rooms!r}\n'
        'print([m for m in sys.modules if m.split(".")[0] in heavy or m.startswith(rooms)])'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '[]'


def test_torch_stays_in_its_rooms():
    """Also inside functions."""
    for path in LIVE_SIDE:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ''] if isinstance(node, ast.ImportFrom) else (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])  # fmt: skip
            assert not {name.split('.')[0] for name in names} & (HEAVY - {'onnx'}), path  # a card is written with it
            if path.is_relative_to(ROOT / 'bridge'):
                assert not any(name.replace('.', '/').startswith(TORCH_ROOMS) for name in names), path


@pytest.mark.parametrize('folder', ['genaudio_core', 'export'])
def test_nothing_imports_the_bridge(folder):
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ''] if isinstance(node, ast.ImportFrom) else (
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])  # fmt: skip
            assert not any(name.split('.')[0] == 'bridge' for name in names), path


def test_live_code_reads_no_wall_clock():
    """NTP or a person may set the system's clock at any moment: nothing that plays may look at it."""
    wall = re.compile(r'\b(time|wall)\.time\(|\bdatetime\b|\b(gm|local)time\(')
    found = [
        f'{path.relative_to(ROOT)}:{number}'
        for path in LIVE_SIDE
        if not any(
            path.is_relative_to(ROOT / room) for room in ('bridge/commands', 'bridge/bench', 'genaudio_core/jobs')
        )
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wall.search(line)
    ]
    assert found == []


# Who speaks to a person at a terminal: the commands, what they measure with, and the training that they run.
TERMINAL = (
    'bridge/commands', 'bridge/bench', 'bridge/cli.py', 'bridge/live/terminal_view.py', 'genaudio_core/entry.py',
    'genaudio_core/command_line.py', 'genaudio_core/models/encoders/process.py',
)  # fmt: skip


@pytest.mark.parametrize('path', LIVE_SIDE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_library_logs_and_does_not_print(path):
    if path.relative_to(ROOT).as_posix().startswith(TERMINAL):
        return
    tree = ast.parse(path.read_text())
    assert 'print' not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    taken = {
        alias.name
        for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == 'genaudio_core.command_line'
        for alias in node.names
    }  # fmt: skip
    assert not taken & {'notice', 'say', 'show'}
