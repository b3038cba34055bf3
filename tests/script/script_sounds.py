"""Stand-ins for the makers of a script: sounds that a test can recognise, sample by sample."""

from dataclasses import dataclass, field

import numpy as np

from genaudio_core.script.makers import Made, Makers
from genaudio_core.script.table import Row

RATE = 44100


def noise(n: int, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """Stereo noise that is nowhere zero: (2, n)."""
    x = np.random.default_rng(seed).standard_normal((2, n)).astype(np.float32)
    return level * np.where(np.abs(x) < 0.01, np.float32(0.01), x)


@dataclass
class NoiseMaker:
    """Makes noise from the seed: as long as asked, or `seconds` where nothing is asked."""

    seconds: float = 1.0
    told: str = 'noise'
    complaint: str = ''
    made: list[tuple[int, int | None, int]] = field(default_factory=list)  # (row, n_samples, seed)

    def fault(self, row: Row) -> str:
        return self.complaint

    def length(self, row: Row) -> int:
        return 0

    def make(self, row: Row, n_samples: int | None, seed: int) -> Made:
        self.made.append((row.number, n_samples, seed))
        return Made(noise(n_samples or round(self.seconds * RATE), seed), self.told)


class Beeper:
    """As `synthesizer.Synthesizer`: (takes, n) at 44.1 kHz."""

    def __init__(self):
        self.asked: list[tuple[object, float, int]] = []

    def make(self, query, seconds=2.0, takes=1, seed=1, guidance=3.0, steps=None, pitch=0.0) -> np.ndarray:
        self.asked.append((query, seconds, seed))
        t = np.arange(round(seconds * RATE)) / RATE
        return np.tile(0.3 * np.sin(2 * np.pi * (200 + seed % 100) * t), (takes, 1)).astype(np.float32)


def noise_makers() -> Makers:
    """Every kind of row makes noise."""
    return Makers(NoiseMaker(), NoiseMaker(), NoiseMaker(), NoiseMaker())
