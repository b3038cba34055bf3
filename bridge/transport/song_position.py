"""Song position, counted in ticks of MIDI clock, whichever way the sender counts it.

MIDI counts song position in sixteenths; Ardour 7 sends beats times 24. Both ways are kept up, each with its own count
of ticks, and every position that comes judges them: where one count was about there and the other was not, the sender
counts that way. So a wrong guess lasts only until the next position that contradicts it. Without such a proof, the
name of the sender decides, and without that the standard.
"""

SIXTEENTH = 6  # ticks
BEHIND, AHEAD = 12, 36  # ticks: a sender may go on at its next beat
PROOF = 12  # ticks to count before a position can prove anything


class SongPosition:
    """Where the sender is, in ticks.

    Parameters
    ----------
    times_24 : bool or None
        True: the sender counts beats times 24; False: sixteenths; None: find out.
    """

    def __init__(self, times_24: bool | None = None) -> None:
        self.hint: bool | None = None  # what the name of the sender says
        self._fixed = times_24
        self._proved: bool | None = None
        self._counts = [0, 0]  # ticks by the standard, ticks by times 24
        self._since = 0  # ticks counted since the last start or position

    @property
    def times_24(self) -> bool | None:
        """How the sender counts; None while neither setting, proof nor name tells."""
        known = self._fixed if self._fixed is not None else self._proved
        return known if known is not None else self.hint

    @property
    def tick(self) -> int:
        """Number of the next tick."""
        return self._counts[bool(self.times_24)]

    def reset(self) -> None:
        """The song begins: the next tick is its first."""
        self._counts, self._since = [0, 0], 0

    def count(self, ticks: int = 1) -> None:
        """Let `ticks` pass."""
        self._counts = [count + ticks for count in self._counts]
        self._since += ticks

    def hear_name(self, times_24: bool | None) -> None:
        """Take what the sender's name says; another kind of sender must be judged again."""
        if times_24 != self.hint:
            self.hint, self._proved = times_24, None

    def receive(self, value: int, *, rolling: bool) -> bool:
        """Take a song position; return whether it says anything else than `tick` does.

        While the song rolls, a position within a sixteenth of `tick` says nothing new: that is how finely it counts,
        and it is sent a little before or after its tick.
        """
        told = (value * SIXTEENTH, value)
        before = self.tick
        if value % 24:
            self._proved = False
        elif value and self._since >= PROOF:
            near = [-BEHIND <= there - count <= AHEAD for there, count in zip(told, self._counts, strict=True)]
            if near[0] != near[1]:
                self._proved = near[1]
        where = told[bool(self.times_24)]
        if rolling and abs(where - self.tick) <= SIXTEENTH:
            where = self.tick
            if where == before:
                return False
        self._counts, self._since = list(told), 0
        self._counts[bool(self.times_24)] = where
        return True
