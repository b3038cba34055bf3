"""The walls of the house: the live side and the core load no torch, and nothing imports the bridge."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIVE_SIDE = sorted((ROOT / 'bridge').rglob('*.py')) + sorted((ROOT / 'genaudio_core').glob('*.py'))
HEAVY = {'torch', 'onnx', 'onnxscript', 'safetensors', 'lightning_fabric', 'music21', 'export'}


def module_name(path: Path) -> str:
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    return name.removesuffix('.__init__')


def test_loading_every_live_module_loads_no_torch():
    modules = [module_name(path) for path in LIVE_SIDE]
    code = (
        'import importlib, sys\n'
        f'for name in {modules!r}: importlib.import_module(name)\n'
        f'heavy, rooms = {sorted(HEAVY)!r}, tuple("genaudio_core." + r for r in ("models", "training", "analysis"))\n'
        'print([m for m in sys.modules if m.split(".")[0] in heavy or m.startswith(rooms)])'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '[]'


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
        f'{path.name}:{number}'
        for folder in ('bridge', 'bridge/players', 'genaudio_core')
        for path in (ROOT / folder).glob('*.py')
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if wall.search(line)
    ]
    assert found == []
