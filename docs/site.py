"""Hooks of mkdocs: the README and its like become pages, and so does every file that a page links to.

In the repository a link to ``../examples/own_mode.py`` opens the file; a site has no repository around it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r'(\]\()([^)\s#]+)((?:#[^)\s]*)?\))')
CODE = re.compile(r'(^```.*?^```|`[^`\n]*`)', re.MULTILINE | re.DOTALL)  # no links in there


def page_of(path: Path) -> str:
    """Return the name on the site of a file of the repository."""
    where = path.relative_to(ROOT)
    if where.parts[0] == 'docs':
        return posixpath.join(*where.parts[1:])
    if path.suffix == '.md':
        return 'index.md' if path.stem == 'README' else path.name
    return f'source/{where.as_posix()}.md'


def linked(path: Path) -> set[Path]:
    """Files of the repository that a page links to."""
    prose = CODE.sub('', path.read_text(encoding='utf-8'))
    found = {(path.parent / link).resolve() for _, link, _ in LINK.findall(prose) if '://' not in link}
    return {one for one in found if one.is_file() and ROOT in one.parents}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in docs."""
    pages = [*ROOT.glob('docs/**/*.md'), *ROOT.glob('*.md')]
    outside = {one for page in pages for one in linked(page)} | set(ROOT.glob('*.md'))
    for path in sorted(one for one in outside if ROOT / 'docs' not in one.parents):
        text = path.read_text(encoding='utf-8')
        if path.suffix != '.md':
            kind = {'.py': 'python', '.json': 'json'}.get(path.suffix, 'text')
            text = f'# {path.name}\n\n````{kind} title="{path.relative_to(ROOT).as_posix()}"\n{text}````\n'
        files.append(File.generated(config, page_of(path), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead to pages."""
    here = page.file.src_uri
    if here.startswith('source/'):
        return markdown
    name = 'README.md' if here == 'index.md' else here
    source = ROOT / name if (ROOT / name).is_file() and not (ROOT / 'docs' / name).is_file() else ROOT / 'docs' / name

    def led(found: re.Match) -> str:
        target = (source.parent / found[2]).resolve()
        if '://' in found[2] or not target.is_file() or ROOT not in target.parents:
            return found[0]
        return found[1] + posixpath.relpath(page_of(target), posixpath.dirname(here) or '.') + found[3]

    parts = CODE.split(markdown)  # every second one is code
    return ''.join(part if i % 2 else LINK.sub(led, part) for i, part in enumerate(parts))
