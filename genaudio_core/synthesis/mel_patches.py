"""Log mels as short rows of numbers of comparable size, and back: what the diffusion model paints. Numpy only.

A patch is a few frames by all bands. Its two-dimensional cosine transform packs what matters into few coefficients;
those of least variance (fine texture: 1.2 dB of error at 128 of 384) are left out, and each is divided by the root of
its spread, which lets the outline of a sound settle before its details, as in pictures. No learnt part, exact shapes,
and the numbers (which coefficients, their means and scales) travel in the checkpoint and in the card.
"""

import functools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import read_json


@functools.cache
def _cosines(n: int) -> np.ndarray:
    """Return the orthonormal DCT-II (n, n), a row a frequency."""
    k, i = np.arange(n)[:, None], np.arange(n)[None]
    rows = np.cos(np.pi * (i + 0.5) * k / n) * np.sqrt(2 / n)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


@dataclass(frozen=True)
class PatchCodec:
    """Plain numbers that define the transform. ``coefficients`` counts frame frequency * bands + band frequency."""

    frames: int  # of a patch
    bands: int
    floor: float  # log mels below are raised to it
    coefficients: list[int]
    mean: list[float]
    scale: list[float]

    @classmethod
    def of(cls, content: Any, path: str | Path) -> 'PatchCodec':
        """The codec that a checkpoint or ``codec.json`` at `path` holds.

        Raises
        ------
        GenaudioError
            If it is not one.
        """
        try:
            return cls(**content)
        except TypeError:
            raise GenaudioError(f'{path} has no codec of a denoiser (codec.json of its run).') from None

    @classmethod
    def load(cls, path: str | Path) -> 'PatchCodec':
        """Read ``codec.json`` of a denoiser's run; errors as `of` and `files.read_json`."""
        return cls.of(read_json(path, 'codec of a denoiser'), path)

    @classmethod
    def fit(cls, mels: np.ndarray, frames: int, keep: int, floor: float, power: float = 0.5) -> 'PatchCodec':
        """Choose the `keep` coefficients of most variance in log mels (n, n_frames, bands).

        Parameters
        ----------
        power : float
            0 leaves the spread of the coefficients as it is, 1 makes them all alike.
        """
        bands = mels.shape[-1]
        patches = np.maximum(mels, floor).reshape(-1, frames, bands)
        flat = cls._forward(patches).reshape(len(patches), -1)
        spread = flat.std(axis=0)
        chosen = np.sort(np.argsort(-spread)[:keep])
        scale = np.maximum(spread[chosen], 1e-3) ** power
        scale *= np.sqrt(np.mean((spread[chosen] / scale) ** 2))  # mean variance one
        mean = flat.mean(axis=0)[chosen]
        return cls(frames, bands, float(floor), chosen.tolist(), mean.round(5).tolist(), scale.round(6).tolist())

    @staticmethod
    def _forward(patches: np.ndarray) -> np.ndarray:
        frames, bands = patches.shape[-2:]
        return _cosines(frames) @ patches @ _cosines(bands).T

    @property
    def size(self) -> int:
        """Coefficients per patch."""
        return len(self.coefficients)

    def encode(self, mel: np.ndarray) -> np.ndarray:
        """Log mels (..., n_frames, bands), whole patches -> rows (..., n_frames / frames, size)."""
        *lead, n, bands = mel.shape
        patches = np.maximum(mel, self.floor).reshape(*lead, n // self.frames, self.frames, bands)
        flat = self._forward(patches).reshape(*lead, n // self.frames, -1)
        rows = flat[..., self.coefficients] - np.asarray(self.mean, np.float32)
        return (rows / np.asarray(self.scale, np.float32)).astype(np.float32)

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Rows (..., n, size) -> log mels (..., n * frames, bands), floored."""
        *lead, n, _ = rows.shape
        flat = np.zeros((*lead, n, self.frames * self.bands), np.float32)
        flat[..., self.coefficients] = rows * np.asarray(self.scale, np.float32) + np.asarray(self.mean, np.float32)
        patches = flat.reshape(*lead, n, self.frames, self.bands)
        mel = _cosines(self.frames).T @ patches @ _cosines(self.bands)
        return np.maximum(mel.reshape(*lead, n * self.frames, self.bands), self.floor).astype(np.float32)

    def to_dict(self) -> dict:
        """What a model card holds of it."""
        return asdict(self)
