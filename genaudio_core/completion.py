"""Completions for the shell: the subcommands of the three commands, their options, and what options take."""

import argparse
import importlib
import os
from collections.abc import Callable, Iterable, Mapping

from genaudio_core.command_line import place_of


def complete(program: str, package: str, commands: Mapping[str, str]) -> None:
    """Answer the shell and end the process; its question (argcomplete's protocol) is in the environment.

    Only the module of the subcommand that is being written is loaded.
    """
    import argcomplete

    words = os.environ.get('COMP_LINE', '').split()
    parser = argparse.ArgumentParser(program)
    inner = parser.add_subparsers()
    for name, text in commands.items():
        command = inner.add_parser(name, help=text)
        if name in words[1:2]:
            importlib.import_module(place_of(package, name)).add_arguments(command)
            command.add_argument('--json', action='store_true')
            command.add_argument('--debug', action='store_true')
    argcomplete.autocomplete(parser)


def completed_by(action: argparse.Action, words: Callable[[], Iterable[str]]) -> None:
    """Let the shell offer `words` for what an option or argument takes; they are found when it asks."""

    def completer(prefix: str, **_: object) -> list[str]:
        return [word for word in words() if word.startswith(prefix)]

    action.completer = completer  # type: ignore[attr-defined]  # where argcomplete looks
