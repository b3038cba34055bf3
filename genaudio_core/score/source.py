"""The rest of the MIDI file that a score was read from, so that nothing of it is lost when it is written."""

import bisect
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from genaudio_core.score import smf
from genaudio_core.score.drum_parts import DRUM_CHANNEL
from genaudio_core.score.notes import Meter, Note, Tempo

Channel = tuple[int, int]  # (port, channel 0..15)
TEXTS = {1: 'text', 2: 'copyright', 5: 'lyrics', 6: 'marker', 7: 'cue_marker', 9: 'device_name'}  # meta event -> mido


@dataclass(eq=False)
class Place:
    """Where a `Track` lies in its file, and what was read of it."""

    chunk: int  # number of the MIDI track
    channel: Channel
    program: int
    is_drum: bool = False
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
    # Song -> what was said of its channels; a song is a MIDI track of a file of type 2, and else the whole file: None.
    drums: dict[tuple[int | None, Channel], list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    unended: list[tuple[int, int, Channel, int]] = field(default_factory=list)  # MIDI track, tick of its end, key

    def program_at(self, chunk: int, channel: Channel, tick: int) -> int:
        """Program of a channel as a MIDI track means it: what it said itself, or else what the others have said."""
        for who in (chunk, None):
            said = self.programs.get((who, channel), ())
            i = bisect.bisect_right(said, (tick, 128))
            if i:
                return said[i - 1][1]
        return 0

    def is_drum_at(self, chunk: int, channel: Channel, tick: int) -> bool:
        """Whether a channel plays drums, as the whole song has said by that tick of its time."""
        said = self.drums.get((self.song(chunk), channel), ())
        i = bisect.bisect_right(said, (tick, True))
        return said[i - 1][1] if i else channel[1] == DRUM_CHANNEL

    def song(self, chunk: int) -> int | None:
        """The song that a MIDI track belongs to, see `drums`."""
        return chunk if self.file.format == 2 else None

    def unusual(self) -> dict[Channel, bool]:
        """Channels that were made drums, or channel 10 made a melody -> whether they stay drums from then on."""
        return {channel: said[0][1] and len(said) == 1 for (_, channel), said in self.drums.items() if said}
