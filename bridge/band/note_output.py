"""The one way out for notes: it knows whose every sounding note is, and can end them by owner, input or output.

Notes of the plan, of thru and of arrange all leave through `NoteOutput`. Each begins as a `Strike`, which has a number
that travels with its messages down to the wire (`sender.Outbox`). So a note-off ends its own strike and no other: one
that is late never cuts the next note on the same key, and a key that two owners hold sounds until the last lets go.
"""

import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bridge.midi import messages
from bridge.midi.sender import Key, Sender
from bridge.settings.voice import PartVoice

GAP = 0.004  # seconds between a note-off and the next note-on of the same key; the least length of a note
TOGETHER = 0.03  # seconds within which keys count as one chord
_SETTLED = 1.0  # seconds after its note-off at which a strike is surely over at the wire

Kind = Literal['plan', 'thru', 'arrange']


class Owner(NamedTuple):
    """Whose a note is: the plan of a request (or audition), or what an input plays through or has arranged."""

    kind: Kind
    number: int  # request, or input


class Pedal(NamedTuple):
    """A sustain pedal that was passed on."""

    output: int
    channel: int  # of the output
    depth: int  # 1..127


class InputKey(NamedTuple):
    """A key of an input."""

    channel: int  # of the input
    note: int  # as it came in


@dataclass(slots=True, eq=False)
class Strike:
    """One note-on on its way, until its note-off is handed over."""

    number: int  # never used again
    owner: Owner
    key: Key
    time: float  # bridge time of the note-on
    slot: InputKey | None = None
    key_up: bool = False  # let go, and held by the pedal


