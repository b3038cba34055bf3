"""A command of our own, run as a program: what comes of its processes and files when a signal ends it."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = """
import sys
{imports}
from genaudio_core import command_line
from genaudio_core.entry import Group
if __name__ == '__main__':
    class Command:
        HELP = EXAMPLE = ''
        def add_arguments(parser): pass
        def run(args):
{body}
    sys.modules['own.own'] = Command
    sys.exit(command_line.main('own', '', 'own', [Group('', {{'own': ''}}, '')], ['own']))
"""


def start_command(folder: Path, imports: str, body: str, *words: str) -> subprocess.Popen[str]:
    """Start a command whose ``run`` is `body`, in a session of its own; what it says on standard error can be read.

    Its script lies in `folder`, for processes that it spawns, too; `words` are its ``sys.argv[1:]``. It finds the
    modules that the test finds, and hears signals that whoever started the tests ignores.
    """
    script = folder / 'started_command.py'
    script.write_text(PROGRAM.format(imports=imports, body=textwrap.indent(textwrap.dedent(body).strip(), ' ' * 12)))
    return subprocess.Popen(
        ['env', '--default-signal=INT,HUP', sys.executable, str(script), *words], stderr=subprocess.PIPE, text=True,
        start_new_session=True, env=os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)},
    )  # fmt: skip
