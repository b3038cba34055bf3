"""The pages that people read, and the commands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md')]
_BLOCK = re.compile(r'^```sh\n(.*?)^```', re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Command lines of ours in the shell blocks of a page, whole; those with `...` or a variable are only a part."""
    lines = [
        line.strip()
        for block in _BLOCK.findall(page.read_text(encoding='utf-8'))
        for line in block.replace('\\\n', ' ').splitlines()
    ]
    ours = [re.search(r'\b(genaudio(?:-train|-export)?) .*', line) for line in lines]
    return [found[0] for found in ours if found and not re.search(r'\.\.\.|\$\w', found[0])]
