"""Where the three commands begin: almost nothing is loaded yet, and Ctrl-C is heard from here on."""

import sys
from collections.abc import Mapping, Sequence


def run_command(
    program: str, about: str, package: str, commands: Mapping[str, str], argv: Sequence[str] | None = None
) -> int:
    """As `genaudio_core.command_line.main`, and 'stopped' also where Ctrl-C comes while that is loading."""
    try:
        from genaudio_core.command_line import main
    except KeyboardInterrupt:
        print('stopped', file=sys.stderr)
        return 130
    return main(program, about, package, commands, argv)
