"""Where each row of an audio script stands in time."""

from collections.abc import Mapping
from dataclasses import dataclass

from genaudio_core.script.table import BEGIN, FOREGROUND, Row, Script


@dataclass(frozen=True)
class Part:
    """A row with its place in time, in samples."""

    row: Row
    start: int
    end: int  # the sample after its last

    @property
    def n_samples(self) -> int:
        """Samples from its beginning to its end."""
        return self.end - self.start


def timeline(script: Script, lengths: Mapping[int, int]) -> list[Part]:
    """Place every row that sounds: foreground in sequence, background from its Begin to its End.

    Parameters
    ----------
    lengths : mapping
        Row number of each foreground row -> its length in samples.

    Returns
    -------
    list of Part
        In the order of the rows. They start and end exactly where the foreground rows around Begin and End do.
    """
    parts: list[Part] = []
    begun: dict[str, tuple[int, int]] = {}  # ID -> (its place in parts, start)
    now = 0
    for row in script.rows:
        if row.layout == FOREGROUND:
            parts.append(Part(row, now, now + lengths[row.number]))
            now += lengths[row.number]
        elif row.action == BEGIN:
            begun[row.id] = (len(parts), now)
            parts.append(Part(row, now, now))
        else:
            index, start = begun.pop(row.id)
            parts[index] = Part(parts[index].row, start, now)
    return parts
