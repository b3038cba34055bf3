"""Whoever reads the documentation of what takes or gives an array learns its shape."""

import ast
import re
from pathlib import Path

import pytest

import genaudio_core

ROOT = Path(genaudio_core.__file__).parent.parent
# A tuple of sizes, such as (2, n), (channels, n_samples), (n,); or that the shape is another's.
SHAPE = re.compile(r'\([\w\s.*/+-]*,[\w\s.,*/+-]*\)|\bshape\b')
ARRAY = re.compile(r'\b(ndarray|Tensor)\b')
TORCH = ('models', 'training', 'analysis', 'commands')


def modules() -> list[Path]:
    core = [path for path in (ROOT / 'genaudio_core').rglob('*.py') if path.parts[len(ROOT.parts) + 1] not in TORCH]
    return sorted([*core, *(ROOT / 'bridge').rglob('*.py')])


def public_functions(body: list[ast.stmt], prefix: str = '') -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            found += public_functions(node.body, f'{node.name}.')
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
            found.append((prefix + node.name, node))
    return found


def takes_or_gives_arrays(function: ast.FunctionDef) -> bool:
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    types = [argument.annotation for argument in arguments] + [function.returns]
    return any(ARRAY.search(ast.unparse(kind)) for kind in types if kind is not None)


@pytest.mark.parametrize('path', modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_of_arrays_say_their_shapes(path):
    silent = [
        f'{path.name}:{function.lineno} {name}'
        for name, function in public_functions(ast.parse(path.read_text()).body)
        if takes_or_gives_arrays(function) and not SHAPE.search(ast.get_docstring(function) or '')
    ]
    assert silent == []


@pytest.mark.parametrize(
    ('doc', 'told'),
    [('Return (channels, n_samples).', True), ('A vector (D,).', True), ('(2, n // 2 + 1)', True), ('', False),
     ('Return the sound.', False), ('Rest (see there).', False), ('Of the same shape.', True)],
)  # fmt: skip
def test_what_counts_as_a_shape(doc, told):
    assert bool(SHAPE.search(doc)) == told
