"""The sections [[pads]] of a preset, as plain data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.tables import Numbered, Setting, Table


@dataclass(frozen=True)
class Pad:
    """The sound of one note."""

    note: int  # 0..127
    file: Path
    gain_db: float = 0.0
    choke: int = 0  # pads of one group cut each other off, as open and closed hi-hat do; 0: none
    hold: bool = False  # sound only while the note is held
    audio: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.float32), compare=False, repr=False)


PADS = Numbered(
    Table(
        {
            'file': Setting(kind=str, example='"kick.wav"'),
            'gain_db': Setting(0.0, 'level', -60, 12, unit='dB'),
            'choke': Setting(0, 'number of a group; its pads cut each other off, 0 is none', 0, 127),
            'hold': Setting(False, 'sound only while the note is held'),
        },
        short='file',
    ),
    'a MIDI note', 0, 127, 'write [pads] and below it lines such as 36 = "kick.wav"',
)  # fmt: skip
"""The table [pads]. Two ways to write a pad::

    36 = "kick.wav"
    42 = {file = "hat.wav", choke = 1, gain_db = -3, hold = true}
"""


def parse_pads(table: Any, folder: Path) -> tuple[Pad, ...]:
    """Read a ``[pads]`` table; its paths count from `folder`.

    Raises
    ------
    GenaudioError
        With the key and what would be right.
    """
    return tuple(
        Pad(note, folder / pad['file'], pad['gain_db'], pad['choke'], pad['hold'])
        for note, pad in PADS.check('pads', table).items()
    )


def check_note(text: Any) -> int:
    """Return a MIDI note 0..127 from a number or text; raises GenaudioError for anything else."""
    return Setting(kind=int, low=0, high=127).check('The MIDI note of a pad', text)
