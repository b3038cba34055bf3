"""The documentation builds as a site: no dead link, no page that nothing leads to, nothing loaded from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(tmp_path / 'site')], cwd=ROOT, text=True,
        capture_output=True, timeout=1200, env=os.environ | {'NO_MKDOCS_2_WARNING': '1'},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / 'site').rglob('*.html'))
    assert {'start', 'api', 'extending', 'train-your-own'} <= {page.parent.name for page in pages}
    loaded = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="(https?:)?//|<link[^>]*stylesheet[^>]*href="(https?:)?//')
    assert [page for page in pages if loaded.search(page.read_text(encoding='utf-8'))] == []
    reference = (tmp_path / 'site' / 'api' / 'index.html').read_text(encoding='utf-8')
    for name in ('load', 'separate', 'Score', 'StreamingSeparator', 'GenaudioError'):
        assert re.search(rf'id="[\w.]*\.{name}"', reference), name
