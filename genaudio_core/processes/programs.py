"""Other programs, run so that none outlives us: a deadline, and an end for all that they started."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from genaudio_core.errors import GenaudioError


def run_program(
    command: Sequence[str], *, timeout: float, text: bytes | None = None, advice: str = ''
) -> subprocess.CompletedProcess:
    """Run a program to its end and return what it said (bytes).

    It and what it starts are a group of processes of their own, which is ended when the time is up, and also when we
    are interrupted.

    Parameters
    ----------
    timeout : float
        Seconds.
    text : bytes, optional
        For its standard input, which is empty otherwise.
    advice : str
        What to do where there is no such program.

    Raises
    ------
    GenaudioError
        If it does not run, or not within `timeout`.
    """
    try:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:  # a zero byte in an argument is a ValueError
        reason = getattr(error, 'strerror', None) or error
        raise GenaudioError(f'{command[0]} does not run: {reason}.{f" {advice}" if advice else ""}') from error
    try:
        out, err = process.communicate(text or b'', timeout=timeout)
    except subprocess.TimeoutExpired:
        raise GenaudioError(f'{command[0]} did not answer within {timeout:.0f} s.') from None
    finally:
        with suppress(ProcessLookupError, PermissionError):  # what it left running goes with it
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, 'killpg') else process.kill()
        if process.returncode is None:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
    return subprocess.CompletedProcess(list(command), process.wait(), out, err)
