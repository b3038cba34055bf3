"""A reader that goes away, a full disk under the output: no traceback, whatever is printed, help as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = [('bridge.cli', ['presets', '--help']), ('genaudio_core.commands.cli', ['prepare', '--help']),
            ('export.cli', ['all', '--help'])]  # fmt: skip


def said(module: str, words: list[str], out: int, *, unbuffered: bool) -> tuple[int, str]:
    environment = os.environ | {'PYTHONUNBUFFERED': '1' if unbuffered else ''}
    done = subprocess.run([sys.executable, '-m', module, *words], stdout=out, stderr=subprocess.PIPE, text=True,
                          env=environment)  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize('unbuffered', [True, False])
@pytest.mark.parametrize(('module', 'words'), [(module, line) for module, words in PROGRAMS for line in ([], words)])
def test_a_reader_that_is_gone_gets_no_traceback(module, words, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert said(module, words, writing, unbuffered=unbuffered) == (141, '')
    finally:
        os.close(writing)


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
@pytest.mark.parametrize('unbuffered', [True, False])
def test_a_full_disk_under_the_help_is_one_line(unbuffered):
    with open('/dev/full', 'w') as full:
        code, text = said('bridge.cli', ['presets', '--help'], full.fileno(), unbuffered=unbuffered)
    assert code == 2 and text.count('\n') == 1 and text.startswith('error: the disk is full')
