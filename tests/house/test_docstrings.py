"""Every public name says what it is, and what takes or gives an array says its shape."""

import ast
import concurrent.futures
import io
import re
from pathlib import Path

import pytest

import genaudio_core

ROOT = Path(genaudio_core.__file__).parent.parent
# A tuple of sizes, such as (2, n), (channels, n_samples), (n,), () for a number; or that the shape is another's.
SHAPE = re.compile(r'\([\w\s.*/+-]*,[\w\s.,*/+-]*\)|\(\)|\bshape\b')
TORCH = ('models', 'training', 'analysis', 'commands')
ARRAY = re.compile(r'\b(ndarray|Tensor)\b')


def modules(without: tuple[str, ...] = TORCH) -> list[Path]:
    core = [path for path in (ROOT / 'genaudio_core').rglob('*.py') if path.parts[len(ROOT.parts) + 1] not in without]
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


@pytest.mark.parametrize('path', modules(without=('models',)), ids=lambda path: str(path.relative_to(ROOT)))
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
     ('A loss ().', True), ('Return the sound.', False), ('Rest (see there).', False), ('Of the same shape.', True)],
)  # fmt: skip
def test_what_counts_as_a_shape(doc, told):
    assert bool(SHAPE.search(doc)) == told


# --- a number that is a stretch of time says in its name what it counts

STRETCH = re.compile(
    r'(^|_)(after|ahead|delay|duration|fade|gap|hold|interval|lag|late|latency|length|margin|pause|period|since|until|'
    r'wait|window)$'
)
EXCEPTIONS = {  # a length of the field: (channels, n_samples), events of a context
    'spectrogram.windows(length)', 'Continuer.rewind(length)', 'Buffers.copy_from(length)',
    *(f'{name}(hop_length)' for name in ('spectrogram.n_frames', 'spectrogram.stft', 'spectrogram.istft')),
    'StreamingSTFT.__init__(hop_length)', 'StreamingISTFT.__init__(hop_length)',
}  # fmt: skip


def stretches_without_unit(path: Path, text: str) -> list[str]:
    """Arguments of public functions that are numbers and a stretch of time: `margin`, where `margin_samples` is meant.

    Others have their unit by the words of the house: `time` and `seconds`, `beat`, `step`, `tick`, `hop` (samples).
    """
    found = []
    for node in ast.walk(ast.parse(text)):
        body = node.body if isinstance(node, (ast.Module, ast.ClassDef)) else []
        owner = node.name if isinstance(node, ast.ClassDef) else path.stem
        for each in body if not owner.startswith('_') else []:
            if not isinstance(each, ast.FunctionDef) or (each.name.startswith('_') and each.name != '__init__'):
                continue
            for argument in [*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs]:
                kind = ast.unparse(argument.annotation) if argument.annotation else ''
                if STRETCH.search(argument.arg) and re.match(r'(int|float)\b', kind):
                    found.append(f'{owner}.{each.name}({argument.arg})')
    return found


@pytest.mark.parametrize('path', modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stretch_of_time_names_its_unit(path):
    assert set(stretches_without_unit(path, path.read_text())) <= EXCEPTIONS


def test_what_counts_as_a_stretch_without_unit():
    code = """
def wait(margin: float, margin_ms: float, hop: int, after: int | None = None): ...
class Line:
    def __init__(self, fade: int): ...
    def _inner(self, delay: float): ...
    def show(self, length: str): ...
"""
    told = ['line.wait(margin)', 'line.wait(after)', 'Line.__init__(fade)']
    assert stretches_without_unit(Path('line.py'), code) == told


# --- every public name says what it is


def classes() -> dict[str, tuple[list[str], set[str]]]:
    """Name of each class -> its bases' names, and the methods that it documents; where two share a name, of both."""
    found: dict[str, tuple[list[str], set[str]]] = {}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases, documented = found.setdefault(node.name, ([], set()))
                bases += [ast.unparse(base).rpartition('.')[2] for base in node.bases]
                documented |= {each.name for each in node.body if isinstance(each, ast.FunctionDef) and is_told(each)}
    return found


def is_told(node: ast.FunctionDef | ast.ClassDef) -> bool:
    return bool(ast.get_docstring(node))


CLASSES = classes()
OF_COMMANDS = ('add_arguments', 'run')  # what they are is told in `genaudio_core.command_line`


FOREIGN = {'RawIOBase': io.RawIOBase, 'ProcessPoolExecutor': concurrent.futures.ProcessPoolExecutor}


def inherits(name: str, method: str) -> bool:
    bases, documented = CLASSES.get(name, ([], set()))
    return method in documented or hasattr(FOREIGN.get(name), method) or any(inherits(base, method) for base in bases)


def untold(tree: ast.Module) -> list[str]:
    """Public classes, functions and methods without a docstring, their own or one of a base."""
    command = any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'HELP' for node in tree.body)
    silent = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith('_'):
            silent += [] if is_told(node) else [node.name]
            for each in node.body:
                if not isinstance(each, ast.FunctionDef) or each.name.startswith('_') or is_overload(each):
                    continue
                if not is_told(each) and not inherits(node.name, each.name):
                    silent.append(f'{node.name}.{each.name}')
        elif isinstance(node, ast.FunctionDef) and not (
            node.name.startswith('_') or is_overload(node) or is_told(node) or (command and node.name in OF_COMMANDS)
        ):
            silent.append(node.name)
    return silent


def is_overload(node: ast.FunctionDef) -> bool:
    """Of an overload and of a setter, another definition of the name tells."""
    return any(ast.unparse(each).rpartition('.')[2] in ('overload', 'setter') for each in node.decorator_list)


@pytest.mark.parametrize('path', modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_public_name_says_what_it_is(path):
    assert untold(ast.parse(path.read_text())) == []


def test_what_counts_as_told():
    code = """
class A:
    def f(self): ...
    def _g(self): ...
    @property
    def h(self):
        "Told."
    @h.setter
    def h(self): ...
"""
    assert untold(ast.parse(code)) == ['A', 'A.f']
    assert untold(ast.parse('HELP = ""\ndef run(): pass\ndef other(): pass')) == ['other']
    assert untold(ast.parse('class RealClock(Clock):\n "Doc."\n def now(self): pass\n def then(self): pass')) == [
        'RealClock.then'
    ]
