"""Finished takes on pads: a MIDI note plays a sound file.

`PadPlayer` is what the audio callback runs: notes in with their frame, sound out. Every voice that is cut off (pad
struck again, choked, let go or silenced) fades over 5 ms, so nothing clicks. It reads no file and takes no lock; the
takes come from `clip_store.PadBank`.
"""

from collections.abc import Iterable

import numpy as np

from bridge.settings.pads_table import Pad

FIRST_NOTE, N_PADS = 36, 16  # as most pad controllers send: C1 upwards
MAX_VOICES = 24
FADE = 0.005  # seconds over which a voice is cut off


class _Voice:
    """One sounding pad."""

    __slots__ = ('at', 'audio', 'choke', 'gain', 'left', 'note')

    def __init__(self) -> None:
        self.audio: np.ndarray | None = None
        self.at = 0  # sample of the take
        self.gain = 0.0
        self.left = -1  # samples of fade that are left; -1: not fading
        self.note = self.choke = 0


class PadPlayer:
    """Plays pads; `render` belongs to the audio callback, everything else may be called from anywhere."""

    def __init__(self, sample_rate: int, channel: int | None = None):
        self.sample_rate, self.channel = sample_rate, channel
        self.pads: list[Pad | None] = [None] * 128
        self.played = 0  # strikes that found a pad
        self._voices = [_Voice() for _ in range(MAX_VOICES)]
        self._tails = [_Voice() for _ in range(MAX_VOICES)]  # voices that had to give way, while they fade
        n = round(FADE * sample_rate)
        self._fade = np.linspace(1, 0, n + 1, dtype=np.float32)[:n]
        self._scratch = np.zeros((2, 8192), np.float32)
        self._silence = False

    def silence(self) -> None:
        """Fade everything out, from the next block on."""
        self._silence = True

    @property
    def sounding(self) -> int:
        """How many voices sound."""
        return sum(voice.audio is not None for voice in (*self._voices, *self._tails))

    def render(self, out: np.ndarray, events: Iterable[tuple[int, bytes]] = ()) -> None:
        """Fill float32 `out` (2, n_samples); `events` are (frame in this block, MIDI message), in order."""
        out[:] = 0
        at, n = 0, out.shape[1]
        if self._silence:
            self._silence = False
            for voice in self._voices:
                self._release(voice)
        for frame, message in events:
            frame = min(max(frame, at), n)
            self._play(out, at, frame)
            at = frame
            self._obey(message)
        self._play(out, at, n)

    def _obey(self, message: bytes) -> None:
        if len(message) < 3 or (self.channel is not None and message[0] & 0x0F != self.channel):
            return
        kind, note, value = message[0] & 0xF0, message[1] & 0x7F, message[2]
        if kind == 0x90 and value:
            self._strike(note, value)
        elif kind == 0x80 or kind == 0x90:
            pad = self.pads[note]
            if pad is not None and pad.hold:
                for voice in self._voices:
                    if voice.note == note:
                        self._release(voice)
        elif kind == 0xB0 and note in (120, 123):  # all sound off, all notes off
            for voice in self._voices:
                self._release(voice)

    def _strike(self, note: int, velocity: int) -> None:
        pad = self.pads[note]
        if pad is None or not pad.audio.shape[1]:
            return
        self.played += 1
        for voice in self._voices:
            if voice.audio is not None and (voice.note == note or (pad.choke and voice.choke == pad.choke)):
                self._release(voice)
        voice = next((voice for voice in self._voices if voice.audio is None), None)
        if voice is None:  # all busy: the one that has played longest gives way, fading
            voice = max(self._voices, key=lambda v: (v.left >= 0, v.at))
            tail = min(self._tails, key=lambda v: v.left if v.audio is not None else -1)
            self._release(voice)
            for name in _Voice.__slots__:
                setattr(tail, name, getattr(voice, name))
        voice.audio, voice.at, voice.left = pad.audio, 0, -1
        voice.note, voice.choke = note, pad.choke
        voice.gain = (velocity / 127) ** 2 * 10 ** (pad.gain_db / 20)

    def _release(self, voice: _Voice) -> None:
        if voice.audio is not None and voice.left < 0:
            voice.left = len(self._fade)

    def _play(self, out: np.ndarray, begin: int, end: int) -> None:
        if end <= begin:
            return
        for voice in (*self._voices, *self._tails):
            if voice.audio is None:
                continue
            n = min(end - begin, voice.audio.shape[1] - voice.at, voice.left if voice.left >= 0 else end)
            at = 0
            while at < n:  # a block may be longer than the scratch memory
                part = min(n - at, self._scratch.shape[1])
                scratch = self._scratch[:, :part]
                np.multiply(voice.audio[:, voice.at : voice.at + part], np.float32(voice.gain), out=scratch)
                if voice.left >= 0:
                    done = len(self._fade) - voice.left
                    scratch *= self._fade[done : done + part]
                    voice.left -= part
                out[:, begin + at : begin + at + part] += scratch
                voice.at += part
                at += part
            if voice.left == 0 or voice.at >= voice.audio.shape[1]:
                voice.audio, voice.left = None, -1
