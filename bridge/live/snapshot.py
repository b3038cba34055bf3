"""The state of a session for view and panel, as plain dictionaries that go through a pipe."""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from bridge.band.scheduler import Due
from bridge.musicians.musician import HeardNote
from bridge.panel.notes import BY_RULE, HELD, DrawnNote, packed
from genaudio_core.score.instruments import DRUMS

if TYPE_CHECKING:
    from bridge.live.session import Session

BEHIND, AHEAD = 4, 4  # bars: what the panel is told of what was heard, and of the chords to come
# Notes of a kind in one message: with 12 bytes each, a pipe takes it at once.
MOST_NEW, MOST_PLANNED, MOST_OF_A_TAKE = 40, 160, 300
MOST_KEPT = 1000  # notes that wait to be told


def snapshot(session: Session) -> dict[str, Any]:
    """Return figures and settings of `session`, as of now. For the session's thread."""
    now = session.clock.now()
    transport = session.transport
    beat, bar = transport.beat_at(now), transport.bar
    return {
        'rolling': transport.rolling,
        'leader': transport.leader.name,
        'bar': math.floor(beat / bar) + 1, 'beat': beat % bar + 1, 'tempo': transport.tempo,
        'mode': session.preset['player.mode'], 'state': session.mode.state, 'preset': session.preset.name,
        'parts': [voice.instrument for voice in session.voices],
        'values': dict(session.preset.values), 'switches': dict(session.switches.values),
        'part_values': dict(session.preset.part_values),
        'controllers': dict(session.controllers.bound), 'learning': session.controllers.learning,
        'heard': session.listener.n_heard, 'held': session.listener.n_held,
        'planned': len(session.scheduler.planned()), 'played': session.scheduler.played,
        'sounding': session.sender.sounding.count(),
        'missed': session.missed, 'units': session.units, 'late': session.scheduler.late,
        'asked_again': session.scheduler.asked_again, 'by_rule': session.scheduler.by_rule,
        'stood_in': session.deadlines.stood_in, 'silent_bars': session.deadlines.silent,
        'handover_ms': 1000 * session.handovers[-1] if session.handovers else None,
        'ready_ms': _ready_ms(session, now),
        'engine': 'ready' if session.engine.ready else 'starting', 'restarts': session.engine.restarts,
        'engine_stats': session.engine.stats, 'leans': session.engine.leans, 'bad_bytes': session.bad_bytes,
        'takes': session.takes.describe(),
    }  # fmt: skip


def _ready_ms(session: Session, now: float) -> float | None:
    """How far ahead of the clock the plan is covered, in milliseconds."""
    if not session.answers or not session.transport.rolling:
        return None
    return 1000 * (session.transport.time_at(max(answer.covered for answer in session.answers)) - now)


class Scenes:
    """The panel's picture of a session, in messages that a pipe takes without waiting. For the session's thread.

    `make` tells what is new since `told` was last called, which is to follow when the message is on its way: what a
    full pipe has refused is told the next time.

    Parameters
    ----------
    session : Session
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._played: deque[Due] = deque(maxlen=MOST_KEPT)
        self._known: dict[int, None] = {}  # ids of heard notes that were told, in order
        self._margin = 0  # number of the last deadline that was told
        self._takes: dict[int, tuple[float, ...]] = {}  # take -> what was told of it
        self._sent: tuple[Any, ...] = (0, [], 0, None)
        session.scheduler.on_play = lambda time, due: self._played.append(due)

    def make(self) -> dict[str, Any]:
        """Return the scene as it is now. Beats are the session's, times in seconds."""
        session, transport = self._session, self._session.transport
        now = session.clock.now()
        beat, bar = transport.beat_at(now), transport.bar
        heard = [note for note in session.heard.between(beat - BEHIND * bar)
                 if not note.held and note.id not in self._known][-MOST_NEW:]  # fmt: skip
        played = list(itertools.islice(self._played, MOST_NEW))
        margins = [one for one in session.deadlines.margins if one[0] > self._margin]
        take = self._changed_take()
        self._sent = (len(played), [note.id for note in heard], margins[-1][0] if margins else self._margin, take)
        scene = {
            'at': time.monotonic(), 'beat': beat, 'bar': bar, 'tempo': transport.tempo, 'rolling': transport.rolling,
            'heard': packed(map(_heard, heard)),
            'held': packed((note.beat, max(beat - note.beat, 0.01), note.note, note.velocity, _part(note), HELD)
                           for note in session.listener.held(beat)[:MOST_NEW]),
            'played': packed(self._due(due) for due in played),
            'planned': packed(self._due(due) for due in session.scheduler.planned()[:MOST_PLANNED]),
            'chords': self._chords(beat - bar, beat + AHEAD * bar),
            'margins': [(line, margin) for _, line, margin in margins],
        }  # fmt: skip
        return scene if take is None else scene | {'take': take[1]}

    def told(self) -> None:
        """The last scene is on its way."""
        played, heard, self._margin, take = self._sent
        for _ in range(min(played, len(self._played))):
            self._played.popleft()
        self._known |= dict.fromkeys(heard)
        while len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]
        if take is not None:
            self._takes[take[1]['number']] = take[0]
        self._sent = (0, [], self._margin, None)

    def _due(self, due: Due) -> DrawnNote:
        voices = self._session.voices
        part = voices.index(due.voice) if due.voice in voices else 0
        return due.beat, due.duration, due.note, due.velocity, part, BY_RULE if due.by_rule else 0

    def _chords(self, start: float, end: float) -> list[tuple[float, str, str]]:
        """The chords already known in [start, end), as (beat, name, source): nothing is worked out here."""
        session = self._session
        found: dict[float, tuple[float, str, str]] = {}
        for answer in session.answers:
            for each in answer.request.chords:
                if start <= each.beat < min(end, answer.end):
                    found[each.beat] = (each.beat, str(each.chord), each.source)
        for beat, chord in session.requests.harmony.read_so_far(start):
            found[beat] = (beat, str(chord), 'heard')
        return [found[beat] for beat in sorted(found)]

    def _changed_take(self) -> tuple[tuple[float, ...], dict[str, Any]] | None:
        """A take of the last answer that is not as it was told, if there is one."""
        answer = self._session.takes.current
        for take in range(answer.n_takes if answer else 0):
            assert answer is not None
            notes = answer.notes(take)
            upto = answer.again[take].upto if take in answer.again else 0.0
            state = (answer.request.id, answer.take, len(notes), answer.end, upto)
            if self._takes.get(take) != state:
                drawn = packed(
                    (note.beat, note.duration, note.note, note.velocity, note.part, BY_RULE if note.by_rule else 0)
                    for note in notes[:MOST_OF_A_TAKE]
                )
                return state, {
                    'answer': answer.request.id, 'number': take, 'of': answer.n_takes, 'chosen': answer.take,
                    'start': answer.request.start, 'end': answer.end, 'notes': drawn,
                }  # fmt: skip
        return None


def _part(note: HeardNote) -> int:
    return int(note.instrument == DRUMS)


def _heard(note: HeardNote) -> DrawnNote:
    return note.beat, note.duration, note.note, note.velocity, _part(note), 0
