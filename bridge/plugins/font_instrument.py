"""A SoundFont played as a plug-in is: what `JackInstrument` asks of a plug-in, and no more.

Each part has its channel and sends its program, so that one font is the whole band. fluidsynth (LGPL) starts notes on
blocks of 64 samples, 1.5 ms.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from genaudio_core.sound.soundfont import check_font, load_fluidsynth, load_font, render_events

SUFFIXES = ('.sf2', '.sf3')
_GAIN = 0.5  # a band of eight stays below full scale


class FontInstrument:
    """A synthesizer with one SoundFont. Not thread-safe: all calls come from one thread after the first.

    Parameters
    ----------
    path
        Of the SoundFont.

    Raises
    ------
    GenaudioError
        If it is missing or damaged, or there is no fluidsynth.
    """

    is_instrument = True
    parameters: Mapping[str, Any] = MappingProxyType({})
    reported_latency_samples = 0
    raw_state = b''

    def __init__(self, path: Path):
        self.path, self.name = check_font(path), path.stem
        load_fluidsynth()
        self._synth: Any = None
        self._rate = 0.0

    def _load(self, sample_rate: float) -> None:
        if self._synth is not None:
            self._synth.delete()
        self._synth, self._rate = load_fluidsynth().Synth(gain=_GAIN, samplerate=float(sample_rate)), sample_rate
        load_font(self._synth, self.path)
        self._synth.system_reset()

    def __call__(
        self, messages: Sequence[tuple[bytes, float]], seconds: float, sample_rate: float, *, num_channels: int = 2,
        buffer_size: int = 0, reset: bool = False,
    ) -> np.ndarray:  # fmt: skip
        """Play (message, seconds into the block) for so long; return float32 (2, n).

        At another sample rate than before the font is loaded again, which takes its time: not in the audio thread.
        """
        if sample_rate != self._rate:
            self._load(sample_rate)
        events = [(int(at * sample_rate), partial(self._hear, message)) for message, at in messages]
        return render_events(self._synth, events, int(seconds * sample_rate))

    def _hear(self, message: bytes) -> None:
        synth, kind, channel = self._synth, message[0] & 0xF0, message[0] & 0x0F
        if kind == 0x90 and message[2]:
            synth.noteon(channel, message[1], message[2])
        elif kind in (0x80, 0x90):
            synth.noteoff(channel, message[1])
        elif kind == 0xB0:
            synth.cc(channel, message[1], message[2])
        elif kind == 0xC0:
            synth.program_change(channel, message[1])
        elif kind == 0xE0:
            synth.pitch_bend(channel, (message[1] | message[2] << 7) - 8192)
