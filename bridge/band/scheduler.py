"""The band's planned notes, in session beats, and their way to the wire.

Notes wait here as long as they can: a tempo change moves them, a new take replaces them, a stop drops them. Only
when a note comes within the horizon does it become a strike of the `NoteOutput`. Ends of notes already begun stay.
"""

import heapq
import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bridge.band.note_output import GAP, NoteOutput, Owner, Strike
from bridge.midi.sender import Sender
from bridge.musicians.harmony import fold
from bridge.settings.stem_knobs import OF_STEM
from bridge.settings.voice import PartVoice, part_names
from bridge.transport.transport import Transport
from genaudio_core.errors import GenaudioError, did_you_mean

__all__ = ['GAP', 'LATE', 'Due', 'PartSwitches', 'PartVoice', 'Scheduler']

LATE = 0.060  # seconds after which a late note is dropped rather than played out of time
SHORTEST = 0.02  # beats
SWITCHES = ('mute', 'solo')  # of each part


@dataclass(frozen=True, slots=True)
class Due:
    """A note in the plan."""

    beat: float
    duration: float
    note: int
    velocity: int
    voice: PartVoice
    written: float | None = None  # beat as composed, before the player's timing moved it; None: the same
    by_rule: bool = False  # not the musician's: it stands in for what was not there in time, or nothing else was left
    cued: bool = False  # the musician was asked again for it

    @property
    def place(self) -> float:
        """The beat by which a plan is taken back: a note a little before its line belongs to the line."""
        return self.beat if self.written is None else self.written


