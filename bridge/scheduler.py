"""What the band is going to play, in session beats, and its way to the sender.

Notes wait here as long as they can: a tempo change moves them, a new take replaces them, a stop drops them. Only
when a note comes within the horizon does it become messages with times. Note-offs of notes already begun stay.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bridge import messages
from bridge.sender import Sender
from bridge.transport import Transport

GAP = 0.004  # seconds between a note-off and the next note-on of the same key
LATE = 0.060  # seconds after which a late note is dropped rather than played out of time


@dataclass(frozen=True, slots=True)
class Voice:
    """Where a part sounds."""

    instrument: str
    output: int = 0
    channel: int = 0
    program: int | None = None  # sent when the part first plays, if the preset wants it


@dataclass(frozen=True, slots=True)
class Due:
    """A note in the plan."""

    beat: float
    duration: float
    note: int
    velocity: int
    voice: Voice


class Scheduler:
    """Keeps the plan and hands over what comes due.

    Parameters
    ----------
    transport : Transport
    sender : Sender
    horizon : float
        Seconds that messages are handed to the sender before their time.
    latency : float
        Seconds that everything is sent early, to make up for what follows (synthesizer, converters).
    """

    def __init__(self, transport: Transport, sender: Sender, horizon: float = 0.03, latency: float = 0.0) -> None:
        self.transport = transport
        self.sender = sender
        self.horizon = horizon
        self.latency = latency
        self.extra_latency = 0.0  # seconds that the backend itself delays
        self.late = 0  # notes dropped because their time had passed
        self.played = 0
        self.on_play: Callable[[float, Due], None] | None = None  # (time, note) as a note is handed over
        self._order = itertools.count()
        self._plan: list[tuple[float, int, int, Due]] = []  # (beat, order, owner, note)
        self._cut: dict[int, float] = {}  # owner -> beat from which its notes are cancelled
        self._offs: list[tuple[float, int, tuple[int, int, int]]] = []  # (beat, id, key)
        self._active: dict[tuple[int, int, int], int] = {}  # (output, channel, note) -> id of the sounding note
        self._programs: dict[tuple[int, int], int] = {}
        self._last_on: dict[tuple[int, int, int], float] = {}

    def add(self, owner: int, notes: Iterable[Due]) -> None:
        """Plan the notes of `owner` (a request number)."""
        for due in notes:
            heapq.heappush(self._plan, (due.beat, next(self._order), owner, due))

    def cancel(self, owner: int, beat: float = -1e9) -> list[Due]:
        """Take the notes of `owner` from `beat` on out of the plan and return them. What sounds keeps its note-off."""
        kept, gone = [], []
        for item in self._plan:
            (gone if item[2] == owner and item[0] >= beat - 1e-9 else kept).append(item)
        heapq.heapify(kept)
        self._plan = kept
        return [item[3] for item in sorted(gone)]

    def planned(self, owner: int | None = None) -> list[Due]:
        """The notes that wait, in order."""
        return [item[3] for item in sorted(self._plan) if owner is None or item[2] == owner]

    def clear(self) -> None:
        """Drop the plan and end every note that sounds, now."""
        self._plan.clear()
        self._offs.clear()
        self._active.clear()
        self.sender.silence()

    def release(self) -> None:
        """End the notes of the plan that have begun, now; the rest of the plan stands.

        Those handed over but not yet sent never sound: a note-off of ours could come before their note-on.
        """
        self.sender.release(list(self._active))
        self._active.clear()
        self._offs.clear()

    @property
    def sounding(self) -> int:
        return len(self._active)

    def next_time(self) -> float | None:
        """When `dispatch` has something to do, or None."""
        beats = [heap[0][0] for heap in (self._plan, self._offs) if heap]
        if not beats or not self.transport.rolling:
            return None
        return self._time_at(min(beats)) - self.horizon

    def dispatch(self, now: float) -> None:
        """Hand over everything that comes due within the horizon."""
        if not self.transport.rolling:
            return
        reach = self.transport.beat_at(now + self.horizon + self.latency + self.extra_latency)
        while True:
            plan = self._plan[0][0] if self._plan else None
            off = self._offs[0][0] if self._offs else None
            if off is not None and off <= reach and (plan is None or off <= plan):
                self._send_off(now)
            elif plan is not None and plan <= reach:
                self._send_on(now)
            else:
                return

    def _time_at(self, beat: float) -> float:
        return self.transport.time_at(beat) - self.latency - self.extra_latency

    def _send_off(self, now: float) -> None:
        beat, number, key = heapq.heappop(self._offs)
        if self._active.get(key) != number:
            return  # struck again since: the later note owns the key
        del self._active[key]
        output, channel, note = key
        # Never before its own note-on, which may have been sent late.
        time = max(self._time_at(beat), self._last_on.get(key, now) + GAP)
        self.sender.send_at(time, output, messages.note_off(channel, note))

    def _send_on(self, now: float) -> None:
        beat, number, _, due = heapq.heappop(self._plan)
        time = self._time_at(beat)
        if now - time > LATE:
            self.late += 1
            return
        time = max(time, now)
        voice = due.voice
        key = (voice.output, voice.channel, due.note)
        if key in self._active:  # the same key again: end the former note first
            self.sender.send_at(time - GAP, voice.output, messages.note_off(voice.channel, due.note))
        self.ensure_program(voice, time)
        self.sender.send_at(time, voice.output, messages.note_on(voice.channel, due.note, due.velocity))
        self._active[key] = number
        self._last_on[key] = time
        heapq.heappush(self._offs, (beat + max(due.duration, 0.02), number, key))
        self.played += 1
        if self.on_play:
            self.on_play(time, due)

    def ensure_program(self, voice: Voice, time: float) -> None:
        """Send the part's program if it has one and the channel does not hold it yet."""
        place = (voice.output, voice.channel)
        if voice.program is not None and self._programs.get(place) != voice.program:
            self._programs[place] = voice.program
            self.sender.send_at(time - 0.001, voice.output, messages.program(voice.channel, voice.program))

    def forget_programs(self) -> None:
        """Send programs anew: another synthesizer may have come to the port."""
        self._programs.clear()
