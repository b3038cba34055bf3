"""The sections [[pads]] of a preset, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, did_you_mean

_KEYS = ('file', 'gain_db', 'choke', 'hold')


@dataclass(frozen=True)
class Pad:
    """What a note plays."""

    note: int  # 0..127
    file: Path
    gain_db: float = 0.0
    choke: int = 0  # pads of one group cut each other off, as open and closed hi-hat do; 0: none
    hold: bool = False  # sound only while the note is held
    audio: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.float32), compare=False, repr=False)


def parse_pads(table: Any, folder: Path) -> dict[int, Pad]:
    """Read a ``[pads]`` table; its paths count from `folder`. Two ways to write a pad::

        36 = "kick.wav"
        42 = {file = "hat.wav", choke = 1, gain_db = -3, hold = true}

    Raises
    ------
    GenaudioError
        With the key and what would be right.
    """
    if not isinstance(table, Mapping):
        raise GenaudioError('pads: write [pads] and below it lines such as 36 = "kick.wav".')
    pads: dict[int, Pad] = {}
    for key, value in table.items():
        note = check_note(key)
        settings = {'file': value} if isinstance(value, str) else value
        if not isinstance(settings, Mapping) or not isinstance(settings.get('file'), str):
            raise GenaudioError(f'pads: {key} needs a file, such as {key} = "kick.wav".')
        for name in settings:
            if name not in _KEYS:
                hint = did_you_mean(name, _KEYS)
                raise GenaudioError(f"unknown key 'pads.{key}.{name}'.{hint} Known: {', '.join(_KEYS)}.")
        gain, choke, hold = settings.get('gain_db', 0.0), settings.get('choke', 0), settings.get('hold', False)
        if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not -60 <= gain <= 12:
            raise GenaudioError(f"'pads.{key}.gain_db' must be in range -60..12, not {gain!r}.")
        if isinstance(choke, bool) or not isinstance(choke, int) or not 0 <= choke <= 127:
            raise GenaudioError(f"'pads.{key}.choke' is the number of a group, 1..127, or 0 for none, not {choke!r}.")
        if not isinstance(hold, bool):
            raise GenaudioError(f"'pads.{key}.hold' is true or false, not {hold!r}.")
        pads[note] = Pad(note, folder / settings['file'], float(gain), choke, hold)
    return pads


def check_note(text: Any) -> int:
    """Return a MIDI note 0..127; raises GenaudioError for anything else."""
    is_number = (isinstance(text, int) and not isinstance(text, bool)) or (
        isinstance(text, str) and text.strip().isdecimal() and len(text.strip()) < 9
    )
    if not is_number or not 0 <= int(text) <= 127:
        raise GenaudioError(f"'{text}' is not a MIDI note; write 0 to 127 (36 is the lowest of most pads).")
    return int(text)
