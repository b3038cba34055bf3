"""Shortening a session to its last bars, as an event array that the model would meet in training.

The result is what encoding the last bars afresh would give: header (all instruments of the session), for layouts with
meter a meter event on the bar line, and the notes from that bar line on, with times counted from it.
"""

from dataclasses import dataclass

import numpy as np

from genaudio_core.music.events import bar_steps, timeline
from genaudio_core.music.layouts import (
    INSTRUMENT,
    METER,
    PART,
    RESOLUTION,
    START_OF_NOTES,
    START_OF_SONG,
    TIMED,
    Encoding,
)


@dataclass(frozen=True)
class Window:
    """The last bars of a session."""

    encoding: Encoding
    events: np.ndarray  # (n, fields) int16
    dropped: int  # an event that was at index i is now at i - dropped
    first: int  # index of the first event after the new header in the old session
    origin: int  # steps: what is now step 0

    def recode(self, session: np.ndarray, start: int) -> np.ndarray:
        """Events `start`.. of the old session (n, fields), with times counted from `origin`."""
        rows = session[start:].copy()
        if self.origin == 0:
            return rows
        timed = np.isin(session[:, 0], TIMED)
        beats_dropped, rest = divmod(self.origin, RESOLUTION)
        if not self.encoding.relative_beat:
            rows[timed[start:], 1] -= beats_dropped
            return rows
        if rest == 0 and start > self.first:
            return rows  # beats are relative and nothing moved inside its beat
        # A bar line between two beats (7/8): every position changes, and with it which beat an event falls into.
        step = timeline(session, self.encoding)[0] - self.origin
        index = np.flatnonzero(timed & (np.arange(len(session)) >= self.first))
        beat = step[index] // RESOLUTION
        session = session.copy()
        session[index, 1] = np.minimum(np.diff(beat, prepend=0) + 1, self.encoding.max_beat)
        session[index, 2] = step[index] % RESOLUTION + 1
        return session[start:]


def last_bars(session: np.ndarray, encoding: Encoding, keep: int) -> Window:
    """Shorten a session (n, fields) to its last bars, at most `keep` events with the header.

    The cut falls on the first bar line that leaves few enough events; where one bar holds more than `keep` events, it
    falls inside that bar.
    """
    whole = Window(encoding, session.copy(), 0, 0, 0)
    timed = np.isin(session[:, 0], TIMED)
    if len(session) <= keep or not timed.any():
        return whole
    bar_of, line_of = _bars(session, encoding)
    instruments = session[session[:, 0] == INSTRUMENT]
    parts = np.flatnonzero(session[:, 0] == PART) if encoding.has_descriptions else np.empty(0, np.int64)
    n_header = len(instruments) + 2 + encoding.has_meter + len(_in_force(session, parts, encoding))
    earliest = max(len(session) - max(keep - n_header, 1), int(np.argmax(timed)) + 1)
    starts = timed.copy()
    starts[1:] &= bar_of[1:] != bar_of[:-1]
    candidates = np.flatnonzero(starts & (np.arange(len(session)) >= earliest))
    if not len(candidates):
        candidates = np.flatnonzero(timed & (np.arange(len(session)) >= earliest))
    if not len(candidates):
        return whole
    first = int(candidates[0])
    origin = int(line_of[first])
    told = session[_in_force(session, parts[parts < first], encoding)].copy()
    told[:, 1:3] = 1  # what was told of the parts holds on
    header = np.zeros((len(instruments) + 2 + encoding.has_meter, session.shape[1]), session.dtype)
    header[0, 0] = START_OF_SONG
    header[1 : len(instruments) + 1] = instruments
    header[len(instruments) + 1, 0] = START_OF_NOTES
    if encoding.has_meter:
        column = encoding.index('meter')
        meters = np.flatnonzero(session[: first + 1, 0] == METER)
        header[-1, :3] = METER, 1, 1
        header[-1, column] = session[meters[-1], column] if len(meters) else 1
        if session[first, 0] == METER and not len(told):  # it is on the bar line itself, and comes with the rest
            header = header[:-1]
    header = np.concatenate((header, told))
    window = Window(encoding, header, first - len(header), first, origin)
    events = np.concatenate((header, window.recode(session, first)))
    return Window(encoding, events, window.dropped, first, origin)


def _in_force(session: np.ndarray, parts: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Of the PART events at the indices `parts` the last one of each part."""
    last: dict[tuple[int, int], int] = {}
    if len(parts):
        instrument, part = encoding.index('instrument'), encoding.index('part')
        last = {(int(session[i, instrument]), int(session[i, part])): int(i) for i in parts}
    return np.array([last[key] for key in sorted(last)], np.int64)


def _bars(session: np.ndarray, encoding: Encoding) -> tuple[np.ndarray, np.ndarray]:
    """Running number of the bar, and step of the bar line, of each event."""
    step, _ = timeline(session, encoding)
    origin, length = np.zeros(len(session), np.int64), np.full(len(session), bar_steps(0), np.int64)
    epoch = np.zeros(len(session), np.int64)
    if encoding.has_meter:
        for number, row in enumerate(np.flatnonzero(session[:, 0] == METER), start=1):
            origin[row:] = step[row]
            length[row:] = bar_steps(int(session[row, encoding.index('meter')]))
            epoch[row:] = number
    bar = (step - origin) // length
    return epoch * (1 << 32) + bar, origin + bar * length
