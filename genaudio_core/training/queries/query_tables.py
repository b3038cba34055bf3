"""Words and the query vectors that a live separator is trained with."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from genaudio_core.training.mixtures.band_mixtures import FAMILY_WORDS
from genaudio_core.training.queries.space import QuerySpace
from genaudio_core.training.sounds.lexicon import NAMES, concept_called

QueryTable = dict[str, np.ndarray]  # word -> vectors (n, D), one of which is drawn


def placeholder_queries(dim: int) -> QueryTable:
    """Return a random unit vector per word: for tests and trials, where no query encoder is at hand."""
    words = sorted({*NAMES, *(word for words in FAMILY_WORDS.values() for word in words)})
    vectors = np.random.default_rng(6).standard_normal((len(words), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {word: vector[None] for word, vector in zip(words, vectors, strict=True)}


def with_neighbours(
    vectors: Mapping[str, np.ndarray], *, copies: int = 3, spread: float = 0.2, seed: int = 6
) -> QueryTable:
    """Return word -> its vector, given (D,), and `copies` near it.

    Vectors near it stand for typos, phrases and audio examples, which land beside a concept, not on it.
    """
    rng = np.random.default_rng(seed)
    table: QueryTable = {}
    for word, vector in sorted(vectors.items()):
        own = vector.astype(np.float32) / np.linalg.norm(vector)
        near = own + spread * rng.standard_normal((copies, len(own))).astype(np.float32) / len(own) ** 0.5
        table[word] = np.concatenate([own[None], near / np.linalg.norm(near, axis=1, keepdims=True)])
    return table


def queries_of_space(space: Path) -> QueryTable:
    """Return the vectors of a query space (``training/queries/space.py``)."""
    found = QuerySpace.load(space)
    vectors = dict(zip(found.names, found.concepts, strict=True))
    words = {*vectors, *(word for words in FAMILY_WORDS.values() for word in words)}
    concepts = {word: concept for word in words if (concept := concept_called(word)) is not None}
    return with_neighbours({word: vectors[concept] for word, concept in concepts.items()})
