"""Faults that a person can mend, and how they are told."""

import re
from collections.abc import Iterable


class GenaudioError(Exception):
    """Bad input, told in one line that says what to do. Commands print it without a traceback and exit with 2."""

    exit_code = 2


class MissingModel(GenaudioError):
    """There is no file of the model that was asked for."""


def did_you_mean(word: str, options: Iterable[str], *, limit: int = 3) -> str:
    """Return ``" Did you mean 'x' or 'y'?"`` for the options closest to `word`, or an empty string."""
    import difflib  # seldom needed

    by_lower = {option.lower(): option for option in options}
    close = difflib.get_close_matches(word.lower(), by_lower, n=limit, cutoff=0.6)
    if not close:
        return ''
    return ' Did you mean ' + ' or '.join(f"'{by_lower[name]}'" for name in close) + '?'


def one_line(error: BaseException) -> str:
    """Return what an exception says, on one line and not endless; its type where it says nothing."""
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f'{text[:300]}...'


# In a name they would break the line, or tell the terminal what to do. The lines of a list begin with two spaces.
_CONTROL = r'[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]|\n(?!  )'


def printable(text: str) -> str:
    """Return `text` with control characters as ``\\n`` or ``\\x1b``, as they may be in the name of a file."""
    return re.sub(_CONTROL, lambda found: found[0].encode('unicode_escape').decode(), text)
