"""Standard streams that are closed, full, or cannot write every letter: they cost text, and nothing else."""

import codecs
import contextlib
import os
import sys
from typing import Any


def lead_nowhere(stream: Any) -> None:
    """If a stream takes nothing any more, let it lead nowhere: Python writes out what is left when it ends."""
    try:
        stream.flush()
    except (AttributeError, ValueError):  # there is none, or it is closed
        return
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _written_anyhow(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of a file name that are no text go out as they came; a letter that the terminal lacks as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    bad = ''.join(letter if '\udc80' <= letter <= '\udcff' else f'\\u{ord(letter):04x}' for letter in part)
    return bad.encode('ascii', 'surrogateescape'), error.end


codecs.register_error('genaudio', _written_anyhow)


def write_anything(stream: Any) -> None:
    """Let a text stream take file names that are not text, and letters that its encoding lacks (LANG=C)."""
    if getattr(stream, 'errors', None) in ('strict', 'surrogateescape', 'backslashreplace'):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors='genaudio')


def close_no_stream() -> None:
    """Let standard streams that are closed (``>&-``) lead nowhere: a file that is opened must not take their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free
    if sys.stderr is None:  # what is told to nobody; a closed stdout stays None, so that `-o -` can refuse it
        sys.stderr = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115 - for as long as the program runs
