"""From the sounds of a script to its mix: levels, fades, ducking, and a peak that no converter clips.

* The level of a row is the integrated loudness (BS.1770) of its own sound, in the mix's channels: its Volume in LUFS,
  before fades and ducking.
* Fades begin on a row's first sample and end on its last; the first and last samples are not zero.
* Background is lowered under foreground speech. It is down when the speech begins, and stays down over short pauses.
* If the mix peaks above the ceiling, everything is lowered by one factor: no limiter, the balance stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.script.table import BACKGROUND, FOREGROUND, MUSIC, SPEECH, Row
from genaudio_core.script.timetable import Part
from genaudio_core.sound.audio_files import to_mono
from genaudio_core.sound.loudness import decibels, integrated_loudness, true_peak

SAMPLE_RATE = 44100
MAX_GAIN_DB = 60.0  # what is quieter than that is noise, and is not dragged up
FADES = 0.005, 0.005  # seconds in and out of a foreground row: no click
MUSIC_FADES = 0.005, 1.0  # of foreground music, which seldom ends where its Duration does
BACKGROUND_FADES = 1.0, 2.0


@dataclass(frozen=True)
class MixSettings:
    """How the rows are put together."""

    channels: int = 2
    duck_db: float = 9.0  # how much background is lowered under speech; 0: not at all
    attack: float = 0.25  # seconds before the speech in which it goes down
    release: float = 0.8  # seconds after the speech in which it comes back
    hold: float = 1.5  # seconds of pause between speech over which it stays down
    ceiling_db: float = -1.0  # dBTP

    def __post_init__(self):
        if not 0 <= self.duck_db <= 60:
            raise GenaudioError(f'`duck_db` must be 0 to 60 dB, not {self.duck_db:g}.')
        if not -40 <= self.ceiling_db <= 0:
            raise GenaudioError(f'`ceiling_db` must be -40 to 0 dBTP, not {self.ceiling_db:g}.')
        if self.channels not in (1, 2):
            raise GenaudioError(f'`channels` must be 1 or 2, not {self.channels}.')


@dataclass
class Stem:
    """One row as it is in the mix."""

    part: Part
    audio: np.ndarray  # float32 (channels, part.n_samples)
    gain_db: float  # what brought it to its volume
    silent: bool = False  # nothing to bring to a volume
    limited: bool = False  # it would have needed more than `MAX_GAIN_DB`


@dataclass
class Mixdown:
    """The mix, and what is in it: the stems at their places add up to it, sample by sample."""

    audio: np.ndarray  # float32 (channels, n_samples)
    stems: list[Stem]
    gain_db: float  # what all of it was lowered by for the ceiling; 0 or less
    peak_db: float  # dBTP of the mix as it is
    loudness: float  # LUFS of the mix as it is


def to_channels(audio: np.ndarray, channels: int) -> np.ndarray:
    """(any, n_samples) as float32 (channels, n_samples): mono goes to both sides, more is averaged to mono."""
    audio = np.atleast_2d(np.asarray(audio, np.float32))
    if audio.shape[0] == channels:
        return audio
    if audio.shape[0] > 2:  # no layout is known here: all of it, in the middle
        audio = to_mono(audio)[None]
    if channels == 1:
        return to_mono(audio)[None]
    return np.repeat(audio, 2, axis=0)


def fitted(audio: np.ndarray, n_samples: int) -> np.ndarray:
    """Exactly `n_samples` of `audio` (channels, n): cut, or silence after it."""
    if audio.shape[1] >= n_samples:
        return audio[:, :n_samples]
    return np.pad(audio, ((0, 0), (0, n_samples - audio.shape[1])))


def fade_lengths(row: Row, n_samples: int) -> tuple[int, int]:
    """Samples of fade in and out of a row; together at most its length."""
    usual = BACKGROUND_FADES if row.layout == BACKGROUND else MUSIC_FADES if row.kind == MUSIC else FADES
    wanted = [usual[i] if own is None else own for i, own in enumerate((row.fade_in, row.fade_out))]
    samples = [round(seconds * SAMPLE_RATE) for seconds in wanted]
    if sum(samples) > n_samples:  # a short row: both give way alike
        samples = [n * n_samples // sum(samples) for n in samples]
    return samples[0], samples[1]


def fade(n: int) -> np.ndarray:
    """(n,) from just above 0 to just under 1, a raised cosine."""
    return (0.5 - 0.5 * np.cos(np.pi * (np.arange(n) + 0.5) / n)).astype(np.float32)


def ducking(parts: Sequence[Part], n_samples: int, settings: MixSettings) -> np.ndarray | None:
    """Gain of the background over the whole mix, float32 (n_samples,); None where nothing ducks it."""
    spans: list[list[int]] = []
    hold = round(settings.hold * SAMPLE_RATE)
    for part in sorted(parts, key=lambda p: p.start):
        if part.row.kind != SPEECH or part.row.layout != FOREGROUND or not part.n_samples:
            continue
        if spans and part.start - spans[-1][1] <= hold:
            spans[-1][1] = part.end
        else:
            spans.append([part.start, part.end])
    if not spans or not settings.duck_db:
        return None
    depth = np.zeros(n_samples, np.float32)  # 0: open, 1: all the way down
    for start, end in spans:
        for at, ramp in (
            (start - round(settings.attack * SAMPLE_RATE), fade(round(settings.attack * SAMPLE_RATE))),
            (end, fade(round(settings.release * SAMPLE_RATE))[::-1]),
        ):
            begin, stop = max(at, 0), min(at + len(ramp), n_samples)
            if stop > begin:
                depth[begin:stop] = np.maximum(depth[begin:stop], ramp[begin - at : stop - at])
        depth[start:end] = 1.0
    return (10 ** (-settings.duck_db / 20 * depth)).astype(np.float32)


def to_volume(audio: np.ndarray, volume: float) -> tuple[np.ndarray, float, bool]:
    """Bring a sound (channels, n) to a loudness in LUFS; (sound, gain in dB, whether that reached `MAX_GAIN_DB`)."""
    loudness = integrated_loudness(audio, SAMPLE_RATE)
    if loudness == float('-inf'):
        return audio, 0.0, False
    gain_db = min(volume - loudness, MAX_GAIN_DB)
    return audio * np.float32(10 ** (gain_db / 20)), gain_db, volume - loudness > MAX_GAIN_DB


def mix(parts: Sequence[Part], sounds: Sequence[np.ndarray], settings: MixSettings | None = None) -> Mixdown:
    """Mix the sounds of a script.

    Parameters
    ----------
    parts : sequence of Part
        Where each sound goes (``timetable.timeline``).
    sounds : sequence of float32 (channels, n_samples)
        In the same order, 44.1 kHz; cut or filled with silence to the length of their parts.

    Raises
    ------
    GenaudioError
        If a sound holds NaN or infinite samples.
    """
    settings = settings or MixSettings()
    n_samples = max((part.end for part in parts), default=0)
    duck = ducking(parts, n_samples, settings)
    stems = []
    for part, sound in zip(parts, sounds, strict=True):
        if not np.isfinite(sound).all():
            raise GenaudioError(f"row {part.row.number}: '{part.row.name}' contains NaN or infinite samples.")
        raw = fitted(to_channels(sound, settings.channels), part.n_samples)
        audio, gain_db, limited = to_volume(raw, part.row.volume)
        audio = np.array(audio)  # what is faded here must not be the caller's
        fade_in, fade_out = fade_lengths(part.row, part.n_samples)
        if fade_in:
            audio[:, :fade_in] *= fade(fade_in)
        if fade_out:
            audio[:, part.n_samples - fade_out :] *= fade(fade_out)[::-1]
        if duck is not None and part.row.layout == BACKGROUND:
            audio *= duck[part.start : part.end]
        stems.append(Stem(part, audio, gain_db, silent=not raw.any(), limited=limited))
    total = _sum(stems, settings.channels, n_samples)
    peak = true_peak(total)
    gain = min(1.0, 10 ** (settings.ceiling_db / 20) / peak) if peak > 0 else 1.0
    if gain < 1:
        for stem in stems:
            stem.audio *= np.float32(gain)
        total = _sum(stems, settings.channels, n_samples)
    return Mixdown(total, stems, decibels(gain), decibels(peak * gain), integrated_loudness(total, SAMPLE_RATE))


def _sum(stems: Sequence[Stem], channels: int, n_samples: int) -> np.ndarray:
    """The stems at their places, added in their order: whoever adds them up again gets the same bits."""
    total = np.zeros((channels, n_samples), np.float32)
    for stem in stems:
        total[:, stem.part.start : stem.part.end] += stem.audio
    return total
