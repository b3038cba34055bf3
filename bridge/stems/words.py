"""Words that a person types, made into queries while the sound goes on."""

from typing import Any

import numpy as np

from genaudio_core.errors import GenaudioError, MissingModel, did_you_mean
from genaudio_core.query.parsing import parse
from genaudio_core.query.vector import Query


class Words:
    """Words -> queries (D + 1,), see `Query.row`: those that the model was trained with as they are, all others by the
    query encoder."""

    def __init__(self, card_words: dict[str, list[float]], query_dim: int):
        self._known = card_words
        self.query_dim = query_dim
        self._encoder: Any = None

    def knows(self, text: str) -> bool:
        """Whether the vector of a query needs no encoder: the model was trained with it, or it is refused."""
        plain = ' '.join(text.lower().split())
        return not plain or plain in self._known or self._own(plain) is not None

    def _own(self, plain: str) -> Query | None:
        """The query, if all its words are the model's own."""
        positive, negative = parse(plain)
        if not (positive or negative) or not all(word in self._known for _, word in (*positive, *negative)):
            return None
        wanted, left_out = (
            tuple((weight, self._vector(word)) for weight, word in parts) for parts in (positive, negative)
        )
        return Query(plain, wanted, left_out)

    def _vector(self, word: str) -> np.ndarray:
        return np.asarray(self._known[word], np.float32)

    def near(self, row: np.ndarray, n: int = 4) -> list[tuple[str, float]]:
        """Return the model's own words that lie nearest to a query (D + 1,), with their cosines, best first."""
        names = list(self._known)
        if not names or not (length := float(np.linalg.norm(row[:-1]))):
            return []
        own = np.array([self._known[name] for name in names], np.float32)
        cosines = own @ row[:-1] / np.maximum(np.linalg.norm(own, axis=1) * length, 1e-9)
        return [(names[i], float(cosines[i])) for i in np.argsort(-cosines)[:n]]

    @property
    def known(self) -> list[str]:
        """The words that the model was trained with."""
        return sorted(self._known)

    def vector(self, text: str) -> np.ndarray:
        """Return the row (D + 1,) of a query. From any thread, from one at a time.

        Raises
        ------
        GenaudioError
            If it is empty, or unknown and there is no query encoder.
        """
        plain = ' '.join(text.lower().split())
        if not plain:
            raise GenaudioError('The query is empty. Say what to listen for, such as drums.')
        if plain in self._known:
            return np.append(self._vector(plain), np.float32(0))
        query = self._own(plain)
        if query is None:
            if self._encoder is None:
                from genaudio_core.query.encoder import QueryEncoder

                self._encoder = QueryEncoder()
            try:
                query = self._encoder.query(plain)
            except MissingModel:
                raise GenaudioError(
                    f"'{text}' is not a word of this model, and there is no query encoder."
                    f'{did_you_mean(plain, self._known)} It has: {", ".join(sorted(self._known))}.'
                ) from None
        row = query.row
        if len(row) != self.query_dim + 1:
            raise GenaudioError(f'The query encoder gives {len(row) - 1} numbers, this model takes {self.query_dim}.')
        return row
