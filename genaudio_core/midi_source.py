"""What a score remembers of the MIDI file that it was read from, so that nothing of it is lost when it is written."""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from genaudio_core import smf
from genaudio_core.notes import Meter, Note, Tempo

Channel = tuple[int, int]  # (port, channel 0..15)
TEXTS = {1: 'text', 2: 'copyright', 5: 'lyrics', 6: 'marker', 7: 'cue_marker', 9: 'device_name'}  # meta event -> mido


@dataclass(eq=False)
class Place:
    """Where a `Track` lies in its file, and what was read of it."""

    chunk: int  # number of the MIDI track
    channel: Channel
    program: int
    name: str = ''
    notes: list[tuple[Note, int, int | None]] = field(default_factory=list)  # with the numbers of its two events
    others: list[tuple[float, Any, int, int]] = field(default_factory=list)  # beat, message, MIDI track, event


@dataclass(eq=False)
class Source:
    """A file, and what a score took from it. The score is compared with this when it is written."""

    file: smf.File
    starts: list[int]  # tick at which each MIDI track begins; they differ in files of type 2
    places: list[Place] = field(default_factory=list)  # one for each track that was read
    tempos: list[Tempo] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    others: list[tuple[float, Any, int, int]] = field(default_factory=list)  # beat, message, MIDI track, event
    programs: dict[tuple[int | None, Channel], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    unended: list[tuple[int, int, Channel, int]] = field(default_factory=list)  # MIDI track, tick of its end, key

    def program_at(self, chunk: int, channel: Channel, tick: int) -> int:
        """Program of a channel as a MIDI track means it: what it said itself, or else what the others have said."""
        for who in (chunk, None):
            said = self.programs.get((who, channel), ())
            i = bisect.bisect_right(said, (tick, 128))
            if i:
                return said[i - 1][1]
        return 0
