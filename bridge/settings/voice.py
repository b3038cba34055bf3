"""Where a part of the band plays: output, channel, program."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartVoice:
    """Where a part sounds."""

    instrument: str
    output: int = 0
    channel: int = 0
    program: int | None = None  # sent when the part first plays, if the preset wants it
    drum_keys: tuple[int, ...] = ()  # all that drums have, such as the three of a cajon; empty: a whole kit