class Scheduler:
    """Keeps the plan and hands over what comes due.

    Parameters
    ----------
    transport : Transport
    sender : Sender
    horizon : float
        Seconds that messages are handed to the sender before their time.
    latency_s : float
        Seconds that everything is sent early, to make up for what follows (synthesizer, converters).
    notes : NoteOutput, optional
        Through which the notes leave; by default one of its own.
    """

    def __init__(
        self, transport: Transport, sender: Sender, horizon: float = 0.03, latency_s: float = 0.0,
        notes: NoteOutput | None = None,
    ) -> None:  # fmt: skip
        self.transport = transport
        self.notes = notes or NoteOutput(sender)
        self.horizon = horizon
        self.latency_s = latency_s
        self.extra_latency_s = 0.0  # seconds that the backend itself delays
        self.late = 0  # notes dropped because their time had passed
        self.played = 0  # notes handed over
        self.by_rule = 0  # those of them that stood in for the musician's
        self.asked_again = 0  # those for which the musician was asked again
        self._silent: frozenset[PartVoice] = frozenset()
        self.ranges: dict[PartVoice, tuple[int, int]] = {}  # lowest and highest note, of whom it was set
        self.on_play: Callable[[float, Due], None] | None = None  # (time, note) as a note is handed over
        self._order = itertools.count()
        self._plan: list[tuple[float, int, int, Due]] = []  # (beat, order, owner, note)
        self._offs: list[tuple[float, int, Strike, Due]] = []  # (beat, number, strike, its note)

    def add(self, owner: int, notes: Iterable[Due]) -> None:
        """Plan the notes of `owner` (a request number)."""
        for due in notes:
            heapq.heappush(self._plan, (due.beat, next(self._order), owner, due))

    def cancel(
        self, owner: int, beat: float = -1e9, end: float = 1e9, voices: Collection[PartVoice] | None = None
    ) -> list[Due]:  # fmt: skip
        """Take back the notes of `owner` that belong to `beat` or later, and return those that had not begun.

        With `end` (a beat) and `voices` only those that belong before it, and are theirs.

        Taken back whole: a note that the player's timing has moved before `beat`, and that has begun, ends now. What
        belongs before `beat` keeps its end.
        """

        def is_meant(number: int, due: Due) -> bool:
            return number == owner and beat - 1e-9 <= due.place < end and (voices is None or due.voice in voices)

        kept, gone = [], []
        for item in self._plan:
            (gone if is_meant(item[2], item[3]) else kept).append(item)
        heapq.heapify(kept)
        self._plan = kept
        begun = [item for item in self._offs if is_meant(item[2].owner.number, item[3])]
        if begun:
            self._offs = [item for item in self._offs if item not in begun]
            heapq.heapify(self._offs)
            self.notes.end_strikes(item[2] for item in begun)
        return [item[3] for item in sorted(gone, key=lambda item: item[:2])]

    def end_by(self, beat: float) -> None:
        """Let every note that belongs before `beat` end there at the latest: other music begins."""
        self._plan = [
            (*item[:3], replace(item[3], duration=max(beat - item[0], SHORTEST)))
            if item[3].place < beat - 1e-9 and item[0] + item[3].duration > beat
            else item
            for item in self._plan
        ]
        self._offs = [
            (beat, *item[1:]) if item[3].place < beat - 1e-9 and item[0] > beat else item for item in self._offs
        ]
        heapq.heapify(self._offs)

    def within(self, voice: PartVoice, note: int) -> int:
        """A note by octaves in the range of its part, which may have changed since it was planned."""
        return fold(note, *self.ranges.get(voice, (0, 127)))

    def silence(self, voices: Iterable[PartVoice]) -> None:
        """Let these voices, and no others, not be heard from now on; their notes of the plan that have begun end."""
        self._silent = frozenset(voices)
        begun = [item for item in self._offs if item[3].voice in self._silent]
        if begun:
            self._offs = [item for item in self._offs if item[3].voice not in self._silent]
            heapq.heapify(self._offs)
            self.notes.end_strikes(item[2] for item in begun)

    def planned(self, owner: int | None = None) -> list[Due]:
        """The notes that wait, in order."""
        waiting = sorted(self._plan, key=lambda item: item[:2])
        return [item[3] for item in waiting if owner is None or item[2] == owner]

    def clear(self) -> None:
        """Drop the plan and end every note of it that sounds, now."""
        self._plan.clear()
        self.release()

    def release(self) -> None:
        """End the notes of the plan that have begun, now; the rest of the plan stands.

        Those handed over but not yet sent never sound.
        """
        self._offs.clear()
        self.notes.end(kind='plan')

    def halt(self, now: float) -> None:
        """End every note of the plan that sounds; the plan stands. Notes handed over that have not begun wait again."""
        for _, _, strike, due in self._offs:
            if strike.time > now:
                self.add(strike.owner.number, [due])
                self.played -= 1
        self.release()

    def go_on(self, beat: float) -> None:
        """Play on from `beat` after `halt`: what belongs before it is over."""
        self._plan = [item for item in self._plan if item[3].place >= beat - 1e-9]
        heapq.heapify(self._plan)

    @property
    def sounding(self) -> int:
        """Notes of the plan that have begun."""
        return len(self.notes.sounding('plan'))

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
        reach = self.transport.beat_at(now + self.horizon + self.latency_s + self.extra_latency_s)
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
        return self.transport.time_at(beat) - self.latency_s - self.extra_latency_s

    def _send_off(self, now: float) -> None:
        beat, _, strike, _ = heapq.heappop(self._offs)
        self.notes.let_go(strike, max(self._time_at(beat), now))

    def _send_on(self, now: float) -> None:
        beat, _, owner, due = heapq.heappop(self._plan)
        if due.voice in self._silent:
            return
        time = self._time_at(beat)
        if now - time > LATE:
            self.late += 1
            return
        time, note = max(time, now), self.within(due.voice, due.note)
        due = due if note == due.note else replace(due, note=note)
        strike = self.notes.strike(Owner('plan', owner), time, due.voice, due.note, due.velocity)
        heapq.heappush(self._offs, (beat + max(due.duration, SHORTEST), strike.number, strike, due))
        self.played += 1
        self.by_rule += due.by_rule
        self.asked_again += due.cued
        if self.on_play:
            self.on_play(time, due)


class PartSwitches:
    """Mute and solo for each part: ``mute.bass``, ``solo.drums``, as stems have them. Only the session's thread calls
    it.

    A part that is not heard is composed all the same: switched on again, it comes in where the music is. Two parts of
    an instrument are ``violin`` and ``violin_2``.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._voices: tuple[PartVoice, ...] = ()
        self.values: dict[str, bool] = {}  # such as mute.bass

    def use(self, voices: Sequence[PartVoice]) -> None:
        """These are the parts now; all are heard."""
        if tuple(voices) == self._voices:
            return
        self._voices, before = tuple(voices), [voice.instrument for voice in voices]
        self.values = {f'{switch}.{name}': False for switch in SWITCHES for name in part_names(before)}
        self._scheduler.silence(())

    def set(self, name: str, value: Any) -> bool:
        """Turn a switch; whether it is one.

        Raises
        ------
        GenaudioError
            If there is no such part, or the value is neither on nor off.
        """
        switch = name.partition('.')[0]
        if switch not in SWITCHES:
            return False
        if name not in self.values:
            raise GenaudioError(f"'{name}' is not something that can be set.{did_you_mean(name, self.values)}")
        self.values[name] = OF_STEM[switch].check(name, bool(value) if value in (0, 1) else value)
        mute, solo = (list(self.values.values())[at : at + len(self._voices)] for at in (0, len(self._voices)))
        self._scheduler.silence(voice for i, voice in enumerate(self._voices) if mute[i] or (any(solo) and not solo[i]))
        return True
