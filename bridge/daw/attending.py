"""The loop of a process that plays for one plug-in."""

import time
from collections.abc import Callable

from bridge.daw.meeting_place import Meeting
from genaudio_core.processes.child_watch import Heartbeat

LOOKS = 0.01  # seconds between two looks at the lines of the plug-in
ACTIVE = 1.0  # seconds without work after which it is silent
_RENDERING, _PLAYING, _SILENT = 0.0001, 0.0007, 0.005  # seconds between two looks at the memory


def attend(
    meeting: Meeting, heart: Heartbeat, told_to_end: Callable[[], bool], work: Callable[[], int],
    hear: Callable[[], None],
) -> None:  # fmt: skip
    """Work until told to end.

    Parameters
    ----------
    work : callable
        Does what the memory holds; 0 if there was nothing to do.
    hear : callable
        Takes in what the plug-in has said in its lines, and may end the loop with EOFError.
    """
    worked = looked = time.monotonic()
    while not told_to_end():
        heart.beat()
        now = time.monotonic()
        if work():
            worked = now
        elif now - worked >= ACTIVE:
            time.sleep(_SILENT)
        else:
            time.sleep(_RENDERING if meeting.offline else _PLAYING)
        if now - looked > LOOKS:
            looked = now
            hear()