class NoteOutput:
    """Every note-on of the session leaves here. Call it from the session's thread only.

    Parameters
    ----------
    sender : Sender
        Takes the messages with their times.
    """

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        self._numbers = itertools.count(1)
        self._live: dict[int, Strike] = {}
        self._leaving: deque[tuple[float, Strike]] = deque()  # note-off handed over: (its time, strike)
        self._newest: dict[Key, Strike] = {}  # of the plan
        self._slots: dict[tuple[Owner, InputKey], Strike] = {}
        self._sustained: set[tuple[Owner, int]] = set()  # (owner, channel of the input) whose pedal is down
        self._pedals: dict[tuple[Owner, int], Pedal] = {}  # ... that was passed on
        self._programs: dict[tuple[int, int], int] = {}

    # --- notes

    def strike(self, owner: Owner, time: float, voice: PartVoice, note: int, velocity: int) -> Strike:
        """Begin a note at bridge time `time`. A note of the plan ends the plan's former note on the same key."""
        key = (voice.output, voice.channel, note)
        if owner.kind == 'plan' and (former := self._newest.get(key)) is not None:
            self.let_go(former, time - GAP)
        return self._strike(owner, time, voice, key, velocity, None)

    def press(self, owner: Owner, slot: InputKey, time: float, voice: PartVoice, note: int, velocity: int) -> None:
        """Begin a note that a key of the player holds, until `lift`."""
        if (former := self._slots.get((owner, slot))) is not None:  # struck again before it was let go
            self.let_go(former, time)
        strike = self._strike(owner, time, voice, (voice.output, voice.channel, note), velocity, slot)
        self._slots[owner, slot] = strike

    def _strike(
        self, owner: Owner, time: float, voice: PartVoice, key: Key, velocity: int, slot: InputKey | None
    ) -> Strike:  # fmt: skip
        strike = Strike(next(self._numbers), owner, key, time, slot)
        self._ensure_program(voice, time)
        self._live[strike.number] = strike
        if owner.kind == 'plan':
            self._newest[key] = strike
        self.sender.send_at(time, voice.output, messages.note_on(voice.channel, key[2], velocity), strike.number)
        return strike

    def make_way(self, voice: PartVoice, note: int, most: int, time: float) -> None:
        """End what is arranged for a voice and held the longest, so that `note` at `time` makes no more than `most`.

        Notes of the same chord stay: no key is lost. Another key on the very same note is no other note.
        """
        place = (voice.output, voice.channel)
        sounding = [one for one in self._live.values()
                    if one.owner.kind == 'arrange' and one.key[:2] == place and one.key[2] != note]  # fmt: skip
        for strike in sounding[: max(len(sounding) + 1 - most, 0)]:
            if strike.time < time - TOGETHER:
                self.let_go(strike, time)

    def let_go(self, strike: Strike, time: float) -> None:
        """End one note at `time`, though not before it has begun. One that is over already stays as it is."""
        if strike.number not in self._live:
            return
        self._forget(strike)
        time = max(time, strike.time + GAP)
        while self._leaving and self._leaving[0][0] < time - _SETTLED:
            self._leaving.popleft()
        self._leaving.append((time, strike))
        output, channel, note = strike.key
        self.sender.send_at(time, output, messages.note_off(channel, note), strike.number)

    def lift(self, owner: Owner, slot: InputKey, time: float) -> None:
        """The player lets go of a key: its note ends, or the pedal takes it over where `sustain` said so."""
        strike = self._slots.get((owner, slot))
        if strike is None:
            return
        if (owner, slot.channel) in self._sustained:
            strike.key_up = True
        else:
            self.let_go(strike, time)

    def sustain(self, owner: Owner, channel: int, down: bool, time: float) -> None:
        """The player's pedal holds this owner's notes from now on, or lets them go."""
        if down:
            self._sustained.add((owner, channel))
            return
        self._sustained.discard((owner, channel))
        for strike in list(self._live.values()):
            if strike.key_up and strike.owner == owner and strike.slot and strike.slot.channel == channel:
                self.let_go(strike, time)

    def pass_pedal(self, owner: Owner, channel: int, voice: PartVoice, value: int, time: float) -> None:
        """Send the player's sustain pedal on, for the synthesizer to hold what it hears: half-way values, too.

        Of several pedals for one place, the deepest counts.
        """
        before = self._pedals.pop((owner, channel), None)
        if not value and before is None:
            return  # it was not down here
        place = (voice.output, voice.channel)
        others = self._depth(place)
        if value:
            self._pedals[owner, channel] = Pedal(*place, value)
        if value > others or (before is not None and before.depth > others):
            self.sender.send_at(
                time, voice.output, messages.control(voice.channel, messages.SUSTAIN, max(value, others))
            )

    def _depth(self, place: tuple[int, int]) -> int:
        """How far the pedals that were passed on to (output, channel) are down."""
        return max((pedal.depth for pedal in self._pedals.values() if pedal[:2] == place), default=0)

    # --- programs

    def _ensure_program(self, voice: PartVoice, time: float) -> None:
        place = (voice.output, voice.channel)
        if voice.program is not None and self._programs.get(place) != voice.program:
            self._programs[place] = voice.program
            self.sender.send_at(time - 0.001, voice.output, messages.program(voice.channel, voice.program))

    def forget_programs(self, output: int | None = None) -> None:
        """Send programs again before the next notes: another synthesizer may have come to the port."""
        for place in [place for place in self._programs if output in (None, place[0])]:
            del self._programs[place]

    # --- ends

    def end(
        self, *, kind: Kind | None = None, owner: Owner | None = None, source: int | None = None,
        channel: int | None = None,
    ) -> None:  # fmt: skip
        """End now every note of a kind of owner, of one owner, or of an input; without a choice: everything.

        Parameters
        ----------
        source, channel : what came in on an input, on all its channels or on one
        """
        if kind is None and owner is None and source is None:
            self._drop(list(self._live.values()))
            self._leaving.clear()
            self._pedals.clear()
            self.sender.silence()
            return

        def is_meant(whose: Owner, on_channel: int | None) -> bool:
            return (
                (kind is None or whose.kind == kind)
                and (owner is None or whose == owner)
                and (source is None or (whose.kind != 'plan' and whose.number == source))
                and (channel is None or on_channel == channel)
            )

        self.end_strikes(
            strike
            for strike in (*self._live.values(), *(strike for _, strike in self._leaving))
            if is_meant(strike.owner, strike.slot and strike.slot.channel)
        )
        lifted = []
        for whose, on_channel in [place for place in self._pedals if is_meant(*place)]:
            output, to_channel, depth = self._pedals.pop((whose, on_channel))
            if depth > (others := self._depth((output, to_channel))):
                lifted.append((output, messages.control(to_channel, messages.SUSTAIN, others)))
        if lifted:
            self.sender.release((), lifted)
        if channel is None and source is not None:  # the input is gone, and its pedal with it
            self._sustained = {place for place in self._sustained if not is_meant(*place)}
        if not self._live and not self._pedals:  # also reach what a synthesizer has lost the note-off of
            self._leaving.clear()
            self.sender.silence()

    def end_output(self, output: int) -> None:
        """End everything on `output` with real note-offs, and send its programs again: its port is back."""
        self._drop([strike for strike in self._live.values() if strike.key[0] == output])
        for place in [place for place, pedal in self._pedals.items() if pedal.output == output]:
            del self._pedals[place]
        self.forget_programs(output)
        self.sender.silence([output])

    def end_strikes(self, strikes: Iterable[Strike]) -> None:
        """End these notes now; those whose note-on still waits never sound."""
        gone = list(strikes)
        self._drop(gone)
        if gone:
            self.sender.release([strike.number for strike in gone])

    def _drop(self, strikes: Iterable[Strike]) -> None:
        for strike in strikes:
            if strike.number in self._live:
                self._forget(strike)

    def _forget(self, strike: Strike) -> None:
        del self._live[strike.number]
        if self._newest.get(strike.key) is strike:
            del self._newest[strike.key]
        if strike.slot is not None and self._slots.get((strike.owner, strike.slot)) is strike:
            del self._slots[strike.owner, strike.slot]

    # --- what sounds

    def sounding(self, kind: Kind | None = None) -> list[Strike]:
        """The notes that have begun, or are about to, and have no note-off yet; in order."""
        return [strike for strike in self._live.values() if kind in (None, strike.owner.kind)]
