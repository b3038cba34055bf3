"""How the help of the three commands looks: at most 80 columns, one example that can be copied."""

import textwrap
from collections.abc import Sequence

from genaudio_core.entry import Group, names_of

_WIDTH = 80


def wrapped(text: str) -> str:
    """Return a paragraph in lines that fit."""
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False)


def example(line: str) -> str:
    """Return an example as the end of a help: a long command line goes on in the next, as a shell takes it."""
    lines = textwrap.wrap(
        ' '.join(line.replace('\\\n', ' ').split()), _WIDTH - 4, break_long_words=False, break_on_hyphens=False
    )
    return 'example:\n  ' + ' \\\n    '.join(lines)


def overview(program: str, about: str, groups: Sequence[Group]) -> str:
    """Return the help of a command as a whole: its subcommands in groups, with an example of each group."""
    width = max(map(len, names_of(groups)))
    listing = [
        '\n'.join(
            [
                f'{group.title}:',
                *(
                    textwrap.fill(
                        text, _WIDTH, initial_indent=f'  {name:<{width}}  ', subsequent_indent=' ' * (width + 4)
                    )
                    for name, text in group.commands.items()
                ),
                f'    {group.example}',
            ]
        )
        for group in groups
    ]
    return '\n\n'.join([f'usage: {program} COMMAND [options]', wrapped(about), *listing, 'Each has --help.'])
