"""What the documents say holds: links lead somewhere, commands are taken, the page of settings is that of the code."""

import importlib.util
import re
import shlex
import string

import pytest
from documents import PAGES, ROOT, commands

from bridge import cli
from export import cli as export_cli
from genaudio_core import command_line
from genaudio_core.commands import cli as train_cli

PROGRAMS = {'genaudio': cli, 'genaudio-train': train_cli, 'genaudio-export': export_cli}
LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')


def prose(text: str) -> str:
    return re.sub(r'^```.*?^```|`[^`\n]*`', '', text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The names that GitHub and mkdocs give to headings."""
    kept = string.ascii_lowercase + string.digits + ' -_'
    heads = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    return {''.join(letter for letter in head.lower() if letter in kept).replace(' ', '-') for head in heads}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    dead = []
    for link in LINK.findall(prose(page.read_text(encoding='utf-8'))):
        if '://' in link:
            continue
        name, _, anchor = link.partition('#')
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding='utf-8'))):
            dead.append(link)
    assert dead == []


TAUGHT = [(page, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(('page', 'line'), TAUGHT, ids=[f'{page.stem}: {line[:60]}' for page, line in TAUGHT])
def test_commands_are_taken(page, line, monkeypatch):
    """By the parser of their command; nothing is done."""
    taken = []
    real = command_line.importlib.import_module

    class Idle:
        def __init__(self, module):
            self.module = module

        def __getattr__(self, name):
            return (lambda args: taken.append(args)) if name == 'run' else getattr(self.module, name)

    places = ('bridge.commands.', 'genaudio_core.commands.', 'export.commands.')
    monkeypatch.setattr(
        command_line.importlib, 'import_module',
        lambda name, *rest, **more: Idle(real(name)) if name.startswith(places) else real(name, *rest, **more),
    )  # fmt: skip
    program, *words = shlex.split(line.replace('--device cuda', '--device cpu'), comments=True)  # there may be no card
    assert PROGRAMS[program].main(words) == 0
    assert len(taken) == 1


@pytest.mark.parametrize('name', ['settings', 'preset_pictures'])
def test_the_page_is_that_of_the_code(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'docs')
    spec = importlib.util.spec_from_file_location(f'{name}_page', ROOT / 'docs' / f'{name}.py')
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding='utf-8') == module.page(), f'run: python docs/{name}.py'


def test_no_paragraph_of_the_readme_is_long():
    plain = prose((ROOT / 'README.md').read_text(encoding='utf-8'))
    long = [part for part in plain.split('\n\n') if len(part.strip().splitlines()) > 4 and not part.startswith('|')]
    assert long == []
