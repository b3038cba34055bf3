"""Where the three commands begin: almost nothing is loaded yet, and Ctrl-C is heard from here on."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Group(NamedTuple):
    """Subcommands that belong together in the overview."""

    title: str
    commands: Mapping[str, str]  # name -> one line of help
    example: str  # a command line


def names_of(groups: Sequence[Group]) -> dict[str, str]:
    """Return all the subcommands of `groups`: name -> one line of help."""
    return {name: text for group in groups for name, text in group.commands.items()}


def run_command(
    program: str, about: str, package: str, groups: Sequence[Group], argv: Sequence[str] | None = None
) -> int:
    """As `genaudio_core.command_line.main`, and 'stopped' also where Ctrl-C comes while that is loading."""
    if '_ARGCOMPLETE' in os.environ:  # the shell asks what may come next
        from genaudio_core.completion import complete

        complete(program, package, names_of(groups))
    try:
        from genaudio_core.command_line import main
    except KeyboardInterrupt:
        print('stopped', file=sys.stderr)
        return 130
    return main(program, about, package, groups, argv)
