"""The most memory that this process has held."""

import contextlib
import sys


def peak_memory() -> int | None:
    """Bytes that this process held at most, since it began or `forget_peak`; None where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError), open('/proc/self/status', 'rb') as file:
        # Not getrusage: on Linux that also counts the program which started this one.
        return int(file.read().partition(b'VmHWM:')[2].split(None, 1)[0]) * 1024
    with contextlib.suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == 'darwin' else most * 1024
    return None


def forget_peak() -> None:
    """Let the peak be counted from now on (Linux; elsewhere it is that of the whole life)."""
    with contextlib.suppress(OSError), open('/proc/self/clear_refs', 'wb') as file:
        file.write(b'5')
