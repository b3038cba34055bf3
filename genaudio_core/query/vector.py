"""The query vector itself: `QUERY_DIM` numbers, of length one."""

from dataclasses import dataclass, field

import numpy as np

from genaudio_core.errors import GenaudioError

QUERY_DIM = 128
NEGATIVE_PULL = 0.5  # how far a negative query pushes the vector away; more would leave the sphere's known parts


def unit(vector: np.ndarray) -> np.ndarray:
    """Return `vector` (..., D) at length one."""
    return (vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


@dataclass(frozen=True)
class Query:
    """A weighted mix of vectors to listen for, and vectors to leave out.

    Without any to listen for it is a *complement*: all of the mixture but what is left out.
    """

    name: str
    positive: tuple[tuple[float, np.ndarray], ...]
    negative: tuple[tuple[float, np.ndarray], ...] = field(default=())
    normalise: bool = True  # False for CLIP, whose vectors CLIPSep takes at their own length
    n_words: int | None = None  # how many of the positive vectors, the first ones, come from words; None: all

    @property
    def is_complement(self) -> bool:
        """Whether all is wanted but what is left out."""
        return not self.positive

    @property
    def target(self) -> np.ndarray:
        """The mix of the positive vectors, of length one (or, not normalised, their weighted mean)."""
        whole = sum(weight for weight, _ in self.positive)
        total = np.sum([weight / whole * vector for weight, vector in self.positive], axis=0)
        return unit(total) if self.normalise else total.astype(np.float32)

    @property
    def vector(self) -> np.ndarray:
        """One vector (QUERY_DIM,) for separators that take only one: the target, pushed away from the negatives."""
        if self.is_complement:
            raise GenaudioError(f"'{self.name}' only says what not to hear; name something to listen for too.")
        vector = self.target
        for weight, other in self.negative:
            vector = vector - NEGATIVE_PULL * weight * unit(other)
        return unit(vector)

    @property
    def row(self) -> np.ndarray:
        """What the live separator takes (QUERY_DIM + 1,): a vector, and 1 where all but what it says is wanted."""
        if not self.is_complement:
            return np.append(self.vector, np.float32(0))
        left_out = sum(weight * vector for weight, vector in self.negative)
        return np.append(unit(np.asarray(left_out)), np.float32(1))


def morph(first: np.ndarray, second: np.ndarray, amount: float) -> np.ndarray:
    """Return the vector (D,) that is `amount` (0..1) of the way from one unit vector (D,) to another, on the sphere."""
    cosine = float(np.clip(first @ second, -1, 1))
    angle = np.arccos(cosine)
    if angle < 1e-4 or np.pi - angle < 1e-4:
        return unit((1 - amount) * first + amount * second)
    return unit((np.sin((1 - amount) * angle) * first + np.sin(amount * angle) * second) / np.sin(angle))
